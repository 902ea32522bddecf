"""Multislice images of a WS2 monolayer and of single defects in it, by abTEM: writes templates.npz (about 10 minutes).

    pip install "stemdefects[independent]"
    python -m benchmarks.independent.templates_by_abtem [phonons=4] [voltages=60,80,100] [output=...]

Nothing here is shared with stemdefects/simulation. The scattering matrix (Ophus, Adv. Struct. Chem. Imaging 3, 13
(2017)) of every phonon configuration is computed once and read with all probes. A configuration and its mirror image
(all displacements reversed) are taken together, so that no column is displaced on average; ideal crystal and defects
have the same displacements, so that their difference is the defect alone.
"""

import sys
import time
from itertools import product
from pathlib import Path

import numpy as np

A_NM = 0.3153  # lattice constant by diffraction (Schutte, De Boer & Jellinek, J. Solid State Chem. 70, 207 (1987))
S_HEIGHT_NM = 0.157  # planes of S above and below those of W (same source)
CELLS = (4, 2)  # of a x sqrt(3) a: 1.26 x 1.09 nm
DISPLACEMENT_NM = {74: 0.0053, 42: 0.0060, 16: 0.0070}  # rms per axis at room temperature, as in 2H-MoS2 and WS2
POTENTIAL_NM = 0.005  # at 0.0095 a third of the signal of W is lost beyond the band limit; at 0.006 it is within 2%
SCAN_NM = 0.0325  # under lambda / (4 alpha): the images are band limited, so this holds all of them
ANGLES_MRAD = (70.0, 180.0)  # of the detector
# (kV, name, semi-angle mrad, focal spread nm, aberrations in Angstrom; azimuths against the lattice in radians)
PROBES = (
    (60, "even", 32.0, 0.0, {"C10": 10.0, "C12": 4.0, "phi12": 0.4, "C30": 1e4}),
    (60, "uneven", 32.0, 4.0, {"C10": 20.0, "C12": 10.0, "phi12": 1.1, "C21": 150.0, "phi21": 0.7}),
    (80, "even", 28.0, 4.0, {"C10": 0.0, "C12": 3.0, "phi12": 0.9, "C23": 80.0, "phi23": 0.3}),
    (80, "uneven", 30.0, 0.0, {"C10": 25.0, "C12": 14.0, "phi12": 2.3, "C21": 250.0, "phi21": 2.0, "C23": 200.0}),
    (100, "even", 27.0, 0.0, {"C10": 8.0, "C12": 5.0, "phi12": 2.0, "C30": -2e4}),
    (100, "uneven", 26.0, 4.5, {"C10": 25.0, "C12": 8.0, "phi12": 0.2, "C23": 300.0, "phi23": 1.0, "C21": 120.0}),
)
DEFECTS = ("Mo", "S", "V_chalcogen", "V_metal")


def crystal() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (n,), places (n, 3) in nm as x, y, z, and cell (3,); metal 0 and its chalcogen pair are near the
    middle."""
    numbers, places = [], []
    height = 3 * S_HEIGHT_NM
    order = sorted(product(range(CELLS[0]), range(CELLS[1]), (0.0, 0.5)), key=lambda c: c != (2, 1, 0.0))
    for i, j, half in order:
        x, y = (i + half) * A_NM, (j + half) * A_NM * np.sqrt(3)
        numbers += [74, 16, 16]
        places.append((x, y, height / 2))
        places += [(x, y + A_NM / np.sqrt(3), height / 2 + side * S_HEIGHT_NM) for side in (-1, 1)]
    cell = np.array([CELLS[0] * A_NM, CELLS[1] * A_NM * np.sqrt(3), height])
    return np.array(numbers), np.array(places) % cell, cell


def with_defect(name: str, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, places, mask of the atoms that are there, and (x, y) of the defect in nm; `top` says which S."""
    numbers, places, _ = crystal()
    there = np.ones(len(numbers), bool)
    if name == "ideal":
        return numbers, places, there, np.zeros(2)
    at_metal = name in ("Mo", "V_metal")
    centre = places[0 if at_metal else 1, :2]
    if name == "Mo":
        numbers[0] = 42
    else:
        there[{"V_metal": [0], "S": [1 + top], "V_chalcogen": [1, 2]}[name]] = False
    return numbers, places, there, centre


