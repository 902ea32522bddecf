"""A person's corrections applied to detections: beside them, never over them, all or none."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemdefects.analysis.corrections import evidence as site_evidence
from stemdefects.analysis.data.detections import Detections
from stemdefects.crystal.complexes import NOWHERE, complexes
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.io.tables.corrections import Correction, Corrections, digest
from stemdefects.io.tables.table import empty

REACH_NM = 0.09  # a place means the detection this near: half the distance of neighbouring columns
REACH_PX = 3.0  # the same where the pixel size is not known


@dataclass(frozen=True)
class Applied:
    """What corrections did.

    Attributes:
        given: the corrections; before: the rows as they were found.
        origin: (n,) row of `before` that each row of the corrected table came from, -1: added.
        excluded: rows of `before` in places that do not count.
        joined, parted: (k, 2) rows of one defect in two frames; (k,) rows at which a track begins.
        frames: that were looked at as a whole, else those with a correction; whole: which of the two.
        unplaced: corrections that no lattice site of the evidence belongs to.
        estimates: DataFrame of what an analysis without them found, where there is one.
        file_sha256: of the file of the table as it was found; None: of no file.
    """

    given: Corrections
    before: np.ndarray
    origin: np.ndarray
    excluded: np.ndarray
    joined: np.ndarray
    parted: np.ndarray
    frames: np.ndarray
    whole: bool
    unplaced: int = 0
    estimates: Any = None
    file_sha256: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many of each action."""
        return dict(Counter(one.action for one in self.given.items))


class _Sheet:
    """Rows that are being corrected: `rows`, where each came from, and whether it is still there."""

    def __init__(self, found: Detections, given: Corrections):
        self.found, self.name = found, given.name
        self.rows, self.origin = found.rows.copy(), np.arange(len(found.rows))
        self.alive = np.ones(len(self.rows), bool)
        self.excluded = np.zeros(len(self.rows), bool)
        self.reach_px = REACH_PX if found.pixel_size_nm is None else REACH_NM / found.scale_yx[1]
        self.aspect = found.scale_yx[0] / found.scale_yx[1]

    def near(self, frame: int, y: float, x: float) -> int | None:
        """Row of the nearest detection within reach that is still there."""
        here = np.flatnonzero((self.rows["frame"] == frame) & self.alive)
        away = np.hypot((self.rows["y_px"][here] - y) * self.aspect, self.rows["x_px"][here] - x)
        return int(here[away.argmin()]) if len(here) and away.min() <= self.reach_px else None

    def at(self, one: Correction, frame: int | None, y: float | None, x: float | None) -> int:
        """The same; UserError where there is none."""
        assert frame is not None and y is not None and x is not None
        row = self.near(frame, y, x)
        if row is None:
            raise self.wrong(one, f"no detection within {self.reach_px:.1f} px of y {y:g}, x {x:g} in frame {frame}")
        return row

    def wrong(self, one: Correction, what: str) -> UserError:
        return UserError(f"{self.name}, line {one.line}: {one.action}: {what}; nothing was applied")

    def add(self, one: Correction) -> None:
        assert one.frame is not None and one.y_px is not None and one.x_px is not None and one.kind is not None
        there = self.near(one.frame, one.y_px, one.x_px)
        if there is not None:
            kind = self.rows["kind"][there].decode()
            raise self.wrong(one, f"there is a {kind} already, {self.reach_px:.1f} px away or nearer; relabel it")
        found, new = self.found, empty(1)
        new["frame"], new["y_px"], new["x_px"], new["score"], new["kind_prob"] = one.frame, one.y_px, one.x_px, 1, 1
        new["kind"] = one.kind.encode()
        new["time_s"] = found.times[one.frame] if found.frame_time_s else np.nan
        if found.pixel_size_nm is not None:
            new["y_nm"], new["x_nm"] = (np.array([one.y_px, one.x_px]) * found.scale_yx).tolist()
        self.rows = np.concatenate([self.rows, new])
        self.origin = np.append(self.origin, -1)
        self.alive, self.excluded = np.append(self.alive, True), np.append(self.excluded, False)

    def exclude(self, one: Correction, drift_px: np.ndarray) -> None:
        """Take out what lies in the rectangle, in one frame or, moved with the specimen, in all."""
        inside = _inside(one, np.column_stack([self.rows["y_px"], self.rows["x_px"]]), self.rows["frame"], drift_px)
        self.excluded |= inside & self.alive
        self.alive &= ~inside


