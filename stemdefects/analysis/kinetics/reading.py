"""From the evidence of a defect table to the input of the lattice model, or why there is none."""

from enum import Enum

import numpy as np

from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.crystal.material import MEASURED
from stemdefects.io.tables import evidence as stored
from stemdefects.io.tables import quality_flags
from stemdefects.io.tables.table import DefectTable

LEAST_SITES = 7  # a site and its six neighbours: fewer show no hop
LEAST_FRAMES = 2  # one interval


class Missing(Enum):
    """Why a table gives no input for the lattice model."""

    NO_EVIDENCE = "the table holds no evidence of sites: a list of detections, an older version, a single image"
    LEARNED = (
        "the network learned from the movie itself, and does not know the states of sites; "
        "its hops are counted between the places of the cell"
    )
    NO_HEADLINE = "the material names no kind that moves"
    NOT_READ = "neither light nor network tells the moving kind from an ideal column"
    NO_TIME = "the times of the frames are not known"
    FEW_FRAMES = "fewer than two frames show the lattice"
    FEW_SITES = "fewer than seven sites can be judged"

    def __str__(self) -> str:
        return self.value


def read(table: DefectTable) -> Evidence | Missing:
    """The evidence of the sites that the material's headline kind lives on.

    Sites that no frame shows away from borders, holes and strange regions are left out; site frames there, or read by
    the network alone where the light counts too, are NaN. `level` is as learned from the movie, for one vacancy (the
    headline's kind) and two (the kind next to it by its light).
    """
    found = table.evidence
    if found is None:
        return Missing.LEARNED if table.attrs.get("material") == MEASURED else Missing.NO_EVIDENCE
    description = found.description
    if description["headline"] is None:
        return Missing.NO_HEADLINE
    sublattices = description["sublattices"]
    own = next((g for g, s in enumerate(sublattices) if description["headline"] in s["features"]), None)
    states = [] if own is None else sublattices[own]["states"]
    kinds = [s["kind"] for s in states]
    if own is None or description["headline"] not in kinds:
        return Missing.NOT_READ
    times = _times(table)
    if times is None:
        return Missing.NO_TIME
    sites = found.site_indices(own)
    flags = found.flag(sites)
    allowed = (flags & ~np.uint8(stored.PARTIAL)) == 0
    line = np.where(flags == 0, found.feature(stored.LINE, sites), np.float32(np.nan))
    apart = table.frames["doubt"].astype(int) & quality_flags.NOT_FOLLOWED > 0
    line[apart], allowed[apart] = np.nan, False
    if np.isfinite(line).any(1).sum() < LEAST_FRAMES:
        return Missing.FEW_FRAMES
    kept = np.flatnonzero(np.isfinite(line).any(0))
    if len(kept) < LEAST_SITES:
        return Missing.FEW_SITES
    sites, line, allowed = sites[kept], line[:, kept], allowed[:, kept]
    cells = _cells(found, sites)
    neighbours = _at(cells, cells, np.array(sublattices[own]["ring"]))
    other, centre_kinds = _bonded(description, own)
    others = found.site_indices(other) if other is not None else np.zeros(0, int)
    steps = np.array([b[:2] for b in sublattices[own]["bonds"] if b[2] == other]).reshape(-1, 2)
    bonds = _at(cells, _cells(found, others), steps)
    centre = _centre(found, others, centre_kinds)
    one = kinds.index(description["headline"])
    level = [states[one]["level"], states[one + 1]["level"] if one + 1 < len(states) else np.nan]
    return Evidence(
        yx_nm=np.stack([found.sites["y_nm"], found.sites["x_nm"]], 1)[sites].astype(float),
        neighbours=neighbours,
        bonds=bonds,
        centre=centre,
        line=line,
        scatter=_scatter(found.scatters()[:, own], description["frames_together"]),
        level=np.array(level),
        scale_low=float(sublattices[own]["scale_range"][0]),
        scale_high=float(sublattices[own]["scale_range"][1]),
        times_s=times,
        allowed=allowed,
        edge=np.asarray((neighbours < 0).any(1)),
        hole=(flags[:, kept] & np.uint8(stored.HOLE)) > 0,
        inside_nm=_inside(table, sites),
    )


def _inside(table: DefectTable, sites: np.ndarray) -> np.ndarray | None:
    """(n_frames, n) nm from the line, along the border, up to which sites are judged; None: the field is not known."""
    found, shape, scale = table.evidence, table.attrs.get("source_shape"), table.attrs.get("pixel_size_yx_nm")
    if found is None or shape is None or scale is None or "edge_nm" not in found.description:
        return None
    yx_nm = np.stack([found.sites["y_nm"], found.sites["x_nm"]], 1)[sites]
    drift_nm = np.stack([table.frames["drift_y_px"], table.frames["drift_x_px"]], 1) * np.array(scale)
    extent_nm = (np.array(shape[-2:]) - 1) * np.array(scale) + 1e-9
    place = yx_nm + np.nan_to_num(drift_nm)[:, None]
    return np.minimum(place, extent_nm - place).min(-1) - found.description["edge_nm"]


def _centre(found: stored.Evidence, others: np.ndarray, kinds: list[str]) -> np.ndarray:
    """(M,) mean probability of a centre over the frames that show the site: one that drifts into view is one."""
    total, known = np.zeros(len(others)), np.zeros(len(others), int)
    for kind in kinds:
        said = found.feature(kind, others)
        total += np.nan_to_num(said).sum(0)
        known = np.maximum(known, np.isfinite(said).sum(0))
    return np.minimum(total / np.maximum(known, 1), 1).astype(np.float32)


def _times(table: DefectTable) -> np.ndarray | None:
    """(n_frames,) starts of the frames in s, None where they are not known."""
    times = table.frames["time_s"].astype(float)
    if np.isfinite(times).all() and (np.diff(times) > 0).all():
        return times
    return None if table.frame_time_s is None else table.frames["frame"] * table.frame_time_s


def _scatter(of_frames: np.ndarray, frames_together: int) -> np.ndarray:
    """(n_frames,) scatter of the line; a frame that says nothing has the usual one. Frames that were looked at together
    show the same electrons: what each of them says counts for less."""
    known = np.isfinite(of_frames)
    return np.where(known, of_frames, np.median(of_frames[known])) * np.sqrt(frames_together)


def _bonded(description: dict, own: int) -> tuple[int | None, list[str]]:
    """The sublattice that centres sit on, with their kinds; without centres the nearest one."""
    bonded = [b[2] for b in description["sublattices"][own]["bonds"]]
    for g in bonded:
        kinds = [k for k in description["centre"] if k in description["sublattices"][g]["features"]]
        if kinds:
            return g, kinds
    return (bonded[0] if bonded else None), []


def _cells(found: stored.Evidence, sites: np.ndarray) -> np.ndarray:
    return np.stack([found.sites["cell_1"][sites], found.sites["cell_2"][sites]], 1).astype(int)


def _at(cells: np.ndarray, among: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(n, k) index in `among` (m, 2) of each of `cells` (n, 2) plus each of `steps` (k, 2); -1: not there."""
    number = {tuple(cell): i for i, cell in enumerate(among.tolist())}
    return np.array(
        [[number.get((a + i, b + j), -1) for i, j in steps.tolist()] for a, b in cells.tolist()], np.int32
    ).reshape(len(cells), len(steps))
