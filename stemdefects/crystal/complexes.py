"""Complexes: a centre whose bonded columns are defects in one of the ways that the material lists."""

import numpy as np

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material

NOWHERE = np.iinfo(np.int32).min  # cell of a column that is not on the lattice
FAR = 8  # cells, farther than any bond leads

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
    count = 0
    for i, around in _listed(cell, site, state, material):
        there = around >= 0
        turn = -1
        if there.sum() == 1:
            turn = int(np.argmax(there))
        elif there.sum() == len(there) - 1:
            turn = int(np.argmin(there))
        for j in (i, *around[there]):
            if number[j] < 0:  # a vacancy between two centres stays with the first
                number[j], orientation[j] = count, turn
        count += 1
    return number, orientation


def _listed(cell: np.ndarray, site: np.ndarray, state: np.ndarray, material: Material) -> list[tuple[int, np.ndarray]]:
    """Centres whose bonded defects the material lists, in order, and which columns (n_bonds,) are at their bonds, -1
    for those that are no defect. Arguments as of `complexes`."""
    listed = {center: [] for center in sorted({group.center for group in material.complexes})}
    centres = np.flatnonzero(np.isin(state, list(listed)) & (cell[:, 0] != NOWHERE))
    if not len(centres):
        return []
    for group in material.complexes:
        listed[group.center].append(sorted(group.neighbours))
    on = np.flatnonzero(cell[:, 0] != NOWHERE)
    low = cell[on].min(0).astype(np.int64) - FAR
    width = int(cell[on, 1].max()) + FAR + 1 - int(low[1])

    def key(cells: np.ndarray, sites: np.ndarray) -> np.ndarray:
        y, x = np.moveaxis(cells - low, -1, 0)
        return (y * width + x) * material.n_sites + sites

    known = key(cell[on], site[on])
    order = np.argsort(known, kind="stable")
    known, on = known[order], on[order]
    found = []
    for g in np.unique(site[centres]):
        steps, mine = bond_table(material)[g], centres[site[centres] == g]
        asked = key(cell[mine][:, None] + steps[:, :2], steps[:, 2])
        at = np.searchsorted(known, asked, "right") - 1
        around = np.where((at >= 0) & (known[at] == asked), on[at], -1)
        states = np.sort(np.where(around >= 0, state[around], -1), axis=1)
        its = np.zeros(len(mine), bool)
        for center, patterns in listed.items():
            for pattern in patterns:
                if len(pattern) <= len(steps):
                    bonded = np.array([-1] * (len(steps) - len(pattern)) + pattern)
                    its |= (state[mine] == center) & (states == bonded).all(1)
        found += list(zip(mine[its].tolist(), around[its], strict=True))
    return sorted(found, key=lambda one: one[0])
