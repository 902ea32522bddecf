"""Probe and signals of the sublattices, from the harmonics of a frame's lattice.

The mean cell of a crystal is known but for how bright its sublattices are beside each other, where it lies, and the
probe that it is seen with. Each harmonic is the probe's transfer there times the sum of the sublattices, each with the
phase of its place: the phases tell the sublattices apart whatever the probe is, the magnitudes say how the probe's
transfer falls. All is fitted together by least squares, through the simulator's own probe (`simulation/optics/probe`)
and its derivatives. What neither says is as the ranges of the training have it.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float
from scipy import optimize

from stemdefects.crystal import bragg
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.labels.fourier.periodic.lattice import ImageLattice
from stemdefects.labels.fourier.periodic.residual import Residual, faults
from stemdefects.schema import SimulationConfig
from stemdefects.simulation.optics.probe import FWHM_TO_SIGMA, Probe, psf

MOST_INDEX = 4  # of a harmonic; probes of 0.1 nm pass nothing beyond, of cells of 0.3 nm
MOST_PER_PX = 0.45  # cycles: below the sampling's limit
WINDOW_PX, SAMPLING_NM = 96, 0.0125  # the probe is drawn on 1.2 nm: beyond lies hardly a hundredth of it
GRID = 24  # places of the cell's origin that are tried along each vector
START_NM = 0.045  # width of a column that they are tried with
MODEL_ERROR = 0.04  # of the strongest harmonic: holes, defects, distortions of the scan, aberrations of higher order
MOST_STRAIN = 0.12  # a lattice that fits the crystal no better than this is another one (as `fourier/sites`)
FOLDS = (2, 1, 3)  # of C12, C21 and C23: how often each repeats in a turn
SIGNAL_SIGMA = 0.5  # of the logarithm of the sublattices' proportion, before the frame is seen: detector angles


class Cell(NamedTuple):
    """What a frame's mean cell says. signals: (G,) of the ideal columns of each sublattice, beside that of the
    reference species, over what the file says, NaN where columns may be anywhere; mean: counts that the crystal adds
    to each pixel on the average; source_fwhm_nm and aberrations: of the probe, without spherical aberration, and with
    the middle of the ranges for voltage and aperture; misfit: root mean square of what the fit leaves, over the
    harmonics' own."""

    signals: np.ndarray
    mean: float
    source_fwhm_nm: float
    C10_nm: float
    C12_nm: float
    C21_nm: float
    C23_nm: float
    misfit: float


def fit(
    frame: Float[np.ndarray, "height width"],
    parts: Residual,
    lattice: ImageLattice,
    material: Material,
    simulation: SimulationConfig,
) -> Cell:
    """Fit the mean cell of `frame`, taken apart into `parts` on `lattice`. Raises UserError where the lattice is not
    that of `material`."""
    hk, value, sigma = harmonics(frame, parts, lattice)
    choices = bragg.equivalent_cells(lattice.vectors_px, material.lattice_nm)
    pixel_nm = pixel_size_nm(lattice, material)
    fixed = np.array([not s.floating for s in material.sites])
    stated = material.intensities()[material.ideal_states]
    frequency_px = hk @ lattice.reciprocal
    frequency_nm = frequency_px / pixel_nm
    falling = np.exp(-2 * (np.pi * START_NM) ** 2 * (frequency_nm**2).sum(1))
    best = (-np.inf, choices[0], np.zeros(2))
    steps = np.stack(np.meshgrid(*[np.arange(GRID) / GRID] * 2, indexing="ij"), -1).reshape(-1, 2)
    for vectors in choices:
        turned = np.exp(-2j * np.pi * frequency_px @ (material.basis[fixed] @ vectors).T)  # (K, G)
        model = falling * (turned @ stated[fixed])
        moved = np.exp(2j * np.pi * (steps @ vectors) @ frequency_px.T)  # (grid, K)
        likeness = (moved @ (value * model.conj() / sigma**2)).real / np.linalg.norm(model / sigma)
        if likeness.max() > best[0]:
            best = (likeness.max(), vectors, steps[likeness.argmax()] @ vectors)
    _, vectors, origin = best
    turned = np.exp(-2j * np.pi * frequency_px @ (material.basis[fixed] @ vectors).T)
    main = int(np.flatnonzero(fixed).searchsorted(reference(material)))
    return _fitted(_Seen(frequency_px, frequency_nm, value, sigma, turned, origin, main), stated, fixed, simulation)


