"""Are grains, their boundary, dirt and single atoms told apart in one image?   python benchmarks/labels_grains.py

Images of several grains that share no code with the simulator (columns of labels_movies.py), with dirt at the edge, in
the middle, in a corner or as specks, against the truth: grains and their turn against the largest, length of the
boundary outside the dirt, what of the crystal is called a hole or amorphous, labels on dopants and vacancies, and other
labels. The table goes into docs/labels.md with `--write`.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import labels_movies as movies
import numpy as np
import script
from scipy import ndimage
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RADIUS_NM = 0.08
FAR = 3.0  # lattice spacings from dirt
BAND_PX = 10.0  # half width of the band whose area gives the true length


class Case(NamedTuple):
    crystal: str
    angles_deg: tuple[float, ...]
    dirt: str
    peak: float = 6.0  # counts at the centre of a column of light 1
    dopants: int = 2
    vacancies: int = 0
    size_px: int = 384


CASES = {
    "two, dirt at the edge": Case("graphene", (0, 25), "edge"),
    "two, dirt in the middle": Case("graphene", (0, 12), "middle"),
    "two, a quarter of the counts": Case("graphene", (0, 20), "edge", 1.5),
    "two, a small angle": Case("graphene", (0, 8), "none"),
    "two, specks": Case("graphene", (0, 28), "specks"),
    "three, dirt in a corner": Case("graphene", (0, 17, 38), "corner", dopants=3, size_px=448),
    "one, dirt in the middle": Case("graphene", (0,), "middle", vacancies=1),
    "WS2, two, dirt in the middle": Case("ws2", (0, 21), "middle", 40.0),
    "WS2, three": Case("ws2", (0, 15, 40), "none", 40.0, size_px=512),
}


class Image(NamedTuple):
    """frame (H, W) counts; member, dirt, to_seam (H, W): true grain, dirt's share of its full thickness, distance from
    where grains meet in px; odd: (n, 2) dopants and vacancies."""

    frame: np.ndarray
    member: np.ndarray
    dirt: np.ndarray
    to_seam: np.ndarray
    odd: np.ndarray
    spacing_px: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--write", action="store_true", help="put the table into docs/labels.md")
    options = parser.parse_args()
    columns = ["grains", "turned by", "length, nm", "crystal lost", "dopants and vacancies", "other labels"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for number, (name, case) in enumerate(CASES.items()):
        lines.append(row(name, case, np.random.default_rng([options.seed, number])))
        print(lines[-1], flush=True)
    if options.write:
        script.fill(ROOT / "docs" / "labels.md", "<!-- grains -->", "<!-- end grains -->", "\n".join(lines))


def row(name: str, case: Case, rng: np.random.Generator) -> str:
    """What the labels say of one image, beside the truth in brackets."""
    from stemdefects import config
    from stemdefects.labels.fourier import label

    made = image(case, rng)
    found = label.label(made.frame[None], config.load_group("labels", "fourier").fourier, name)
    pixel_nm = movies.CRYSTALS[case.crystal].pixel_nm
    clean = made.dirt < 0.02
    away = ndimage.distance_transform_edt(clean) > FAR * made.spacing_px if not clean.all() else clean
    away &= made.to_seam > 1.5 * made.spacing_px
    lost = np.isin(found.regions[0], (1, 2))[away].mean()
    labels = found.defects.yx
    near = cKDTree(made.odd).query(labels)[0] * pixel_nm < RADIUS_NM if len(labels) else np.zeros(0, bool)
    length = 0.0 if found.seam is None else found.seam[1] * pixel_nm
    true = ((made.to_seam < BAND_PX) & (made.dirt < 0.05)).sum() / (2 * BAND_PX) * pixel_nm
    turns = [f"{t:.1f}" for t in sorted(abs(found.grains.turn_deg[1:]))]
    first = np.ones(clean.shape, bool) if found.member is None else found.member == 0
    largest = np.argmax(np.bincount(made.member[clean & first]))
    off = np.mod(np.delete(case.angles_deg, largest) - case.angles_deg[largest], 60)
    wanted = [f"{a:.0f}" for a in sorted(np.minimum(off, 60 - off))]
    return (
        f"| {name}: {len(found.grains)} ({len(case.angles_deg)}) | {', '.join(turns) or '-'} "
        f"({', '.join(wanted) or '-'}) | {length:.1f} ({true:.1f}) | {lost:.1%} | {near.sum()} of {len(made.odd)} | "
        f"{(~near).sum()} |"
    )


def image(case: Case, rng: np.random.Generator) -> Image:
    """Grains that meet along a wavy line, dirt over them, and odd columns well inside."""
    crystal, size = movies.CRYSTALS[case.crystal], case.size_px
    grid = np.stack(np.indices((size, size)), -1).astype(float)
    turn = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(len(case.angles_deg)) / len(case.angles_deg)
    centres = size / 2 + 0.3 * size * np.stack([np.sin(turn), np.cos(turn)], 1)
    bend = ndimage.gaussian_filter(rng.normal(size=(size, size, 2)), (30, 30, 0))
    bent = grid + bend / bend.std() * 0.02 * size
    member = np.argmin(((bent[:, :, None] - centres) ** 2).sum(-1), 2)
    base, parts = rng.uniform(0, 360), []
    for k, angle in enumerate(case.angles_deg):
        c, s = np.cos(np.radians(base + angle)), np.sin(np.radians(base + angle))
        vectors = crystal.vectors_nm @ np.array([[c, s], [-s, c]]) / crystal.pixel_nm
        reach = int(2 * size / np.sqrt(abs(np.linalg.det(vectors))))
        cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
        yx = ((cells[:, None] + rng.random(2) + crystal.basis[None]) @ vectors).reshape(-1, 2) + size / 2
        light = np.tile(crystal.light, len(cells))
        seen = ((yx > -12) & (yx < size + 11)).all(1)
        seen[seen] = member[tuple(np.clip(np.rint(yx[seen]).astype(int), 0, size - 1).T)] == k
        parts.append((yx[seen], light[seen]))
    yx, light = (np.concatenate(p) for p in zip(*parts, strict=True))
    nearest = np.median(cKDTree(yx).query(yx, k=2)[0][:, 1])
    close = cKDTree(yx).query_pairs(0.6 * nearest, output_type="ndarray").reshape(-1, 2)
    keep = np.setdiff1d(np.arange(len(yx)), close[:, 1])
    yx, light = yx[keep], light[keep]
    edge = np.zeros((size, size), bool)
    edge[1:] |= member[1:] != member[:-1]
    edge[:, 1:] |= member[:, 1:] != member[:, :-1]
    to_seam = ndimage.distance_transform_edt(~edge) if edge.any() else np.full((size, size), np.inf)
    dirt = _dirt(case.dirt, grid, rng)
    spacing = float(np.sqrt(np.linalg.norm(crystal.vectors_nm, axis=1).prod())) / crystal.pixel_nm
    inside = ((yx > 2 * spacing) & (yx < size - 2 * spacing)).all(1) & (light == 1)
    at = tuple(np.clip(np.rint(yx).astype(int), 0, size - 1).T)
    inside &= (to_seam[at] > 3 * spacing) & (dirt[at] < 0.02)
    if dirt.max() > 0.02:
        inside &= ndimage.distance_transform_edt(dirt < 0.02)[at] > FAR * spacing
    odd = rng.permutation(np.flatnonzero(inside))[: case.dopants + case.vacancies]
    light[odd[: case.dopants]] += crystal.atom
    light[odd[case.dopants :]] = 0
    shown = movies.rendered(yx, light, size, crystal)
    film = 4 * shown.mean() * dirt * (1 + 2.4 * ndimage.gaussian_filter(rng.normal(size=dirt.shape), 4))
    place = [grid[..., 0], grid[..., 1] + rng.normal(0, 0.3, (size, 1))]
    shown = ndimage.map_coordinates(shown, place, order=3, mode="nearest") + crystal.background + film
    counts = rng.poisson(np.maximum(case.peak * shown, 0)).astype(np.float32)
    return Image(counts, member, dirt, to_seam, yx[odd], spacing)


def _dirt(where: str, grid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W) share of the full thickness."""
    size = len(grid)
    rough = ndimage.gaussian_filter(rng.normal(size=grid.shape[:2]), 18)
    rough *= 0.4 / rough.std()

    def disc(centre, radius: float, soft: float) -> np.ndarray:
        return (radius * size - np.linalg.norm(grid - np.array(centre), axis=-1)) / (soft * size)

    if where == "none":
        return np.zeros(grid.shape[:2])
    if where == "edge":
        depth = (grid[..., 0] - 0.82 * size) / (0.08 * size) + rough
    elif where == "specks":
        places = rng.uniform(0.15, 0.85, (4, 2)) * size
        depth = np.max([disc(p, rng.uniform(0.04, 0.09), 0.04) for p in places], axis=0)
    else:
        centre, radius = ((size / 2, size / 2), 0.17) if where == "middle" else ((0, size), 0.3)
        depth = disc(centre, radius, 0.08) + rough
    return 1 / (1 + np.exp(-np.clip(4 * depth, -50, 50)))


if __name__ == "__main__":
    main()
