"""Labels on the columns of a known crystal: which state each column of the movie's first frames is in.

The movie's lattice gives the places of the unit cells; where in the cell the sublattices sit, and which of the
equivalent cells is meant, comes from comparing the mean cell with the columns' intensities. The residual at each column
is then weighed against what each state of its site would leave there.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from stemdefects.crystal import bragg
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.labels.fourier.images.population import Registered
from stemdefects.labels.fourier.images.sampler import Columns
from stemdefects.labels.fourier.images.scenes import cell_origins
from stemdefects.labels.fourier.label import MovieLabels
from stemdefects.labels.fourier.points import certainty
from stemdefects.labels.fourier.points.certainty import DISC, LATTICE, UNKNOWN
from stemdefects.models.probability.prevalence import COMMON, state_prior
from stemdefects.numerics import robust
from stemdefects.schema import LabelsConfig, SimulationConfig

GRID = 24  # pixels of the mean cell along each lattice vector
CERTAIN = 0.9  # posterior at which the ideal state is taken as a label
CERTAIN_DEFECT = 0.98  # any other state
TOLD = 3.5  # spreads between the ideal state and any other that is expected on a site, for its states to be labelled
UNSTATED = -1  # a column whose state is not known: its place is learned, its state is not
MAX_STRAIN = 0.12  # a lattice that fits the crystal no better than this is another one


def crystal_columns(
    labels: MovieLabels, material: Material, pixel_size_nm: float, cfg: LabelsConfig, simulation: SimulationConfig
) -> tuple[Columns, MovieLabels, Registered]:
    """Columns with the states that the residual makes certain (-1 for the others), labels to go with them, and what
    scenes of this crystal are made from (as `simulation` draws its states).

    Raises UserError when the movie's lattice is not that of `material`.
    """
    vectors, origin, amplitude = register(labels, material, pixel_size_nm)
    brightest = cell_origins(labels)
    cell = np.rint((brightest - brightest[0]) @ np.linalg.inv(vectors)).astype(int)
    cells = brightest + origin
    basis = material.basis
    yx = (cells[:, None] + (basis @ vectors)[None]).reshape(-1, 2)
    site = np.tile(np.arange(material.n_sites), len(cells))
    inside = ((yx > -0.5) & (yx < np.array(labels.frames.shape[1:]) - 0.5)).all(1)
    yx, site, cell = yx[inside], site[inside], np.repeat(cell, material.n_sites, 0)[inside]

    intensity = material.intensities()
    change = intensity[None] - intensity[material.ideal_states][:, None]  # (G, S) what a state adds to its site
    own = material.site_of_state[None] == np.arange(material.n_sites)[:, None]
    log_prior = np.log(np.maximum(state_prior(cfg, material), 1e-6))
    measured, sigma = _amplitudes(labels, yx, amplitude)
    # what a state adds is known to a tenth: intensities differ from microscope to microscope
    spread = np.hypot(sigma[:, None], 0.1 * np.abs(change[site]) + 0.03)
    # half the prior's weight: with all of it every column that says nothing would be called perfect
    log_p = -0.5 * ((measured[:, None] - change[site]) / spread) ** 2 - np.log(spread) + 0.5 * log_prior
    # states that nobody expects are no rivals: nothing here could tell them from those that are expected
    expected = state_prior(cfg, material) >= COMMON
    log_p = np.where(own[site] & expected, log_p, -np.inf)
    log_p -= log_p.max(1, keepdims=True)
    posterior = np.exp(log_p) / np.exp(log_p).sum(1, keepdims=True)
    state, certain = posterior.argmax(1), posterior.max(1) > CERTAIN
    certain &= (state == material.ideal_states[site]) | (posterior.max(1) > CERTAIN_DEFECT)
    # where one state of a site cannot be told, its columns would be called perfect and the network would unlearn it
    faint = np.abs(change) < TOLD * np.hypot(sigma.mean(), 0.1 * np.abs(change) + 0.03)
    rivals = own & expected & (np.arange(material.n_states) != material.ideal_states[:, None])
    certain &= ~(faint & rivals).any(1)[site]
    # beyond three spreads of every state: something the crystal's catalogue does not have
    fits = (np.abs(measured[:, None] - change[site]) / spread)[np.arange(len(state)), state] < 4

    shifts = labels.shift_px
    moved = np.stack([yx + s for s in shifts])
    regions = labels.regions.copy()
    sure = np.zeros(moved.shape[:2], bool)
    for t, points in enumerate(moved):
        at = np.clip(np.rint(points).astype(int), 0, np.array(regions.shape[1:]) - 1)
        # the column is there all the same, where only its state is not known; what fits no state says nothing at all
        sure[t] = fits & (regions[t][tuple(at.T)] == LATTICE)
        certainty.cover(regions[t], points[~fits], DISC * labels.lattice.spacing_px, UNKNOWN)
    state = np.where(certain, state, UNSTATED)
    return (
        Columns(moved, site.astype(np.int32), state.astype(np.int32), sure),
        dataclasses.replace(labels, regions=regions),
        Registered(material, simulation, cell, site, amplitude),
    )


def register(labels: MovieLabels, material: Material, pixel_size_nm: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Of the crystal in the first frame: vectors (2, 2) px, origin of the cell against its brightest column (2,) px,
    and the counts at the centre of a column of signal 1.

    Raises UserError when the lattice has another shape than the material's.
    """
    choices = bragg.equivalent_cells(labels.lattice.vectors_px, material.lattice_nm)
    shape = choices[0] * pixel_size_nm
    strain = np.abs(np.linalg.svd(np.linalg.solve(material.lattice_nm, shape), compute_uv=False) - 1).max()
    if strain > MAX_STRAIN:
        raise UserError(
            f"the movie's lattice differs by {strain:.0%} from that of {material.name}, the material of training.init; "
            "start from a model of this crystal, or train without training.init"
        )
    intensity = material.intensities()[material.ideal_states]
    basis = material.basis
    best = None
    steps = np.arange(GRID) / GRID
    fraction = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1)
    for vectors in choices:
        mean_cell = _mean_cell(labels, vectors)
        model = np.zeros((GRID, GRID))
        for position, signal in zip(basis, intensity, strict=True):
            for shift in np.stack(np.meshgrid((-1, 0, 1), (-1, 0, 1), indexing="ij"), -1).reshape(-1, 2):
                off = (fraction - position - shift) @ vectors
                model += signal * np.exp(-0.5 * (off**2).sum(-1) / labels.sigma_px**2)
        contrast = model - model.mean()
        product = np.fft.ifft2(np.fft.fft2(mean_cell - mean_cell.mean()) * np.conj(np.fft.fft2(contrast))).real
        place = np.unravel_index(np.argmax(product), product.shape)
        value = product[place] / np.linalg.norm(contrast)
        if best is None or value > 1.001 * best[0]:
            origin = (np.array(place) / GRID) @ vectors
            best = (value, vectors, origin, float(product[place] / (contrast**2).sum()))
    assert best is not None  # the lattice's own cell is among the choices
    return best[1], best[2], best[3]


