"""The sites that take part, their neighbours, and the class of every jump between them."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.evidence import Evidence

MIN_SEEN = 0.1  # share of frames in which a site must be seen to take part: below that nothing holds its states


class Rate(IntEnum):
    """The processes, each with a rate in 1/s of one vacancy (or empty site) and one way that is open to it."""

    HOP = 0  # a single vacancy to one free neighbour in the open lattice, or over the field's border
    CATCH = 1  # from the open lattice to one free bond of a centre
    RELEASE = 2  # from a bond to one free site of the open lattice, or of another centre
    TURN = 3  # from a bond to one free bond of the same centre, alone there
    TURN_MORE = 4  # the same with other vacancies at the centre
    CLUSTER = 5  # any hop that begins or ends beside centres that touch
    ATTACH = 6  # from nowhere that is seen to one bond of an empty centre
    ATTACH_MORE = 7  # the same at a centre that holds a vacancy
    DETACH = 8  # from a bond to nowhere that is seen, alone there
    DETACH_MORE = 9  # the same with other vacancies at the centre
    APPEAR = 10  # at one empty site off the centres
    VANISH = 11  # a single vacancy off the centres is filled
    DOUBLE = 12  # a single vacancy becomes a double one
    HALVE = 13  # a double vacancy becomes a single one
    HOP_TWO = 14  # a double vacancy to one free neighbour


N_RATES = len(Rate)
# what follows the rates in a chain's vector of parameters
SHARE, RHO, RHO_TWO, RHO_BOND, TAU, SCALE, SHIFT, NOISE, MIXED = 15, 16, 17, 18, 19, 20, 21, 22, 23
BASE = 24  # and the next two: what the line of full sites is off zero, for each kind of site
SCALE_TWO = 27  # of the level of two vacancies
SHIFT_BOND = 28  # as SHIFT, of a site beside a centre
TAU_BOND = 29  # as TAU, the spread of the offsets, of sites beside a centre
KNEE = 30  # scatters, towards vacancies, from which full sites' readings fall off as an exponential and not as a normal
N_PARAMETERS = 31  # rates and these
FREE, BOND, CLUSTER = 0, 1, 2  # kinds of sites
SINGLE, STILL, DOUBLE = 1, 2, 3  # layers of a site: a vacancy that moves, one that does not, two on the site


class Sites(NamedTuple):
    """The n sites that take part, and the C centres that stand alone. Numbers of sites are those of this selection."""

    original: np.ndarray  # (n,) number in the evidence
    near: np.ndarray  # (n, 6) neighbours by direction, 60 degrees apart, -1: none
    cell: np.ndarray  # (n, 2) place on the grid of the sublattice (row, column)
    steps: np.ndarray  # (6, 2) what each direction adds to the place on the grid
    kind: np.ndarray  # (n,) FREE, BOND (of a centre that stands alone) or CLUSTER (of centres that touch or are cut)
    centre: np.ndarray  # (n,) the site's centre, -1
    bonds: np.ndarray  # (C, 3) the centres' sites
    way_out: np.ndarray  # (n, 6) class of the hop to each neighbour, -1
    way_in: np.ndarray  # (n, 6) class of the hop from each neighbour, -1
    axis: np.ndarray  # (n, 6) direction of the hop, 0..2, opposite ones alike; -1
    missing: np.ndarray  # (n,) neighbours that a site of the open lattice lacks: the ways over the border
    hop_nm: float  # median distance of neighbours
    axes: np.ndarray  # (3, 2) unit vectors (y, x) of the directions
    centre_original: np.ndarray  # (C,) number of the centre in the other sublattice


def take_part(evidence: Evidence) -> np.ndarray:
    """(N,) bool: sites that are inside the field and not in a hole often enough."""
    seen = evidence.allowed & np.isfinite(evidence.line)
    return seen.mean(0) >= MIN_SEEN if len(seen) else np.zeros(len(evidence.yx_nm), bool)


def sites(evidence: Evidence) -> Sites:
    """Select the sites that take part and classify the jumps between them."""
    keep = take_part(evidence)
    original = np.flatnonzero(keep)
    new = np.full(len(keep) + 1, -1)
    new[original] = np.arange(len(original))
    near, hop_nm, axes = _by_direction(evidence.yx_nm[original], new[evidence.neighbours[original]])
    cell, steps, near = _on_grid(near)
    centre, bonds, kind, centre_original = _centres(evidence, original)
    ends = np.where(near >= 0, kind[near], -1)
    same = (centre[near] == centre[:, None]) & (centre[:, None] >= 0)
    here = np.broadcast_to(kind[:, None], near.shape)
    way_out, way_in = np.full(near.shape, Rate.HOP), np.full(near.shape, Rate.HOP)
    for way, start, end in ((way_out, here, ends), (way_in, ends, here)):
        way[(start == FREE) & (end == BOND)] = Rate.CATCH
        way[(start == BOND) & ~same] = Rate.RELEASE
        way[same] = Rate.TURN
        way[(start == CLUSTER) | (end == CLUSTER)] = Rate.CLUSTER
        way[near < 0] = -1
    axis = np.where(near >= 0, np.arange(6) % 3, -1)
    full = np.bincount((evidence.neighbours >= 0).sum(1), minlength=1).argmax() if len(keep) else 6
    missing = np.where(kind == FREE, np.maximum(full - (near >= 0).sum(1), 0), 0).astype(float)
    return Sites(
        original=original,
        near=near.astype(np.int32),
        cell=cell,
        steps=steps,
        kind=kind.astype(np.int8),
        centre=centre.astype(np.int32),
        bonds=bonds.astype(np.int32),
        way_out=way_out.astype(np.int8),
        way_in=way_in.astype(np.int8),
        axis=axis.astype(np.int8),
        missing=missing,
        hop_nm=hop_nm,
        axes=axes,
        centre_original=centre_original,
    )


def _centres(evidence: Evidence, original: np.ndarray):
    """The centre of each site (-1), the sites of each centre, the kinds of sites, and the centres' own numbers."""
    likely = np.asarray(evidence.centre, float)
    likely = likely.mean(0) if likely.ndim == 2 else likely
    beside = evidence.bonds[original]
    is_centre = np.append(likely > 0.5, False)[beside]  # (n, 3)
    owners: dict[int, list[int]] = {}
    for site, way in zip(*np.nonzero(is_centre), strict=True):
        owners.setdefault(int(beside[site, way]), []).append(int(site))
    shared = is_centre.sum(1) > 1
    kind = np.where(is_centre.any(1), CLUSTER, FREE)
    centre = np.full(len(original), -1)
    alone = [m for m, held in sorted(owners.items()) if len(held) == 3 and not shared[held].any()]
    bonds = np.array([owners[m] for m in alone], int).reshape(-1, 3)
    for number, held in enumerate(bonds):
        kind[held], centre[held] = BOND, number
    return centre, bonds, kind, np.array(alone, int)


