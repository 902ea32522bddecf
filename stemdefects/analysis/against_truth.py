"""What was found beside what is true, for tables made from simulated movies."""

import numpy as np

from stemdefects.analysis.data import truth as truths
from stemdefects.analysis.kinetics.statements import METHOD
from stemdefects.analysis.switching import estimators as switching
from stemdefects.analysis.switching import states


def compare(result) -> None:
    """Fill `scores` and `comparison` of an analysis whose `truth` is known."""
    found, truth = result.found, result.truth
    lengths = found.length_unit == "nm"
    radius = result.cfg.truth_radius_nm / found.scale_yx[1] if lengths else 0.3 * result.lattice_constant
    aspect = found.scale_yx[0] / found.scale_yx[1]
    good = np.flatnonzero(~result.counts.skipped)
    result.scores = truths.score(found.rows, truth.rows, radius, good, aspect)
    kind = truth.attrs.get("mobile_kind", result.motion.headline)
    if truth.D_nm2_per_s is not None:
        mine = [e for e in result.estimates if (e.quantity, e.subject, e.method) == ("D", kind, METHOD)]
        result.comparison += [
            _against(f"D of {kind} (nm^2/s), {METHOD}", truth.D_nm2_per_s, e.value, e.low, e.high) for e in mine
        ]
    if truth.D_nm2_per_s is not None and result.D_unit == "nm^2/s":
        for method, d in result.motion.results.get(kind, {}).items():
            result.comparison.append(_against(f"D of {kind} (nm^2/s), {method}", truth.D_nm2_per_s, d.D, d.low, d.high))
    if found.frame_time_s and "hmm" in result.transitions:
        result.comparison += _compare_matrix(result, radius, aspect)
    if truth.drift_px is not None:
        rms, worst = truths.drift_error(result.drift.yx, truth.drift_px, found.scale_yx)
        result.comparison.append(_against(f"drift error, rms ({found.length_unit})", 0.0, rms, None, None))
        result.comparison.append(_against(f"drift error, largest ({found.length_unit})", 0.0, worst, None, None))


def _compare_matrix(result, radius: float, aspect: float) -> list[dict]:
    """True transition probabilities beside ours, both for the centres that switch in the simulation (others never
    do)."""
    truth, found, chain = result.truth, result.found, result.chain
    clock = result.clock
    expected = switching.true_matrix(truth.attrs, clock.usual)
    if expected is None or truth.centers is None:
        return []
    who = np.isin(truths.identities(found.rows, truth.rows, radius, aspect), truth.centers)
    entry = who[result.tracks.index]
    switching_tracks = np.bincount(result.tracks.track, np.where(entry, 1, -0.2), result.tracks.n_tracks) > 0
    centre_tracks = switching_tracks & (result.track_kinds() == result.cfg.transitions.centre)
    some = result.tracks.select(centre_tracks)
    cfg = result.cfg.transitions
    chain = states.build(some, found.rows, cfg.states, cfg.centre, cfg.max_states, clock) if some.n_tracks else None
    names, matrix = expected
    if chain is None or not set(names) <= set(chain.names):
        return []
    t = switching.hidden(chain, cfg, None, np.random.default_rng(0), clock.usual)
    out = []
    for i, j in np.ndindex(*matrix.shape):
        if i != j:
            k, m = t.names.index(names[i]), t.names.index(names[j])
            name = f"P({names[i]} -> {names[j]}) {result.step}"
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
