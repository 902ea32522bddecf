"""The checks on the network's answers: against the Bragg lattice, which is made here with known strain and holes, and
against intensities; then the shipped network on real files."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.crystal.material import measured
from stemdefects.inference.columns import trust
from stemdefects.inference.columns.defects import Rules, find_defects
from stemdefects.inference.network import bragg_map
from stemdefects.inference.network.engine import Columns, FrameOutput
from stemdefects.io import opening
from stemdefects.io.tables import quality_flags, table
from stemdefects.models import shipped

REAL = Path(__file__).parents[4] / "shared" / "data" / "real"
MATERIAL = crystal.load("ws2_mo")
PIXEL_NM = 0.03
LIMITS = trust.Limits(
    np.array([0.13, 0.12]),
    np.array([{"Mo_W": -0.6, "V_W": -1.0}.get(k.name, -0.1) for k in MATERIAL.kinds]),
    np.array([True, True]),
)


def vectors(strain=(0, 0, 0), angle=0.2):
    """Lattice vectors in px of WS2 turned by `angle` and strained by (yy, xx, xy)."""
    yy, xx, xy = strain
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    # row vectors r' = r U R: the polar form whose U is the symmetric strain in the crystal's axes turned back
    return MATERIAL.lattice_nm @ turn @ (np.eye(2) + np.array([[yy, xy], [xy, xx]])) / PIXEL_NM


def frame(cell, shape=(200, 220), hole=None, seed=0, shade=0.0):
    """Counts of Gaussian columns on the two sublattices of `cell`, and where these are (n, 2), which sublattice."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    index = np.stack(np.meshgrid(np.arange(-60, 60), np.arange(-60, 60)), -1).reshape(-1, 2)
    image, places, sites = np.full(shape, 0.2), [], []
    for g, site in enumerate(MATERIAL.sites):
        place = (index + site.position) @ cell + (3.1, 4.7)
        place = place[((place > 1) & (place < np.array(shape) - 2)).all(1)]
        places.append(place)
        sites.append(np.full(len(place), g))
    places, sites = np.concatenate(places), np.concatenate(sites)
    if hole is not None:
        away = np.linalg.norm(places - hole[:2], axis=1) > hole[2]
        places, sites = places[away], sites[away]
    for (cy, cx), g in zip(places, sites, strict=True):
        iy, ix = slice(max(int(cy) - 6, 0), int(cy) + 8), slice(max(int(cx) - 6, 0), int(cx) + 8)
        image[iy, ix] += (1.0, 0.3)[g] * np.exp(-((y[iy, ix] - cy) ** 2 + (x[iy, ix] - cx) ** 2) / (2 * 1.6**2))
    image *= 1 + shade * np.sin(2 * np.pi * x / shape[1])
    return rng.poisson(20 * image).astype(np.float32), places, sites


def local_lattice(image, made):
    part = bragg_map.components(jnp.asarray(image - image.mean())[None], made.rows, made.columns)
    return bragg_map.read(np.asarray(part)[0], made)


def test_strain_and_rotation_of_a_frame_from_its_neighbours_lattice():
    strain = (0.012, -0.008, 0.005)
    true = vectors(strain, angle=0.215)
    made = bragg_map.windows((200, 220), vectors(), MATERIAL.lattice_nm)
    found = local_lattice(frame(true)[0], made)
    assert found.clear and not found.absent.any()
    np.testing.assert_allclose(found.vectors_px, true, atol=0.02)
    angle, _ = bragg_map.deformation(found.vectors_px, MATERIAL.lattice_nm, PIXEL_NM)
    assert angle == pytest.approx(0.215, abs=2e-3)
    unturned = vectors(strain, angle=0.0)
    _, found_strain = bragg_map.deformation(unturned, MATERIAL.lattice_nm, PIXEL_NM)
    np.testing.assert_allclose(found_strain, [[0.012, 0.005], [0.005, -0.008]], atol=1e-6)


def test_a_hole_has_no_lattice_and_noise_says_nothing():
    made = bragg_map.windows((200, 220), vectors(), MATERIAL.lattice_nm)
    found = local_lattice(frame(vectors(), hole=(100, 110, 45))[0], made)
    assert found.clear and found.at(np.array([100.0]), np.array([110.0]))[0] < bragg_map.ABSENT
    assert (found.at(np.array([20.0, 180]), np.array([30.0, 190])) > 0.5).all()
    assert 0.05 < found.absent.mean() < 0.2  # 14% of the area
    noise = local_lattice(np.random.default_rng(1).poisson(5.0, (200, 220)).astype(np.float32), made)
    assert not noise.clear and not noise.absent.any()
    assert bragg_map.windows((30, 220), vectors(), MATERIAL.lattice_nm) is None


