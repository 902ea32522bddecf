"""Lattices of faint and mixed frames: peaks against chance, and grains whose peaks together look like another cell."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import gamma

from stemdefects.errors import UserError
from stemdefects.labels.fourier.periodic import align, chance, grains
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from stemdefects.labels.fourier.points import moving
from tests.labels.fourier.periodic.test_periodic import HEXAGONAL, cells, render, sites, turned

N_FRAMES = 8


def test_peaks_of_many_frames_are_as_rare_as_they_would_be_in_one():
    """Noise of their own: the exact tail of a Gamma; one pattern in all frames: exponential, as in one."""
    rng = np.random.default_rng(1)
    own = rng.exponential(size=(N_FRAMES, 256, 129)).mean(0)
    own[40, 30] = 5.0
    told = chance.of_one_frame(own, N_FRAMES)
    assert told[40, 30] == pytest.approx(-gamma.logsf(N_FRAMES * 5.0, N_FRAMES), rel=0.1)
    same = rng.exponential(size=(256, 129))
    assert np.quantile(chance.of_one_frame(same, N_FRAMES), 0.9999) < np.log(1e4) + 1.5
    assert chance.independent(same, N_FRAMES).mean() < 1.5 and chance.independent(own, N_FRAMES).mean() > 6


def test_a_lattice_too_faint_for_one_frame_shows_in_eight():
    rng = np.random.default_rng(2)
    found, alone = 0, 0
    for _ in range(4):
        yx = sites((128, 128), turned(1.6 * HEXAGONAL, rng.uniform(0, 60)))
        vectors = turned(1.6 * HEXAGONAL, 0.0)
        frames = []
        for _ in range(N_FRAMES):
            mean = 0.35 + render((128, 128), yx + rng.normal(0, 2, 2), np.full(len(yx), 0.25), sigma=3.2)
            mean[:, 90:] *= 0.3  # the edge of a hole, the same in all of them
            frames.append(rng.poisson(mean))
        try:
            lattice = find_lattice(np.array(frames))
            found += abs(lattice.spacing_px / np.linalg.norm(vectors[0]) - 1) < 0.03
        except UserError:
            pass
        try:
            find_lattice(np.array(frames[0]))
            alone += 1
        except UserError:
            pass
    assert found == 4 and alone < 4


@pytest.mark.parametrize("dose", [2.0, 20.0])
def test_an_amorphous_film_that_all_frames_show_is_no_lattice(dose):
    rng = np.random.default_rng(3)
    for _ in range(4):
        film = ndimage.gaussian_filter(rng.normal(size=(128, 128)), rng.uniform(1.5, 3))
        mean = dose * np.clip(1 + 0.4 * film / film.std(), 0.1, None)
        with pytest.raises(UserError, match="no lattice found"):
            find_lattice(rng.poisson(mean, (N_FRAMES, 128, 128)))


@pytest.mark.parametrize("degrees", [11.0, 21.8, 28.6])  # 21.8: the two have a common cell
def test_two_grains_are_told_by_their_windows(degrees):
    for seed in (8, 12, 13):
        rng = np.random.default_rng(seed)
        halves = []
        for k in (0, 1):
            yx = sites((288, 288), turned(HEXAGONAL, 11.0 + k * degrees), (3.0, 4.0))
            halves.append(yx[(yx[:, 1] < 150) == (k == 0)])
        yx = np.concatenate(halves)
        frame = rng.poisson(render((288, 288), yx, np.full(len(yx), 10.0)) + 1.0)[None].astype(np.float32)
        found = grains.find(frame, find_lattice(frame))
        assert len(found) == 2
        assert abs(found.turn_deg[1]) == pytest.approx(min(degrees, 60 - degrees), abs=0.5)
        for lattice, turn in zip(found.lattices, (11.0, 11.0 + degrees), strict=True):
            other = turned(HEXAGONAL, turn), turned(HEXAGONAL, 11.0 if turn > 11.0 else 11.0 + degrees)
            off = [np.abs(c - np.rint(c)).max() for c in (cells(lattice.vectors_px, v) for v in other)]
            assert min(off) < 0.03


def test_windows_with_a_boundary_join_no_grains_and_a_bend_is_none():
    """Mixed windows lie anywhere between two grains; in a bend as many lie halfway as anywhere."""
    rng = np.random.default_rng(6)
    two = np.concatenate([14 + rng.normal(0, 0.5, 12), 23.2 + rng.normal(0, 0.4, 12), [16.2, 16.8, 18.8, 20.4, 20.5]])
    groups = grains._clusters(two, 60.0)
    assert len(groups) == 2 and {round(float(np.median(two[g]))) for g in groups} == {14, 23}
    assert len(grains._clusters(np.linspace(0, 12, 40) + rng.normal(0, 0.3, 40), 60.0)) == 1
    assert len(grains._clusters(np.mod(np.append(two - 20, 41.0), 60.0), 60.0)) >= 2  # over the circle's end


def test_dirt_hides_no_grain():
    rng = np.random.default_rng(7)
    yx = sites((200, 200), HEXAGONAL)
    halves = [p[(p[:, 1] < 100) == k] for p, k in ((yx, True), (sites((200, 200), turned(HEXAGONAL, 20.0)), False))]
    yx = np.concatenate(halves)
    mean = render((200, 200), yx, np.full(len(yx), 6.0)) + 1.0
    y, x = np.meshgrid(*[np.arange(200)] * 2, indexing="ij")
    dirt = sum(np.hypot(y - a, x - b) < 22 for a, b in ((25, 60), (180, 150)))
    frame = rng.poisson(mean + 25 * dirt)[None].astype(np.float32)
    assert len(grains.find(frame, find_lattice(frame))) == 2


def test_an_atom_and_its_ringing_do_not_name_a_drift():
    """One strong atom that steps by a lattice vector, ringing around it: the crystal rests."""
    rng = np.random.default_rng(4)
    yx = sites((160, 160), HEXAGONAL)
    lattice = find_lattice(rng.poisson(render((160, 160), yx, np.full(len(yx), 8.0)) + 1.0))
    y, x = np.meshgrid(*[np.arange(160)] * 2, indexing="ij")
    z, phase = [], []
    u = np.einsum("ij,jyx->iyx", lattice.reciprocal, np.stack([y, x]))
    for at in ([70, 60], [70, 60], np.array([70, 60]) + lattice.vectors_px[0]):
        square = (y - at[0]) ** 2 + (x - at[1]) ** 2
        ring = -4.0 * np.exp(-0.5 * (np.sqrt(square) - 8.0) ** 2 / 2.0)
        z.append(ndimage.gaussian_filter(rng.normal(size=(160, 160)), 1.6) * 5.6 + 30 * np.exp(-square / 10) + ring)
        phase.append(np.mod(u, 1.0))
    moved = align.align(np.array(z), np.array(phase), lattice, np.ones((3, 160, 160)), 15.0)
    assert np.abs(moved.shift_px).max() < 0.5 and moved.clear.all()  # no shorter way than to rest
    phase[2] = np.mod(phase[2] - 0.47, 1.0)  # it has moved by about half a vector along both, one way or the other
    moved = align.align(np.array(z), np.array(phase), lattice, np.ones((3, 160, 160)), 15.0)
    assert not moved.clear[2]


@pytest.mark.parametrize("spacing", [12.3, 9.5])  # the two places are 7 px apart
def test_one_that_hops_between_near_places_wanders_and_one_that_rests_does_not(spacing):
    rng = np.random.default_rng(5)
    y, x = np.meshgrid(*[np.arange(80)] * 2, indexing="ij")
    frames = []
    for t in range(N_FRAMES):
        noise = ndimage.gaussian_filter(rng.normal(size=(80, 80)), 2.6) * 2 * np.sqrt(np.pi) * 2.6
        peaks = [np.exp(-((y - 25) ** 2 + (x - 25 + c) ** 2) / (4 * 2.6**2)) for c in (3.5 - 7 * (t % 2), -35)]
        frames.append(noise + 8 * sum(peaks))
    middle = np.tile(np.array([[25.0, 25.0], [25.0, 60.0]]), (N_FRAMES, 1, 1))
    told = moving.wandering(np.array(frames), np.ones(2), middle, spacing, 2.6)
    assert told.tolist() == [True, False]
