"""Local crystallography: how the nearest columns are displaced around each class of defects, with principal components.

Pictures of the defects in the crystal's own frame come from the movie. Ideal columns of the same frames are measured in
the same way: what they seem to move by is the method's own error, and is taken off.
"""

from dataclasses import dataclass, field

import numpy as np

from stemdefects.analysis import bootstrap
from stemdefects.analysis.crystallography import columns
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.patches import members
from stemdefects.crystal.material import Material
from stemdefects.numerics import robust

RADIUS_NM = 0.75  # of the pictures
MIN_MEMBERS = members.MIN_MEMBERS
SHAPE_NM = 0.0007  # error (sigma) left by a spot that is not two Gaussians, measured on simulated images
FAINT = 0.35  # of the ideal column's height: what is left there has no place of its own
N_SHUFFLES = 100  # enough for a 95th percentile


@dataclass
class Neighbours:
    """Displacements of the nearest columns of one class.

    Attributes:
        name: kind, or complex with its orientation; a complex without `@` has its orientations turned onto each other.
        picture: (side, side) mean picture in the crystal's frame, STEP_NM apart, NaN outside.
        position_nm, site: (k, 2), (k,) the ideal columns, the defect itself first.
        mean_pm, low_pm, high_pm: (k, 2) displacements in y and x with 95% intervals, NaN for a column of no height.
        radial_pm: (value, low, high) mean outward displacement of the nearest shell.
        explained, chance, ideal: (c,) share of the variance per principal component, the 95th percentile of the same
            when displacements are shuffled between members, and what ideal columns of the same frames have.
        component: (c, k, 2) principal components, in units of the ideal columns' scatter.
        n, n_tracks: members and tracks they belong to.
    """

    name: str
    picture: np.ndarray
    position_nm: np.ndarray
    site: np.ndarray
    mean_pm: np.ndarray
    low_pm: np.ndarray
    high_pm: np.ndarray
    radial_pm: tuple[float, float, float]
    explained: np.ndarray
    chance: np.ndarray
    ideal: np.ndarray
    component: np.ndarray
    n: int
    n_tracks: int


@dataclass
class Local:
    """`classes` by name, the spot of a column, and notes on what could not be done."""

    classes: dict[str, Neighbours] = field(default_factory=dict)
    spot: columns.Spot | None = None
    notes: list[str] = field(default_factory=list)


def run(
    found: Detections,
    material: Material | None,
    movie: Frames | None,
    centre: str | None,
    rng: np.random.Generator,
    n_nearest: int = 7,
) -> Local:
    """Displacements around every class with at least MIN_MEMBERS members.

    Args:
        found: detections with `track` filled in.
        material: `crystal.material.Material`; None: nothing can be done.
        movie: of the detections; None: nothing can be done.
        centre: kind in the middle of complexes.
        n_nearest: columns, the defect's own included; whole shells are taken.
    """
    out = Local()
    lattices = members.lattices(found)
    if material is None or lattices is None or not np.isfinite(lattices).any():
        out.notes.append("No local crystallography: the table has no lattice vectors per frame.")
        return out
    if movie is None:
        out.notes.append("No local crystallography: the movie is not there.")
        return out
    rows = found.rows
    usable = np.asarray(np.isfinite(lattices[rows["frame"]]).all((1, 2)))
    points = columns.grid(RADIUS_NM)
    classes = members.classes(found, material, centre, usable)
    if not classes:
        out.notes.append(f"No local crystallography: no class has {MIN_MEMBERS} defects on the lattice.")
        return out
    taken, ideal = members.take(found, material, movie, lattices, classes, members.Stencil(points, RADIUS_NM), rng)
    if not ideal:
        out.notes.append("No local crystallography: no ideal columns are far enough from all defects to compare with.")
        return out
    site = max(ideal, key=lambda s: ideal[s].mean(0)[np.hypot(*points.T) < 0.05].mean())  # the brightest
    around = columns.surroundings(material, site, RADIUS_NM)
    out.spot, fits = columns.fit_spot(ideal[site].mean(0), points, around), {}
    for name, (index, _, site) in classes.items():
        got = taken.get(name)
        if got is None or len(got[0]) < MIN_MEMBERS or site not in ideal:
            continue
        if site not in fits:
            fits[site] = columns.Fit(points, columns.surroundings(material, site, RADIUS_NM, n_nearest), out.spot)
        pictures, kept = got
        result = neighbours(name, pictures, ideal[site], rows["track"][index][kept], points, fits[site], rng)
        if result is not None:
            out.classes[name] = result
    left = sorted(set(classes) - set(out.classes))
    if left:
        out.notes.append(
            f"No displacements around {', '.join(left)}: fewer than {MIN_MEMBERS} of them are inside the frames, or no "
            f"ideal columns of their sublattice are {members.CLEAR_NM} nm from all defects."
        )
    return out


