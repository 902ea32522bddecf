"""Complexes: a centre whose bonded columns are defects in one of the ways that the material lists."""

import numpy as np

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material

NOWHERE = np.iinfo(np.int32).min  # cell of a column that is not on the lattice

_bond_tables: dict[int, tuple[Material, list[np.ndarray]]] = {}  # of the material last asked for


def bond_table(material: Material) -> list[np.ndarray]:
    """Per sublattice (n_bonds, 3) int: cell step and sublattice of each bonded column, in the order of orientations."""
    known = _bond_tables.get(id(material))
    if known is not None and known[0] is material:
        return known[1]
    small = geometry.disc(material, 3 * material.a_nm)
    tables = []
    for g in range(material.n_sites):
        inner = np.flatnonzero((small.site == g) & (small.cell == 0).all(1))[0]
        bonds = small.bonds[inner]
        bonds = bonds[bonds >= 0]
        tables.append(np.concatenate([small.cell[bonds] - small.cell[inner], small.site[bonds, None]], axis=1))
    _bond_tables.clear()
    _bond_tables[id(material)] = (material, tables)
    return tables


def complexes(
    cell: np.ndarray, site: np.ndarray, state: np.ndarray, material: Material
) -> tuple[np.ndarray, np.ndarray]:
    """Number and orientation of the complex of each defective column, -1 where it belongs to none.

    cell: (n, 2) lattice cell (NOWHERE: not on the lattice), site and state (n,). A complex is a centre whose bonded
    defects are exactly those the material lists. Orientation: which bond leads to the vacancy; where all bonded columns
    but one are defective, the bond that is left.
    """
    number, orientation = np.full(len(cell), -1, np.int32), np.full(len(cell), -1, np.int8)
    centres = {group.center for group in material.complexes}
    where = {(*c, s): i for i, (c, s) in enumerate(zip(cell.tolist(), site.tolist(), strict=True)) if c[0] != NOWHERE}
    bonds = bond_table(material) if centres & set(state.tolist()) else []
    count = 0
    for i in np.flatnonzero(np.isin(state, list(centres)) & (cell[:, 0] != NOWHERE)):
        steps = bonds[site[i]]
        around = [where.get((cell[i, 0] + a, cell[i, 1] + b, g)) for a, b, g in steps.tolist()]
        members = [j for j in around if j is not None]
        found = sorted(int(state[j]) for j in members)
        if not any(g.center == state[i] and sorted(g.neighbours) == found for g in material.complexes):
            continue
        there = np.array([j is not None for j in around])
        turn = -1
        if there.sum() == 1:
            turn = int(np.argmax(there))
        elif there.sum() == len(there) - 1:
            turn = int(np.argmin(there))
        for j in (i, *members):
            if number[j] < 0:  # a vacancy between two centres stays with the first
                number[j], orientation[j] = count, turn
        count += 1
    return number, orientation