def images(kv: int, name: str, phonons: int, seed: int = 0) -> list[np.ndarray]:
    """The scanned cell (y, x), fraction of the beam on the detector, for every probe of this voltage."""
    import abtem
    from ase import Atoms

    probes = [p for p in PROBES if p[0] == kv]
    sums: list = [0.0] * len(probes)
    for n in range(phonons):
        numbers, places, there, _ = with_defect(name, n // 2 % 2)
        rms = np.array([DISPLACEMENT_NM[z] for z in numbers])[:, None]
        shift = (-1) ** n * rms * np.random.default_rng([seed, n // 2]).normal(size=places.shape)
        cell = 10 * crystal()[2]
        atoms = Atoms(numbers[there], 10 * (places + shift)[there], cell=cell, pbc=True)
        potential = (
            abtem.Potential(atoms, sampling=10 * POTENTIAL_NM, slice_thickness=10 * S_HEIGHT_NM, projection="infinite")
            .build()
            .compute(progress_bar=False)
        )
        widest = max(p[2] for p in probes)
        matrix = abtem.SMatrix(
            potential=potential, energy=kv * 1e3, semiangle_cutoff=widest, downsample=ANGLES_MRAD[1] + 5.0
        )
        matrix = matrix.build().compute(progress_bar=False)
        detector = abtem.AnnularDetector(inner=ANGLES_MRAD[0], outer=ANGLES_MRAD[1])
        points = np.ceil(cell[:2] / (10 * SCAN_NM)).astype(int)
        scan = abtem.GridScan((0, 0), cell[:2], gpts=tuple(int(p) for p in points))
        for k, (_, _, angle, spread, aberrations) in enumerate(probes):
            # three points of Gauss-Hermite quadrature over the focal spread
            steps = ((0.0, 1.0),) if spread == 0 else ((0.0, 2 / 3), (-(3**0.5), 1 / 6), (3**0.5, 1 / 6))
            for step, weight in steps:
                focus = aberrations | {"C10": aberrations["C10"] + 10 * spread * step}
                ctf = abtem.CTF(energy=kv * 1e3, semiangle_cutoff=angle, **focus)
                out = matrix.reduce(scan=scan, detectors=detector, ctf=ctf)
                out = out.compute(progress_bar=False) if hasattr(out, "compute") else out
                sums[k] = sums[k] + weight * np.asarray(out.array, float).T / phonons
    return sums


def main() -> None:
    chosen = {"phonons": "4", "voltages": "60,80,100", "output": str(Path(__file__).with_name("templates.npz"))}
    chosen |= dict(a.split("=", 1) for a in sys.argv[1:])
    start, out = time.process_time(), {}
    for kv in map(int, chosen["voltages"].split(",")):
        probes = [f"{p[1]}_{p[0]}kv" for p in PROBES if p[0] == kv]
        ideal = images(kv, "ideal", int(chosen["phonons"]))
        for probe, image in zip(probes, ideal, strict=True):
            out[f"{probe}/ideal"] = one_cell(image)
        for name in DEFECTS:
            centre = with_defect(name, 0)[3]
            for probe, whole, image in zip(probes, ideal, images(kv, name, int(chosen["phonons"])), strict=True):
                # at multislice's own phonons the ideal image differs from cell to cell: compare like with like
                out[f"{probe}/{name}"] = centred(image - whole, centre)
            print(f"{kv} kV {name}: {time.process_time() - start:.0f} s of CPU", flush=True)
    # in thousandths of the beam: float16 then keeps four digits down to the tails
    np.savez_compressed(chosen["output"], **{key: (1e3 * value).astype(np.float16) for key, value in out.items()})
    print(f"written: {chosen['output']}")


def one_cell(image: np.ndarray) -> np.ndarray:
    """Mean over the cells of the supercell of a band limited image, (y, x) of a x sqrt(3) a with a metal at (0, 0).

    Only those Fourier components are kept that have the cell's period.
    """
    spectrum = np.fft.fft2(image) / image.size
    ky, kx = (np.rint(np.fft.fftfreq(n) * n).astype(int) for n in image.shape)
    rows, columns = np.flatnonzero(ky % CELLS[1] == 0), np.flatnonzero(kx % CELLS[0] == 0)
    y, x = ky[rows] // CELLS[1], kx[columns] // CELLS[0]
    # centred cells of one metal each: components whose indices sum to an odd number are absent
    kept = np.where((y[:, None] + x) % 2 == 0, spectrum[np.ix_(rows, columns)], 0)
    ny, nx = 2 * np.abs(y).max() + 1, 2 * np.abs(x).max() + 1
    whole = np.zeros((ny, nx), complex)
    whole[np.ix_(y % ny, x % nx)] = kept
    return np.fft.ifft2(whole).real * whole.size


def centred(image: np.ndarray, centre_nm: np.ndarray) -> np.ndarray:
    """The image moved (by its Fourier phase) so that `centre_nm` (x, y) lies at pixel (n_y // 2, n_x // 2)."""
    cell = crystal()[2][:2]
    ky, kx = (np.fft.fftfreq(n) * n for n in image.shape)
    to = np.array(image.shape[::-1]) // 2 / np.array(image.shape[::-1])
    move = to - centre_nm / cell
    phase = np.exp(-2j * np.pi * (ky[:, None] * move[1] + kx * move[0]))
    return np.fft.ifft2(np.fft.fft2(image) * phase).real


if __name__ == "__main__":
    main()
