"""The sites that take part, their neighbours, and the class of every jump between them."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.evidence import Evidence

MIN_SEEN = 0.1  # share of frames in which a site must be seen to take part: below that nothing holds its states
WINDOW = 61  # sites of the largest window: all within four lattice steps


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
FREE, BOND, CLUSTER = 0, 1, 2  # kinds of sites


class Sites(NamedTuple):
    """The n sites that take part, and the C centres that stand alone. Numbers of sites are those of this selection."""

    original: np.ndarray  # (n,) number in the evidence
    near: np.ndarray  # (n, 6) neighbours, -1: none
    kind: np.ndarray  # (n,) FREE, BOND (of a centre that stands alone) or CLUSTER (of centres that touch or are cut)
    centre: np.ndarray  # (n,) the site's centre, -1
    bonds: np.ndarray  # (C, 3) the centres' sites
    way_out: np.ndarray  # (n, 6) class of the hop to each neighbour, -1
    way_in: np.ndarray  # (n, 6) class of the hop from each neighbour, -1
    axis: np.ndarray  # (n, 6) direction of the hop, 0..2, opposite ones alike; -1
    missing: np.ndarray  # (n,) neighbours that a site of the open lattice lacks: the ways over the border
    windows: np.ndarray  # (n, <= WINDOW) each site and those nearest to it, in order of distance
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
    near = new[evidence.neighbours[original]]
    n = len(original)
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
    hop_nm, axis, axes = _directions(evidence.yx_nm[original], near)
    full = np.bincount((evidence.neighbours >= 0).sum(1), minlength=1).argmax() if len(keep) else 6
    missing = np.where(kind == FREE, np.maximum(full - (near >= 0).sum(1), 0), 0).astype(float)
    return Sites(
        original, near.astype(np.int32), kind.astype(np.int8), centre.astype(np.int32), bonds.astype(np.int32),
        way_out.astype(np.int8), way_in.astype(np.int8), axis.astype(np.int8), missing,
        _windows(evidence.yx_nm[original], n), hop_nm, axes, centre_original,
    )  # fmt: skip


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


def _directions(yx: np.ndarray, near: np.ndarray):
    """Median hop length, the direction of each way (three axes of a hexagonal sublattice) and the axes."""
    there = near >= 0
    if not there.any():
        return np.nan, np.full(near.shape, -1), np.eye(3, 2)
    step = np.where(there[..., None], yx[near] - yx[:, None], 0.0)
    angle = np.arctan2(step[..., 0], step[..., 1])
    first = np.angle(np.exp(6j * angle[there]).mean()) / 6  # axes lie 60 degrees apart
    axis = np.where(there, np.round((angle - first) / (np.pi / 3)).astype(int) % 3, -1)
    turned = first + np.arange(3) * np.pi / 3
    return float(np.median(np.hypot(*step[there].T))), axis, np.stack([np.sin(turned), np.cos(turned)], 1)


def _windows(yx: np.ndarray, n: int) -> np.ndarray:
    from scipy.spatial import cKDTree

    if n == 0:
        return np.zeros((0, 0), np.int32)
    order = cKDTree(yx).query(yx, min(WINDOW, n))[1]
    return order.reshape(n, -1).astype(np.int32)
