"""Comparison with images of another simulator: multislice of WS2 with known columns, aberrations and geometry."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

SPECIES = ("W", "Mo", "S2", "S")
_TYPICAL_RATIOS = np.array([1.0, 0.43, 0.17, 0.08])  # of their signals
_PAD_PX = 24  # reach of the probe's tails beyond the frame
_OVERSAMPLING = 2  # of the probe, as in training
_WINDOW_PX = 216  # 2.5 nm or more
_COLUMNS = 2048  # at most in a case: fixed shapes


@dataclass(frozen=True)
class Case:
    """One multislice image (H, W) with its columns: (y, x) in pixels and index into `SPECIES`; a probe without blur."""

    image: np.ndarray
    pixel_size_nm: float
    yx_px: np.ndarray
    species: np.ndarray
    probe: Any


def read(path: str | Path) -> list[Case]:
    """Read the reference file: images, `columns_###` (x, y in nm, kind) and `meta_###` (aberrations in Angstrom)."""
    import h5py
    import jax.numpy as jnp

    from stemdefects.simulation.optics.probe import Probe

    cases = []
    with h5py.File(path, "r") as file:
        for n in range(len(file["images"])):
            meta, columns = file[f"meta_{n:03d}"].attrs, file[f"columns_{n:03d}"][:]
            size = float(meta["px_nm"])
            kept = columns[:, 2] < len(SPECIES)  # the other kinds are vacant
            probe = Probe(
                voltage_kv=meta["energy"] / 1e3,
                semi_angle_mrad=meta["alpha"],
                C10_nm=meta["aber_C10"] / 10,
                C12_nm=meta["aber_C12"] / 10,
                phi12_rad=meta["aber_phi12"],
                C21_nm=meta["aber_C21"] / 10,
                phi21_rad=meta["aber_phi21"],
                C23_nm=meta["aber_C23"] / 10,
                phi23_rad=meta["aber_phi23"],
                C30_nm=meta["aber_C30"] / 10,
                blur_sigma_nm=jnp.zeros(()),
            )
            place = columns[kept][:, 1::-1] / size
            cases.append(Case(file["images"][n], size, place, columns[kept][:, 2].astype(int), probe))
    return cases


def layers(case: Case, width_nm: float, yx_px: np.ndarray | None = None) -> np.ndarray:
    """(4, H, W) what one unit (nm2) of signal in every column of each species gives, with a blur of `width_nm`."""
    import jax.numpy as jnp

    yx_px = case.yx_px if yx_px is None else yx_px
    chosen = case.species[None, :] == np.arange(len(SPECIES))[:, None]
    chosen = np.pad(chosen, ((0, 0), (0, _COLUMNS - len(yx_px)))).astype(np.float32)
    place = np.pad(np.asarray(yx_px, np.float32), ((0, _COLUMNS - len(yx_px)), (0, 0)))
    probe = case.probe._replace(blur_sigma_nm=width_nm)
    probe = type(probe)(*(jnp.asarray(value, jnp.float32) for value in probe))
    return np.asarray(_draw(case.image.shape)(probe, jnp.float32(case.pixel_size_nm), place, chosen))


@lru_cache
def _draw(shape: tuple[int, int]):
    """The renderer for images of `shape`, compiled once for all cases."""
    import jax
    import jax.numpy as jnp

    from stemdefects.simulation.optics import probe as optics

    table = optics.optics(shape, _PAD_PX, _WINDOW_PX, _OVERSAMPLING)

    def draw(probe, pixel_size_nm, place, chosen):
        transfer = optics.transfer(probe, table, pixel_size_nm)
        spectra = jnp.stack([optics.spread(place[:, 0], place[:, 1], weight, table) for weight in chosen])
        pictures = jnp.fft.irfft2(spectra * transfer, table.padded_px) / pixel_size_nm**2
        return pictures[:, _PAD_PX : _PAD_PX + shape[0], _PAD_PX : _PAD_PX + shape[1]]

    return jax.jit(draw)


def fit(cases: list[Case], pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Signals common to all cases, relative to W, and each case's cross-section of W (nm2): (4,), (n_cases,).

    The cross-section follows voltage and detector angles, which the images change; the ratios do not.
    """
    ratios, scales = _TYPICAL_RATIOS, np.ones(len(cases))
    for _ in range(3):
        scales = np.array(
            [
                (p.reshape(4, -1).T @ ratios) @ c.image.ravel() / np.sum((p.reshape(4, -1).T @ ratios) ** 2)
                for c, p in zip(cases, pictures, strict=True)
            ]
        )
        design = np.concatenate([(s / s.mean()) * p.reshape(4, -1).T for s, p in zip(scales, pictures, strict=True)])
        target = np.concatenate([c.image.ravel() for c in cases])
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        ratios = solution / solution[0]
    return ratios, scales


def displaced(case: Case, width_nm: float, ratios: np.ndarray, rounds: int = 4) -> np.ndarray:
    """(n, 2) column positions (px) with the mean thermal displacement that this image shows for each.

    Multislice averages a few frozen-phonon configurations; with three of them every column stays off its ideal place
    by its thermal amplitude over sqrt(3), about 4 pm. Least squares in a 7 x 7 window around each column.
    """
    place = case.yx_px.astype(float).copy()
    height, width = case.image.shape
    for _ in range(rounds):
        shown = np.tensordot(ratios, layers(case, width_nm, place), 1)
        shown *= (shown * case.image).sum() / (shown**2).sum()
        rest, slope_y, slope_x = case.image - shown, *np.gradient(shown)
        for n, (y, x) in enumerate(case.yx_px):
            row, column = round(float(y)), round(float(x))
            if 3 <= row < height - 3 and 3 <= column < width - 3:
                near = np.s_[row - 3 : row + 4, column - 3 : column + 4]
                design = np.stack([-slope_y[near].ravel(), -slope_x[near].ravel(), shown[near].ravel()], 1)
                step = np.linalg.lstsq(design, rest[near].ravel(), rcond=None)[0][:2]
                place[n] += 0.7 * np.clip(step, -0.2, 0.2)
    return place


