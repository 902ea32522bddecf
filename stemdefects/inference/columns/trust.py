"""Can the network be believed in this frame? Its answers against the Bragg lattice, the columns' own intensities and
the range it was trained in.

The checks know nothing of the network's inside. Each has a limit that frames of the training kind stay clear of
(docs/inference.md) and raises one flag of `io.tables.quality_flags`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from stemdefects.crystal import second_lattice
from stemdefects.inference.columns import picture_loops
from stemdefects.inference.columns.defects import FrameDefects
from stemdefects.inference.columns.lattice import site_loops
from stemdefects.inference.network import bragg_map
from stemdefects.inference.network.engine import Columns, FrameOutput
from stemdefects.inference.specimen import prevalence
from stemdefects.io.tables import quality_flags
from stemdefects.numerics import robust
from stemdefects.numerics.medians import median

MIN_FOUND = 0.75  # of the columns that the Bragg lattice promises
MAX_OFF = 0.2  # of the columns in the lattice
MIN_CALLS = 6  # fewer calls of a kind are not judged by their intensity
MIN_SUPPORT = {True: 0.7, False: 0.35}  # share of them that differ from their neighbours as their kind should
STRONG = (
    0.3  # of the brightest ideal column: a change of intensity that shows in one frame, else the lower share counts
)
CLEAR_STEP = 1.0  # scatters of the ideal columns
MAX_ELSEWHERE = 0.1  # of the frame's area
GONE = (1, 2)  # regions that are no lattice: hole, amorphous
ABOVE = 3.0  # scatters of the crystal's own brightness, cell by cell: something lies on it
MIN_COLUMNS = 30  # of the first sublattice, to say how bright the second one is
MOST_COLUMNS = 1000  # that are looked at, spread over the frame: the ratio to a hundredth of their scatter
RATIO_SPREAD = 1.7  # what training and real detectors may differ by from the material's intensities
MAX_DISTORTION = 0.03  # three times the strain of training
AROUND = 5  # cells: side of the square of neighbours a column is compared with


class Verdict(NamedTuple):
    """flags: of `io.tables.quality_flags`; figures: what they rest on, by name."""

    flags: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Limits:
    """share: (n_sites,) largest share of defective columns in training; change: (n_kinds,) of a column's intensity
    against the ideal one, of the brightest ideal column; fixed: (n_sites,) bool, sublattices whose columns are always
    there; ratio: range of the second sublattice's intensity over the first one's, None where there are not two; step:
    (2,) from the first to the second, of the lattice vectors; lattice_nm: (2, 2) of the ideal crystal shown, None: no
    second lattice is looked for; quarters: it is looked for in the quarters of a frame too."""

    share: np.ndarray
    change: np.ndarray
    fixed: np.ndarray
    ratio: tuple[float, float] | None = None
    step: np.ndarray | None = None
    lattice_nm: np.ndarray | None = None
    quarters: bool = True


def limits(model: Any) -> Limits:
    """What `model` (`LoadedModel`) was trained for."""
    material, simulation = model.material, model.config.simulation
    share = np.zeros(material.n_sites)
    brightness = np.array([_brightness(s.atoms, material) for s in material.states])
    change = []
    for kind in material.kinds:
        site = material.states[kind.state].site
        densest = max(simulation.defects.density.get(kind.name, kind.density)) * simulation.defects.density_scale
        share[site] += densest
        change.append(brightness[kind.state] - brightness[material.sites[site].ideal])
    fixed = np.array([not s.floating for s in material.sites])
    brightest = max(brightness[material.ideal_states].max(), 1e-9)
    ratio, step = None, None
    if material.n_sites == 2 and fixed.all():
        atoms = [material.states[s.ideal].atoms for s in material.sites]
        voltages = range(len(material.voltages_kv))
        seen = [_brightness(atoms[1], material, v) / _brightness(atoms[0], material, v) for v in voltages]
        ratio = (float(min(seen) / RATIO_SPREAD), float(max(seen) * RATIO_SPREAD))
        step = np.subtract(material.sites[1].position, material.sites[0].position)
    return Limits(np.maximum(share, 0.02), np.array(change) / brightest, fixed, ratio, step)


def assess(output: FrameOutput, found: FrameDefects, known: Limits, kinds: list[str]) -> Verdict:
    """Flags and figures of one frame."""
    lost = quality_flags.INVALID_PIXELS if output.hidden is not None and output.hidden.n_invalid else 0
    if found.sites is None:
        return Verdict(quality_flags.UNCHECKED | lost, {})
    columns, sites, figures, flags = found.columns, found.sites, {}, lost
    on = sites.on_lattice
    if not found.told:
        flags |= quality_flags.SUBLATTICES
    number = {name.encode(): k for k, name in enumerate(kinds)}
    kind = np.array([number[name] for name in found.rows["kind"].tolist()], int)
    called = np.zeros(len(on), bool)
    called[found.called] = True
    counts = [np.bincount(columns.site[some], minlength=len(known.fixed)) for some in (found.called, on)]
    for g in np.flatnonzero(known.fixed):
        mine, n = int(counts[0][g]), int(counts[1][g])
        figures[f"called_{g}"] = mine / max(n, 1)
        limit = prevalence.HEADROOM * known.share[g]
        if n and mine > limit * n + 3 * np.sqrt(limit * n):
            flags |= quality_flags.MANY
    figures["off_lattice"] = float((~on & (columns.region == 0) & known.fixed[columns.site]).sum() / max(len(on), 1))
    if figures["off_lattice"] > MAX_OFF:
        flags |= quality_flags.OFF_LATTICE
    if known.lattice_nm is not None:
        flags |= _second(output, sites.vectors_px, known.lattice_nm, known.quarters, figures)
    if output.lattice is not None and output.lattice.clear:
        flags |= _against_bragg(output, output.lattice, columns, on & ~found.promised, known, figures)
    if known.ratio is not None and known.step is not None:
        figures["ratio"] = ratio = _ratio(output, columns, sites, called, known.step)
        if not (known.ratio[0] <= ratio <= known.ratio[1] or np.isnan(ratio)):
            flags |= quality_flags.OTHER_CRYSTAL
    step = _contrast(output, columns, sites, called)
    supported = np.sign(known.change[kind]) * step[found.called] > CLEAR_STEP
    judged = np.isfinite(step[found.called]) & (known.change[kind] != 0)
    for k in np.unique(kind):
        these = judged & (kind == k)
        if these.sum() >= MIN_CALLS:
            figures[f"support_{kinds[k]}"] = float(supported[these].mean())
            if supported[these].mean() < MIN_SUPPORT[bool(abs(known.change[k]) > STRONG)]:
                flags |= quality_flags.UNSUPPORTED
    return Verdict(flags, figures)


def _against_bragg(
    output: FrameOutput,
    lattice: bragg_map.LocalLattice,
    columns: Columns,
    on: np.ndarray,
    known: Limits,
    figures: dict[str, float],
) -> int:
    """Flags of what the network found against what the Bragg components, `lattice`, promise."""
    absent, valid, flags, seen = lattice.absent.ravel(), 1.0, 0, None
    if output.hidden is not None:
        y, x = (p.ravel() for p in np.meshgrid(lattice.y_px, lattice.x_px, indexing="ij"))
        seen = ~output.hidden.near(y, x, bragg_map.SIGMA_LATTICE * np.sqrt(abs(np.linalg.det(lattice.vectors_px))))
        if not seen.any():
            return 0
        absent, valid = absent[seen], float((output.hidden.away_px > 0).mean())
    shape = np.array(output.image.shape) / output.scale
    cell = abs(np.linalg.det(lattice.vectors_px))
    promised = (1 - absent.mean()) * valid * shape.prod() / cell * known.fixed.sum()
    figures["found"] = float((on & known.fixed[columns.site]).sum() / max(promised, 1))
    if known.fixed.any() and figures["found"] < MIN_FOUND:
        flags |= quality_flags.MISSED
    # places the network calls no lattice, against those where there is none
    nothing = float(output.region_fraction[1] + output.region_fraction[2])
    no_bragg = float(absent.mean())
    if lattice.grains is not None:  # of none of them
        no_bragg = float((lattice.grains.max(0) < bragg_map.ABSENT).mean())
    # learned from the movie: what lies on the crystal may well let its lattice through
    dirt = None if known.fixed.any() else _dirt(output)
    if dirt is not None and output.regions is not None:
        power = lattice.power if lattice.grains is None else lattice.grains.max(0)
        open_ = ~_near(dirt, lattice, output.scale / _cell_side(output))
        if seen is not None:
            open_ &= seen.reshape(open_.shape)
        no_bragg = float((power[open_] < bragg_map.ABSENT).mean()) if open_.any() else 0.0
        nothing = float(np.isin(output.regions[~dirt], GONE).mean()) if not dirt.all() else 0.0
    figures["no_bragg"], figures["no_network"] = no_bragg, nothing
    if abs(nothing - no_bragg) > MAX_ELSEWHERE:
        flags |= quality_flags.ELSEWHERE
    return flags


def _near(dirt: np.ndarray, lattice: bragg_map.LocalLattice, cells_per_px: float) -> np.ndarray:
    """(ny, nx) bool: points of `lattice` in a cell of `dirt` or beside one; `cells_per_px` of the frame."""
    y, x = (
        np.clip((p * cells_per_px).astype(int), 0, n - 1)
        for p, n in zip((lattice.y_px, lattice.x_px), dirt.shape, strict=True)
    )
    return ndimage.binary_dilation(dirt, np.ones((3, 3)))[np.ix_(y, x)]


def _cell_side(output: FrameOutput) -> int:
    """Model pixels per cell of `output.regions`: the whole number whose cells just cover the image."""
    assert output.regions is not None
    cells, size = np.array(output.regions.shape), np.array(output.image.shape)
    return next(side for side in range(1, size.max() + 1) if (-(-size // side) <= cells).all())


def _dirt(output: FrameOutput) -> np.ndarray | None:
    """(ny, nx) bool, cells of `output.regions` that the network calls amorphous and that are brighter than what it
    calls crystal: something lies on it. None where there are none."""
    cells, image = output.regions, output.image
    if cells is None or not (cells == GONE[1]).any() or not (cells == 0).any():
        return None
    side = _cell_side(output)
    smooth = ndimage.gaussian_filter(image, side)
    y, x = (np.minimum(np.arange(n) * side + side // 2, m - 1) for n, m in zip(cells.shape, image.shape, strict=True))
    level = smooth[np.ix_(y, x)]
    crystal = level[cells == 0]
    dirt = (cells == GONE[1]) & (level > np.median(crystal) + ABOVE * robust.scatter(crystal))
    return dirt if dirt.any() else None


def _second(
    output: FrameOutput, vectors_px: np.ndarray, lattice_nm: np.ndarray, quarters: bool, figures: dict[str, float]
) -> int:
    """Flag of a second lattice on top of the frame's own."""
    if output.lattice is not None and output.lattice.clear and np.isfinite(output.lattice.vectors_px).all():
        vectors_px = output.lattice.vectors_px  # columns may lie on a lattice that is none
    found = second_lattice.find(output.image, vectors_px * output.scale, lattice_nm, quarters)
    if found is None or not found.on_top:
        return 0
    figures["second_share"], figures["second_deg"] = found.share, found.angle_deg
    return quality_flags.SECOND_LATTICE