def apply(
    found: Detections, given: Corrections, material: Material | None = None, shape: tuple[int, int] | None = None
) -> Detections:
    """The detections with the corrections in them, and `corrected` (`Applied`) that says what was done.

    Evidence of sites is corrected with the rows, so that the lattice model hears of it too; complexes are found anew in
    the frames that changed. material: whose kinds may be named, besides those of the table; shape: (height, width) of
    the frames in px, None: as the table says, else unknown.

    Raises UserError where the corrections are of another table, a place lies outside the frames or holds no detection,
    or a kind is unknown; then nothing is applied.
    """
    if given.table != digest(found.rows):
        raise UserError(
            f"{given.name}: corrects another table than {found.path or found.source} (its detections differ); take the "
            "table that the page was made from, with the same analysis.table.min_score"
        )
    _check(found, given, material, shape)
    sheet, drift_px = _Sheet(found, given), drift(found)
    joined, parted, changed = [], [], []
    for one in given.items:
        if one.action == "add":
            sheet.add(one)
            changed.append((one, None, one.kind))
        elif one.action == "exclude":
            sheet.exclude(one, drift_px)
        elif one.action != "checked":
            row = sheet.at(one, one.frame, one.y_px, one.x_px)
            was = sheet.rows["kind"][row].decode()
            if one.action == "delete":
                sheet.alive[row] = False
                changed.append((one, was, None))
            elif one.action == "relabel":
                assert one.kind is not None
                sheet.rows["kind"][row], sheet.rows["kind_prob"][row] = one.kind.encode(), 1
                sheet.rows["score"][row] = 1
                changed.append((one, was, one.kind))
            elif one.action == "unlink":
                parted.append(row)
            else:
                other = sheet.at(one, one.frame_to, one.y_to_px, one.x_to_px)
                if sheet.rows["frame"][row] == sheet.rows["frame"][other]:
                    raise sheet.wrong(one, "both detections are in one frame; one defect is in one place")
                joined.append((row, other))
    order = np.flatnonzero(sheet.alive)
    order = order[np.argsort(sheet.rows["frame"][order], kind="stable")]
    place = np.full(len(sheet.rows), -1)
    place[order] = np.arange(len(order))
    rows, origin = sheet.rows[order], sheet.origin[order]
    frames, whole = _looked_at(given)
    _onto_sites(rows, origin < 0, found, drift_px)
    evidence, unplaced = site_evidence.apply(found, changed, _regions(given), drift_px)
    _complexes(rows, np.unique([one.frame for one, *_ in changed]).astype(int), found, drift_px, material)
    pairs = place[np.array(joined, int).reshape(-1, 2)]
    starts = place[np.array(parted, int)]
    done = Applied(
        given=given,
        before=found.rows,
        origin=origin,
        excluded=np.flatnonzero(sheet.excluded[: len(found.rows)]),
        joined=pairs[(pairs >= 0).all(1)],
        parted=starts[starts >= 0],
        frames=frames,
        whole=whole,
        unplaced=unplaced,
    )
    return replace(
        found,
        rows=rows,
        patches=_patches(found, origin),
        frames=_frames(found, given, drift_px, shape),
        evidence=evidence,
        corrected=done,
        notes=list(found.notes),
    )


def _onto_sites(rows: np.ndarray, added: np.ndarray, found: Detections, drift_px: np.ndarray) -> None:
    """Put what was added by hand onto the lattice site there: a click is less exact than the lattice."""
    if found.evidence is None or found.pixel_size_nm is None or not added.any():
        return
    site, _ = site_evidence.sites_of(found, rows[added], drift_px)
    index, sites = np.flatnonzero(added)[site >= 0], found.evidence.sites[site[site >= 0]]
    at = np.column_stack([sites["y_nm"], sites["x_nm"]]) / found.scale_yx + drift_px[rows["frame"][index]]
    rows["y_px"][index], rows["x_px"][index] = at.T
    rows["y_nm"][index], rows["x_nm"][index] = (at * found.scale_yx).T


def drift(found: Detections) -> np.ndarray:
    """(n_frames, 2) how far the specimen has moved in px since the first frame, by the table; 0 where it does not
    say."""
    out = np.zeros((found.n_frames, 2))
    if found.frames is not None and {"frame", "drift_y_px", "drift_x_px"} <= set(found.frames):
        moved = found.frames[["drift_y_px", "drift_x_px"]].to_numpy(float)
        out[found.frames["frame"].to_numpy(int)] = np.nan_to_num(moved)
    return out


