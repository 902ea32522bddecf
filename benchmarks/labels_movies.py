"""Movies of a few moving atoms on intact crystals, by a renderer that shares no code with the simulator.

Columns are sums of two Gaussians (30% of the light in a tail of 0.25 nm FWHM), counts are Poisson, rows jitter, the
specimen drifts. The truth is where every atom is in every frame.
"""

import dataclasses
from pathlib import Path

import numpy as np
import scipy.spatial
from scipy import ndimage

TAIL_SHARE, TAIL_NM = 0.3, 0.106  # of a column's light; standard deviation
DOSES = ("low", "typical", "high")
ALONE_NM = 0.35  # nothing else that the ideal observer calls is this near to an atom


@dataclasses.dataclass(frozen=True)
class Crystal:
    """vectors_nm: (2, 2) rows (y, x); basis: (b, 2) fractions with `light` (b,) of the ideal columns, 1 the brightest;
    atom: light that a moving atom adds; places: (p, 2) fractions where it can be; peak: counts at the centre of a
    column of light 1, by dose; jump: probability that it changes place between two frames; n_atoms: how many."""

    vectors_nm: np.ndarray
    basis: np.ndarray
    light: np.ndarray
    atom: float
    places: np.ndarray
    peak: tuple[float, float, float]
    jump: float
    n_atoms: int
    pixel_nm: float
    core_nm: float
    background: float


def _hexagonal(a_nm: float) -> np.ndarray:
    return a_nm * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])


