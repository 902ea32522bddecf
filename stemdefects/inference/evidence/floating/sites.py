"""All frames of a movie together, where the network finds defects of an unknown crystal: drift, places, sites.

The lattice of every frame is known from its Bragg components. Where in the cell the defects sit is learned from all of
them, so that a site is a place in a cell, and a hop a step from one to another. A site's state over time is that of
`over_time`: it is looked at in every frame that shows it, whether something was found there or not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import bdtrc

from stemdefects.inference.columns import confusion
from stemdefects.inference.columns.site_columns import Frame, frames
from stemdefects.inference.evidence import over_time
from stemdefects.inference.tables.blocks_of_frames import in_nm
from stemdefects.inference.tables.partial_results import Block
from stemdefects.io.tables import table

SAME_PLACE = 0.2  # of the shortest lattice vector: detections this near in the cell are at one place
LEAST = 0.05  # share of the detections that a place of the cell has
CHANCE = 0.01  # of so many at a place where they are anywhere
FOLLOWED = 0.5  # of the detections: with fewer that have another in the frame before or after, all say where places are
MISSED = 0.1  # share of defects that a frame does not show, where the model does not say it
BESIDE, ELSEWHERE = 1.2, 0.05  # within so many lattice vectors of a defect there is another one so much more rarely
AGREE, CLEARLY = 3, 1.5  # defects that stay, and times as many as for the next lattice vector, name a drift
REMEMBERED = 3  # frames
SAME_PX = 0.01  # between a row and the column that it is
USUAL = 0.1  # share of its frames in which a site that ever had a defect has one


class Movie(NamedTuple):
    """drift_px: (T, 2) square px; places: (P, 2) fractions of the cell; change: chance of a new draw per frame;
    prevalence: by kind."""

    drift_px: np.ndarray
    places: np.ndarray
    change: float
    prevalence: dict[str, float]


def analyse(read: Callable[[int], Block], n_blocks: int, setup: Any, write: Callable[[np.ndarray], None]) -> Movie:
    """Drift and places of a movie; rows of the sites over time go to `write`, ordered by frame.

    read: block number -> `Block`; setup: `setup.Setup`.
    """
    looked = list(frames(read, range(n_blocks)))
    found = [_points(frame, frame.rows, setup) for frame in looked]
    drift = _drift(looked, found, setup)
    vectors = setup.reference_px
    known = np.isfinite(drift[:, 0])
    if not known.any():
        write(table.empty(0))
        return Movie(drift, np.zeros((0, 2)), 0.0, {})
    first = looked[int(np.argmax(known))].lattice[2] - drift[int(np.argmax(known))]
    inverse, reach = np.linalg.inv(vectors), BESIDE * np.linalg.norm(vectors, axis=1).max()
    cells = [
        (points.yx - frame.lattice[2]) @ np.linalg.inv(frame.lattice[:2]) if ok else np.zeros((0, 2))
        for points, frame, ok in zip(found, looked, known, strict=True)
    ]
    everything = np.concatenate(cells)
    if not len(everything):
        write(table.empty(0))
        return Movie(drift, np.zeros((0, 2)), 0.0, {})
    followed = _followed(
        [f.yx - d if ok else np.zeros((0, 2)) for f, d, ok in zip(found, drift, known, strict=True)], reach
    )
    centre = places(everything[followed] if followed.mean() > FOLLOWED else everything, vectors)
    of_point = _nearest(everything, centre, vectors)
    # the whole cells that each frame's numbers are off by
    moved = [
        np.rint((frame.lattice[2] - d - first) @ inverse) if ok else np.zeros(2)
        for frame, d, ok in zip(looked, drift, known, strict=True)
    ]
    at = np.repeat(np.arange(len(looked)), [len(c) for c in cells])
    whole = np.rint(everything - centre[of_point]) + np.array(moved)[at]
    keys, site = np.unique(np.column_stack([whole, of_point]).astype(int), axis=0, return_inverse=True)
    prob = np.concatenate([points.prob for points, ok in zip(found, known, strict=True) if ok])
    sigma = np.concatenate([points.sigma for points, ok in zip(found, known, strict=True) if ok])
    yx = np.concatenate([points.yx for points, ok in zip(found, known, strict=True) if ok])
    expected = np.stack(
        [
            (keys[:, :2] - m + centre[keys[:, 2]]) @ f.lattice[:2] + f.lattice[2]
            if ok
            else np.full((len(keys), 2), np.nan)
            for f, m, ok in zip(looked, moved, known, strict=True)
        ]
    )
    inside = np.asarray((expected > -0.5).all(-1) & (expected < np.array(setup.shape_px) - 0.5).all(-1))
    log = np.zeros((len(looked), len(keys), prob.shape[1]), np.float32)
    log[inside, 1:] = np.log(_missed(setup))
    near = SAME_PLACE * np.linalg.norm(vectors, axis=1).min()
    for t, frame in enumerate(looked):  # what a frame shows too faintly to be called
        faint = _points(frame, frame.weak, setup)
        if known[t] and len(faint.yx) and inside[t].any():
            off = np.linalg.norm(faint.yx[:, None] - expected[t][inside[t]][None], axis=2)
            mine = off.min(1) < near
            at_site, said = np.flatnonzero(inside[t])[off.argmin(1)[mine]], _ratio(faint.prob[mine])
            log[t, at_site, 1:] = np.maximum(log[t, at_site, 1:], said[:, 1:])
    for t, ok in enumerate(known):  # what hops is seen beside the site that it has left
        if ok and len(found[t].yx):
            beside = np.linalg.norm(expected[t][:, None] - found[t].yx[None], axis=2).min(1) < reach
            log[t, beside & inside[t], 1:] += np.log(ELSEWHERE)
    log[at, site.reshape(-1)] = _ratio(prob)
    usual = np.append(1 - USUAL, np.full(prob.shape[1] - 1, USUAL / max(prob.shape[1] - 1, 1)))
    fit = over_time.fit(over_time.Given(log), usual, prior_weight=10.0 * len(keys))
    seen = np.full((len(looked), len(keys)), -1)
    seen[at, site.reshape(-1)] = np.arange(len(at))
    for t, frame in enumerate(looked):
        write(_rows(frame, setup, fit.posterior[t], seen[t], Points(yx, prob, sigma), expected[t], inside[t]))
    material = setup.model.material
    kinds = {kind.name: float(fit.mean_prevalence[kind.state]) for kind in material.kinds}
    return Movie(drift, centre, fit.mean_change, kinds)


def _ratio(prob: np.ndarray) -> np.ndarray:
    """(n, S) log-likelihoods of the states, that of none 0, from posteriors (n, S).

    A detection's posterior is what it is where nothing else is known: likelihoods are it less what is usual.
    """
    ratio = np.log(np.maximum(prob, 1e-6))
    ratio[:, 1:] += np.log((1 - USUAL) / USUAL)
    return ratio - ratio[:, :1]


def _missed(setup: Any) -> float:
    """Share of defects that a frame does not show, from the model's own confusion: what it says that none was found."""
    table = confusion.nearest(setup.model, None)
    if table is None:
        return MISSED
    states = [kind.state for kind in setup.model.material.kinds]
    counts = np.array(table["counts"], float)[states]
    found, n = counts[:, states].sum(), counts.sum()
    return float((n - found + 1) / (n + 2))