def _check(found: Detections, given: Corrections, material, shape: tuple[int, int] | None) -> None:
    """Frames, places and kinds that are possible in this table."""
    own = found.attrs.get("source_shape")
    shape = shape or (tuple(own[-2:]) if isinstance(own, list | tuple | np.ndarray) else None)
    kinds = {str(kind) for kind in found.kinds} | set([] if material is None else material.kind_names)
    for one in given.items:
        where = f"{given.name}, line {one.line}: {one.action}"
        for frame in (one.frame, one.frame_to):
            if frame is not None and not 0 <= frame < found.n_frames:
                raise UserError(f"{where}: frame {frame} is not in the table (0 to {found.n_frames - 1})")
        for y, x in ((one.y_px, one.x_px), (one.y_to_px, one.x_to_px)):
            if y is None or x is None or one.action == "exclude":  # a region may reach over the border
                continue
            height, width = shape or (np.inf, np.inf)
            if not (-0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5):
                size = f"frames of {height} x {width} px" if shape else "frames, which begin at 0"
                raise UserError(f"{where}: y {y:g}, x {x:g} lies outside the {size}")
        if one.kind is not None and one.action in ("add", "relabel") and one.kind not in kinds:
            raise UserError(f"{where}: kind {one.kind!r} is not one of {', '.join(sorted(kinds))}")


def _looked_at(given: Corrections) -> tuple[np.ndarray, bool]:
    framed = [(one.action, one.frame) for one in given.items if one.frame is not None]
    checked = {frame for action, frame in framed if action == "checked"}
    corrected = {frame for action, frame in framed if action in ("add", "delete", "relabel")}
    return np.array(sorted(checked or corrected), int), bool(checked)


def _regions(given: Corrections) -> list[Correction]:
    return [one for one in given.items if one.action == "exclude"]


def _inside(one: Correction, yx_px: np.ndarray, frame: np.ndarray, drift_px: np.ndarray) -> np.ndarray:
    """(n,) whether places in px of their frames lie in the region."""
    assert one.y_px is not None and one.x_px is not None and one.y_to_px is not None and one.x_to_px is not None
    low, high = np.sort([[one.y_px, one.x_px], [one.y_to_px, one.x_to_px]], axis=0).astype(float)
    at = yx_px if one.frame is not None else yx_px - drift_px[frame]
    inside = ((at >= low) & (at <= high)).all(1)
    return inside if one.frame is None else inside & (frame == one.frame)


def _patches(found: Detections, origin: np.ndarray) -> np.ndarray | None:
    """Patches in the order of the rows; those of added rows are NaN."""
    if found.patches is None:
        return None
    out = np.asarray(found.patches)[origin].copy()
    out[origin < 0] = np.nan
    return out


def _frames(found: Detections, given: Corrections, drift_px: np.ndarray, shape: tuple[int, int] | None):
    """The frame table with the excluded share of the field taken off the lattice's, by a grid of 64 x 64 places."""
    own = found.attrs.get("source_shape")
    size = shape or (tuple(own[-2:]) if isinstance(own, list | tuple | np.ndarray) else None)
    regions = _regions(given)
    if found.frames is None or not regions or size is None or "fraction_lattice" not in found.frames:
        return found.frames
    frames = found.frames.copy()
    yx = (np.stack(np.meshgrid(*(np.arange(64),) * 2, indexing="ij"), -1).reshape(-1, 2) + 0.5) * np.array(size) / 64
    left = np.ones(len(frames))
    for k, frame in enumerate(frames["frame"].to_numpy(int)):
        out = np.zeros(len(yx), bool)
        for one in regions:
            out |= _inside(one, yx, np.full(len(yx), frame), drift_px)
        left[k] = 1 - out.mean()
    frames["fraction_lattice"] = frames["fraction_lattice"] * left
    return frames


def _complexes(rows: np.ndarray, frames: np.ndarray, found: Detections, drift_px: np.ndarray, material) -> None:
    """Complexes of the frames that changed, found again from the cells of the sites; without sites, members of a
    complex that lost one are alone."""
    here = np.flatnonzero(np.isin(rows["frame"], frames))
    if not len(here):
        return
    if found.evidence is not None and material is not None:
        site, sublattice = site_evidence.sites_of(found, rows[here], drift_px)
        cell = np.full((len(here), 2), NOWHERE)
        on = site >= 0
        cell[on] = np.column_stack([found.evidence.sites[name][site[on]] for name in ("cell_1", "cell_2")])
        states = {kind.name.encode(): kind.state for kind in material.kinds}
        state = np.array([states.get(kind, -1) for kind in rows["kind"][here]])
        for frame in frames:
            mine = rows["frame"][here] == frame
            named = material.site_of_state[np.maximum(state[mine], 0)]
            number, turn = complexes(cell[mine], np.where(on[mine], sublattice[mine], named), state[mine], material)
            rows["complex"][here[mine]], rows["orientation"][here[mine]] = number, turn
        return
    for frame in frames:
        mine = here[rows["frame"][here] == frame]
        numbers, n = np.unique(rows["complex"][mine], return_counts=True)
        alone = mine[np.isin(rows["complex"][mine], numbers[n < 2])]
        rows["complex"][alone] = rows["orientation"][alone] = -1