def best_linear(case: Case, ratios: np.ndarray, reach_px: int = 24, rounds: int = 300) -> np.ndarray:
    """(H, W) the best image that stated columns can give with ANY probe: two free kernels, one for metal, one for S.

    Each kernel has (2 reach + 1)^2 unknowns and is fitted to this very image by least squares (LSMR), so that no
    aberrations, widths or thermal factors can do better. What it misses is not in the stated columns.
    """
    import jax.numpy as jnp
    from scipy.sparse.linalg import LinearOperator, lsmr

    from stemdefects.simulation.optics import probe as optics

    (height, width), side = case.image.shape, 2 * reach_px + 1
    table = optics.optics(case.image.shape, _PAD_PX, _WINDOW_PX, 1)
    weight = np.asarray(ratios)[case.species]
    y, x = (jnp.asarray(place, jnp.float32) for place in case.yx_px.T)
    spectra = [
        np.asarray(optics.spread(y, x, jnp.asarray(np.where(kind, weight, 0.0), jnp.float32), table), complex)
        for kind in (case.species < 2, case.species >= 2)
    ]
    inner = np.s_[_PAD_PX : _PAD_PX + height, _PAD_PX : _PAD_PX + width]

    def draw(kernels):
        total = 0.0
        for spectrum, kernel in zip(spectra, kernels.reshape(2, side, side), strict=True):
            whole = np.zeros(table.padded_px)
            whole[:side, :side] = kernel
            total = total + spectrum * np.fft.rfft2(np.roll(whole, (-reach_px, -reach_px), (0, 1)))
        return np.fft.irfft2(total, table.padded_px)[inner].ravel()

    def gather(rest):
        whole = np.zeros(table.padded_px)
        whole[inner] = rest.reshape(height, width)
        spectrum = np.fft.rfft2(whole)
        found = [np.fft.irfft2(spectrum * s.conj(), table.padded_px) for s in spectra]
        return np.stack([np.roll(f, (reach_px, reach_px), (0, 1))[:side, :side] for f in found]).ravel()

    operator = LinearOperator((height * width, 2 * side**2), matvec=draw, rmatvec=gather, dtype=float)
    kernels = lsmr(operator, case.image.ravel().astype(float), maxiter=rounds, atol=1e-9, btol=1e-9)[0]
    return draw(kernels).reshape(height, width)


def limit(path: str | Path, only: list[int] | None = None) -> list[dict]:
    """Scores of `best_linear` for the images of the file: above them no model of stated columns can come."""
    cases = read(path)
    ratios = _TYPICAL_RATIOS
    return [
        {"voltage_kv": float(case.probe.voltage_kv)} | scores(case.image, best_linear(case, ratios), case.pixel_size_nm)
        for case in (cases if only is None else [cases[n] for n in only])
    ]


def scores(image: np.ndarray, model: np.ndarray, pixel_size_nm: float) -> dict[str, float]:
    """Correlation and RMSE/std, sharp and after a Gaussian blur of 0.1 nm FWHM (`blurred_...`)."""
    from scipy.ndimage import gaussian_filter

    out = {}
    sigma = 0.1 / 2.3548 / pixel_size_nm
    for prefix, blur in (("", lambda a: a), ("blurred_", lambda a: gaussian_filter(a, sigma)[12:-12, 12:-12])):
        true, found = blur(np.asarray(image, float)), blur(np.asarray(model, float))
        out[f"{prefix}correlation"] = float(np.corrcoef(true.ravel(), found.ravel())[0, 1])
        out[f"{prefix}rmse_over_std"] = float(np.sqrt(np.mean((true - found) ** 2)) / true.std())
    return out


def compare(
    path: str | Path, width_nm: float = 0.009, thermal: bool = False, only: list[int] | None = None
) -> list[dict]:
    """Scores of every image of the file (or of `only` some): ratios and width common, one scale each.

    `thermal=True` also takes each column's mean thermal displacement from the image, which no model can know.
    """
    cases = read(path)
    cases = cases if only is None else [cases[n] for n in only]
    pictures = [layers(case, width_nm) for case in cases]
    ratios, scales = fit(cases, pictures)
    if thermal:
        places = [displaced(case, width_nm, ratios) for case in cases]
        pictures = [layers(case, width_nm, place) for case, place in zip(cases, places, strict=True)]
        ratios, scales = fit(cases, pictures)
    rows = []
    for case, picture, scale in zip(cases, pictures, scales, strict=True):
        model = scale * np.tensordot(ratios, picture, 1)
        row = {"voltage_kv": float(case.probe.voltage_kv), "cross_section_nm2": float(scale)}
        row |= {f"{name}/W": float(r) for name, r in zip(SPECIES[1:], ratios[1:], strict=True)}
        rows.append(row | scores(case.image, model, case.pixel_size_nm))
    return rows
