"""Lattice sites around detections: orientation, origin and the candidates of every detection."""

from dataclasses import dataclass

import numpy as np

from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.tracking.tracks import Tracks
from stemdefects.crystal.lattice import reduce

OFF_PLACE = 0.08  # of a lattice vector, that a place of the cell may be off


@dataclass
class Sites:
    """Candidate sites of every detection: `cell` (n, M, 2) integers, `offset` (n, M, 2) detection minus site."""

    cell: np.ndarray
    offset: np.ndarray
    vectors: np.ndarray


def hop_vectors(vectors: np.ndarray) -> np.ndarray:
    """Integer steps to the nearest sites of a lattice with rows `vectors` (2, 2): (6, 2) on a hexagonal one."""
    steps = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)])
    length = np.hypot(*(steps @ vectors).T)
    return steps[length < 1.25 * length.min()]


def lattice_from_steps(tracks: Tracks, a: float, n_angles: int = 120) -> tuple[np.ndarray, float] | None:
    """Orientation of a hexagonal lattice of constant `a` from the steps between detections.

    Returns:
        (vectors (2, 2), score): the score is the mean cosine of the lattice phase of steps longer than a/2 (0: none,
        1: perfect lattice) minus what the best of `n_angles` random directions reaches by chance; None with fewer than
        10 such steps.
    """
    later = np.flatnonzero(np.diff(tracks.track) == 0) + 1
    move = tracks.yx[later] - tracks.yx[later - 1]
    move = move[(np.hypot(*move.T) > 0.5 * a) & (np.hypot(*move.T) < 2.2 * a)]
    if len(move) < 10:
        return None
    angles = np.arange(n_angles) * np.pi / 3 / n_angles
    scores = []
    for angle in angles:
        directions = angle + np.pi / 6 + np.arange(3) * np.pi / 3
        g = np.column_stack([np.sin(directions), np.cos(directions)]) / (a * np.sqrt(3) / 2)
        scores.append(np.cos(2 * np.pi * move @ g.T).mean())
    best = int(np.argmax(scores))
    chance = np.sqrt(2 * np.log(n_angles) / (6 * len(move)))
    directions = angles[best] + np.array([0, np.pi / 3])
    return np.column_stack([np.sin(directions), np.cos(directions)]) * a, float(scores[best] - chance)


def vectors(found: Detections, some: Tracks, a: float) -> tuple[np.ndarray | None, str]:
    """Lattice vectors (2, 2) in the table's length unit, and how they were found; None with the reason."""
    columns = ["a1_y_px", "a1_x_px", "a2_y_px", "a2_x_px"]
    if found.frames is not None and set(columns) <= set(found.frames):
        values = found.frames[columns].to_numpy(float)
        values = values[np.isfinite(values).all(1)]
        if len(values):
            own = np.median(values, 0).reshape(2, 2) * found.scale_yx
            if abs(np.linalg.det(own)) > 0.3 * a**2:
                finer = of_places(own, np.array(found.attrs.get("places", [[0.0, 0.0]]), float))
                if finer is None:
                    return None, "the places of the cell where defects sit do not lie on one"
                return finer, "the frames' own lattice"
    guess = lattice_from_steps(some, a) if some.n_tracks else None
    if guess is None:
        return None, "there are fewer than 10 steps of about a lattice constant"
    own, score = guess
    if score < 0.15:
        return None, f"the steps show no lattice directions (order {max(score, 0):.2f} above chance, 0.15 is needed)"
    return own, f"the directions of the hops (order {score:.2f} above chance)"


def of_places(vectors: np.ndarray, places: np.ndarray) -> np.ndarray | None:
    """(2, 2) the coarsest lattice on which several places (P, 2) of the cell of `vectors` all lie; None where they lie
    on none whose steps are a half, a third or a quarter of the cell's.

    The steps from place to place are then steps of this lattice: a honeycomb's are those of the triangular lattice that
    the middles of its hexagons complete.
    """
    off = places - places[:1]
    for n in (1, 2, 3, 4):
        whole = np.rint(n * off)
        if np.linalg.norm((n * off - whole) @ vectors, axis=1).max() < n * OFF_PLACE * np.linalg.norm(vectors[0]):
            generators = np.concatenate([n * np.eye(2), whole])
            return reduce(_integer_basis(generators.astype(int)) / n @ vectors)
    return None


def _integer_basis(generators: np.ndarray) -> np.ndarray:
    """(2, 2) rows that span what the integer rows (m, 2) span, by Euclid's algorithm."""
    rows = [list(map(int, row)) for row in generators]
    basis = []
    for column in (0, 1):
        while True:
            left = sorted((row for row in rows if row[column]), key=lambda row: abs(row[column]))
            if len(left) < 2:
                break
            smallest = left[0]
            for row in left[1:]:
                times = row[column] // smallest[column]
                row[:] = [a - times * b for a, b in zip(row, smallest, strict=True)]
        basis += left
        rows = [row for row in rows if row not in left]
    return np.array(basis, float)


def assign(tracks: Tracks, vectors: np.ndarray, bandwidth: float, n_iter: int = 3) -> Sites:
    """Candidate lattice sites of every detection.

    The lattice's origin is found from the detections themselves, separately in every place: the phase is averaged over
    detections within about `bandwidth`, so that a slow distortion of the scan does no harm.

    Args:
        vectors: (2, 2) rows a1, a2 of the sublattice in the unit of the tracks.
        bandwidth: distance over which the lattice is taken as perfect.
    """
    vectors = reduce(vectors)
    inverse = np.linalg.inv(vectors)
    middle = np.stack([np.bincount(tracks.track, tracks.yx[:, k]) for k in range(2)], 1) / tracks.lengths[:, None]
    distance = ((middle[:, None] - middle[None]) ** 2).sum(-1)
    weight = np.exp(-distance / (2 * bandwidth**2))
    origin = np.zeros((tracks.n_tracks, 2))  # fractional
    for iteration in range(n_iter):
        u = tracks.yx @ inverse - origin[tracks.track]
        if iteration == 0:
            # fractional parts of three equivalent axes would do; two suffice to start with
            phase = np.exp(2j * np.pi * u)
            sums = np.stack(
                [np.bincount(tracks.track, p.real) + 1j * np.bincount(tracks.track, p.imag) for p in phase.T], 1
            )
            shift = np.angle(weight @ sums) / (2 * np.pi)
        else:
            off = _nearest(u, vectors) - u
            sums = np.stack([np.bincount(tracks.track, -o) for o in off.T], 1)
            shift = (weight @ sums) / (weight @ tracks.lengths)[:, None]
        origin = origin + shift
    u = tracks.yx @ inverse - origin[tracks.track]
    centre = _nearest(u, vectors)
    around = np.concatenate([[(0, 0)], hop_vectors(vectors)])
    cell = centre[:, None] + around
    return Sites(cell.astype(int), (u[:, None] - cell) @ vectors, vectors)


def _nearest(u: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Nearest lattice point of fractional coordinates (n, 2), as integers; `vectors` reduced."""
    base = np.floor(u)
    corners = base[:, None] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    distance = (((u[:, None] - corners) @ vectors) ** 2).sum(-1)
    return corners[np.arange(len(u)), distance.argmin(1)]
