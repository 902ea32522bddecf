"""Lattice geometry as pure functions: columns of the ideal crystal in a field and who is next to whom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.crystal.material import Material


@dataclass(frozen=True)
class Lattice:
    """Columns of the ideal crystal. Positions in nm as (y, x); indices -1 mean that there is none.

    `bonds[n, k]` is the k-th bonded column of another sublattice, counted by increasing angle atan2(y, x): for a metal
    of a TMD the three chalcogen columns, and k is the orientation 0, 1, 2 of a complex. `hops[n, k]` are the nearest
    columns of the same sublattice in the same order (six on a hexagonal lattice).
    """

    position_nm: np.ndarray  # (n, 2)
    cell: np.ndarray  # (n, 2) int: multiples of a1, a2
    site: np.ndarray  # (n,) int
    bonds: np.ndarray  # (n, n_bonds) int
    hops: np.ndarray  # (n, n_hops) int


def reduce(vectors: np.ndarray) -> np.ndarray:
    """Shortest pair (2, 2) of the lattice with rows `vectors`, the shorter one first (Lagrange-Gauss).

    Rows that span no lattice come back as they are.
    """
    a, b = np.array(vectors, float)
    # Ends: each round makes the longer vector shorter by a fixed share or is the last, and a lattice has finitely many
    # vectors shorter than the first pair. Without the share, pairs of equal length (60 degrees) go to and fro by
    # rounding; a pair so flat that rounding alone remains of it (the share of 1e-9 of its length) is no lattice.
    if not np.isfinite(vectors).all() or abs(np.linalg.det([a, b])) < 1e-9 * max(a @ a, b @ b):
        return np.array([a, b])
    while True:
        if a @ a > b @ b:
            a, b = b, a
        shorter = b - round(float(a @ b) / float(a @ a)) * a
        if shorter @ shorter > (1 - 1e-9) * (b @ b):
            return np.array([a, b])
        b = shorter


def site_positions_nm(material: Material) -> np.ndarray:
    """(n_sites, 2) position of each sublattice in the cell, (y, x) in nm."""
    return material.basis @ material.lattice_nm


def disc(material: Material, radius_nm: float, mirrored: bool = False) -> Lattice:
    """All columns of cells whose origin lies within `radius_nm` of the centre.

    `mirrored=True` gives the mirror twin: each sublattice at the inverted position of its cell.
    """
    cells = _cells(material, radius_nm)
    return build(material, cells, mirrored)


def _cells(material: Material, radius_nm: float) -> np.ndarray:
    inverse = np.linalg.inv(material.lattice_nm)
    reach = np.ceil(radius_nm * np.linalg.norm(inverse, axis=0)).astype(int) + 1
    i, j = np.meshgrid(np.arange(-reach[0], reach[0] + 1), np.arange(-reach[1], reach[1] + 1), indexing="ij")
    cells = np.stack([i.ravel(), j.ravel()], 1)
    return cells[np.linalg.norm(cells @ material.lattice_nm, axis=1) <= radius_nm]


Place = Sequence[float] | np.ndarray  # y, x


def rectangle(
    material: Material, affine: np.ndarray, low_nm: Place, high_nm: Place, offset_nm: Place = (0.0, 0.0)
) -> np.ndarray:
    """(n, 2) cells whose origin, moved by `offset_nm` and turned by `affine` (2, 2), lies within low..high (y, x)."""
    corners = np.array([(y, x) for y in (low_nm[0], high_nm[0]) for x in (low_nm[1], high_nm[1])])
    crystal = corners @ np.linalg.inv(affine).T - np.asarray(offset_nm)
    cells = _cells(material, float(np.linalg.norm(crystal, axis=1).max()) + material.a_nm)
    place = (cells @ material.lattice_nm + np.asarray(offset_nm)) @ np.asarray(affine).T
    return cells[((place >= low_nm) & (place <= high_nm)).all(1)]


def neighbour_steps(material: Material, mirrored: bool = False) -> tuple[list, list]:
    """For each site its bonds and its hops, each a list of (target site, di, dj) ordered by angle atan2(y, x)."""
    basis = site_positions_nm(material) * (-1.0 if mirrored else 1.0)
    occupied = [sum(n for _, n in material.states[s.ideal].atoms) > 0 for s in material.sites]
    steps = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
    bonds, hops = [], []
    for source in range(material.n_sites):
        found = []
        for target in range(material.n_sites):
            for step in steps:
                vector = basis[target] - basis[source] + step @ material.lattice_nm
                length = float(np.linalg.norm(vector))
                if length > 1e-6:
                    angle = float(np.mod(np.arctan2(vector[0], vector[1]) + 1e-6, 2 * np.pi))
                    found.append((angle, length, (target, *step)))
        found.sort()
        other = [f for f in found if f[2][0] != source and occupied[f[2][0]]]
        same = [f for f in found if f[2][0] == source]
        bonds.append([f[2] for f in other if f[1] < 1.05 * min((g[1] for g in other), default=0.0)])
        hops.append([f[2] for f in same if f[1] < 1.05 * min((g[1] for g in same), default=0.0)])
    return bonds, hops


def build(material: Material, cells: np.ndarray, mirrored: bool = False) -> Lattice:
    """The columns of the given `cells` (n_cells, 2), site after site of one cell, with their neighbour tables."""
    n_sites = material.n_sites
    basis = site_positions_nm(material) * (-1.0 if mirrored else 1.0)
    position = ((cells @ material.lattice_nm)[:, None] + basis[None]).reshape(-1, 2)
    low = cells.min(0) - 2
    number = np.full(cells.max(0) + 3 - low, -1)
    number[tuple((cells - low).T)] = np.arange(len(cells))
    tables = []
    for lists in neighbour_steps(material, mirrored):
        table = np.full((len(cells), n_sites, max(max(map(len, lists)), 1)), -1, np.int32)
        for source, near in enumerate(lists):
            for place, (target, *step) in enumerate(near):
                cell = number[tuple((cells - low + step).T)]
                table[:, source, place] = np.where(cell >= 0, cell * n_sites + target, -1)
        tables.append(table.reshape(len(cells) * n_sites, -1))
    site = np.tile(np.arange(n_sites), len(cells))
    return Lattice(position, np.repeat(cells, n_sites, axis=0), site, tables[0], tables[1])


def nearest(lattice: Lattice, position_nm: np.ndarray, max_distance_nm: float = np.inf) -> np.ndarray:
    """(m,) index of the column nearest to each of `position_nm` (m, 2); -1 beyond `max_distance_nm`."""
    distance, index = cKDTree(lattice.position_nm).query(np.atleast_2d(position_nm))
    return np.where(distance <= max_distance_nm, index, -1)


def orientation(lattice: Lattice, center: int, neighbour: int) -> int:
    """0, 1, 2, ...: which bond of column `center` leads to column `neighbour`; -1 when none does."""
    found = np.flatnonzero(lattice.bonds[center] == neighbour)
    return int(found[0]) if len(found) else -1


def reverse_bonds(lattice: Lattice) -> np.ndarray:
    """(n, n_bonds) index of the bond seen from the other end: bonds[bonds[n, k], reverse[n, k]] == n, else -1."""
    there = lattice.bonds[lattice.bonds]  # (n, n_bonds, n_bonds): bonds of bonded columns
    back = there == np.arange(len(lattice.bonds))[:, None, None]
    return np.where((lattice.bonds >= 0) & back.any(2), back.argmax(2), -1).astype(np.int32)


def same_lattice(vectors: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    """Do two pairs of lattice vectors (2, 2), rows, span one lattice, up to `tolerance` of them?"""
    steps = vectors @ np.linalg.inv(other)
    whole = np.rint(steps)
    return bool(np.abs(steps - whole).max() < tolerance and round(abs(np.linalg.det(whole))) == 1)