def _by_direction(yx: np.ndarray, near: np.ndarray):
    """Neighbours `(n, 6)` sorted by direction, median hop length, unit vectors of the three axes."""
    there = near >= 0
    if not there.any():
        return np.full((len(near), 6), -1), np.nan, np.eye(3, 2)
    step = np.where(there[..., None], yx[near] - yx[:, None], 0.0)
    angle = np.arctan2(step[..., 0], step[..., 1])
    first = np.angle(np.exp(6j * angle[there]).mean()) / 6  # axes lie 60 degrees apart
    site, way = np.nonzero(there)
    towards = np.round((angle[there] - first) / (np.pi / 3)).astype(int) % 6
    ordered = np.full((len(near), 6), -1)
    ordered[site, towards] = near[site, way]
    turned = first + np.arange(3) * np.pi / 3
    return ordered, float(np.median(np.hypot(*step[there].T))), np.stack([np.sin(turned), np.cos(turned)], 1)


def _on_grid(near: np.ndarray):
    """Places of sites on a grid where each direction is a constant step, the steps, and the neighbours that fit it.

    Parts that are not connected get rows of their own. A link that closes a ring at another place than the ring before
    it (a dislocation) is cut: nothing hops over it.
    """
    tried = []
    for basis in range(3):  # the slanted field fits one of three pairs of axes best
        steps = np.array([[[0, 1], [1, 0], [1, -1]], [[-1, 1], [0, 1], [1, 0]], [[-1, 0], [-1, 1], [0, 1]]][basis])
        steps = np.concatenate([steps, -steps])
        cell = _places(near, steps)
        size = int(np.prod(np.ptp(cell, axis=0) + 1)) if len(cell) else 0
        tried.append((size, cell, steps))
    _, cell, steps = min(tried, key=lambda one: one[0])
    fits = (near >= 0) & (cell[near] == cell[:, None] + steps).all(-1)
    at = {tuple(c): i for i, c in enumerate(cell.tolist())}
    lone = np.array([at[tuple(c)] == i for i, c in enumerate(cell.tolist())], bool)
    if not lone.all():  # two sites on one place: the second stands alone, in a row of its own
        row = cell[:, 0].max() + 3
        for k, i in enumerate(np.flatnonzero(~lone)):
            cell[i] = row + 3 * k, 0
        fits = (near >= 0) & (cell[near] == cell[:, None] + steps).all(-1)
    return cell, steps, np.where(fits, near, -1)


def _places(near: np.ndarray, steps: np.ndarray) -> np.ndarray:
    cell, done, row = np.zeros((len(near), 2), int), np.zeros(len(near), bool), 0
    for first in range(len(near)):
        if done[first]:
            continue
        done[first], held = True, [first]
        for site in held:  # grows while it is walked through
            for way, other in enumerate(near[site]):
                if other >= 0 and not done[other]:
                    done[other] = True
                    cell[other] = cell[site] + steps[way]
                    held.append(int(other))
        part = cell[held]
        cell[held] = part - part.min(0) + [row, 0]
        row = cell[held][:, 0].max() + 3
    return cell
