"""The columns of frames on their lattice sites, packed to be kept until all frames are looked at together."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from stemdefects.inference.columns import opinion_loops
from stemdefects.inference.columns.defects import REGIONS, FrameDefects, Rules
from stemdefects.inference.tables.partial_results import Block
from stemdefects.models.probability import emissions
from stemdefects.models.probability.states import site_mask
from stemdefects.numerics import medians

BORDER_NM = (0.15, 0.3, 0.45)  # where bands along the border end: half the network's view of a column
MIN_CENTRE = 20  # columns of a sublattice that a frame needs to say where its ideal columns lie


def column_dtype(n_states: int) -> np.dtype:
    """One column on a lattice site. light: see `column_intensity.measure`; score: log probability of each state as the
    network was trained, less that of the ideal state."""
    return np.dtype(
        [
            ("frame", "i4"),
            ("cell", "i2", 2),
            ("site", "i1"),
            ("y_px", "f4"),
            ("x_px", "f4"),
            ("sigma_px", "f4"),
            ("light", "f2"),
            ("score", "f2", n_states),
        ]
    )


def pack(found: FrameDefects, frame: int, model: Any, rules: Rules) -> np.ndarray:
    """The columns of a frame that sit on lattice sites and outside excluded regions, as `column_dtype`."""
    assert found.sites is not None  # a frame that shows the lattice
    columns, material = found.columns, model.material
    excluded = np.isin(columns.region, [REGIONS.index(name) for name in rules.exclude_regions])
    use = found.sites.on_lattice & ~excluded & ~found.promised
    columns = columns.take(use)
    packed = np.zeros(len(columns.site), column_dtype(material.n_states))
    packed["frame"], packed["cell"], packed["site"] = frame, found.sites.cell[use], columns.site
    packed["y_px"], packed["x_px"], packed["sigma_px"] = columns.y_px, columns.x_px, columns.sigma_px
    packed["light"] = np.clip(found.light[use], -10, 10)
    log_prob = np.log(np.maximum(columns.state_prob, 1e-30))
    raw = model.calibration.temperature * (log_prob - np.asarray(model.calibration.log_prior_shift))
    ideal = material.ideal_states[columns.site]
    raw = raw - raw[np.arange(len(raw)), ideal][:, None]
    own = material.site_of_state[None] == columns.site[:, None]
    packed["score"] = np.where(own, np.clip(raw, -emissions.CLIP, emissions.CLIP), -emissions.CLIP)
    return packed


def posterior(score: np.ndarray, site: np.ndarray, model: Any) -> np.ndarray:
    """(n, S) state posteriors back from packed scores."""
    material, calibration = model.material, model.calibration
    n_states = material.n_states
    mask = site_mask(material.site_of_state, material.n_sites)
    shift = np.broadcast_to(np.asarray(calibration.log_prior_shift, float), n_states)
    temperature = np.broadcast_to(np.asarray(calibration.temperature, float), n_states)
    return opinion_loops.posteriors(score.astype(np.float32), site, mask, shift.copy(), temperature.copy())


class Frame(NamedTuple):
    """Of a frame: its packed columns, its lattice (3, 2), its row of the frame table, its hidden sites, its map of
    regions, the rows of its defects, and rows of what is too faint to be called, see `evidence.floating.calls`."""

    columns: np.ndarray
    lattice: np.ndarray
    row: np.void
    hidden: np.ndarray
    regions: np.ndarray
    rows: np.ndarray
    weak: np.ndarray


def frames(read: Callable[[int], Block], numbers: Iterable[int]) -> Iterator[Frame]:
    """The frames of the blocks `numbers`, in order."""
    for number in numbers:
        block = read(number)
        starts = np.searchsorted(block.columns["frame"], block.frames["frame"])
        ends = np.searchsorted(block.columns["frame"], block.frames["frame"], side="right")
        for i, row in enumerate(block.frames):
            hidden = block.hidden[block.hidden["frame"] == row["frame"]]
            called = block.rows[block.rows["frame"] == row["frame"]]
            weak = block.weak_rows[block.weak_rows["frame"] == row["frame"]]
            columns = block.columns[starts[i] : ends[i]]
            yield Frame(columns, block.lattices[i], row, hidden, block.regions[i], called, weak)


class Middle(NamedTuple):
    """Where the ideal columns of a sublattice lie in one frame, (F,) log-ratios, their scatter (F,), and by how much
    those of each band along the border differ, by the number of the band."""

    ratios: np.ndarray
    scatter: np.ndarray
    bands: dict[int, np.ndarray]


def centred(
    columns: np.ndarray, material: Any, pixel_size_nm: float, known: list[Middle | None] | None = None
) -> tuple[list, list, list[Middle | None]]:
    """Per sublattice: log-ratios (n, F) less those of the frame's ideal columns, their scatter (F,) or None, and what
    was taken off. known: the last of a call before.

    Columns near the border of the frame, whose neighbours the network does not see, are compared with each other.
    """
    features, scatters, middles = [], [], []
    band, score = _border_bands(columns, pixel_size_nm), columns["score"].astype(np.float32)
    for g, site in enumerate(material.sites):
        states = emissions.ordered_states(g, material.site_of_state, site.ideal)
        here = np.flatnonzero(columns["site"] == g)
        mine, near = score[here[:, None], states[1:]], band[here]
        middle = _middle(mine, near) if known is None else known[g]
        middles.append(middle)
        scatters.append(None if middle is None else middle.scatter)
        if middle is not None:
            mine -= middle.ratios
            for k, off in middle.bands.items():
                mine[near == k] -= off
        features.append(mine)
    return features, scatters, middles


def _middle(ratios: np.ndarray, band: np.ndarray) -> Middle | None:
    """Of a sublattice's columns with the log-ratios (n, F) in the bands (n,); None of too few."""
    if len(ratios) < MIN_CENTRE or not ratios.shape[1]:
        return None
    middle, scatter = emissions.centre(ratios)
    near = {k: ratios[band == k] - middle for k in range(len(BORDER_NM))}
    return Middle(middle, scatter, {k: medians.of_columns(some) for k, some in near.items() if len(some) >= MIN_CENTRE})


def _border_bands(columns: np.ndarray, pixel_size_nm: float) -> np.ndarray:
    """(n,) int: which of the bands `BORDER_NM` along the border a column is in; `len(BORDER_NM)`: in none."""
    if not len(columns):
        return np.zeros(0, int)
    y, x = columns["y_px"].copy(), columns["x_px"].copy()
    inwards = np.minimum(np.minimum(y - y.min(), y.max() - y), np.minimum(x - x.min(), x.max() - x)) * pixel_size_nm
    return np.searchsorted(np.array(BORDER_NM), inwards, "right")
