"""What the detector sees of a monolayer per column state: multislice templates, or a probe of two Gaussians.

A `Probe` gives the image of the ideal crystal and, per state, the difference that one defective column makes; a scene
is their sum. Lengths in nm, (y, x) in the crystal's frame: x along a, y across, a metal at (0, 0).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

A_NM = 0.3153
TEMPLATES = Path(__file__).with_name("templates.npz")
STATES = ("Mo", "S", "V_chalcogen", "V_metal")
STEP_NM = 0.008  # of the tables; straight lines between them are then right to 0.2% of a column
_CELL_NM = (A_NM * np.sqrt(3), A_NM)
_RELAXATION_NM = {"S": 0.005, "V_chalcogen": 0.010}  # metals draw nearer beside a vacancy, as DFT finds in 2H-MoS2
_W_CROSS_SECTION_NM2 = 4.4e-4  # of the plain probe; multislice at 80 kV, 70-180 mrad gives 4.6e-4


@dataclass
class Probe:
    """`ideal`: table over one rectangular cell (periodic); `difference`: table per state, its column in the middle;
    fractions of the beam. `name` says which."""

    name: str
    ideal: np.ndarray
    difference: dict[str, np.ndarray]

    def crystal(self, y_nm: np.ndarray, x_nm: np.ndarray) -> np.ndarray:
        """The ideal crystal at these places."""
        n = self.ideal.shape
        return map_coordinates(
            self.ideal, (y_nm / _CELL_NM[0] * n[0], x_nm / _CELL_NM[1] * n[1]), order=1, mode="grid-wrap"
        )

    def change(self, state: str, y_nm: np.ndarray, x_nm: np.ndarray) -> np.ndarray:
        """The difference of `state` at these places, counted from its column; 0 beyond the table."""
        table = self.difference[state]
        return map_coordinates(
            table, (y_nm / STEP_NM + table.shape[0] // 2, x_nm / STEP_NM + table.shape[1] // 2), order=1
        )

    def half_width_nm(self) -> float:
        """How far the differences reach."""
        return STEP_NM * min(min(t.shape) for t in self.difference.values()) / 2


def names() -> list[str]:
    """Multislice probes at hand, e.g. `even_80kv`."""
    with np.load(TEMPLATES) as file:
        return sorted({key.split("/")[0] for key in file})


def multislice(name: str, blur_nm: float, relaxation: float = 1.0) -> Probe:
    """The templates `name`, seen with a source of `blur_nm` (sigma, nm); `relaxation`: metals' shift beside vacancies,
    1: as `_RELAXATION_NM`."""
    with np.load(TEMPLATES) as file:
        ideal = 1e-3 * file[f"{name}/ideal"].astype(float)
        raw = {state: 1e-3 * file[f"{name}/{state}"].astype(float) for state in STATES}
    # supercell of the templates (see templates_by_abtem.py)
    size = (2 * _CELL_NM[0], 4 * _CELL_NM[1])
    # their column lies at pixel n // 2; the finer grids, of even sizes, have it at half their size
    raw = {
        s: _moved(t, size, [(0.5 - m // 2 / m) * c for m, c in zip(t.shape, size, strict=True)]) for s, t in raw.items()
    }
    tables = {s: _tapered(_finer(t, size, blur_nm)) for s, t in raw.items()}
    for state, shift in _RELAXATION_NM.items():
        for angle in np.deg2rad([-90, 30, 150]):  # of the metals, seen from a chalcogen
            unit = np.array([np.sin(angle), np.cos(angle)])
            far = A_NM / np.sqrt(3)
            near = far - relaxation * shift
            metal = -raw["V_metal"]
            moved = _moved(metal, size, near * unit) - _moved(metal, size, far * unit)
            tables[state] = tables[state] + _tapered(_finer(moved, size, blur_nm))
    return Probe(name, _finer(ideal, _CELL_NM, blur_nm), tables)


def plain(blur_fwhm_nm: float, tail_fwhm_nm: float, tail_share: float, s2_to_w: float, s_to_s2: float) -> Probe:
    """A sum of columns under a probe of two Gaussians; `tail_share` of its weight in the wide one."""
    weight = {"W": 1.0, "S2": s2_to_w, "Mo": 0.43, "S": s2_to_w * s_to_s2}
    radius = 4 * A_NM

    def column(y, x):
        out = 0.0
        for share, fwhm in ((1 - tail_share, blur_fwhm_nm), (tail_share, tail_fwhm_nm)):
            sigma = fwhm / np.sqrt(8 * np.log(2))
            out = out + share * np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        return _W_CROSS_SECTION_NM2 * out

    n = [round(c / STEP_NM) for c in _CELL_NM]
    y, x = np.meshgrid(*(np.arange(k) * c / k for k, c in zip(n, _CELL_NM, strict=True)), indexing="ij")
    ideal = np.zeros(n)
    for i in range(-5, 6):
        for j in range(-5, 6):
            for half in (0.0, 0.5):
                my, mx = (i + half) * _CELL_NM[0], (j + half) * _CELL_NM[1]
                if np.hypot(my, mx) < radius + 1:
                    ideal += weight["W"] * column(y - my, x - mx)
                    ideal += weight["S2"] * column(y - my - A_NM / np.sqrt(3), x - mx)
    half = round(0.62 / STEP_NM)
    grid = np.arange(-half, half + 1) * STEP_NM
    one = column(grid[:, None], grid[None])
    change = {
        "Mo": weight["Mo"] - 1,
        "V_metal": -1.0,
        "V_chalcogen": -weight["S2"],
        "S": weight["S"] - weight["S2"],
    }
    return Probe("plain", ideal, {state: c * one for state, c in change.items()})


def _finer(image: np.ndarray, size_nm, blur_nm: float) -> np.ndarray:
    """A periodic, band limited image on a grid of about STEP_NM, blurred by a Gaussian of `blur_nm`."""
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    n = [2 * round(s / STEP_NM / 2) for s in size_nm]
    k = [np.fft.fftshift(np.fft.fftfreq(m, s / m)) for m, s in zip(image.shape, size_nm, strict=True)]
    spectrum *= np.exp(-2 * (np.pi * blur_nm) ** 2 * (k[0][:, None] ** 2 + k[1][None] ** 2))
    for axis, m in enumerate(image.shape):
        if m % 2 == 0:  # the Nyquist component has no partner
            spectrum[(slice(None),) * axis + (0,)] = 0
    whole = np.zeros(n, complex)
    corner = [a // 2 - b // 2 for a, b in zip(n, image.shape, strict=True)]
    whole[corner[0] : corner[0] + image.shape[0], corner[1] : corner[1] + image.shape[1]] = spectrum
    return np.fft.ifft2(np.fft.ifftshift(whole)).real * whole.size / image.size


def _moved(image: np.ndarray, size_nm, by_nm) -> np.ndarray:
    """A periodic image moved by (y, x) nm."""
    k = [np.fft.fftfreq(m, s / m) for m, s in zip(image.shape, size_nm, strict=True)]
    phase = np.exp(-2j * np.pi * (k[0][:, None] * by_nm[0] + k[1][None] * by_nm[1]))
    return np.fft.ifft2(np.fft.fft2(image) * phase).real


def _tapered(table: np.ndarray) -> np.ndarray:
    """Down to 0 over the outer 12% on each side, where the supercell's next copy begins to matter."""
    out = table
    for axis, n in enumerate(table.shape):
        u = np.abs(np.arange(n) - n // 2) / (n / 2)
        edge = np.clip((1 - u) / 0.12, 0, 1)
        out = out * (0.5 - 0.5 * np.cos(np.pi * edge)).reshape([-1 if a == axis else 1 for a in (0, 1)])
    return out
