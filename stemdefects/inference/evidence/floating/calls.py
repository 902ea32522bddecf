"""What is called in the frames of a movie whose defects are those of an unknown crystal, judged by all frames together.

A network that learned from a few labels of the movie takes spots of noise for defects, and misses weak ones. All frames
together say how common defects are, how strongly they show, and where in the cell they sit; each candidate, also one
that the network would not call, is then judged by its own frame and these (`mixture`). Where too little is called to
learn from, and where the frame shows no lattice, the network's own verdict stands.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from stemdefects.inference.evidence.floating import mixture, patch_light, sites
from stemdefects.inference.tables.partial_results import Block
from stemdefects.io.tables import table

ENOUGH = 20  # calls of a kind; fewer do not say how strongly it shows
LEARNED = 600  # patches that the intact cell is learned from: known to 1% of the noise of a pixel
AGREED = 0.8  # of the surer half of the network's calls; with fewer, patches do not show what it has learned
MOST_LIKELY = 0.5  # posterior of what is called, unless the user says otherwise: fewest errors


class _Candidates(NamedTuple):
    """Of a block, in the order of `_rows`: logit (n,) of the network, cell (n, 2), NaN where the frame does not say."""

    logit: np.ndarray
    cell: np.ndarray
    kind: np.ndarray
    called: np.ndarray


def judged(read: Callable[[int], Block], n_blocks: int, setup: Any) -> Callable[[int], Block]:
    """`read` (block number -> `Block`, called several times for each), with the rows that all frames together call.

    setup: `setup.Setup`. Networks of a known crystal, images and movies without a lattice are left as they are.
    """
    if not (setup.of_movie and setup.keeps_columns):
        return read
    parts = [_candidates(read(number), setup) for number in range(n_blocks)]
    every = _Candidates(*(np.concatenate(field) for field in zip(*parts, strict=True)))
    posterior = np.full(len(every.kind), np.nan)
    starts = np.cumsum([0, *(len(part.kind) for part in parts)])
    seated = np.isfinite(every.cell[:, 0])
    for kind in setup.model.material.kinds:
        mine = seated & (every.kind == kind.name.encode())
        if (mine & every.called).sum() >= ENOUGH:
            posterior[mine] = _of_kind(read, starts, every, mine, setup)

    def revised(number: int) -> Block:
        return _revised(read(number), posterior[starts[number] : starts[number + 1]], setup)

    return revised


def _rows(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the calls and of the weak candidates of a block, and their patches."""
    return np.concatenate([block.rows, block.weak_rows]), np.concatenate([block.patches, block.weak_patches])


def _candidates(block: Block, setup: Any) -> _Candidates:
    rows = _rows(block)[0]
    state_of = {kind.name.encode(): kind.state for kind in setup.model.material.kinds}
    logit, cell = np.zeros(len(rows)), np.full((len(rows), 2), np.nan)
    for i, frame in enumerate(block.frames["frame"]):
        here = np.flatnonzero(rows["frame"] == frame)
        columns = block.columns[block.columns["frame"] == frame]
        if not len(here) or not len(columns) or np.isnan(block.lattices[i]).any():
            continue
        # columns are those on the lattice that is followed: not along a boundary, not of another grain
        yx, match = sites.matched(rows[here], columns, setup)
        good = match >= 0
        state = [state_of[name] for name in rows["kind"][here[good]].tolist()]
        logit[here[good]] = columns["score"][match[good], state]
        vectors, origin = block.lattices[i][:2], block.lattices[i][2]
        cell[here[good]] = (yx[good] - origin) @ np.linalg.inv(vectors)
    called = np.arange(len(rows)) < len(block.rows)
    return _Candidates(logit, cell, rows["kind"], called)


def _of_kind(
    read: Callable[[int], Block], starts: np.ndarray, every: _Candidates, mine: np.ndarray, setup: Any
) -> np.ndarray:
    """Posterior of the candidates `mine` (n,) bool of one kind."""
    vectors = setup.reference_px
    calls = mine & every.called
    places = sites.places(every.cell[calls], vectors)
    step = setup.settings.patch_nm / table.PATCH_PX / setup.calibration.pixel_size_nm * np.linalg.inv(vectors)

    def patches(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Patches and cells of the candidates `chosen` (n,) bool."""
        parts = [(number, chosen[first:last]) for number, (first, last) in enumerate(pairwise(starts))]
        found = [_rows(read(number))[1][here].astype(float) for number, here in parts if here.any()]
        return np.concatenate(found), every.cell[chosen]

    cell = patch_light.cell_of(*patches(_some(mine, LEARNED)), step)
    rest, intact = patch_light.beyond(*patches(_some(calls, LEARNED)), step, cell)
    noise = patch_light.variance(intact, cell)
    shape = patch_light.shape_of(rest, noise, np.ones(len(rest)))
    # once more, by those that are rather defects than spots of noise that were called
    shown = patch_light.strength(rest, noise, shape)
    shape = patch_light.shape_of(rest, noise, (shown >= np.median(shown)).astype(float) + 0.01)
    shown = np.zeros(len(mine))
    for first, last in pairwise(starts):
        here = np.zeros(len(mine), bool)
        here[first:last] = mine[first:last]
        if here.any():
            rest, intact = patch_light.beyond(*patches(here), step, cell)
            shown[here] = patch_light.strength(rest, patch_light.variance(intact, cell), shape)
    seen = mixture.features(every.logit[mine], shown[mine])
    away = mixture.distance(every.cell[mine], places, vectors)
    area = abs(np.linalg.det(vectors)) / (vectors**2).sum(1).min()
    found = mixture.fit(seen, away, every.called[mine], mixture.Cell(len(places), area))
    surest = every.called[mine] & (every.logit[mine] >= np.median(every.logit[calls]))
    agreed = (found.probability[surest] >= MOST_LIKELY).mean() >= AGREED
    return found.probability if found.sensible and agreed else np.full(len(seen), np.nan)


def _some(chosen: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the `chosen` (n,) bool, evenly spread."""
    which = np.flatnonzero(chosen)
    out = np.zeros(len(chosen), bool)
    out[which[np.linspace(0, len(which) - 1, min(len(which), most)).astype(int)]] = True
    return out


def _revised(block: Block, posterior: np.ndarray, setup: Any) -> Block:
    """`block` with the calls that `posterior` (n,) makes of its candidates; NaN: the network's own verdict."""
    rows, patches = _rows(block)
    known = np.isfinite(posterior)
    call = np.arange(len(rows)) < len(block.rows)
    asked = setup.settings.thresholds
    for kind in setup.model.material.kinds:
        mine = known & (rows["kind"] == kind.name.encode())
        call[mine] = posterior[mine] >= asked.get(kind.name, asked.get("defect", MOST_LIKELY))
    share = rows["kind_prob"] / np.maximum(rows["score"], 1e-12)
    rows["score"] = np.where(known, posterior, rows["score"])
    rows["kind_prob"] = np.where(known, posterior * share, rows["kind_prob"])
    kept = np.flatnonzero(call)
    kept = kept[np.argsort(rows["frame"][kept], kind="stable")]
    frames = block.frames.copy()
    frames["n_defects"] = [(rows["frame"][kept] == frame).sum() for frame in frames["frame"]]
    weak = known & ~call  # the network alone says nothing of what it does not call
    return block._replace(
        rows=rows[kept], patches=patches[kept], frames=frames, weak_rows=rows[weak], weak_patches=patches[weak]
    )
