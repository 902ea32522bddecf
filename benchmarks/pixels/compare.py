"""Every estimate of an analysis beside what is true, by quantity and method, whatever methods there are."""

import re
from pathlib import Path

import numpy as np
from scipy.linalg import expm
from scipy.optimize import linear_sum_assignment

from benchmarks.pixels.truths import Truth

EDGE_PX = 5  # inference calls nothing closer to the border (0.15 nm)
RADIUS_NM = 0.12
MOBILE, CENTRE = "V_S", "Mo_W"
_WHOLE_RATE = ("sites", "hops")  # methods whose hop rate is that of a vacancy to all its neighbours
RISKS = "competing risks"  # what damage is told by; its rates are per atom, two of a full column
_DAMAGE = {"first": ("create", 2), "second": ("knock", 1), "filling": ("fill", 1)}
_RATES = {
    "hop rate": "hop",
    "attach rate": "attach",
    "detach rate": "detach",
    "turn rate": "turn",
    "appear rate": "create",
}


def rows(estimates, truth: Truth) -> list[dict]:
    """Comparisons for the table of estimates (a DataFrame of analysis/estimates.csv): one dict each, with `quantity`,
    `method`, `against` (nominal: of the simulation; happened: in this movie), `true`, `found`, `low`, `high`."""
    out = []
    for e in estimates.to_dict("records"):
        subject = "" if e["subject"] != e["subject"] else str(e["subject"])
        method, where = str(e["method"]), _where(subject)
        if method.endswith(RISKS):
            method = RISKS
        for quantity, against, true in _true(str(e["quantity"]), subject, method, truth):
            row = {k: _number(e[k]) for k in ("value", "low", "high")}
            out.append(
                {
                    "quantity": quantity,
                    "method": method + where,
                    "against": against,
                    "true": true,
                    "found": row["value"],
                    "low": row["low"],
                    "high": row["high"],
                    "headline": bool(e.get("headline", False)),
                    "code": str(e.get("code", "")),
                }
            )
    return out


def _true(quantity: str, subject: str, method: str, truth: Truth) -> list[tuple[str, str, float]]:
    """(name, against, true value) of what this quantity can be compared with."""
    mobile = subject.split(",")[0].strip() in ("", MOBILE)  # not `V_S in a complex`: those turn, and are no walkers
    if quantity == "D" and mobile:
        return _both("D", truth.D_nominal, truth.D_realised)
    if quantity == "damage rate":
        words = subject.split()
        name, atoms = _DAMAGE.get(words[0], (None, 1))
        if name is None or name not in truth.rates or words[1:] not in ([], [MOBILE.removeprefix("V_"), "atom"]):
            return []
        real = truth.realised.get(name)
        return _both(f"damage: {subject}", truth.rates[name] / atoms, None if real is None else real / atoms)
    if quantity == "D of the hops that happened":
        return _both(quantity, None, truth.D_realised)
    if quantity == "count per frame" and subject in ("V_S", "V_S2", "Mo_W", "V_W"):
        name, n_frames = (
            f"{subject} per frame",
            max(int(truth.defects["frame"].max()) + 1, 1) if len(truth.defects) else 1,
        )
        within = len(_inside(truth.defects, subject, truth.size_px)) / n_frames
        # both: whether the border, where nothing is called, is part of the field is for the analysis to say
        return [(name, "happened", truth.mean_counts.get(subject, 0.0)), (name, "happened off the border", within)]
    if truth.variant == "lattice" and CENTRE in subject and quantity in ("catch rate", "attach rate", "detach rate"):
        # centres take from the lattice there, and exchange nothing with a reservoir
        own = quantity == "catch rate"
        return _both(quantity, truth.rates["attach"] if own else 0.0, truth.realised.get("attach") if own else None)
    if quantity in _RATES and (mobile or (CENTRE in subject and quantity != "hop rate")):
        name, factor = _RATES[quantity], 6.0 if quantity == "hop rate" and method in _WHOLE_RATE else 1.0
        real = truth.realised.get(name)
        return _both(quantity, factor * truth.rates[name], None if real is None else factor * real)
    switch = re.fullmatch(r"rate (.+) -> (.+)", quantity)
    if switch and (name := _switch(*switch.groups())):
        return _both(f"{name} rate", truth.rates[name], truth.realised.get(name))
    switch = re.fullmatch(r"P\((.+) -> (.+)\) per frame", quantity)
    if switch and (name := _switch(*switch.groups())):
        return [(f"P({name}) per frame", "nominal", _per_frame(truth)[name])]
    return []


