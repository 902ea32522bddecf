"""What an analysis says in short: figures for summary.json, and lines that are printed."""

from typing import Any

from stemdefects.analysis.corrections import stage as corrections
from stemdefects.analysis.estimates import number
from stemdefects.analysis.notes import codes
from stemdefects.analysis.pipeline import Analysis


def summary(result: Analysis) -> dict[str, Any]:
    """The headline figures for summary.json: name -> value, with its interval beside it."""
    found, truth = result.inputs.found, result.of("truth")
    out = {
        "n_detections": len(found.rows),
        "n_frames": int(found.observed.sum()),
        "n_tracks": result.inputs.tracks.n_tracks,
        "notes": result.notes,
        "note_codes": sorted({code.name for note in result.notes for code in codes(note)}),
    }
    for e in result.estimates:
        if e.headline and e.value is not None:
            name = " ".join(part for part in (e.quantity, e.subject) if part)
            out[name] = {"value": e.value, "low": e.low, "high": e.high, "unit": e.unit, "method": e.method}
    if truth is not None and truth.scores:
        out["truth"] = {
            s.kind: {"precision": s.precision, "recall": s.recall, "f1": s.f1, "n_true": s.n_true} for s in truth.scores
        }
    if truth is not None and truth.quantities:
        out["against_truth"] = truth.quantities
    return {"analysis": out}


def text(result: Analysis) -> str:
    """What is printed: headline numbers, or found against true when the truth is known."""
    lines, truth = [], result.of("truth")
    if (done := result.of("corrections")) is not None:
        lines += [corrections.summary(done)]
        for kind, before, after in corrections.counts(result.inputs, done):
            lines += [f"  {kind}: {before} detections before, {after} after"] if before != after else []
    if truth is not None and truth.scores:
        lines.append(f"{'kind':<16}{'true':>7}{'found':>7}{'precision':>11}{'recall':>8}{'F1':>7}")
        share = lambda v: "-" if v is None else f"{v:.3f}"  # noqa: E731
        for s in truth.scores:
            lines.append(
                f"{s.kind:<16}{s.n_true:>7}{s.n_found:>7}{share(s.precision):>11}{share(s.recall):>8}{share(s.f1):>7}"
            )
        lines.append("")
    if truth is not None and truth.quantities:
        wide = max(44, *(len(c["quantity"]) + 1 for c in truth.quantities))
        lines.append(f"{'quantity':<{wide}}{'true':>10}{'found':>11}   95% interval")
        for c in truth.quantities:
            interval = f"{number(c['low'])} to {number(c['high'])}" if c["low"] is not None else ""
            lines.append(f"{c['quantity']:<{wide}}{number(c['true']):>10}{number(c['found']):>11}   {interval}")
        lines.append("")
    lines += [e.sentence() for e in result.estimates if e.headline]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)
