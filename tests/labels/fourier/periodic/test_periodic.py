"""Lattice, residual, noise and thresholds against images whose truth is known by construction."""

import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.labels.fourier.periodic import align
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from stemdefects.labels.fourier.periodic.residual import fit_noise, take_apart
from stemdefects.labels.fourier.points import certainty, paper
from stemdefects.labels.fourier.points import defects as fourier_defects

HEXAGONAL = np.array([[0.0, 10.0], [8.66, 5.0]])
SQUARE = np.array([[0.0, 9.0], [9.0, 0.0]])
OBLIQUE = np.array([[1.0, 11.0], [8.0, 3.0]])
GAIN, OFFSET, SIGMA = 20.0, 50.0, 1.6


def turned(vectors, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return vectors @ np.array([[c, s], [-s, c]])


def sites(shape, vectors, origin=(0.0, 0.0)):
    n = int(2 * max(shape) / np.linalg.norm(vectors, axis=1).min())
    i, j = np.meshgrid(np.arange(-n, n), np.arange(-n, n), indexing="ij")
    place = np.stack([i.ravel(), j.ravel()], 1) @ vectors + origin
    return place[((place > -12) & (place < np.array(shape) + 12)).all(1)]


def render(shape, yx, height, row_shift=None, sigma=SIGMA):
    """Sum of Gaussians of `height` (n,) at `yx` (n, 2), in electrons; row y is moved by row_shift[y]."""
    rows = np.exp(-0.5 * ((np.arange(shape[0])[:, None] - yx[:, 0]) / sigma) ** 2) * height
    x = np.arange(shape[1])
    if row_shift is None:
        return rows @ np.exp(-0.5 * ((x[:, None] - yx[:, 1]) / sigma) ** 2).T
    columns = np.exp(-0.5 * ((x[None, :, None] - row_shift[:, None, None] - yx[:, 1]) / sigma) ** 2)
    return np.einsum("yn,yxn->yx", rows, columns)


def detected(rng, electrons):
    """Counts of a detector with GAIN and OFFSET."""
    return (GAIN * rng.poisson(electrons) + OFFSET).astype(np.float32)


def crystal(rng, shape=(192, 192), vectors=HEXAGONAL, angle=11.0, dose=8.0, defects=(), background=1.0):
    """A noisy frame; `defects`: (site number counted from the middle, factor on its height). Also sites and which."""
    yx = sites(shape, turned(vectors, angle), (3.0, 4.0))
    order = np.argsort(np.linalg.norm(yx - np.array(shape) / 2, axis=1))
    height = np.full(len(yx), dose)
    for number, factor in defects:
        height[order[number]] *= factor
    return detected(rng, render(shape, yx, height) + background), yx, order


def cells(found, true):
    """`true` rows in units of the rows of `found`: whole numbers when both span one lattice."""
    return true @ np.linalg.inv(found)


@pytest.mark.parametrize("vectors", [HEXAGONAL, SQUARE, OBLIQUE], ids=["hexagonal", "square", "oblique"])
@pytest.mark.parametrize("angle", [0.0, 17.0])
def test_lattice_of_an_unknown_crystal(vectors, angle):
    rng = np.random.default_rng(1)
    frame, _, _ = crystal(rng, vectors=vectors, angle=angle, dose=3.0)
    found = find_lattice(frame)
    whole = cells(found.vectors_px, turned(vectors, angle))
    assert np.abs(whole - np.rint(whole)).max() < 0.01
    assert abs(round(np.linalg.det(whole))) == 1  # neither a supercell nor a part
    assert found.stray_snr < 0.1 * found.snr.max()
    lengths = np.linalg.norm(found.vectors_px, axis=1)
    assert lengths.max() <= 1.01 * np.linalg.norm(found.vectors_px[0] - found.vectors_px[1])  # the shortest ones


def test_row_offsets_are_no_lattice():
    rng = np.random.default_rng(2)
    streaks = rng.normal(0, 30, (160, 1)) + 20 * np.sin(np.arange(160) / 2)[:, None]
    with pytest.raises(UserError, match=r"no lattice found.*; found"):
        find_lattice(rng.normal(0, 1, (160, 160)) + streaks)
    frame, _, _ = crystal(rng, shape=(160, 160), dose=4.0)
    found = find_lattice(frame + streaks.astype(np.float32))
    whole = cells(found.vectors_px, turned(HEXAGONAL, 11.0))
    assert np.abs(whole - np.rint(whole)).max() < 0.02


def test_frames_without_a_lattice_say_what_was_looked_for():
    rng = np.random.default_rng(3)
    with pytest.raises(UserError, match=r"tiny\.tif: 16 x 16 px is too small"):
        find_lattice(rng.random((16, 16)), "tiny.tif")
    with pytest.raises(UserError, match="Looked for two independent Bragg peaks"):
        find_lattice(rng.poisson(5, (128, 128)))


def test_two_grains_are_seen():
    rng = np.random.default_rng(4)
    one, _, _ = crystal(rng, angle=0.0)
    other, _, _ = crystal(rng, angle=15.0)
    one[:, 96:] = other[:, 96:]
    found = find_lattice(one)
    assert found.stray_snr > 0.3 * found.snr.max()


def test_noise_and_periodic_part():
    rng = np.random.default_rng(5)
    shape = (192, 192)
    frame, yx, order = crystal(rng, shape, dose=8.0, defects=[(0, 0.4)])
    parts = take_apart(frame, find_lattice(frame))
    assert parts.gain == pytest.approx(GAIN, rel=0.1)
    assert parts.read_variance == pytest.approx(-GAIN * OFFSET, rel=0.25)  # the offset carries no noise
    z = parts.normalised
    assert z.std() == pytest.approx(1.0, abs=0.06)
    edge = np.concatenate([z[:6].ravel(), z[-6:].ravel(), z[:, :6].ravel(), z[:, -6:].ravel()])
    assert edge.std() == pytest.approx(z.std(), rel=0.08)  # no ghosts of the frame's edge
    # the defect is in the residual, nearly whole, and not in the periodic part
    truth = GAIN * render(shape, yx[order[:1]], np.array([-0.6 * 8.0]))
    kept = (parts.residual * truth).sum() / (truth**2).sum()
    assert kept == pytest.approx(1.0, abs=0.15)
    ideal = GAIN * (render(shape, yx, np.full(len(yx), 8.0)) + 1.0) + OFFSET
    assert np.abs(parts.periodic - ideal)[20:-20, 20:-20].std() < 0.25 * np.sqrt(parts.variance).mean()


def test_fit_noise_of_a_plain_detector():
    rng = np.random.default_rng(6)
    mean = np.broadcast_to(np.linspace(1, 20, 200), (200, 200))
    gain, read = fit_noise(
        3.0 * (rng.poisson(mean) - mean) + rng.normal(0, 2, mean.shape), 3.0 * mean, np.ones_like(mean)
    )
    assert gain == pytest.approx(3.0, rel=0.05)
    assert read == pytest.approx(4.0, abs=1.5)


def test_rows_shifted_by_the_scan_are_found():
    rng = np.random.default_rng(7)
    shape = (160, 160)
    yx = sites(shape, turned(HEXAGONAL, 11.0))
    shift = rng.normal(0, 0.4, shape[0])
    frame = detected(rng, render(shape, yx, np.full(len(yx), 25.0), shift) + 1)
    lattice = find_lattice(frame)
    parts = take_apart(frame, lattice)
    inner = slice(12, -12)
    assert np.corrcoef(parts.row_shift_px[inner], shift[inner])[0, 1] > 0.95
    without = take_apart(frame, lattice, fit_rows=False)
    assert parts.normalised.std() < 1.01 and without.normalised.std() > 1.04


def test_expected_maxima_by_brute_force():
    from scipy import ndimage

    rng = np.random.default_rng(8)
    sigma, level, count, area = 1.7, 3.3, 0, 0
    for _ in range(12):
        z = ndimage.gaussian_filter(rng.normal(size=(256, 256)), sigma, mode="wrap")
        z /= z.std()
        count += (z[ndimage.maximum_filter(z, 3, mode="wrap") == z] > level).sum()
        area += z.size
    expected = fourier_defects.expected_maxima(level, area, 1 / (2 * sigma**2))
    assert count == pytest.approx(expected, abs=4 * np.sqrt(expected))
    threshold = fourier_defects.threshold(3.0, area, 1 / (2 * sigma**2))
    assert fourier_defects.expected_maxima(threshold, area, 1 / (2 * sigma**2)) == pytest.approx(3.0, rel=1e-3)


def test_false_alarms_are_as_many_as_asked_for():
    """Perfect crystals with Poisson noise, at a dose where counts are far from Gaussian."""
    rng = np.random.default_rng(9)
    wanted, dark, bright, n = 4.0, 0, 0, 10
    for _ in range(n):
        frame, _, _ = crystal(rng, dose=2.0, background=0.3)
        lattice = find_lattice(frame)
        parts = take_apart(frame, lattice)
        found = fourier_defects.significance(parts.residual, parts.variance, parts.phase, parts.weight, SIGMA)
        level = fourier_defects.threshold(wanted, frame.size, found.roughness)
        z = fourier_defects.extrema(found.z, level, 4.0).z
        dark, bright = dark + (z < 0).sum(), bright + (z > 0).sum()
    for count in (dark, bright):
        assert 0.4 * n * wanted < count < 2.0 * n * wanted


def noise_extrema(rng, n, stretch):
    """Heights of `n` extrema above 2.5, as Gaussian random fields have them, times `stretch`; half of them dark."""
    u = np.linspace(2.5, 7, 2000)
    tail = u * np.exp(-0.5 * u**2)
    height = np.interp(rng.random(n) * tail[0], tail[::-1], u[::-1]) * stretch
    return np.where(np.arange(n) % 2, -height, height)


@pytest.mark.parametrize("stretch", [1.0, 1.3])
def test_level_follows_the_tail_of_the_noise(stretch):
    """Whatever the tail, hardly a false alarm of a sign without defects; those of the other sign change nothing."""
    rng = np.random.default_rng(2)
    false, levels = 0, []
    for _ in range(20):
        z = noise_extrema(rng, 700, stretch)
        z = np.concatenate([z, -rng.uniform(4, 30, 60)])
        found = fourier_defects.Extrema(np.zeros((len(z), 2)), z)
        # roughness of a field in which noise has about one maximum of each sign beyond 4.27
        told = fourier_defects.levels(found, np.ones(len(z), bool), 1.0, 33_000.0, 0.02)
        levels.append(told.dark)
        false += (z > told.bright).sum()
    # dark: sixty defects, a fiftieth of which is more than one; bright: none, so nearly nothing may pass
    assert 4.2 <= np.median(levels) < (4.6 if stretch == 1.0 else 6.1)
    assert false <= (4 if stretch == 1.0 else 12)  # what stands out by six is called however long the tail


def test_what_is_unsure_does_not_blot_out_what_is_sure():
    regions = np.zeros((30, 30), int)
    regions[:, 9:11] = certainty.AMORPHOUS
    certainty.cover(regions, np.array([[15.0, 12.0]]), 4.5, -1, keep=np.array([[15.0, 16.0]]))
    assert regions[15, 16] == 0 and regions[15, 15] == 0
    assert regions[15, 12] == -1 and regions[15, 8] == -1
    assert (regions[:, 9:11] == certainty.AMORPHOUS).all()  # no crystal there to be unsure of
    certainty.cover(regions, np.array([[15.0, 12.0]]), 4.5, -1)
    assert regions[15, 16] == -1


def test_extrema_are_placed_below_a_pixel():
    true = np.array([[40.3, 50.6], [90.8, 20.2]])
    z = render((128, 128), true, np.array([-7.0, 5.0]), sigma=2.0)
    found = fourier_defects.extrema(z, 3.0, 4.0)
    assert found.state.tolist() == [fourier_defects.DARK, fourier_defects.BRIGHT]
    assert np.abs(found.yx - true).max() < 0.06


def test_column_width():
    rng = np.random.default_rng(10)
    frame, _, _ = crystal(rng, dose=20.0)
    lattice = find_lattice(frame)
    width = fourier_defects.column_sigma_px(take_apart(frame, lattice), lattice.spacing_px)
    assert width == pytest.approx(SIGMA, rel=0.15)


def test_drift_beyond_a_lattice_vector():
    """Frames drift by more than half a lattice vector at a time: the lattice alone could not tell."""
    rng = np.random.default_rng(11)
    shape, vectors = (160, 160), turned(HEXAGONAL, 11.0)
    yx = sites((220, 220), vectors) - 30
    height = np.where(rng.random(len(yx)) < 0.06, 2.0, 10.0)
    drift = np.array([[0.0, 0.0], [6.3, -2.1], [13.1, -3.4], [20.4, -7.9]])
    frames = [detected(rng, render(shape, yx + d, height) + 1) for d in drift]
    lattice = find_lattice(np.stack(frames))
    parts = [take_apart(f, lattice) for f in frames]
    z = [fourier_defects.significance(p.residual, p.variance, p.phase, p.weight, SIGMA).z for p in parts]
    found = align.align(
        np.stack(z), np.stack([p.phase for p in parts]), lattice, np.stack([p.weight for p in parts]), 14.0
    )
    assert np.abs(found.shift_px - drift).max() < 0.1
    assert found.clear.all()
    near = align.local_shift(
        parts[1].phase, parts[0].phase, drift[1] + 0.3, lattice.vectors_px, np.array([[60.0, 70.0]])
    )
    assert (
        np.abs(near - [60.0, 70.0] - drift[1]).max() < 0.1
    )  # the crystal's own phase mends what the mean shift misses


def test_paper_recipe_is_a_low_pass():
    rng = np.random.default_rng(12)
    frame, yx, order = crystal(rng, dose=30.0, defects=[(0, 0.0)])
    lattice = find_lattice(frame)
    filtered = paper.low_pass(frame, lattice, 0.7)
    spectrum = np.abs(np.fft.fft2(filtered))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(192), np.fft.fftfreq(192)))
    ring = np.linalg.norm(lattice.peaks @ lattice.reciprocal, axis=1).min()
    assert spectrum[frequency > 0.71 * ring].max() < 1e-3 * spectrum.max()
    found = paper.components(filtered, 3.0, 3.0)
    strongest = found.take(np.argsort(found.z)[:1])
    assert np.linalg.norm(strongest.yx[0] - yx[order[0]]) < 3
