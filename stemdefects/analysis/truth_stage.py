"""What was found beside what is true, as a stage of the analysis, for tables made from simulated movies."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm

from stemdefects.analysis import seeds
from stemdefects.analysis.data import truth as truths
from stemdefects.analysis.data.truth import Score, Truth
from stemdefects.analysis.estimates import in_words, number
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.kinetics.statements import METHOD
from stemdefects.analysis.patches.stage import with_classes
from stemdefects.analysis.stage import Figure, Grid, Section, StageResult
from stemdefects.analysis.switching import estimators as switching
from stemdefects.analysis.switching import states
from stemdefects.schema import AnalysisConfig

CAPTION = "Share of the calls that are right (precision), and of the true defects that were called (recall)."


@dataclass(frozen=True)
class Compared:
    """scores: of each kind; quantities: rows with `quantity`, `true`, `found`, `low`, `high`, `inside`."""

    scores: list[Score]
    quantities: list[dict]


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Scores of the detections and true beside found quantities; `data` is `Compared`."""
    import pandas as pd

    if inputs.truth is None:
        return StageResult()
    made = compare(inputs, inputs.truth, cfg, seed)
    tables = {"truth_scores": truths.table(made.scores)} if made.scores else {}
    if made.quantities:
        tables["truth_comparison"] = pd.DataFrame(made.quantities)
    section = Section("Found against true", [*_blocks(made, cfg), Figure("scores", CAPTION)])
    return StageResult((), (), tables, {"scores": made.scores}, section, made)


def compare(inputs: Inputs, truth: Truth, cfg: AnalysisConfig, seed: int) -> Compared:
    """Detections, D, transitions and drift against the truth."""
    found = inputs.found
    lengths = found.length_unit == "nm"
    radius = cfg.truth_radius_nm / found.scale_yx[1] if lengths else 0.3 * inputs.lattice_constant
    aspect = found.scale_yx[0] / found.scale_yx[1]
    good = np.flatnonzero(found.observed)
    scores = truths.score(found.rows, truth.rows, radius, good, aspect)
    moved = inputs.earlier["diffusion"].data.motion if "diffusion" in inputs.earlier else None
    kind = truth.attrs.get("mobile_kind", None if moved is None else moved.headline)
    out = []
    if truth.D_nm2_per_s is not None:
        mine = inputs.estimates("lattice model")
        out += [
            _against(f"D of {kind} (nm^2/s), {METHOD}", truth.D_nm2_per_s, e.value, e.low, e.high)
            for e in mine
            if (e.quantity, e.subject, e.method) == ("D", kind, METHOD)
        ]
    if truth.D_nm2_per_s is not None and inputs.D_unit == "nm^2/s" and moved is not None:
        for method, d in moved.results.get(kind, {}).items():
            out.append(_against(f"D of {kind} (nm^2/s), {in_words(method)}", truth.D_nm2_per_s, d.D, d.low, d.high))
    switched = inputs.earlier["transitions"].data if "transitions" in inputs.earlier else None
    if found.frame_time_s and switched is not None:
        out += _compare_matrix(inputs, truth, cfg, radius, seeds.stream(seed, "truth"))
    out += _damage(inputs, truth)
    if truth.drift_px is not None:
        rms, worst = truths.drift_error(inputs.drift.yx, truth.drift_px, found.scale_yx)
        out.append(_against(f"drift error, rms ({found.length_unit})", 0.0, rms, None, None))
        out.append(_against(f"drift error, largest ({found.length_unit})", 0.0, worst, None, None))
    return Compared(scores, out)


def _damage(inputs: Inputs, truth: Truth) -> list[dict]:
    """Cross-sections of the beam's processes, where the simulation has any."""
    known = truth.attrs.get("damage_barn")
    if not isinstance(known, dict) or not any(known.values()) or "damage" not in inputs.earlier:
        return []
    told = inputs.earlier["damage"]
    table = told.tables["damage"].set_index("process") if "damage" in told.tables else None
    out = []
    for name, barn in known.items():
        if table is not None and name in table.index and np.isfinite(table.loc[name, "cross_section_barn"]):
            three = (float(table.loc[name, c]) for c in ("cross_section_barn", "low_barn", "high_barn"))
            out.append(_against(f"cross-section, {name} (barn)", float(barn), *three))
    return out