def _both(name: str, nominal: float | None, happened: float | None) -> list[tuple[str, str, float]]:
    pairs = (("nominal", nominal), ("happened", happened))
    return [(name, against, float(v)) for against, v in pairs if v is not None]


def _switch(source: str, target: str) -> str | None:
    """Which process leads between two states of a centre (`Mo_W`, `Mo_W+V_S@1`); None for others."""
    if not (source.startswith(CENTRE) and target.startswith(CENTRE)) or source == target:
        return None
    held = [MOBILE in s for s in (source, target)]
    return {(False, True): "attach", (True, False): "detach", (True, True): "turn"}.get(tuple(held))


def _per_frame(truth: Truth) -> dict[str, float]:
    """Chance per frame of each process at a centre, from the nominal rates of its four states."""
    r = truth.rates
    Q = np.zeros((4, 4))
    Q[0, 1:], Q[1:, 0] = r["attach"], r["detach"]
    Q[1:, 1:] = r["turn"]
    np.fill_diagonal(Q, 0)
    np.fill_diagonal(Q, -Q.sum(1))
    P = expm(Q * truth.frame_time_s)
    return {"attach": P[0, 1], "detach": P[1, 0], "turn": P[1, 2]}


def _where(subject: str) -> str:
    """Part of a subject beyond the kind (`V_S, window 2`): such rows are kept apart."""
    return "" if "," not in subject else f" [{subject.split(',', 1)[1].strip()}]"


def _number(value) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def scores(found, truth: Truth, kinds=("V_S", "V_S2", "Mo_W", "V_W")) -> dict[str, dict[str, int]]:
    """{kind: n_true, n_found, n_right} of detections (DataFrame: frame, kind, y_px, x_px), border left out."""
    out, radius = {}, RADIUS_NM / truth.pixel_size_nm
    for kind in kinds:
        sets = [_inside(table, kind, truth.size_px) for table in (found, truth.defects)]
        right = 0
        for frame in np.intersect1d(sets[0][:, 0], sets[1][:, 0]):
            a, b = (s[s[:, 0] == frame, 1:] for s in sets)
            distance = np.hypot(*np.moveaxis(a[:, None] - b[None], -1, 0))
            i, j = linear_sum_assignment(np.minimum(distance, 2 * radius))
            right += int((distance[i, j] < radius).sum())
        out[kind] = {"n_true": len(sets[1]), "n_found": len(sets[0]), "n_right": right}
    return out


def _inside(table, kind: str, size_px: int) -> np.ndarray:
    """(n, 3) frame, y_px, x_px of the rows of this kind that lie off the border."""
    t = table[table["kind"] == kind][["frame", "y_px", "x_px"]].to_numpy(float)
    return t[(t[:, 1:] > EDGE_PX).all(1) & (t[:, 1:] < size_px - 1 - EDGE_PX).all(1)]


def tables(run: Path) -> dict:
    """Detections of a run by name: `frame by frame`, `over time`, and what the lattice model says where it is apart."""
    import pandas as pd

    there = {
        "frame by frame": run / "defects.csv",
        "over time": run / "defects_over_time.csv",
        "lattice model": run / "analysis" / "defects_over_time.csv",
    }
    return {name: pd.read_csv(path) for name, path in there.items() if path.exists()}