def _ratio(output: FrameOutput, columns: Any, sites: Any, called: np.ndarray, step: np.ndarray) -> float:
    """Intensity of the second sublattice's columns over the first one's, whatever the blur.

    The empty place opposite to the second sublattice has the same distances to the first: what it has is background and
    tails, the same under both. Means over the frame, so that noise does not matter; NaN with too few columns.
    """
    first = np.flatnonzero(sites.on_lattice & (columns.site == 0) & ~called & (columns.region == 0))
    if len(first) < MIN_COLUMNS:
        return np.nan
    first = first[:: -(-len(first) // MOST_COLUMNS)]
    place = np.stack([columns.y_px[first], columns.x_px[first]], 1)
    bond = step @ sites.vectors_px
    on_first, second, nothing = (median(_values(output, *(place + k * bond).T)) for k in (0, 1, -1))
    return float((second - nothing) / max(on_first - nothing, 1e-9))


def _values(output: FrameOutput, y_px: np.ndarray, x_px: np.ndarray) -> np.ndarray:
    """(n,) mean of 3 x 3 model pixels around points of the frame."""
    return picture_loops.near_means(output.image, np.stack([y_px, x_px], 1) * output.scale)


def _contrast(output: FrameOutput, columns: Any, sites: Any, called: np.ndarray) -> np.ndarray:
    """(n,) how much brighter each column is than those of its sublattice around it that were not called, in units of
    their scatter; NaN where there are too few."""
    value = _values(output, columns.y_px, columns.x_px)
    on = sites.on_lattice
    if not on.any():
        return np.full(len(value), np.nan)
    step = site_loops.contrasts(value, sites.cell, columns.site, on, called, AROUND, 6)
    for g in np.flatnonzero(np.bincount(columns.site[on])):
        mine = on & (columns.site == g)
        ideal = step[mine & ~called]
        ideal = ideal[np.isfinite(ideal)]
        usual = (median(ideal), max(robust.scatter(ideal), 1e-9)) if len(ideal) >= 12 else (np.nan, 1.0)
        step[mine] = (step[mine] - usual[0]) / usual[1]
    return step


def _brightness(atoms: tuple[tuple[str, int], ...], material: Any, voltage: int = 0) -> float:
    """HAADF signal of a column by its species, at one of the material's voltages."""
    signal = {s.name: s.intensity[voltage] for s in material.species}
    return float(sum(n * signal[name] for name, n in atoms))
