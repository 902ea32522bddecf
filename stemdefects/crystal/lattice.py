"""Lattice geometry as pure functions: columns of the ideal crystal in a field and who is next to whom."""

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


def site_positions_nm(material: Material) -> np.ndarray:
    """(n_sites, 2) position of each sublattice in the cell, (y, x) in nm."""
    return np.array([s.position for s in material.sites]) @ material.lattice_nm


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


def build(material: Material, cells: np.ndarray, mirrored: bool = False) -> Lattice:
    """The columns of the given `cells` (n_cells, 2), site after site of one cell, with their neighbour tables."""
    basis = site_positions_nm(material) * (-1.0 if mirrored else 1.0)
    n_sites = len(basis)
    position = ((cells @ material.lattice_nm)[:, None] + basis[None]).reshape(-1, 2)
    site = np.tile(np.arange(n_sites), len(cells))
    occupied = np.array([sum(n for _, n in material.states[s.ideal].atoms) > 0 for s in material.sites])
    bonds = [[] for _ in site]
    hops = [[] for _ in site]
    for target in range(n_sites):
        chosen = np.flatnonzero(site == target)
        tree = cKDTree(position[chosen])
        for source in range(n_sites):
            length = _shell_nm(material, source, target)
            rows = np.flatnonzero(site == source)
            lists = tree.query_ball_point(position[rows], 1.05 * length)
            for row, near in zip(rows, lists, strict=True):
                if source == target:
                    hops[row] = [chosen[n] for n in near if chosen[n] != row]
                elif occupied[target] and length <= 1.05 * _bond_nm(material, source, occupied):
                    bonds[row] += [chosen[n] for n in near]
    cell = np.repeat(cells, n_sites, axis=0)
    return Lattice(position, cell, site, _by_angle(bonds, position, material), _by_angle(hops, position, material, True))


def _shell_nm(material: Material, source: int, target: int) -> float:
    """Distance of the nearest column of sublattice `target` from one of `source`."""
    steps = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3)]) @ material.lattice_nm
    basis = site_positions_nm(material)
    distance = np.linalg.norm(basis[target] - basis[source] + steps, axis=1)
    return float(distance[distance > 1e-6].min())


def _bond_nm(material: Material, source: int, occupied: np.ndarray) -> float:
    lengths = [_shell_nm(material, source, t) for t in range(len(material.sites)) if t != source and occupied[t]]
    return min(lengths) if lengths else 0.0


def _by_angle(lists, position, material, hops=False) -> np.ndarray:
    """Ragged neighbour lists as one table; a missing neighbour leaves its direction's place at -1."""
    full = max((len(near) for near in lists), default=0)
    directions = {}
    for row, near in enumerate(lists):  # directions of a complete column of each sublattice, found once
        key = row % len(material.sites)
        if key not in directions and len(near) == max(len(n) for n in lists[key :: len(material.sites)]):
            vectors = position[near] - position[row]
            directions[key] = np.sort(np.mod(np.arctan2(vectors[:, 0], vectors[:, 1]) + 1e-6, 2 * np.pi))
    table = np.full((len(lists), max(full, 1)), -1, np.int32)
    for row, near in enumerate(lists):
        angles = directions.get(row % len(material.sites), np.zeros(0))
        for other in near:
            vector = position[other] - position[row]
            angle = np.mod(np.arctan2(vector[0], vector[1]) + 1e-6, 2 * np.pi)
            table[row, int(np.argmin(np.abs(angles - angle)))] = other
    return table


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
    back = np.full(lattice.bonds.shape, -1, np.int32)
    for n, k in np.argwhere(lattice.bonds >= 0):
        found = np.flatnonzero(lattice.bonds[lattice.bonds[n, k]] == n)
        if len(found):
            back[n, k] = found[0]
    return back