def reference(material: Material) -> int:
    """The sublattice of the reference species (the file's first), with whose light that of others is compared; where no
    ideal column has it, the brightest one."""
    signal = material.intensities()[material.ideal_states]
    first = material.species[0].name
    own = [first in dict(material.states[s.ideal].atoms) and not s.floating for s in material.sites]
    return int(np.argmax(np.where(own, signal, 0) if any(own) else signal))


def pixel_size_nm(lattice: ImageLattice, material: Material) -> float:
    """Of a frame that shows `lattice`, by the lattice constant of `material`. Raises UserError where the lattice has
    another shape than the material's."""
    pixel_nm = float(np.sqrt(material.cell_area_nm2 / abs(np.linalg.det(lattice.vectors_px))))
    shape = bragg.equivalent_cells(lattice.vectors_px, material.lattice_nm)[0] * pixel_nm
    strain = np.abs(np.linalg.svd(np.linalg.solve(material.lattice_nm, shape), compute_uv=False) - 1).max()
    if strain > MOST_STRAIN:
        raise UserError(
            f"the lattice differs by {strain:.0%} from that of {material.name}: another crystal, of another symmetry; "
            "start from a network of this crystal, or let the frames teach one (labels=fourier)"
        )
    return pixel_nm


def harmonics(
    frame: Float[np.ndarray, "height width"], parts: Residual, lattice: ImageLattice
) -> tuple[np.ndarray, Complex[np.ndarray, " harmonics"], Float[np.ndarray, " harmonics"]]:
    """(K, 2) indices of the harmonics below the limit, one of each +- pair; their amplitudes (K,) in counts, against
    the origin of `parts.phase`; and the standard error (K,) of each part of these.

    Every pixel counts at its own place in the cell, wherever the scan has put that.
    """
    both = range(-MOST_INDEX, MOST_INDEX + 1)
    hk = np.array([pair for pair in itertools.product(both, both) if pair > (0, 0)])
    hk = hk[np.linalg.norm(hk @ lattice.reciprocal, axis=1) < MOST_PER_PX]
    rows = np.stack([parts.row_shift_px, parts.row_gain - 1, parts.row_offset])
    lattice_part = parts.periodic - parts.background
    for _ in range(2):  # the rows' faults are small: undone by fixed-point steps
        lattice_part = parts.periodic - parts.background - faults(lattice_part, rows)
    use = parts.calm
    light = (frame - parts.background - faults(lattice_part, rows))[use].astype(float)
    angle = 2 * np.pi * np.tensordot(hk, parts.phase[:, use].astype(float), 1)  # (K, n)
    value = (np.cos(angle) @ light - 1j * (np.sin(angle) @ light)) / use.sum()
    noise = np.sqrt(float(parts.variance[use].mean()) / (2 * use.sum()))
    return hk, value, np.hypot(noise, MODEL_ERROR * np.abs(value).max()) * np.ones(len(hk))


class _Seen(NamedTuple):
    """Harmonics: frequencies (K, 2) in cycles per px and per nm, amplitudes (K,), their errors (K,), the phases (K, G)
    of the sublattices' places; (2,) px where the cell begins, about; number of the sublattice of the reference."""

    frequency_px: np.ndarray
    frequency_nm: np.ndarray
    value: np.ndarray
    sigma: np.ndarray
    turned: np.ndarray
    origin: np.ndarray
    main: int