def output(image, places, sites, states, lattice=True):
    """What a network that finds `places` in `states` (kind name or None) would say."""
    prob = np.zeros((len(places), MATERIAL.n_states), np.float32)
    for i, (g, name) in enumerate(zip(sites, states, strict=True)):
        state = MATERIAL.sites[g].ideal if name is None else MATERIAL.kinds[MATERIAL.kind_names.index(name)].state
        prob[i, state] = 1
    n = len(places)
    columns = Columns(
        *places.astype(np.float32).T, np.full(n, 0.3, np.float32), sites, prob, np.full(n, 0.9), np.zeros(n)
    )
    made = bragg_map.windows(image.shape, vectors(), MATERIAL.lattice_nm)
    return FrameOutput(columns, np.array([1.0, 0, 0, 0]), image, 1.0, local_lattice(image, made) if lattice else None)


def assess(found, rules=None):
    rules = rules or Rules()
    defects = find_defects(found, MATERIAL, rules, vectors(), PIXEL_NM)
    return defects, trust.assess(found, defects, LIMITS, MATERIAL.kind_names)


def test_a_network_that_is_right_raises_no_doubt():
    image, places, sites = frame(vectors())
    _, verdict = assess(output(image, places, sites, [None] * len(sites)))
    assert verdict.flags == 0 and verdict.figures["found"] == pytest.approx(1, abs=0.1)


def test_each_doubt_is_raised_by_its_cause():
    image, places, sites = frame(vectors())
    rng = np.random.default_rng(0)
    many = [("V_S" if g == 1 and rng.random() < 0.4 else None) for g in sites]
    assert assess(output(image, places, sites, many))[1].flags & quality_flags.MANY
    few = rng.random(len(sites)) < 0.5
    assert assess(output(image, places[few], sites[few], [None] * few.sum()))[1].flags & quality_flags.MISSED
    # a second, wrong lattice between the columns
    both = np.concatenate([places, np.add(places, (2.4, 3.1))]), np.concatenate([sites, sites])
    assert assess(output(image, *both, [None] * len(both[1])))[1].flags & quality_flags.OFF_LATTICE
    hole, h_places, h_sites = frame(vectors(), hole=(100, 110, 45))
    assert assess(output(hole, h_places, h_sites, [None] * len(h_sites)))[1].flags & quality_flags.ELSEWHERE
    defects, verdict = assess(output(image, places[:8], sites[:8], [None] * 8))
    assert defects.sites is None and verdict.flags == quality_flags.UNCHECKED


def learned(vectors_px, image, regions):
    """What the checks say of a network that learned from its movie and calls nothing."""
    material = crystal.from_config(measured.card(vectors_px * PIXEL_NM, ["bright"]))
    made = bragg_map.windows(image.shape, vectors_px, material.lattice_nm)
    nothing = np.zeros(0, np.float32)
    columns = Columns(
        nothing, nothing, nothing, np.zeros(0, int), np.zeros((0, material.n_states), np.float32), nothing, nothing
    )
    share = np.bincount(regions.ravel(), minlength=4) / regions.size
    output = FrameOutput(columns, share, image, 1.0, local_lattice(image, made), regions=regions)
    known = trust.Limits(np.array([0.1]), np.array([1.0]), np.array([False]))
    found = find_defects(output, material, Rules(), vectors_px, PIXEL_NM)
    return trust.assess(output, found, known, material.kind_names)


