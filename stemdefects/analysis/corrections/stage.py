"""A person's corrections as a stage of the analysis: what they changed, and how good the model is by them."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stemdefects.analysis.corrections.applied import REACH_NM, REACH_PX, Applied, drift
from stemdefects.analysis.estimates import Estimate, estimate, in_words, number
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.stage import Grid, Section, StageResult, sentences
from stemdefects.analysis.tracking.tracks import ALL
from stemdefects.schema import AnalysisConfig
from stemdefects.scoring.proportion import proportion

NAMES = {
    "add": "added",
    "delete": "deleted",
    "relabel": "given another kind",
    "relink": "links made",
    "unlink": "links cut",
    "exclude": "regions left out",
    "checked": "frames checked as a whole",
}


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Precision and recall of the model on the frames that were corrected, and numbers before and after; `data` is
    `Applied`. Nothing where nothing was corrected."""
    done = inputs.found.corrected
    if done is None:
        return StageResult()
    said = scores(inputs, done)
    changes = _changes(inputs, done)
    tables = {"corrections_changed": changes} if changes is not None else {}
    blocks = [summary(done), Grid(["detections", "before", "after"], counts(inputs, done)), _about(done)]
    blocks.append(sentences(said))
    if changes is not None:
        moved = changes[changes["headline"] & (changes["before"] != changes["after"])]
        rows = [
            [
                f"{r.quantity}, {r.subject}" if r.subject else r.quantity,
                in_words(r.method),
                _said(r.before, r.before_low, r.before_high),
                _said(r.after, r.after_low, r.after_high),
                r.unit,
            ]
            for r in moved.itertuples()
        ]
        blocks.append(Grid(["headline", "method", "before", "after", "unit"], rows))
    notes = []
    if done.unplaced:
        notes.append(
            f"Corrections that lie on no lattice site of the evidence: {done.unplaced}. Counts and tracks know of "
            "them, the lattice model does not."
        )
    return StageResult(said, notes, tables, {}, Section("Corrections", blocks), done)


def summary(done: Applied) -> str:
    """How many corrections of each sort, in words."""
    parts = [f"{NAMES[action]} {n}" for action, n in done.counts.items()]
    out = f", detections in them {len(done.excluded)}" if len(done.excluded) else ""
    return f"Corrections: {len(done.given.items)} ({', '.join(parts)}{out}). The table as found is untouched."


def counts(inputs: Inputs, done: Applied) -> list[list]:
    """Detections of each kind before and after."""
    after, before = inputs.found.rows["kind"], done.before["kind"]
    return [
        [kind.decode(), int((before == kind).sum()), int((after == kind).sum())]
        for kind in np.unique(np.concatenate([before, after]))
    ]


def scores(inputs: Inputs, done: Applied) -> list[Estimate]:
    """Precision and recall of the model's calls in the frames that were looked at, against the corrected ones.

    A call is right when it was left as it is. Calls of one place in several frames are not independent: intervals count
    places (`scoring.proportion`).
    """
    found = inputs.found
    before, after = done.before, found.rows
    mine = np.isin(before["frame"], done.frames)
    mine[done.excluded] = False
    true = np.isin(after["frame"], done.frames)
    kept = np.full(len(before), -1)
    kept[done.origin[done.origin >= 0]] = np.flatnonzero(done.origin >= 0)
    right_before = kept >= 0
    right_before[right_before] = after["kind"][kept[right_before]] == before["kind"][right_before]
    right_after = (done.origin >= 0) & right_before[np.maximum(done.origin, 0)] if len(before) else done.origin > 0
    place = _places(inputs, before, after)
    of_before, of_after = place[: len(before)], place[len(before) :]
    seen = np.unique(np.concatenate([before["kind"][mine], after["kind"][true]]))
    out = []
    method = f"corrections, frames: {len(done.frames)}" + ("" if done.whole else ", not all checked")
    for kind in [*seen, None] if len(seen) > 1 else seen:
        subject = ALL if kind is None else kind.decode()
        a = mine if kind is None else mine & (before["kind"] == kind)
        b = true if kind is None else true & (after["kind"] == kind)
        of_both = {"precision": (right_before[a], of_before[a]), "recall": (right_after[b], of_after[b])}
        for name, (right, group) in of_both.items():
            p = proportion(right, group)
            if p is not None:
                out.append(
                    estimate(
                        f"{name} of the model",
                        p.value,
                        p.low,
                        p.high,
                        "1",
                        method,
                        subject=subject,
                        n=p.n,
                        n_of="calls",
                        headline=kind is None or len(seen) == 1,
                    )
                )
    return out


def _places(inputs: Inputs, *tables: np.ndarray) -> np.ndarray:
    """Number of the place in the specimen that each row of the tables is at: rows within reach are of one."""
    found, rows = inputs.found, np.concatenate(tables)
    reach = REACH_PX if found.pixel_size_nm is None else REACH_NM / found.scale_yx[1]
    at = np.column_stack([rows["y_px"], rows["x_px"]]) - drift(found)[rows["frame"]]
    if not len(at):
        return np.zeros(0, int)
    pairs = cKDTree(at).query_pairs(reach, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(at), len(at)))
    return connected_components(graph, directed=False)[1]


def _about(done: Applied) -> str:
    text = (
        "The corrected frames are taken as the truth for the model: what was left unchanged counts as right. Intervals "
        "count places, since a place that is called wrongly in one frame often is in the next."
    )
    if not done.whole:
        text += (
            " No frame was marked as checked: errors that nobody looked for count as right, and frames without errors "
            "are not among these; marking whole frames as checked makes both numbers those of the model."
        )
    return text


def _changes(inputs: Inputs, done: Applied):
    """Every estimate that was there before or is now, side by side, as a DataFrame; None where the analysis without
    the corrections is not known."""
    import pandas as pd

    if done.estimates is None:
        return None
    key = ["quantity", "subject", "method", "unit"]
    now = [e for stage in inputs.earlier.values() for e in stage.estimates]
    after = pd.DataFrame(
        [
            {
                **{k: getattr(e, k) for k in key},
                "after": e.value,
                "after_low": e.low,
                "after_high": e.high,
                "headline": e.headline,
            }
            for e in now
        ]
    )
    before = done.estimates[[*key, "value", "low", "high"]].fillna({"subject": ""})
    before = before.rename(columns={"value": "before", "low": "before_low", "high": "before_high"})
    both = before.drop_duplicates(key).merge(after.drop_duplicates(key), on=key, how="outer", sort=False)
    return both.assign(headline=both["headline"].eq(True))


def _said(value, low, high) -> str:
    if value is None or not np.isfinite(value):
        return "none"
    known = low is not None and np.isfinite(low) and high is not None and np.isfinite(high)
    return number(value) + (f" ({number(low)} to {number(high)})" if known else "")