def _fitted(seen: _Seen, stated: np.ndarray, fixed: np.ndarray, simulation: SimulationConfig) -> Cell:
    """The fit, from a first guess; stated: (G,) signals by the file."""
    signal = stated[fixed]
    others = np.flatnonzero(signal != signal[seen.main])
    probe = simulation.probe
    middle = {name: float(np.mean(getattr(probe, name))) for name in ("semi_angle_mrad", "source_fwhm_nm")}
    wide = 0.5 * (probe.source_fwhm_nm[1] - probe.source_fwhm_nm[0]) + 1e-3
    folded = np.repeat([probe.C12_nm[1], probe.C21_nm[1], probe.C23_nm[1]], 2)  # magnitude and azimuth as two parts
    most = np.append(max(map(abs, probe.C10_nm)), folded) + 1e-2
    voltage = float(np.mean(simulation.view.voltage_kv))
    place = np.arange(WINDOW_PX) - WINDOW_PX * (np.arange(WINDOW_PX) >= WINDOW_PX // 2)
    wave = np.exp(-2j * np.pi * seen.frequency_nm[:, :, None] * place * SAMPLING_NM)  # (K, 2, n)
    scale, chosen = float(np.abs(seen.value).max()), np.eye(len(signal))[:, others]

    def transfer(fwhm, aberrations):
        parts = [
            (jnp.sqrt(x**2 + y**2 + 1e-8), jnp.arctan2(y, x + 1e-8) / fold)
            for x, y, fold in zip(aberrations[1::2], aberrations[2::2], FOLDS, strict=True)
        ]
        blur = jnp.sqrt((FWHM_TO_SIGMA * fwhm) ** 2 + probe.thermal_nm**2)
        (c12, phi12), (c21, phi21), (c23, phi23) = parts
        angle, zero = jnp.asarray(middle["semi_angle_mrad"]), jnp.zeros(())
        drawn = Probe(
            jnp.asarray(voltage),
            angle,
            aberrations[0],
            c12,
            phi12,
            c21,
            phi21,
            c23,
            phi23,
            C30_nm=zero,
            blur_sigma_nm=blur,
        )
        point = psf(drawn, WINDOW_PX, SAMPLING_NM)
        seen_there = jnp.einsum("ky,yx,kx->k", wave[:, 0], point, wave[:, 1])
        return seen_there * jnp.exp(-2 * (jnp.pi * blur) ** 2 * (seen.frequency_nm**2).sum(1))

    def residuals(x):
        factor, origin, fwhm, aberrations, proportion = x[0], x[1:3], x[3], x[4:11], x[11:]
        signals = signal * jnp.exp(chosen @ proportion)
        shift = jnp.exp(-2j * jnp.pi * seen.frequency_px @ (seen.origin + origin))
        model = scale * jnp.exp(factor) * (seen.turned @ signals) * shift * transfer(fwhm, aberrations)
        off = (seen.value - model) / seen.sigma
        before = jnp.concatenate(
            [(fwhm - middle["source_fwhm_nm"])[None] / wide, aberrations / most, proportion / SIGNAL_SIGMA]
        )
        return jnp.concatenate([off.real, off.imag, before])

    with jax.enable_x64(True):
        values, slopes = jax.jit(residuals), jax.jit(jax.jacfwd(residuals))
        found = None
        for defocus in (0.2, 0.7):  # of the range: a focused probe and one with a tail
            rest = np.append(0.1 * most[1:], 0.0 * others)
            start = np.concatenate([[0.0, 0, 0, middle["source_fwhm_nm"], defocus * most[0]], rest])
            low = np.r_[-6.0, -np.inf, -np.inf, 0.0, 0.0, np.full(len(rest), -np.inf)]
            one = optimize.least_squares(
                lambda x: np.asarray(values(x)),
                start,
                jac=lambda x: np.asarray(slopes(x)),
                bounds=(low, np.full(len(start), np.inf)),
            )
            found = one if found is None or one.cost < found.cost else found
    assert found is not None
    x, n = found.x, len(seen.value)
    off = found.fun[: 2 * n] * np.tile(seen.sigma, 2)
    ratio = np.ones(len(signal))
    ratio[others] = np.exp(x[11:])
    signals = np.full(len(fixed), np.nan)
    signals[fixed] = ratio
    mean = scale * float(np.exp(x[0])) * float((signal * ratio).sum())
    misfit = float(np.linalg.norm(off) / np.linalg.norm(seen.value))
    c12, c21, c23 = (float(np.hypot(*pair)) for pair in x[5:11].reshape(3, 2))
    return Cell(signals, mean, float(x[3]), float(abs(x[4])), c12, c21, c23, misfit)
