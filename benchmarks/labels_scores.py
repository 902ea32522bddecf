"""How the benchmark of labels counts: detections against the truth, F1, and differences of F1 with intervals."""

from pathlib import Path

import numpy as np
from scipy import ndimage

KINDS = ("Mo_W", "V_W", "V_S2", "V_S")
RADIUS_NM = 0.09
SPACING_NM = 0.3153  # what lies this close to a hole or to the border is left out
PART_PX = 64  # side of the parts of the field that the bootstrap draws
N_RESAMPLES = 400
ROW = np.dtype([("late", bool), ("part", np.int32), ("kind", np.int8), ("score", np.float32)])  # kind -1: false


def judged(path: Path, found: dict[int, np.ndarray], n_early: int) -> np.ndarray:
    """One `ROW` per detection of one of `KINDS` or of nothing, and per defect that was missed (score -1).

    path: a movie with its truth; found: per frame (n, 3) y, x in px and score; n_early: frames from here on are late.
    """
    import h5py

    with h5py.File(path) as file:
        truth, regions = file["truth/defects"][:], file["truth/regions"] if "truth/regions" in file else None
        pixel_nm = float(file.attrs["pixel_size_nm"])
        shape = file["frames"].shape
        masks = {i: _inside(None if regions is None else regions[i], shape[1:], SPACING_NM / pixel_nm) for i in found}
    frames = [_pair(truth[truth["frame"] == i], points, masks[i], RADIUS_NM / pixel_nm) for i, points in found.items()]
    for i, rows in zip(found, frames, strict=True):
        rows["late"] = i >= n_early
    return np.concatenate(frames)


def _inside(regions: np.ndarray | None, shape: tuple[int, int], spacing_px: float) -> np.ndarray:
    """(H, W) bool: crystal at least one lattice spacing away from a hole and from the border."""
    crystal = np.ones(shape, bool) if regions is None else regions == 0
    return ndimage.distance_transform_edt(np.pad(crystal, 1))[1:-1, 1:-1] > spacing_px


def _pair(truth: np.ndarray, points: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Rows of one frame: detections paired with true defects, and those left over; not of what is outside `inside`."""
    from stemdefects.scoring.matching import match

    true = np.stack([truth["y_px"], truth["x_px"]], 1)
    kinds = np.array([KINDS.index(k.decode()) if k.decode() in KINDS else len(KINDS) for k in truth["kind"]], int)
    found, at = match(true, points[:, :2], radius)
    missed, false = np.setdiff1d(np.arange(len(true)), found), np.setdiff1d(np.arange(len(points)), at)
    # a defect counts where it is, whether found or not
    place = np.concatenate([true[found], points[false, :2], true[missed]])
    score = np.concatenate([points[at, 2], points[false, 2], np.full(len(missed), -1.0)])
    kind = np.concatenate([kinds[found], np.full(len(false), -1), kinds[missed]])
    cell = np.clip(np.rint(place).astype(int), 0, np.array(inside.shape) - 1)
    use = inside[tuple(cell.T)] & (kind < len(KINDS))
    rows = np.zeros(use.sum(), ROW)
    across = -(-inside.shape[1] // PART_PX)
    rows["part"] = (cell[use] // PART_PX) @ [across, 1]
    rows["kind"], rows["score"] = kind[use], score[use]
    return rows


def early_and_late(rows: np.ndarray, kind: str, weight: np.ndarray | None = None) -> tuple[float, float, float]:
    """(F1 in early frames at the best threshold, F1 in late frames at the same, that threshold); weight: (parts,)."""
    from stemdefects.scoring import detection

    rows = rows[(rows["kind"] == KINDS.index(kind)) | (rows["kind"] == -1)]
    truth = rows["kind"] >= 0
    weight = np.ones(len(rows)) if weight is None else weight[rows["part"]]
    found, early = rows["score"] >= 0, ~rows["late"]
    use = found & early
    levels, precision, recall = detection.curve(rows["score"][use], truth[use], weight[use])
    total = (weight * truth)[early].sum()
    recall = np.nan_to_num(recall) * (weight * truth)[use].sum() / max(total, 1e-12)
    values = detection.f1(precision, recall)
    if not len(values) or not total > 0:
        return 0.0, 0.0, 0.0
    best = int(np.argmax(values))
    # halfway to the next lower score: at its best, F1 is the same for all thresholds between
    level = 0.5 * float(levels[best] + levels[min(best + 1, len(levels) - 1)])
    late = detection.f1_at(rows["score"][~early], truth[~early], level, weight[~early])
    return float(values[best]), late, level


def summary(rows: np.ndarray, kind: str) -> dict[str, float]:
    """F1 of one kind, early and late, the threshold, and the numbers of defects."""
    early, late, threshold = early_and_late(rows, kind)
    this = rows["kind"] == KINDS.index(kind)
    return {
        "early": early,
        "late": late,
        "threshold": threshold,
        "n_early": int((this & ~rows["late"]).sum()),
        "n_late": int((this & rows["late"]).sum()),
    }


def gains(rows: dict[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """{kind: {"simulated early": [difference, lower, upper], ...}}: F1 of `tuned` less that of each other method, and
    its 95% interval by a bootstrap over parts of the field, which all methods share; thresholds are chosen anew.

    rows: of each method, from `judged`.
    """
    n_parts = 1 + max(int(r["part"].max()) for r in rows.values())
    rng = np.random.default_rng(0)
    weights = [None] + [np.bincount(rng.integers(0, n_parts, n_parts), minlength=n_parts) for _ in range(N_RESAMPLES)]
    result = {}
    for kind in KINDS:
        values = {m: np.array([early_and_late(r, kind, w)[:2] for w in weights]) for m, r in rows.items()}
        result[kind] = {}
        for other in rows.keys() - {"tuned"}:
            difference = values["tuned"] - values[other]
            for when, one in zip(("early", "late"), difference.T, strict=True):
                result[kind][f"{other} {when}"] = [one[0], *np.nanquantile(one[1:], [0.025, 0.975])]
    return result
