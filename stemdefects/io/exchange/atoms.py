"""Columns and defects as atoms: extended XYZ, and ASE's Atoms."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.errors import UserError
from stemdefects.needed import needed

SPACING_NM = 0.314  # between atoms of one column: that of the sulphur atoms in 2H-WS2; a projection does not show it
REACH_NM = 0.09  # half the distance of neighbouring columns


class Atoms(NamedTuple):
    """species (n,), positions (n, 3) x, y, z in nm (z along the beam, 0 in the middle), kind (n,) of the defect that
    the atom is of, "" for ideal columns; size_nm (2,) x, y of the field."""

    species: list[str]
    positions: np.ndarray
    kind: list[str]
    size_nm: np.ndarray


def atoms(table: Any, material: Any, frame: int = 0, spacing_nm: float = SPACING_NM, sites_of: Any = None) -> Atoms:
    """Every column of a frame as atoms: ideal ones by the material, defects by what was called there.

    material: `crystal.material.Material`; spacing_nm: of several atoms in a column; sites_of: the table whose lattice
    sites are taken, None: `table`. Raises UserError for tables without lattice sites (single images, CSV) or of another
    movie.
    """
    known = table if sites_of is None else sites_of
    if known.evidence is None or known.pixel_size_nm is None:
        raise UserError(
            "atoms: the table knows no lattice sites; those of a movie are in the table of infer.py "
            "(runs/<id>/defects.h5): give that one as sites_of=; single images have none"
        )
    for key in ("source_sha256", "source"):
        if None not in (said := (table.attrs.get(key), known.attrs.get(key))) and said[0] != said[1]:
            raise UserError("atoms: sites_of is the table of another movie")
    shape = np.array(known.attrs.get("source_shape", (1, np.inf, np.inf))[-2:], float)
    scale = np.array(known.attrs.get("pixel_size_yx_nm") or [known.pixel_size_nm] * 2, float)
    of_frame = known.frames[known.frames["frame"] == frame]
    if not len(of_frame):
        raise UserError(f"atoms: frame {frame} is not in the table")
    moved = np.nan_to_num([of_frame["drift_y_px"][0], of_frame["drift_x_px"][0]])
    sites = known.evidence.sites
    yx = np.column_stack([sites["y_nm"], sites["x_nm"]]).astype(float) + moved * scale
    names = [s["name"] for s in known.evidence.description["sublattices"]]
    own = {site.name: site.ideal for site in material.sites}
    if unknown := [name for name in names if name not in own]:
        raise UserError(
            f"atoms: material {material.name} has no sublattice {unknown[0]}; give the table's own material"
        )
    state = np.array([own[names[g]] for g in sites["sublattice"]])
    kind = np.full(len(sites), "", object)
    rows = table.rows[table.rows["frame"] == frame]
    at = np.column_stack([rows["y_px"], rows["x_px"]]) * scale
    states = {k.name: k.state for k in material.kinds}
    away, near = cKDTree(yx).query(at) if len(at) else (np.zeros(0), np.zeros(0, int))
    beside: list[tuple[np.ndarray, int, str]] = []
    for i, name in enumerate(np.char.decode(rows["kind"], "utf-8") if len(rows) else ()):
        if name not in states:
            raise UserError(f"atoms: material {material.name} has no kind {name}")
        if away[i] <= REACH_NM and material.states[states[name]].site == sites["sublattice"][near[i]]:
            state[near[i]], kind[near[i]] = states[name], name
        else:
            beside.append((at[i], states[name], name))
    inside = ((yx >= 0) & (yx <= (shape - 1) * scale)).all(1)
    columns = [(yx[i], int(state[i]), str(kind[i])) for i in np.flatnonzero(inside)] + beside
    species, positions, kinds = [], [], []
    for (y, x), which, name in columns:
        members = [s for s, n in material.states[which].atoms for _ in range(n)]
        for k, one in enumerate(members):
            species.append(one)
            positions.append((x, y, (k - (len(members) - 1) / 2) * spacing_nm))
            kinds.append(name)
    return Atoms(species, np.array(positions).reshape(-1, 3), kinds, (shape * scale)[::-1])


def to_ase(table: Any, material: Any, frame: int = 0, spacing_nm: float = SPACING_NM, sites_of: Any = None) -> Any:
    """The same as `ase.Atoms`, in Angstrom, y upwards in the image's direction; array `kind` names the defects."""
    ase = needed("ase", "to_ase()")
    made = atoms(table, material, frame, spacing_nm, sites_of)
    cell = [*(10 * made.size_nm), 10.0] if np.isfinite(made.size_nm).all() else None
    out = ase.Atoms(made.species, positions=10 * made.positions, cell=cell, pbc=False)
    out.set_array("kind", np.array(made.kind, "U24"))
    return out


def to_xyz(
    table: Any, path: str | Path, material: Any, frame: int = 0, spacing_nm: float = SPACING_NM, sites_of: Any = None
) -> Path:
    """The same as extended XYZ, in Angstrom; vacancies are what is missing."""
    made = atoms(table, material, frame, spacing_nm, sites_of)
    cell = ""
    if np.isfinite(made.size_nm).all():
        x, y = 10 * made.size_nm
        cell = f'Lattice="{x:.6f} 0 0 0 {y:.6f} 0 0 0 10" '
    lines = [str(len(made.species)), f'{cell}Properties=species:S:1:pos:R:3:kind:S:1 pbc="F F F"']
    for species, (x, y, z), kind in zip(made.species, 10 * made.positions, made.kind, strict=True):
        lines.append(f"{species} {x:.6f} {y:.6f} {z:.6f} {kind or '-'}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(path)
