"""What corrections say of the lattice sites: the evidence that all kinetics is computed from, corrected too.

A site whose state a person named in a frame reads there as such a column usually does: its line stands at the level of
that state (0: ideal), its probabilities are 1 and 0. It counts as one clear frame, not as certain: neighbouring frames
are heard as before.
"""

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.analysis.data.detections import Detections
from stemdefects.io.tables import evidence as stored
from stemdefects.io.tables.corrections import Correction

REACH_NM = 0.09  # half the distance of neighbouring columns


def apply(
    found: Detections,
    changed: list[tuple[Correction, str | None, str | None]],
    regions: list[Correction],
    drift_px: np.ndarray,
) -> tuple[stored.Evidence | None, int]:
    """(the evidence with corrections in it, how many no site belongs to); None stays None.

    changed: (correction, kind before or None, kind after or None); regions: places that do not count.
    """
    evidence = found.evidence
    if evidence is None or found.pixel_size_nm is None or not (changed or regions):
        return evidence, 0
    values, flags, scatter = (np.concatenate(parts) for parts in zip(*evidence.blocks(), strict=True))
    values, flags = values.copy(), flags.copy()
    row_of = {int(frame): k for k, frame in enumerate(found.frames["frame"])} if found.frames is not None else {}
    places = np.column_stack([evidence.sites["y_nm"], evidence.sites["x_nm"]]).astype(float)
    sublattices, unplaced = evidence.description["sublattices"], 0
    for one, before, after in changed:
        at = (np.array([one.y_px, one.x_px]) - drift_px[one.frame]) * found.scale_yx
        placed = one.frame in row_of
        for kind in dict.fromkeys(k for k in (before, after) if k is not None):
            own = next((g for g, s in enumerate(sublattices) if kind in s["features"]), None)
            near = np.zeros(0, int) if own is None else evidence.site_indices(own)
            away = np.hypot(*(places[near] - at).T)
            if own is None or one.frame is None or not placed or not len(near) or away.min() > REACH_NM:
                placed = False
                continue
            site, row, features = int(near[away.argmin()]), row_of[one.frame], sublattices[own]["features"]
            named = after if after in features else None
            states = {s["kind"]: s for s in sublattices[own]["states"]}
            for k, name in enumerate(features):
                if name == stored.LINE:
                    level = 0.0 if named is None else states.get(named, {}).get("level", np.nan)
                    values[row, site, k] = level
                elif name != stored.LIGHT:
                    values[row, site, k] = float(name == named)
            flags[row, site] &= ~np.uint8(stored.PARTIAL)
        unplaced += not placed
    for frame, row in row_of.items():
        for one in regions:
            if one.frame is not None and one.frame != frame:
                continue
            assert one.y_px is not None and one.x_px is not None and one.y_to_px is not None and one.x_to_px is not None
            low, high = np.sort([[one.y_px, one.x_px], [one.y_to_px, one.x_to_px]], axis=0).astype(float)
            at = places / found.scale_yx + (drift_px[frame] if one.frame is not None else 0)
            flags[row, ((at >= low) & (at <= high)).all(1)] |= np.uint8(stored.EXCLUDED)
    return replace(evidence, values=values, flags=flags, scatter=scatter, path=None), unplaced


def sites_of(found: Detections, rows: np.ndarray, drift_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(site that each row sits on, -1: none; its sublattice)."""
    assert found.evidence is not None
    sites = found.evidence.sites
    at = (np.column_stack([rows["y_px"], rows["x_px"]]) - drift_px[rows["frame"]]) * found.scale_yx
    away, site = cKDTree(np.column_stack([sites["y_nm"], sites["x_nm"]])).query(at)
    site = np.where(away <= REACH_NM, site, -1)
    return site, sites["sublattice"][np.maximum(site, 0)].astype(int)