@pytest.mark.parametrize("side", [4, 5])
def test_dirt_that_lets_the_lattice_through_is_no_doubt_but_crystal_called_amorphous_is_one(side):
    cell, shape = vectors(), (200, 220)
    image, *_ = frame(cell, shape)
    y, x = np.mgrid[: -(-shape[0] // side), : -(-shape[1] // side)] * side
    lies = (y > 100) & (x > 120)  # 22% of the frame
    regions = np.where(lies, 2, 0).astype(np.uint8)
    full = np.repeat(np.repeat(lies, side, 0), side, 1)[: shape[0], : shape[1]]
    dirty = image + np.random.default_rng(5).poisson(40.0, shape) * full
    verdict = learned(cell, dirty, regions)
    assert not verdict.flags & quality_flags.ELSEWHERE
    assert verdict.figures["no_network"] == 0 and verdict.figures["no_bragg"] < 0.05
    # the same map over crystal that nothing lies on
    assert learned(cell, image, regions).flags & quality_flags.ELSEWHERE
    # and a hole that the network has not seen, beside the dirt
    hole, *_ = frame(cell, shape, hole=(60, 60, 50))
    hole += np.random.default_rng(5).poisson(40.0, shape) * full
    verdict = learned(cell, hole, regions)
    assert verdict.flags & quality_flags.ELSEWHERE and verdict.figures["no_bragg"] > 0.1


@pytest.mark.parametrize("blur", [1.3, 2.2])
def test_another_crystal_is_seen_by_its_sublattices(blur):
    """Columns of 0.3 beside columns of 1: the ratio comes out whatever the blur."""
    from scipy import ndimage

    image, places, sites = frame(vectors())
    image = ndimage.gaussian_filter(image, np.sqrt(blur**2 - 1))
    found = output(image, places, sites, [None] * len(sites))
    defects = find_defects(found, MATERIAL, Rules(), vectors(), PIXEL_NM)
    step = np.subtract(MATERIAL.sites[1].position, MATERIAL.sites[0].position)
    for ratio, wrong in (((0.2, 0.4), False), ((0.05, 0.2), True)):
        known = dataclasses.replace(LIMITS, ratio=ratio, step=step)
        verdict = trust.assess(found, defects, known, MATERIAL.kind_names)
        assert bool(verdict.flags & quality_flags.OTHER_CRYSTAL) == wrong
    assert verdict.figures["ratio"] == pytest.approx(0.3, abs=0.06)


def test_uneven_brightness_called_mo_is_told_from_mo():
    image, places, sites = frame(vectors(), shade=0.3)
    dark = places[:, 1] > 0.62 * image.shape[1]  # the shaded third
    rng = np.random.default_rng(0)
    wrong = [("Mo_W" if g == 0 and d and rng.random() < 0.25 else None) for g, d in zip(sites, dark, strict=True)]
    defects, verdict = assess(output(image, places, sites, wrong))
    assert len(defects.rows) >= trust.MIN_CALLS and verdict.flags & quality_flags.UNSUPPORTED
    darker = image.copy()  # the same columns, now really darker
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    for (cy, cx), name in zip(places, wrong, strict=True):
        if name:
            darker -= 11 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.6**2)).astype(np.float32)
    assert not assess(output(darker, places, sites, wrong))[1].flags & quality_flags.UNSUPPORTED


def test_calls_in_a_hole_are_withheld():
    """A network that sees a full lattice of vacancies in a hole (it was never shown one)."""
    _, places, sites = frame(vectors())
    image, *_ = frame(vectors(), hole=(100, 110, 45))
    inside = np.linalg.norm(places - (100, 110), axis=1) < 45
    states = [(("V_W", "V_S2")[g] if i else None) for g, i in zip(sites, inside, strict=True)]
    found = output(image, places, sites, states)
    defects, _ = assess(found)
    assert defects.n_withheld > 50 and len(defects.rows) < 0.5 * inside.sum()
    free, _ = assess(found, Rules(require_lattice=False))
    assert free.n_withheld == 0 and len(free.rows) == inside.sum()


def test_doubts_in_words():
    frames = table.empty_frames(3)
    frames["doubt"] = [quality_flags.MANY, quality_flags.MANY | quality_flags.MISSED, quality_flags.MISSED]
    frames["quality"][2] = 4  # skipped: says nothing
    frames["n_withheld"] = [2, 0, 0]
    told = quality_flags.sentences(frames)
    assert told[0].startswith("In 2 of 2 frames: more columns") and told[1].startswith("In 1 of 2 frames: columns not")
    assert "2 calls were withheld" in told[2] and len(told) == 3
    from stemdefects.analysis.data import detections
    from stemdefects.schema import TableConfig

    rows = table.empty(1)
    rows["y_nm"] = rows["x_nm"] = 1.0
    found = detections.from_table(table.DefectTable(rows, frames, attrs={"pixel_size_nm": 0.03}), TableConfig())
    assert told[0] in found.notes, "the report's warning box says it"
    assert quality_flags.sentences(table.empty_frames(2)) == [] and len(quality_flags.words(2**12 - 1)) == 12