def _true_matrix(attrs: dict, dt: float) -> tuple[list[str], np.ndarray] | None:
    """State names and transition matrix per frame of a simulated movie, from its `/truth` attributes."""
    Q, names = attrs.get("generator_per_s"), attrs.get("state_labels")
    if Q is None or not names or not np.any(Q):
        return None
    return [str(n) for n in names], expm(np.asarray(Q, float) * dt)


def _compare_matrix(
    inputs: Inputs, truth: Truth, cfg: AnalysisConfig, radius: float, rng: np.random.Generator
) -> list[dict]:
    """True transition probabilities beside ours, both for the centres that switch in the simulation (others never
    do)."""
    found, own, clock = inputs.found, cfg.transitions, inputs.clock
    aspect = found.scale_yx[0] / found.scale_yx[1]
    expected = _true_matrix(truth.attrs, clock.usual)
    if expected is None or truth.centers is None:
        return []
    who = np.isin(truths.identities(found.rows, truth.rows, radius, aspect), truth.centers)
    entry = who[inputs.tracks.index]
    switching_tracks = np.bincount(inputs.tracks.track, np.where(entry, 1, -0.2), inputs.tracks.n_tracks) > 0
    some = inputs.tracks.select(switching_tracks & (inputs.track_kinds() == own.centre))
    rows = with_classes(inputs, inputs.earlier)
    chain = states.build(some, rows, own.states, own.centre, own.max_states, clock) if some.n_tracks else None
    names, matrix = expected
    if chain is None or not set(names) <= set(chain.names):
        return []
    t = switching.hidden(chain, own, None, rng, clock.usual)
    out = []
    for i, j in np.ndindex(*matrix.shape):
        if i != j:
            k, m = t.names.index(names[i]), t.names.index(names[j])
            name = f"P({names[i]} -> {names[j]}) {inputs.step}"
            out.append(_against(name, matrix[i, j], t.P[k, m], t.low[k, m], t.high[k, m]))
    return out


def _against(name, true, value, low, high) -> dict:
    ok = value is not None and np.isfinite(value)
    inside = (
        bool(low <= true <= high) if ok and None not in (low, high) and np.isfinite(low) and np.isfinite(high) else None
    )
    clean = [None if v is None or not np.isfinite(v) else float(v) for v in (value, low, high)]
    return {
        "quantity": name,
        "true": float(true),
        "found": clean[0],
        "low": clean[1],
        "high": clean[2],
        "inside": inside,
    }


def _blocks(made: Compared, cfg: AnalysisConfig) -> list:
    def share(value):
        return "none" if value is None else f"{value:.3f}"

    scores = [
        [
            s.kind,
            s.n_true,
            s.n_found,
            share(s.precision),
            share(s.recall),
            share(s.f1),
            "none" if not np.isfinite(s.rms_error_px) else f"{s.rms_error_px:.2f}",
        ]
        for s in made.scores
    ]
    rows = [
        [
            c["quantity"],
            number(c["true"]),
            number(c["found"]),
            f"{number(c['low'])} to {number(c['high'])}" if c["low"] is not None else "",
            c["inside"],
        ]
        for c in made.quantities
    ]
    return [
        "The source is a simulation, so the truth is known. A detection is right when it lies within "
        f"{cfg.truth_radius_nm:g} nm of a true defect of its kind (best one-to-one matching, frame by frame).",
        Grid(["kind", "true", "found", "precision", "recall", "F1", "position error (px, per axis)"], scores),
        Grid(["quantity", "true", "found", "95% interval", "truth inside"], rows),
    ]
