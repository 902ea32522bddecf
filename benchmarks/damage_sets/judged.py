"""Answers beside the truth, and the tables of many."""

import json
from pathlib import Path

import numpy as np

from benchmarks.damage_sets.gillespie import PROCESSES, Truth

SHOWN = ("first atom", "second atom", "filling", "arrival by hopping")
ORDER = ("4000", "1200", "400")


def row(truth: Truth, key: int, sweeps: int, flux: float) -> dict:
    """Every process of one set: its true rate, what happened, and the answer; rates per atom in barn of `flux`."""
    from stemdefects.analysis import kinetics
    from stemdefects.analysis.damage import histories, risks

    settings = kinetics.Settings(chains=2, threads=1, warmup=150, sweeps=sweeps, max_sweeps=sweeps, effective=100.0)
    found = kinetics.infer(truth.evidence, settings, key=key)
    answers = risks.find(histories.tally(found), found, 2, np.random.default_rng(key))
    quantities = {}
    for q in answers:
        if q.name not in PROCESSES or not truth.exposure_s[q.name]:
            continue
        happened = truth.events[q.name] / truth.exposure_s[q.name]
        true = truth.expected[q.name] / truth.exposure_s[q.name]
        value, low, high = (float(v) for v in q.rate_per_s)
        barn = 1 / flux / risks.BARN_NM2
        quantities[q.name] = {
            "true": true * barn,
            "happened": happened * barn,
            "value": value * barn,
            "low": low * barn,
            "high": high * barn,
            "events": q.events,
            "true_events": truth.events[q.name],
            "code": q.code.value,
            "none": q.none,
            "per_event": barn / q.exposure_s,
        }
    return {"code": found.code.value, "sweeps": int(found.rates.shape[1]), "quantities": quantities}


def report(folder: Path) -> str:
    """Tables of all sets measured so far."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))]
    lines = [
        "| e/px | process | sets | events a movie | bias | RMSE | interval holds the truth | against what happened |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dose in ORDER:
        mine = [r["quantities"] for r in rows if r["dose"] == dose and r["variant"] == "damage"]
        for name in PROCESSES:
            lines += _line(dose, name, [q[name] for q in mine if name in q])
    out = "\n".join(lines)
    empty = [r for r in rows if r["variant"] == "none"]
    if empty:
        lines = [
            "| e/px | process | sets | interval holds 0 | median upper limit, events in the exposure |",
            "|---|---|---|---|---|",
        ]
        for dose in ORDER:
            for name in ("first atom", "second atom", "filling"):
                q = [r["quantities"][name] for r in empty if r["dose"] == dose and name in r["quantities"]]
                if q:
                    held = sum(one["low"] <= 0 for one in q)
                    limit = np.median([one["high"] / one["per_event"] for one in q if "per_event" in one] or [np.nan])
                    lines.append(f"| {dose} | {name} | {len(q)} | {held}/{len(q)} | {limit:.1f} |")
        out += "\n\nNothing happens but hops:\n\n" + "\n".join(lines)
    return out


def _line(dose: str, name: str, q: list[dict]) -> list[str]:
    told = [one for one in q if np.isfinite(one["value"])]
    if not told:
        return []
    columns = ("value", "low", "high", "true", "happened")
    value, low, high, true, real = (np.array([one[k] for one in told]) for k in columns)
    known = np.isfinite(true)
    share = lambda truth, keep: f"{int(((low <= truth) & (truth <= high))[keep].sum())}/{int(keep.sum())}"  # noqa: E731
    # bias of the sums: ratios of single sets with few events scatter lopsidedly
    bias = lambda truth, keep: f"{100 * (value[keep].sum() / truth[keep].sum() - 1):+.0f}%"  # noqa: E731
    against = "| not one number | | "
    if known.any():
        rmse = np.sqrt(np.mean((value[known] / true[known] - 1) ** 2))
        against = f"| {bias(true, known)} | {100 * rmse:.0f}% | {share(true, known)} "
    some = real > 0
    n = np.mean([one["true_events"] for one in told])
    return [f"| {dose} | {name} | {len(told)} | {n:.1f} {against}| {bias(real, some)}, {share(real, some)} |"]