class Points(NamedTuple):
    """Detections of a frame: yx (n, 2) square px, prob (n, S), sigma (n,) px."""

    yx: np.ndarray
    prob: np.ndarray
    sigma: np.ndarray


def matched(rows: np.ndarray, columns: np.ndarray, setup: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where `rows` of a frame's table lie, (n, 2) square px, and which of its packed `columns` each is, (n,) int.

    -1: none, for columns are those of the lattice that is followed: not along a boundary, not of another grain.
    """
    yx = np.column_stack([rows["y_px"] * setup.aspect, rows["x_px"]]).astype(float)
    if not len(columns) or not len(rows):
        return yx, np.full(len(rows), -1)
    distance, which = cKDTree(np.column_stack([columns["y_px"], columns["x_px"]])).query(yx)
    return yx, np.where(distance < SAME_PX, which, -1)


def _points(frame: Frame, rows: np.ndarray, setup: Any) -> Points:
    """Those of the `rows` of a frame that are on the lattice that is followed."""
    material = setup.model.material
    yx, match = matched(rows, frame.columns, setup)
    yx, rows, columns = yx[match >= 0], rows[match >= 0], frame.columns[match[match >= 0]]
    prob = np.zeros((len(rows), material.n_states))
    rest = np.maximum(rows["score"] - rows["kind_prob"], 0) / max(len(material.kinds) - 1, 1)
    for kind in material.kinds:
        mine = rows["kind"] == kind.name.encode()
        prob[:, kind.state] = np.where(mine, rows["kind_prob"], rest)
    prob[:, material.sites[0].ideal] = np.maximum(1 - rows["score"], 0)
    return Points(yx, prob, columns["sigma_px"].astype(float))


def _drift(looked: list[Frame], found: list[Points], setup: Any) -> np.ndarray:
    """(T, 2) drift since the first frame with a lattice, square px: the fraction of a lattice vector by the phases; the
    whole ones the shortest, unless defects that stay say otherwise; NaN without a lattice."""
    drift, before = np.full((len(looked), 2), np.nan), []
    start, last = None, np.zeros(2)
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 2, indexing="ij"), -1).reshape(-1, 2)
    reach = setup.settings.over_time.max_step_nm / setup.calibration.pixel_size_nm
    for t, (frame, points) in enumerate(zip(looked, found, strict=True)):
        if np.isnan(frame.lattice).any():
            continue
        vectors, origin = frame.lattice[:2], frame.lattice[2]
        if start is None:
            start = origin
        step = origin - start - last
        step = step - np.rint(step @ np.linalg.inv(vectors)) @ vectors
        choices = step + steps @ vectors
        choices = choices[np.argsort(np.linalg.norm(choices, axis=1))]
        choices = choices[np.linalg.norm(choices, axis=1) <= max(reach, np.linalg.norm(choices[0]) + 1e-9)]
        old = np.concatenate([np.zeros((0, 2)), *before[-REMEMBERED:]])
        radius = SAME_PLACE * np.linalg.norm(vectors, axis=1).min()
        agree = np.array([_agreeing(points.yx - last - choice, old, radius) for choice in choices])
        best = int(np.argmax(agree))
        if agree[best] < AGREE or agree[best] < CLEARLY * agree[0]:
            best = 0
        last = last + choices[best]
        drift[t] = last
        before.append(points.yx - last)
    return drift


def _agreeing(yx: np.ndarray, old: np.ndarray, radius: float) -> int:
    """How many of `yx` (n, 2) have one of `old` (m, 2) within `radius`."""
    if not len(yx) or not len(old):
        return 0
    return int((np.linalg.norm(yx[:, None] - old[None], axis=2).min(1) < radius).sum())


def _followed(yx: list[np.ndarray], reach: float) -> np.ndarray:
    """(n,) bool, of all points of all frames: there is one within `reach` in the frame before or after it.

    What is called by mistake is mostly alone in this, and anywhere in the cell. yx: per frame (m, 2), drift taken off.
    """
    near = [np.zeros(len(points), bool) for points in yx]
    for t in range(len(yx) - 1):
        if len(yx[t]) and len(yx[t + 1]):
            close = np.linalg.norm(yx[t][:, None] - yx[t + 1][None], axis=2) < reach
            near[t] |= close.any(1)
            near[t + 1] |= close.any(0)
    return np.concatenate(near)


def places(cells: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(P, 2) where in the cell the defects sit, fractions, the most common first.

    cells: (n, 2) places in units of the lattice vectors; vectors: (2, 2). A further place has `LEAST` of all and more
    than chance brings together of those that are left, wherever they are.
    """
    radius = SAME_PLACE * np.linalg.norm(vectors, axis=1).min()
    share = np.pi * radius**2 / abs(np.linalg.det(vectors))  # of the cell
    left, found = np.arange(len(cells)), []
    for _ in range(12):
        if not len(left):
            break
        off = cells[left, None] - cells[None, left]
        near = np.linalg.norm((off - np.rint(off)) @ vectors, axis=-1) < radius
        most = int(near.sum(1).max())
        # as many discs as fit into the cell, each wherever it holds most
        accident = bdtrc(most - 2, len(left) - 1, share) * min(len(left), 1 / share)
        if found and (most < max(2.0, LEAST * len(cells)) or accident > CHANCE):
            break
        middle, mine = cells[left[near.sum(1).argmax()]], np.zeros(len(left), bool)
        for _ in range(3):
            off = cells[left] - middle
            off = off - np.rint(off)
            mine = np.linalg.norm(off @ vectors, axis=1) < radius
            middle = middle + off[mine].mean(0)
        found.append(np.mod(middle, 1.0))
        left = left[~mine]
    return np.array(found)


def _nearest(cells: np.ndarray, centre: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(n,) which of the places `centre` (P, 2) of the cell each of `cells` (n, 2) is nearest to."""
    off = cells[:, None] - centre[None]
    return np.linalg.norm((off - np.rint(off)) @ vectors, axis=-1).argmin(1)


def _rows(frame, setup, prob, seen, points: Points, expected, inside) -> np.ndarray:
    """Rows of one frame: sites whose most probable state is a defect; where it is, or should be if it was missed."""
    material = setup.model.material
    states = np.array([kind.state for kind in material.kinds])
    part = prob[:, states]
    called = np.flatnonzero((part.max(1) >= setup.settings.over_time.threshold) & inside)
    rows = table.empty(len(called))
    rows["frame"], rows["time_s"] = frame.row["frame"], frame.row["time_s"]
    there = seen[called] >= 0
    place = np.where(there[:, None], points.yx[seen[called]], expected[called])
    rows["y_px"], rows["x_px"] = place.T
    rows["sigma_nm"] = np.where(there, points.sigma[seen[called]], np.median(points.sigma))
    rows["score"], rows["kind_prob"] = np.minimum(part[called].sum(1), 1), np.minimum(part[called].max(1), 1)
    names = np.array([k.name.encode() for k in material.kinds], f"S{table.KIND_BYTES}")
    rows["kind"] = names[part[called].argmax(1)]
    return in_nm(rows, setup)