THIRDS = np.array([[0.0, 0.0], [1 / 3, 1 / 3]])
CRYSTALS = {
    # Si in place of C: Z^1.6 says 3.9; +35 standard deviations of noise in one frame at `high`
    "graphene": Crystal(_hexagonal(0.2461), THIRDS, np.ones(2), 2.9, THIRDS, (0.5, 1.5, 6.0), 0.9, 1, 0.02, 0.050, 0.1),
    # an atom of half of W's light in the hollows; `peak` as 400, 1,200 and 4,000 incident electrons per px give
    "ws2": Crystal(
        _hexagonal(0.3153),
        THIRDS,
        np.array([1.0, 0.17]),
        0.5,
        np.array([[2 / 3, 2 / 3]]),
        (4.0, 12.0, 40.0),
        0.1,
        2,
        0.03,
        0.048,
        0.05,
    ),
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """frames: (n, H, W) float32 counts; yx: (n, a, 2) px of the atoms; place: (n, a) number of the place; drift_px:
    (n, 2). For the ideal observer: intact: (n, H, W) counts to expect without the atoms, rows where they belong;
    everywhere: (p, 2) px of all places in a field without drift; atom: what one adds, counts at its centre."""

    frames: np.ndarray
    yx: np.ndarray
    place: np.ndarray
    drift_px: np.ndarray
    pixel_nm: float
    intact: np.ndarray
    everywhere: np.ndarray
    atom: float
    crystal: Crystal


def simulate(name: str, dose: str, seed: int, n_frames: int = 48, size_px: int = 256) -> Scene:
    """`n_frames` of the crystal `name` at one of `DOSES`."""
    crystal = CRYSTALS[name]
    rng = np.random.default_rng([seed, DOSES.index(dose), sorted(CRYSTALS).index(name)])
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    vectors = crystal.vectors_nm @ turn / crystal.pixel_nm
    drift = np.cumsum(rng.normal(0, 0.15, (n_frames, 2)) + rng.normal(0, 0.1, 2), axis=0)
    drift -= drift[0]
    reach = int(2 * size_px / np.sqrt(abs(np.linalg.det(vectors))))
    cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)

    def around(fractions: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
        yx = ((cells[:, None] + fractions[None]) @ vectors).reshape(-1, 2) + size_px / 2
        near = ((yx > -margin) & (yx < size_px - 1 + margin)).all(1)
        return yx[near], np.tile(np.arange(len(fractions)), len(cells))[near]

    yx, which = around(crystal.basis, 12 + np.abs(drift).max())
    light = crystal.light[which]
    places, _ = around(crystal.places, -0.2 * size_px)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    nearest = np.where(distance > 0, distance, np.inf).min()
    near = (distance > 0) & (distance < 1.2 * nearest)
    at = np.zeros((n_frames, crystal.n_atoms), int)
    at[0] = _apart(rng, distance, crystal.n_atoms)
    for t in range(1, n_frames):
        at[t] = at[t - 1]
        for k in range(crystal.n_atoms):
            if rng.random() < crystal.jump:
                others = np.delete(at[t], k)
                free = [s for s in np.flatnonzero(near[at[t, k]]) if (distance[s, others] > 4 * nearest).all()]
                at[t, k] = rng.choice(free) if free else at[t, k]
    peak = crystal.peak[DOSES.index(dose)]
    frames, intact = [], []
    for t in range(n_frames):
        image = rendered(yx + drift[t], light, size_px, crystal)
        intact.append(np.float32(peak * (image + crystal.background)))
        image = image + rendered(places[at[t]] + drift[t], np.full(crystal.n_atoms, crystal.atom), size_px, crystal)
        rows, columns = np.meshgrid(np.arange(size_px), np.arange(size_px), indexing="ij")
        image = ndimage.map_coordinates(
            image, [rows, columns + rng.normal(0, 0.3, (size_px, 1))], order=3, mode="nearest"
        )
        frames.append(rng.poisson(np.maximum(peak * (image + crystal.background), 0)))
    return Scene(
        np.array(frames, np.float32),
        places[at] + drift[:, None],
        at,
        drift,
        crystal.pixel_nm,
        np.array(intact),
        around(crystal.places, 0.0)[0],
        peak * crystal.atom,
        crystal,
    )


def ideal(scene: Scene) -> tuple[int, int, int]:
    """Atoms found, calls and atoms in all of the ideal observer of single frames, who knows crystal, probe, drift and
    dose, and where atoms can be, but neither where they are nor how the rows jitter.

    It calls a place where an atom is likelier than none (Neyman and Pearson: no other rule finds as many with as few
    false ones).
    """
    hits, calls = 0, 0
    reach = int(np.ceil(2.5 * TAIL_NM / scene.pixel_nm))
    shape = np.array(scene.frames.shape[1:])
    grid = np.arange(2 * reach + 1)
    prior = np.log(scene.place.shape[1] / len(scene.everywhere))
    for frame, intact, true, drift in zip(scene.frames, scene.intact, scene.yx, scene.drift_px, strict=True):
        at = scene.everywhere + drift
        whole = np.rint(at).astype(int)
        kept = ((whole >= reach) & (whole < shape - reach)).all(1)
        at, whole = at[kept], whole[kept]
        off = at - whole + reach
        added = np.zeros((len(at), len(grid), len(grid)))
        shares = (
            ((1 - TAIL_SHARE) / scene.crystal.core_nm**2, scene.crystal.core_nm),
            (TAIL_SHARE / TAIL_NM**2, TAIL_NM),
        )
        for height, sigma_nm in shares:
            y, x = (np.exp(-0.5 * ((grid - off[:, axis, None]) * scene.pixel_nm / sigma_nm) ** 2) for axis in (0, 1))
            added += height * y[:, :, None] * x[:, None]
        added *= scene.atom / sum(height for height, _ in shares)
        rows, columns = (whole[:, axis, None] + grid - reach for axis in (0, 1))
        piece = rows[:, :, None], columns[:, None]
        ratio = (frame[piece] * np.log1p(added / intact[piece]) - added).sum((1, 2)) + prior
        near = scipy.spatial.distance.cdist(at, at) < ALONE_NM / scene.pixel_nm  # two atoms are never that near
        called = at[(ratio > 0) & (ratio >= np.where(near, ratio, -np.inf).max(1))]
        calls += len(called)
        for atom in true:
            hits += bool(len(called)) and bool((np.linalg.norm(called - atom, axis=1) < 0.5).any())
    return hits, calls, scene.place.size


def _apart(rng: np.random.Generator, distance: np.ndarray, n: int) -> np.ndarray:
    """Numbers of `n` places far from each other."""
    chosen = [int(rng.integers(len(distance)))]
    while len(chosen) < n:
        chosen.append(int(np.argmax(distance[chosen].min(0) * rng.random(len(distance)))))
    return np.array(chosen)


def rendered(yx: np.ndarray, light: np.ndarray, size_px: int, crystal: Crystal) -> np.ndarray:
    """(H, W) columns of `light` (n,) at `yx` (n, 2) px; 1 at the centre of a lone column of light 1."""
    image = np.zeros((size_px, size_px))
    shares = ((1 - TAIL_SHARE) / crystal.core_nm**2, crystal.core_nm), (TAIL_SHARE / TAIL_NM**2, TAIL_NM)
    for height, sigma_nm in shares:
        sigma = sigma_nm / crystal.pixel_nm
        rows, columns = (
            np.exp(-0.5 * ((np.arange(size_px)[None] - yx[:, axis, None]) / sigma) ** 2) for axis in (0, 1)
        )
        image += height * (rows * light[:, None]).T @ columns
    return image / sum(height for height, _ in shares)


def write(path: Path, scene: Scene, frame_time_s: float = 1.0) -> Path:
    """The movie as a file that `train.py` and `infer.py` read."""
    import h5py

    with h5py.File(path, "w") as file:
        data = file.create_dataset("frames", data=scene.frames.astype(np.uint16), compression="gzip")
        data.attrs["pixel_size_nm"], data.attrs["frame_time_s"] = scene.pixel_nm, frame_time_s
    return path
