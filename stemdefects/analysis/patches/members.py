"""Members of the classes of defects: which rows, how turned, and their pictures beside those of ideal columns."""

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.analysis.crystallography import columns
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.switching import states
from stemdefects.crystal import bragg
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.numerics.borders import from_border

MAX_MEMBERS = 400  # of a class, evenly over the movie
MIN_MEMBERS = 12  # of a class: fewer give no interval of a mean
MAX_FRAMES = 40  # evenly chosen, that pictures are taken from: members repeat from frame to frame
CLEAR_NM = 0.65  # ideal columns are this far from every detection


Class = tuple[np.ndarray, np.ndarray, int]  # rows, turn of each in bonds, sublattice


def lattices(found: Detections) -> np.ndarray | None:
    """(n_frames, 2, 2) lattice vectors in px, NaN where there are none."""
    names = ["a1_y_px", "a1_x_px", "a2_y_px", "a2_x_px"]
    if found.frames is None or not {*names, "frame"} <= set(found.frames):
        return None
    out = np.full((found.n_frames, 2, 2), np.nan)
    out[found.frames["frame"].to_numpy(int)] = found.frames[names].to_numpy(float).reshape(-1, 2, 2)
    return out


def classes(found: Detections, material: Material, centre: str | None, usable: np.ndarray) -> dict[str, Class]:
    """name -> (rows, turn of each in bonds, sublattice); lone defects by kind, complexes with and without
    orientation."""
    kinds, rows = found.kinds, found.rows
    site_of = {k.name: material.states[k.state].site for k in material.kinds}
    labels = np.full(len(rows), "") if centre is None else states.complex_labels(rows, centre)
    alone = (rows["complex"] < 0) & usable
    chosen = {kind: (kinds == kind) & alone for kind in np.unique(kinds) if kind in site_of}
    turns = dict.fromkeys(chosen, 0)
    for label in np.unique(labels):
        name, at, turn = str(label).partition("@")
        if at and centre in site_of:
            chosen.setdefault(name, np.zeros(len(rows), bool))
            chosen[name] |= (labels == label) & usable
            chosen[str(label)] = (labels == label) & usable
            turns[str(label)] = int(turn)
    out = {}
    for name, keep in chosen.items():
        index = np.flatnonzero(keep)
        if len(index) < MIN_MEMBERS:
            continue
        index = index[np.unique(np.linspace(0, len(index) - 1, MAX_MEMBERS).astype(int))]
        pooled = "+" in name and "@" not in name
        turn = rows["orientation"][index].astype(int) if pooled else np.zeros(len(index), int)
        out[name] = index, turn, site_of[name if name in site_of or centre is None else centre]
    return out


class Stencil(NamedTuple):
    """Places (p, 2) nm around a column at which its picture is read, none farther than `radius_nm` from it."""

    points: np.ndarray
    radius_nm: float


def take(
    found: Detections,
    material: Material,
    movie: Frames,
    lattices: np.ndarray,
    classes: dict[str, Class],
    stencil: Stencil,
    rng: np.random.Generator,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[int, np.ndarray]]:
    """Pictures of every class and of ideal columns: ({name: (pictures (n, p), members (n,))}, {site: (n, p)})."""
    inverse = np.linalg.inv(material.lattice_nm)
    frames = np.unique(np.concatenate([found.rows["frame"][index] for index, _, _ in classes.values()]))
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, MAX_FRAMES).astype(int))]
    sites = sorted({site for _, _, site in classes.values()} | set(range(material.n_sites)))
    steps = 2 * np.pi / 3
    turned = [stencil.points @ bragg.rotation(steps * k) for k in range(3)]
    taken = {name: ([], []) for name in classes}
    ideal = {site: [] for site in sites}
    place = np.column_stack([found.rows["y_px"], found.rows["x_px"]]).astype(float)
    for frame in frames:
        try:
            image = np.asarray(movie.frame(int(frame)), np.float32)
        except UserError:
            continue
        to_px = inverse @ lattices[frame]
        margin = stencil.radius_nm * np.linalg.norm(lattices[frame][0]) / material.a_nm + 2
        coefficients = columns.smooth((image - image.mean()) / max(float(image.std()), 1e-9))
        here = np.flatnonzero(found.rows["frame"] == frame)

        def inside(at, margin=margin, shape=image.shape):
            return from_border(at, shape) > margin

        for name, (index, turn, _) in classes.items():
            mine = np.flatnonzero((found.rows["frame"][index] == frame) & inside(place[index]))
            for k in range(3):
                some = mine[np.maximum(turn[mine], 0) == k]
                if len(some):
                    got = columns.pictures(coefficients, place[index[some]], to_px, turned[k])
                    taken[name][0].extend(got)
                    taken[name][1].extend(some)
        for site in sites:
            at = _ideal_places(found, here, place, material, site, lattices[frame], rng)
            at = at[inside(at)][:20]
            if len(at):
                ideal[site].extend(columns.pictures(coefficients, at, to_px, stencil.points))
    return (
        {n: (np.array(p), np.array(k)) for n, (p, k) in taken.items() if p},
        {s: np.array(p) for s, p in ideal.items() if len(p) >= MIN_MEMBERS},
    )


def _ideal_places(found, here, place, material, site, vectors, rng) -> np.ndarray:
    """(m, 2) px of columns of sublattice `site` well away from every detection of the frame, in random order."""
    site_of = {k.name: material.states[k.state].site for k in material.kinds}
    own = np.array([site_of.get(k, -1) for k in found.kinds[here]])
    known = here[own >= 0]
    if not len(known):
        return np.empty((0, 2))
    basis = material.basis
    cells = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 2, indexing="ij"), -1).reshape(-1, 2)
    shift = basis[site] - basis[own[own >= 0]]
    at = place[known][:, None] + (cells[None] + shift[:, None]) @ vectors
    # far from its own origin the lattice is not known so well
    near = np.linalg.norm((cells[None] + shift[:, None]) @ material.lattice_nm, axis=-1) < 2.0
    at = at[near]
    clear = CLEAR_NM * np.linalg.norm(vectors[0]) / material.a_nm
    distance = cKDTree(place[here]).query(at)[0]
    at = at[distance > clear]
    return at[rng.permutation(len(at))]