def _mean_cell(labels: MovieLabels, vectors: np.ndarray) -> np.ndarray:
    """(GRID, GRID) mean lattice part over all cells along the rows of `vectors`; the brightest column at (0, 0)."""
    fraction = np.mod(_off(labels) @ np.linalg.inv(vectors) + 0.5 / GRID, 1.0)
    index = np.minimum((fraction * GRID).astype(int), GRID - 1)
    label = (index[..., 0] * GRID + index[..., 1]).ravel()
    use = (labels.regions[0] >= 0).ravel()
    total = np.bincount(label[use], labels.steps["lattice"].ravel()[use], GRID**2)
    count = np.bincount(label[use], minlength=GRID**2)
    return (total / np.maximum(count, 1)).reshape(GRID, GRID)


def _off(labels: MovieLabels) -> np.ndarray:
    """(H, W, 2) place of each pixel relative to the brightest column of its cell."""
    height, width = labels.frames.shape[1:]
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    return place - np.moveaxis(labels.cell, 0, -1)


def _amplitudes(labels: MovieLabels, yx: np.ndarray, amplitude: float) -> tuple[np.ndarray, np.ndarray]:
    """Signal that the residual adds at each column, in units of signal 1, and its standard error; (n,) each."""
    # a Gaussian column of height A, filtered with a normalised one of the same width, is A / 2 high
    filtered = 2 * ndimage.gaussian_filter(labels.steps["residual"], labels.sigma_px)
    height = ndimage.map_coordinates(filtered, yx.T, order=1, mode="nearest") / amplitude
    noise = robust.scatter(filtered, 0.0) / amplitude
    return height, np.full(len(yx), noise)
