"""How strongly a patch shows what a defect usually looks like, in units of the noise.

What the intact cell looks like is learned from the outer parts of all patches: a Fourier series over the unit cell.
What a patch has beyond it is compared with the mean of the patches that hold a defect (matched filter). Everything is
learned from the movie: no probe, no dose, no crystal is known.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stemdefects.numerics import robust

ORDER = 3  # of the series: columns 0.2 of a lattice vector wide (one sigma) have less than 1% beyond it
OUTER = 0.45  # of the half side of a patch: beyond it the defect in the middle adds little
WITHIN = 0.42  # of the half side: what the shape is taken from
NULLS = 8  # places around the middle at which the noise of the filter is measured
NULL_AT = 0.6  # of the half side
LEAST_NOISE = 0.2  # of the mean variance, in the darkest places

Patches = Float[np.ndarray, "n side side"]


class Cell(NamedTuple):
    """The intact unit cell: coefficients (c,) of its series; line (2,) of the noise variance over the intensity."""

    coefficients: np.ndarray
    line: np.ndarray


class Shape(NamedTuple):
    """What a defect adds, (r,) over the distance from it in patch pixels, and the standard deviation that the filter
    made of it has in noise (1 where pixels are independent)."""

    profile: np.ndarray
    noise: float


def grid(side: int) -> Float[np.ndarray, "side side 2"]:
    """Offsets (y, x) from the middle of a patch, in its pixels."""
    one = np.arange(side) - (side - 1) / 2
    return np.stack(np.meshgrid(one, one, indexing="ij"), -1)


def cell_of(patches: Patches, cells: Float[np.ndarray, "n 2"], step: Float[np.ndarray, "2 2"]) -> Cell:
    """The intact cell, from the outer parts of `patches`, which are 0 where there is nothing.

    cells: (n, 2) where their middles lie, in lattice vectors; step: (2, 2) lattice vectors (y, x) that one patch pixel
    down and one to the right are.
    """
    outer = np.linalg.norm(grid(patches.shape[1]), axis=-1) > OUTER * patches.shape[1] / 2
    n = 2 * ((2 * ORDER + 1) ** 2 // 2) + 1
    left, right = np.zeros((n, n)), np.zeros(n)
    for patch, at in zip(patches, cells, strict=True):
        series = _series(at, step, patches.shape[1])[outer]
        seen = patch[outer] != 0
        left = left + series[seen].T @ series[seen]
        right = right + series[seen].T @ patch[outer][seen]
    left += 1e-6 * np.trace(left) * np.eye(len(left))
    coefficients = np.linalg.solve(left, right)
    cell = Cell(coefficients, np.array([1.0, 0.0]))
    rest, mean = beyond(patches, cells, step, cell)
    seen = outer & (patches != 0)
    design = np.stack([np.ones(seen.sum()), mean[seen]], 1)
    return cell._replace(line=np.linalg.lstsq(design, rest[seen] ** 2, rcond=None)[0])


def beyond(
    patches: Patches, cells: Float[np.ndarray, "n 2"], step: Float[np.ndarray, "2 2"], cell: Cell
) -> tuple[Patches, Patches]:
    """What `patches` show beyond the intact cell (0 where there is nothing), and that cell in each.

    Frames are lit unevenly: the cell is brought to each patch's contrast and brightness as far as these scatter more
    over the patches than noise makes them.
    """
    side = patches.shape[1]
    outer = np.linalg.norm(grid(side), axis=-1) > OUTER * side / 2
    intact, fits = np.zeros(patches.shape), np.zeros((len(patches), 2, 2))
    for k, (patch, at) in enumerate(zip(patches, cells, strict=True)):
        intact[k] = _series(at, step, side) @ cell.coefficients
        fits[k] = _lit(patch[outer], intact[k][outer])
    # of gains, of offsets: what their scatter has beyond their errors
    real = np.zeros(2)
    if len(fits) > 2:
        apart = np.array([robust.scatter(value) ** 2 for value in fits[:, 0].T])
        real = np.maximum(apart - np.median(fits[:, 1], axis=0), 0)
    believed = fits[:, 0] * real / np.maximum(real + fits[:, 1], 1e-30)
    gain, offset = (value[:, None, None] for value in believed.T)
    middle = intact[:, outer].mean(1)[:, None, None]
    intact = intact + gain * (intact - middle) + offset
    return np.where(patches != 0, patches - intact, 0.0), intact


def _lit(seen: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much contrast and brightness of `seen` (n,) differ from `mean` (n,), and the variances of both; none and
    endless where too little is there."""
    use = seen != 0
    if use.sum() < 3:
        return np.zeros(2), np.full(2, np.inf)
    off = mean - mean.mean()
    rest = (seen - mean)[use]
    design = np.stack([off[use], np.ones(use.sum())], 1)
    inverse = np.linalg.pinv(design.T @ design)
    value = inverse @ design.T @ rest
    return value, np.diag(inverse) * np.mean((rest - design @ value) ** 2)


def variance(intact: Patches, cell: Cell) -> Patches:
    """Of the noise, where the intact cell is `intact`."""
    value = cell.line[0] + cell.line[1] * intact
    usual = float(np.median(value))
    return np.maximum(value, LEAST_NOISE * max(usual, 1e-12))


def shape_of(rest: Patches, noise: Patches, weight: Float[np.ndarray, " n"]) -> Shape:
    """Mean over all directions of what patches of `weight` show beyond the cell (`beyond`, `variance`)."""
    ring = np.rint(np.linalg.norm(grid(rest.shape[1]), axis=-1)).astype(int)
    n = int(WITHIN * rest.shape[1] / 2) + 1
    inverse = weight[:, None, None] / noise
    rings = np.broadcast_to(ring, rest.shape).ravel()
    size = np.bincount(rings, inverse.ravel())[:n]
    profile = np.bincount(rings, (inverse * rest).ravel())[:n] / np.maximum(size, 1e-30)
    found = Shape(np.append(profile, 0.0), 1.0)
    turns = 2 * np.pi * np.arange(NULLS) / NULLS
    away = NULL_AT * rest.shape[1] / 2 * np.stack([np.sin(turns), np.cos(turns)], 1)
    nulls = np.concatenate([strength(rest, noise, found, centre) for centre in away])
    return found._replace(noise=max(robust.scatter(nulls), 1e-6))


def strength(
    rest: Patches, noise: Patches, shape: Shape, centre: Float[np.ndarray, " 2"] | None = None
) -> Float[np.ndarray, " n"]:
    """How much of `shape` each patch has at `centre` (2,) (the middle), in standard deviations of noise."""
    away = np.linalg.norm(grid(rest.shape[1]) - (0.0 if centre is None else centre), axis=-1)
    wanted = np.interp(away, np.arange(len(shape.profile)), shape.profile, right=0.0)
    size = np.sqrt((wanted**2 / noise).sum((1, 2)))
    return (rest * wanted / noise).sum((1, 2)) / np.maximum(size, 1e-12) / shape.noise


def _series(at: np.ndarray, step: np.ndarray, side: int) -> np.ndarray:
    """(side, side, c) terms of the series around `at` (2,)."""
    place = at + grid(side) @ step
    turns = [np.exp(2j * np.pi * np.arange(-ORDER, ORDER + 1) * place[..., k : k + 1]) for k in (0, 1)]
    waves = (turns[0][..., :, None] * turns[1][..., None, :]).reshape(side, side, -1)
    half = waves[..., waves.shape[-1] // 2 :]  # the others are their conjugates
    return np.concatenate([np.real(half), np.imag(half[..., 1:])], -1)