@pytest.mark.skipif(not REAL.is_dir(), reason="no shared data beside the project")
@pytest.mark.skipif("ws2_mo" not in shipped.names(), reason="the network ws2_mo does not ship here")
def test_real_files_by_the_shipped_network():
    from stemdefects.commands import detection

    hole = detection.detect(opening.read(REAL / "mos2_se_implanted.dm3"), "ws2_mo", progress=False)
    near = np.hypot(hole.rows["y_px"] - 672, hole.rows["x_px"] - 530) * hole.pixel_size_nm < 1.0
    assert near.sum() <= 12, "the hole is not a hundred vacancies"
    assert hole.frames["doubt"][0] & quality_flags.OTHER_CRYSTAL, "MoS2 is not the WS2 the network knows"
    uneven = detection.detect(opening.read(REAL / "mos2_60kv_a.npy"), "ws2_mo", pixel_size_nm=7 / 512, progress=False)
    n_mo = uneven.counts().get("Mo_W", 0)
    assert n_mo < trust.MIN_CALLS or uneven.frames["doubt"][0], "uneven brightness silently called Mo_W"


def test_distortion_is_said_with_its_figure():
    for strain, wrong in (((0.01, -0.01, 0.0), False), ((0.04, -0.04, 0.0), True), ((0, 0, 0.03), True)):
        _, tensor = bragg_map.deformation(vectors(strain, angle=0.0), MATERIAL.lattice_nm, PIXEL_NM)
        assert (bragg_map.distortion(tensor) > trust.MAX_DISTORTION) == wrong
    _, scaled = bragg_map.deformation(vectors((0.05, 0.05, 0)), MATERIAL.lattice_nm, PIXEL_NM)
    assert bragg_map.distortion(scaled) == pytest.approx(0.05, abs=1e-6), "a wrong pixel size"
    frames = table.empty_frames(2)
    frames["doubt"] = [0, quality_flags.DISTORTED]
    frames["strain_yy"], frames["strain_xx"], frames["strain_xy"] = 0.04, -0.04, 0
    told = quality_flags.sentences(frames)
    assert told[0].startswith("In 1 of 2 frames") and "8.3%" in told[1]


@pytest.mark.skipif("ws2_mo" not in shipped.names(), reason="the network ws2_mo does not ship here")
@pytest.mark.filterwarnings("ignore::stemdefects.StemdefectsWarning")
def test_frames_stretched_sheared_turned_and_coarse():
    """(10 s) From the image to the doubt: 4% along x or along a diagonal and a shear are said, 2.5% and a rotation not;
    sampling by its coarseness."""
    from stemdefects.commands import detection
    from stemdefects.io.movie import Movie

    model = detection.load_model("ws2_mo")

    def doubt(strain=(0, 0, 0), angle=0.2, zoom=1.0):
        image, *_ = frame(vectors(strain, angle) * zoom)
        found = detection.detect(Movie(image[None], pixel_size_nm=PIXEL_NM / zoom), model, progress=False)
        return int(found.frames["doubt"][0])

    for strain in ((0, 0.04, 0), (0.02, 0.02, 0.02), (0, 0, 0.02)):
        assert doubt(strain) == quality_flags.DISTORTED
    for strain in ((0, 0.025, 0), (0, 0, 0.0125)):
        assert doubt(strain) == 0
    assert doubt(angle=0.2 + np.pi / 7) == 0
    assert doubt(zoom=0.75) == quality_flags.COARSE


@pytest.mark.skipif("ws2_mo" not in shipped.names(), reason="the network ws2_mo does not ship here")
@pytest.mark.filterwarnings("ignore::stemdefects.StemdefectsWarning")
def test_of_two_lattices_in_one_movie_the_one_of_most_frames_counts():
    """(5 s) Whichever comes first."""
    from stemdefects.commands import detection
    from stemdefects.io.movie import Movie

    few, most = ([frame(vectors(angle=a), seed=k)[0] for k in range(n)] for a, n in ((0.2, 2), (0.2 + np.pi / 6, 4)))
    movie = Movie(np.stack(few + most), pixel_size_nm=PIXEL_NM)
    found = detection.detect(movie, "ws2_mo", progress=False)
    assert (found.frames["doubt"] & quality_flags.OTHER_FIELD > 0).tolist() == [True] * 2 + [False] * 4
    assert "fields" not in found.attrs and np.isfinite(found.frames["drift_y_px"][2:]).all()
