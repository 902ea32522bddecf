"""Where a look is worth most: the places at which the analysis is least sure, with a sentence why."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.corrections.applied import drift
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.patches.stage import with_classes
from stemdefects.analysis.stage import Fold, Grid, Section, StageResult
from stemdefects.numerics import robust
from stemdefects.schema import AnalysisConfig

ALIKE = 8  # places of one sort of doubt, as long as there are others: twenty times the same teaches little
PLACES = 20  # in the queue: what a person looks through in a few minutes
FAR = 3.0  # robust deviations of a kind's light, from which on it is unusual; worth most at twice as many
LONG = 0.7  # of the linking gate: longer steps may be of two defects
RARE = 0.3  # share of its kind in a class of patches, below which class and kind disagree
LEAST = 12  # detections of a kind or class, for its usual light or kind to be known
GAP = 0.6  # what a look is worth where a defect was missed between two sightings, against 1 of an even doubt


class Doubt(NamedTuple):
    """A place: `worth` of a look, `row` of the table, why, the frame if it is another one, and the sort of doubt."""

    worth: float
    row: int
    why: str
    frame: int = -1
    sort: str = ""


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """At most `PLACES` places, of different defects; `data` is their DataFrame, the table `queue` too."""
    import pandas as pd

    found = inputs.found
    doubts = sorted([*_rows(inputs), *_gaps(inputs)], key=lambda d: -d.worth)
    moved, taken, out = drift(found), set(), []
    for doubt in _mixed(doubts):
        row = found.rows[doubt.row]
        frame = int(row["frame"]) if doubt.frame < 0 else doubt.frame
        thing = int(row["track"]) if row["track"] >= 0 else -2 - doubt.row
        if thing in taken:
            continue
        taken.add(thing)
        y, x = np.array([row["y_px"], row["x_px"]]) + moved[frame] - moved[row["frame"]]
        out.append(
            {
                "frame": frame,
                "y_px": round(float(y), 2),
                "x_px": round(float(x), 2),
                "kind": row["kind"].decode(),
                "track": int(row["track"]),
                "worth": round(doubt.worth, 3),
                "why": doubt.why,
            }
        )
        if len(out) == PLACES:
            break
    if not out:
        return StageResult()
    table = pd.DataFrame(out)
    table.insert(0, "rank", np.arange(1, len(out) + 1))
    rows = [[r.rank, r.frame, f"{r.y_px:.0f}, {r.x_px:.0f}", r.kind, r.why] for r in table.itertuples()]
    grid = Grid(["", "frame", "y, x (px)", "kind", "why"], rows)
    text = "The places where the analysis is least sure; the movie above goes there by its list."
    return StageResult(
        tables={"queue": table}, section=Section("Worth a look", [text, Fold(f"{len(out)} places", [grid])]), data=table
    )


def _mixed(doubts: list[Doubt]) -> list[Doubt]:
    """Most worth first, but of what only one thing speaks against, and always the same, `ALIKE` before other doubts."""
    seen: Counter[str] = Counter()
    first, later = [], []
    for doubt in doubts:
        seen[doubt.sort] += 1
        (first if seen[doubt.sort] <= ALIKE else later).append(doubt)
    return first + later


def _rows(inputs: Inputs) -> list[Doubt]:
    """Detections with what speaks against them, most worth first, some more than are needed."""
    rows, kinds = inputs.found.rows, inputs.found.kinds
    n = len(rows)
    near, unusual = np.zeros(n), np.zeros(n)
    prob = rows["kind_prob"].astype(float)
    if n and np.ptp(prob) > 0:
        near = np.nan_to_num(1 - np.abs(2 * prob - 1)).clip(0, 1)
    for kind in np.unique(rows["kind"]):
        mine = np.flatnonzero((rows["kind"] == kind) & np.isfinite(rows["light"]))
        if len(mine) >= LEAST:
            light = rows["light"][mine].astype(float)
            middle = np.median(light)
            spread = robust.scatter(light)
            if spread > 0:
                unusual[mine] = ((np.abs(light - middle) / spread - FAR) / FAR).clip(0, 1)
    split, others = _split(inputs)
    step, turned = _links(inputs)
    total = near + unusual + split + step + np.where(turned != "", 0.5, 0)
    out = []
    for i in np.argsort(-total, kind="stable")[: 40 * PLACES]:
        if total[i] <= 0.05:
            break
        why = {}
        if near[i] > 0.1:
            why["probability"] = f"the network gives {kinds[i]} a probability of {prob[i]:.2f}"
        if unusual[i] > 0:
            why["light"] = f"its light, {rows['light'][i]:.2f} of an ideal column, is unusual for {kinds[i]}"
        if split[i] > 0:
            why["class"] = f"its picture looks like those called {others[i]}"
        if step[i] > 0:
            why["step"] = "its track came here by a step nearly as long as links may be"
        if turned[i]:
            why["kind"] = f"its track was {turned[i]} before"
        if why:
            out.append(Doubt(float(total[i]), int(i), "; ".join(why.values()), sort=" ".join(why)))
    return out


def _split(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """(n,) how far the class of a patch disagrees with its kind, and the kind that most of the class have."""
    kinds, cluster = inputs.found.kinds, with_classes(inputs, inputs.earlier)["cluster"]
    worth, other = np.zeros(len(kinds)), np.full(len(kinds), "", object)
    for k in np.unique(cluster[cluster >= 0]):
        mine = np.flatnonzero(cluster == k)
        names, index, count = np.unique(kinds[mine], return_inverse=True, return_counts=True)
        if len(mine) >= LEAST:
            share = count[index] / len(mine)
            worth[mine] = 0.5 * (1 - share / RARE).clip(0, 1)
            other[mine] = names[count.argmax()]
    return worth, other


def _links(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """(n,) how doubtful the link to a detection is by its length, and the kind that its track had before, "" if the
    same."""
    t, kinds, n = inputs.tracks, inputs.found.kinds, len(inputs.found.rows)
    step, turned = np.zeros(n), np.full(n, "", object)
    same = np.flatnonzero(np.diff(t.track) == 0)
    here = t.index[same + 1]
    length = np.hypot(*(t.yx[same + 1] - t.yx[same]).T) if len(same) else np.zeros(0)
    step[here] = 0.5 * ((length / inputs.gate - LONG) / (1 - LONG)).clip(0, 1)
    before = kinds[t.index[same]]
    changed = before != kinds[here]
    turned[here[changed]] = before[changed]
    return step, turned


def _gaps(inputs: Inputs) -> list[Doubt]:
    """Frames in which a defect was not found although it was before and after, at the same place."""
    t, clock = inputs.tracks, inputs.clock
    out = []
    for i in np.flatnonzero(np.diff(t.track) == 0):
        first, last = clock.place[t.frame[i]], clock.place[t.frame[i + 1]]
        away = float(np.hypot(*(t.yx[i + 1] - t.yx[i])))
        if last - first > 1 and away < 0.3 * inputs.lattice_constant:
            frame = int(clock.frames[first + 1])
            why = f"found in frames {t.frame[i]} and {t.frame[i + 1]}, not here"
            out.append(Doubt(GAP * (1 - away / (0.3 * inputs.lattice_constant)), int(t.index[i]), why, frame, "gap"))
    return out
