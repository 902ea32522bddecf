"""Tables over movies: bias, scatter and coverage of every estimate, F1 of detections, time."""

import numpy as np
import pandas as pd

GROUP = ["simulator", "variant", "dose"]
DETECTION = "| movies | detection | kind | true | recall | precision | F1 |"


def estimates(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per group, quantity, method and `against`: bias and RMSE (relative to the truth; where the truth is 0
    in all movies, the values themselves), how many intervals hold the truth, of how many, and their median width."""
    out = []
    for key, g in rows.groupby([*GROUP, "quantity", "method", "against"], sort=False):
        given, true = g[g["found"].notna()], g["true"]
        zero = not true.any()
        scale = np.where(given["true"] == 0, np.nan, given["true"])
        error = given["found"].to_numpy(float) if zero else (given["found"].to_numpy(float) - given["true"]) / scale
        bounded = given[given["low"].notna() & given["high"].notna()]
        held = ((bounded["low"] <= bounded["true"]) & (bounded["true"] <= bounded["high"])).sum()
        width = (bounded["high"] - bounded["low"]) / (1 if zero else bounded["true"].replace(0, np.nan))
        out.append(
            dict(zip([*GROUP, "quantity", "method", "against"], key, strict=True))
            | {
                "movies": len(g),
                "given": len(given),
                "true": true.mean(),
                "found": given["found"].mean(),
                "bias": np.nanmean(error) if len(given) else np.nan,
                "rmse": np.sqrt(np.nanmean(np.square(error))) if len(given) else np.nan,
                "held": int(held),
                "intervals": len(bounded),
                "width": width.median() if len(bounded) else np.nan,
                "headline": bool(g["headline"].any()),
                "zero": zero,
            }
        )
    return pd.DataFrame(out)


def detection(scores: pd.DataFrame) -> pd.DataFrame:
    """F1, recall and precision per group, way and kind, all movies together."""
    total = scores.groupby([*GROUP, "way", "kind"], sort=False)[["n_true", "n_found", "n_right"]].sum().reset_index()
    total["recall"] = total["n_right"] / total["n_true"].replace(0, np.nan)
    total["precision"] = total["n_right"] / total["n_found"].replace(0, np.nan)
    total["f1"] = 2 * total["n_right"] / (total["n_true"] + total["n_found"]).replace(0, np.nan)
    return total


def markdown(rows: pd.DataFrame, scores: pd.DataFrame, seconds: pd.DataFrame, wanted=None) -> str:
    """The page's tables; `wanted`: quantities to show (None: all)."""
    table = estimates(rows)
    if wanted is not None:
        table = table[table["quantity"].isin(wanted)]
    lines = [
        "| movies | quantity | method | against | true, mean | bias | RMSE | interval holds | median width |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in table.to_dict("records"):
        show = _plain if r["zero"] else _percent
        name = f"{r['simulator']} {r['variant']} {r['dose']:g} e/px"
        method = f"**{r['method']}**" if r["headline"] else r["method"]
        lines.append(
            f"| {name} | {r['quantity']} | {method} | {r['against']} | {_plain(r['true'])} | {show(r['bias'], True)} | "
            f"{show(r['rmse'])} | {r['held']}/{r['intervals']} of {r['movies']} | {show(r['width'])} |"
        )
    lines += ["", "Bold: headlines. Where nothing is true the values themselves stand for bias and RMSE.", ""]
    lines += [DETECTION, "|---|---|---|---|---|---|---|"]
    for r in detection(scores).to_dict("records"):
        name = f"{r['simulator']} {r['variant']} {r['dose']:g} e/px"
        parts = " | ".join("-" if np.isnan(r[k]) else f"{r[k]:.3f}" for k in ("recall", "precision", "f1"))
        lines.append(f"| {name} | {r['way']} | {r['kind']} | {r['n_true']} | {parts} |")
    mean = seconds.groupby(GROUP)[["infer_s", "analyze_s", "infer_cpu_s", "analyze_cpu_s"]].mean().reset_index()
    lines += ["", "| movies | infer, wall s (CPU s) | analyze, wall s (CPU s) |", "|---|---|---|"]
    for r in mean.to_dict("records"):
        lines.append(
            f"| {r['simulator']} {r['variant']} {r['dose']:g} e/px | {r['infer_s']:.0f} ({r['infer_cpu_s']:.0f}) | "
            f"{r['analyze_s']:.0f} ({r['analyze_cpu_s']:.0f}) |"
        )
    return "\n".join(lines)


def _percent(value: float, sign: bool = False) -> str:
    return "-" if value is None or np.isnan(value) else f"{100 * value:{'+' if sign else ''}.0f}%"


def _plain(value: float, sign: bool = False) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3g}"