def neighbours(
    name: str,
    pictures: np.ndarray,
    ideal: np.ndarray,
    tracks: np.ndarray,
    points: np.ndarray,
    fit: columns.Fit,
    rng: np.random.Generator,
) -> Neighbours | None:
    """The displacements of one class from its pictures (n, p); `ideal` pictures of the sublattice's ideal column;
    `tracks` (n,) number of each member's track."""
    around, known = fit.around, fit.known
    inner = around.inner[known]
    reference, scatter, full_height = _measure(fit, ideal, inner)
    moved, _, height = _measure(fit, pictures, inner)
    faint = height < FAINT * full_height
    use = inner & ~faint
    good = (np.abs(moved[:, use]).max((1, 2)) < columns.REACH) if use.any() else np.zeros(len(moved), bool)
    if good.sum() < MIN_MEMBERS:
        return None
    moved, tracks = moved[good], tracks[good]
    mean = moved.mean(0) - reference.mean(0)
    low, high = _interval(moved, reference, tracks, mean, rng)
    for values in (mean, low, high):
        values[faint] = np.nan
    distance = around.distance_nm[known]
    shell = inner & (distance > 0.02) & (distance < distance[distance > 0.02].min() + 0.02) & ~faint
    out = around.position_nm[known] / np.maximum(distance, 1e-9)[:, None]
    radial = _radial(moved, reference, tracks, shell, out, rng)
    # faint columns are noisier: each displacement in units of the ideal columns' scatter
    unit = np.maximum(scatter, 1e-9)
    explained, chance, component = components((moved / unit)[:, use].reshape(len(moved), -1), rng)
    count = min(len(reference), len(moved))
    share = components((reference / unit)[:count, use].reshape(count, -1), rng, 0)[0]
    full = np.full((len(component), len(known), 2), np.nan)
    full[:, use] = component.reshape(len(component), -1, 2)
    return Neighbours(
        name=name,
        picture=_square(pictures[good].mean(0), points),
        position_nm=around.position_nm[known][inner],
        site=around.site[known][inner],
        mean_pm=1000 * mean[inner],
        low_pm=1000 * low[inner],
        high_pm=1000 * high[inner],
        radial_pm=(1000 * radial[0], 1000 * radial[1], 1000 * radial[2]),
        explained=explained,
        chance=chance,
        ideal=share[: len(explained)],
        component=full[:, inner],
        n=len(moved),
        n_tracks=len(np.unique(tracks)),
    )


def _measure(fit: columns.Fit, pictures: np.ndarray, inner: np.ndarray):
    """Displacements (n, k, 2) nm against the outer columns, their scatter (k, 2), mean heights (k,).

    A noisy height would bias each quotient, so a column's moment is divided by the mean height of its class.
    """
    heights, moments = fit(pictures)
    height = heights.mean(0)
    safe = np.maximum(height, 1e-3 * np.abs(height).max())
    moved = moments / safe[None, :, None]
    position = fit.around.position_nm[fit.known]
    moved = columns.relative(moved, position, np.maximum(height, 0) ** 2 + 1e-12, inner)
    return moved, robust.scatter(moved, axis=0), height


def _interval(moved, reference, tracks, mean, rng):
    """95% intervals of the mean displacement from resampling tracks, with the ideal columns' own error."""
    totals, counts = _by_track(moved, tracks)
    weights = bootstrap.weights(len(counts), 300, rng)
    again = np.einsum("bt,tkd->bkd", weights, totals) / (weights @ counts)[:, None, None]
    spread = again.var(0) * len(counts) / max(len(counts) - 1, 1) + reference.var(0) / len(reference) + SHAPE_NM**2
    half = 1.96 * np.sqrt(spread) if len(counts) > 2 else np.full(mean.shape, np.nan)
    return mean - half, mean + half


def _by_track(values, tracks):
    names, owner = np.unique(tracks, return_inverse=True)
    if (names < 0).any():  # not linked: each for itself
        owner = np.arange(len(tracks))
    totals = np.zeros((owner.max() + 1, *values.shape[1:]))
    np.add.at(totals, owner, values)
    return totals, np.bincount(owner).astype(float)


def _radial(moved, reference, tracks, shell, out, rng) -> tuple[float, float, float]:
    """Mean outward displacement (nm) of the columns in `shell` with its interval."""
    if not shell.any():
        return np.nan, np.nan, np.nan
    outward = (moved[:, shell] * out[shell]).sum(-1).mean(1)
    zero = (reference[:, shell] * out[shell]).sum(-1).mean(1)
    totals, counts = _by_track(outward[:, None], tracks)
    weights = bootstrap.weights(len(counts), 300, rng)
    again = (weights @ totals[:, 0]) / (weights @ counts)
    value = float(outward.mean() - zero.mean())
    if len(counts) < 3:
        return value, np.nan, np.nan
    half = 1.96 * np.sqrt(again.var() * len(counts) / (len(counts) - 1) + zero.var() / len(zero) + SHAPE_NM**2)
    return value, value - half, value + half


def components(
    data: np.ndarray, rng: np.random.Generator, n_shuffles: int = N_SHUFFLES, n_keep: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of displacements (n, f), by SVD.

    Returns:
        (explained (c,) share of the variance, chance (c,) 95th percentile when every feature is shuffled between the
        members by itself, components (c, f)).
    """
    centred = data - data.mean(0)
    _, size, rows = np.linalg.svd(centred, full_matrices=False)
    total = max((size**2).sum(), 1e-300)
    keep = min(n_keep, len(size))
    chance = []
    for _ in range(n_shuffles):
        mixed = rng.permuted(centred, axis=0)
        eigen = np.linalg.eigvalsh(mixed.T @ mixed)[::-1]
        chance.append(np.maximum(eigen[:keep], 0) / total)
    level = np.quantile(chance, 0.95, axis=0) if chance else np.full(keep, np.nan)
    return (size**2 / total)[:keep], level, rows[:keep]


def _square(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    index = np.rint(points / columns.STEP_NM).astype(int)
    n = index.max()
    out = np.full((2 * n + 1, 2 * n + 1), np.nan)
    out[tuple((index + n).T)] = picture
    return out
