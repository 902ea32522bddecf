from pathlib import Path

import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import bragg
from stemdefects.errors import UserError
from stemdefects.inference.network.calibration import Trust, calibrate, sample_frames
from stemdefects.io import movie as movies
from stemdefects.io import opening

SHARED = Path(__file__).parents[3] / "shared" / "data"
A_NM = 0.3153
HEXAGONAL = A_NM * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])


def lattice_image(
    vectors_px,
    shape=(256, 256),
    dose=2.0,
    seed=0,
    light=0.16,
    background=1.0,
    streaks=0.0,
    basis=((0, 0), (1 / 3, 1 / 3)),
):
    """Gaussian columns of two sublattices, Poisson counts; independent of the simulator."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    n = int(2 * max(shape) / np.linalg.norm(vectors_px, axis=1).min()) + 2
    cells = np.stack(np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1)), -1).reshape(-1, 2)
    image = np.zeros(shape)
    width = 0.13 * np.linalg.norm(vectors_px, axis=1).mean()
    for fraction, weight in zip(basis, (1.0, light), strict=True):
        places = (cells + fraction) @ vectors_px + 3.7
        inside = ((places > -6 * width) & (places < np.array(shape) + 6 * width)).all(1)
        for py, px in places[inside]:
            gy, gx = np.exp(-((y[:, 0] - py) ** 2) / 2 / width**2), np.exp(-((x[0] - px) ** 2) / 2 / width**2)
            image += weight * gy[:, None] * gx
    counts = rng.poisson(dose * (image + 0.05) * background).astype(float)
    return counts + streaks * dose * rng.normal(size=(shape[0], 1))


def vectors(pixel_nm, angle_deg=0.0, strain=None):
    deformation = np.eye(2) if strain is None else np.eye(2) + strain
    return HEXAGONAL @ bragg.rotation(np.radians(angle_deg)) @ deformation / pixel_nm


@pytest.mark.parametrize("angle", [0.0, 11.0, 29.0])
@pytest.mark.parametrize("pixel_nm", [0.015, 0.03, 0.045])
def test_sampling_and_rotation_without_any_hint(pixel_nm, angle):
    found = bragg.fit_lattice(lattice_image(vectors(pixel_nm, angle)), HEXAGONAL)
    assert found.pixel_size_nm == pytest.approx(pixel_nm, rel=1.5e-3)
    assert np.degrees(found.angle_rad) == pytest.approx(angle, abs=0.1)
    assert np.abs(found.strain).max() < 2e-3
    assert abs(found.pixel_size_nm / pixel_nm - 1) < 3 * found.sigma


def test_strain_is_measured():
    strain = np.array([[0.02, 0.015], [0.015, -0.02]])
    found = bragg.fit_lattice(lattice_image(vectors(0.03, 17, strain)), HEXAGONAL, 0.03)
    # the pure rotation of the model comes first, so the strain is that of the image axes
    np.testing.assert_allclose(found.strain, strain, atol=3e-3)


def test_lattice_vectors_are_those_of_the_image():
    true = vectors(0.03, 20)
    found = bragg.fit_lattice(lattice_image(true), HEXAGONAL).vectors_px
    np.testing.assert_allclose(found, true, atol=0.02)
    equivalent = bragg.equivalent_cells(vectors(0.03, 80), HEXAGONAL)[0]
    np.testing.assert_allclose(equivalent, true, atol=1e-9)  # 80 degrees is 20 on a six-fold lattice


def test_low_dose_frames_help_each_other():
    frames = np.stack([lattice_image(vectors(0.03, 5), (128, 128), dose=0.1, seed=s) for s in range(8)])
    assert (frames == 0).mean() > 0.9, "few electrons at all"
    assert bragg.fit_lattice(frames[0], HEXAGONAL, 0.03) is None
    together = bragg.fit_lattice(frames, HEXAGONAL, 0.03)
    assert together.pixel_size_nm == pytest.approx(0.03, rel=0.006)


def test_row_offsets_and_background_are_no_lattice():
    y, x = np.mgrid[:256, :256]
    slope = 1 + 0.6 * np.sin(x / 90) * np.cos(y / 70)
    found = bragg.fit_lattice(lattice_image(vectors(0.03, 0), background=slope, streaks=0.5), HEXAGONAL)
    assert found.pixel_size_nm == pytest.approx(0.03, rel=3e-3)
    noise = np.random.default_rng(0).poisson(2.0, (256, 256)) + np.random.default_rng(1).normal(size=(256, 1))
    assert bragg.fit_lattice(noise * slope, HEXAGONAL) is None
    assert bragg.fit_lattice(noise[:8, :8], HEXAGONAL) is None


def test_other_lattices():
    square = 0.39 * np.eye(2)
    true = square @ bragg.rotation(0.2) / 0.03
    found = bragg.fit_lattice(lattice_image(true, basis=((0, 0), (0.5, 0.5))), square)
    assert found.pixel_size_nm == pytest.approx(0.03, rel=2e-3)


def test_a_wrong_statement_is_reported_and_decided_by_the_setting():
    frames = lattice_image(vectors(0.03, 3))[None]
    found = calibrate(frames, HEXAGONAL, stated_nm=0.026)
    assert found.origin == "lattice" and found.pixel_size_nm == pytest.approx(0.03, rel=2e-3)
    assert "DISAGREES" in found.message and found.disagreement == pytest.approx(0.026 / 0.03 - 1, abs=3e-3)
    found = calibrate(frames, HEXAGONAL, stated_nm=0.026, trust=Trust("metadata"))
    assert found.origin == "metadata" and found.pixel_size_nm == 0.026
    assert found.sampling_nm == pytest.approx(0.03, rel=2e-3), "the network is shown the lattice at its own size"
    found = calibrate(frames, HEXAGONAL, stated_nm=0.026, user_nm=0.0301)
    assert found.origin == "user" and found.pixel_size_nm == 0.0301 and "agrees" in found.message
    for stated in (
        0.003,
        0.3,
        0.06,
        0.015,
    ):  # another unit, or binned: peaks of higher order stay what they are
        found = calibrate(frames, HEXAGONAL, stated_nm=stated)
        assert found.pixel_size_nm == pytest.approx(0.03, rel=2e-3) and "DISAGREES" in found.message


def test_unknown_sampling_is_an_error_that_says_what_to_do():
    noise = np.random.default_rng(0).poisson(5.0, (1, 128, 128)).astype(float)
    with pytest.raises(UserError, match=r"inference\.pixel_size_nm"):
        calibrate(noise, HEXAGONAL)
    with pytest.raises(UserError, match="resolves no atoms"):
        calibrate(noise, HEXAGONAL, stated_nm=5.5)
    with pytest.raises(UserError, match=r"inference\.calibration=guess.*lattice, metadata"):
        config.default_with("inference", {"calibration": "guess"})
    with pytest.raises(UserError, match=r"3 x 3 px at 0.008 nm per pixel \(metadata\) show 0.0\d+ cells"):
        calibrate(noise[:, :3, :3], HEXAGONAL, stated_nm=0.008)
    with pytest.raises(UserError, match="no usable frame"):
        sample_frames(movies.Movie(np.zeros((3, 16, 16))))


# lattice constant of the crystal shown, and the sampling that README.md beside the data implies
REAL = {
    "mos2_60kv_a.npy": (0.316, 0.0126),
    "mos2_60kv_b.npy": (0.316, 9.0 / 512),
    "mos2_se_implanted.dm3": (0.316, 0.0134),
    "ws2_wsse_partial_16.tif": (0.3153, 0.0172),
    "graphene_si_trimer.npz": (0.246, 2.0 / 256),
}


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/data")
@pytest.mark.parametrize("name", REAL)
def test_real_files_fit_their_lattice(name):
    if name.endswith("dm3"):
        pytest.importorskip("rsciio")
    a_nm, pixel_nm = REAL[name]
    with opening.read(SHARED / "real" / name) as movie:
        found = calibrate(sample_frames(movie), HEXAGONAL * a_nm / A_NM, movie.pixel_size_nm)
    assert found.pixel_size_nm == pytest.approx(pixel_nm, rel=0.03)


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/data")
def test_multislice_sampling_to_two_thousandths():
    import h5py

    with h5py.File(SHARED / "multislice" / "ws2_multislice.h5") as file:
        for i, image in enumerate(file["images"][:]):
            meta = file[f"meta_{i:03d}"].attrs
            found = bragg.fit_lattice(image, HEXAGONAL * meta["a"] / (10 * A_NM))
            assert found.pixel_size_nm == pytest.approx(meta["px_nm"], rel=2e-3)
