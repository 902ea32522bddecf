"""Several analyses side by side: each quantity with its interval, and a test of the difference.

The interval of a difference comes from the two intervals themselves (Zou and Donner, Stat. Med. 27, 1693 (2008)): each
end uses the halves that face each other, so that the lopsided intervals of rates stay lopsided. p-values are corrected
for the number of quantities that are tested (Holm). Densities: the frames of a movie show the same defects again, so
their scatter says nothing of the next field; that of the number of defects (Poisson) is added before two are compared.
"""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    import pandas as pd


MAIN = ("D", "D per dose", "hop rate", "density", "exponential growth rate", "growth rate")
Z = stats.norm.ppf(0.975)  # half width of a 95% interval in standard errors


def difference(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float, float, float]:
    """b - a with its 95% interval and the p-value of no difference; a and b are (value, low, high)."""
    value = b[0] - a[0]
    down, up = max(b[0] - b[1], 1e-300), max(b[2] - b[0], 1e-300)
    other_down, other_up = max(a[0] - a[1], 1e-300), max(a[2] - a[0], 1e-300)
    low, high = value - np.hypot(down, other_up), value + np.hypot(up, other_down)
    facing = np.hypot(down, other_up) if value > 0 else np.hypot(up, other_down)
    return value, low, high, float(2 * stats.norm.sf(abs(value) / facing * Z))


def side_by_side(tables: dict[str, "pd.DataFrame"]) -> "pd.DataFrame":
    """All quantities that two analyses or more determine.

    Args:
        tables: name of the analysis -> its estimates (the DataFrame of estimates.csv).

    Returns:
        DataFrame, one row per pair of analyses and quantity: `quantity`, `subject`, `method`, `unit`, `main` (tested
        together), `a`, `b`, their `value_a`, `low_a`, ..., `difference`, `low`, `high`, `p`, `p_corrected`.
    """
    import pandas as pd

    key = ["quantity", "subject", "method", "unit"]
    parts = {}
    for name, table in tables.items():
        table = table.copy()
        table["subject"] = table["subject"].fillna("")
        table = table[np.isfinite(table["value"].astype(float))]
        parts[name] = _with_field_to_field(table.drop_duplicates(key)).set_index(key)
    rows = []
    for a, b in itertools.combinations(parts, 2):
        for index in parts[a].index.intersection(parts[b].index, sort=False):
            one, two = (tuple(float(parts[n].loc[index, c]) for c in ("value", "low", "high")) for n in (a, b))
            tested = np.isfinite([*one, *two]).all()
            delta = difference(one, two) if tested else (two[0] - one[0], np.nan, np.nan, np.nan)
            quantity, _, method, _ = index
            main = bool(tested and (quantity in MAIN or quantity.startswith("rate ")) and method != "paper")
            rows.append(
                dict(zip(key, index, strict=True))
                | {
                    "main": main,
                    "a": a,
                    "b": b,
                    **{f"{n}_a": v for n, v in zip(("value", "low", "high"), one, strict=True)},
                    **{f"{n}_b": v for n, v in zip(("value", "low", "high"), two, strict=True)},
                    **dict(zip(("difference", "low", "high", "p"), delta, strict=True)),
                }
            )
    columns = [
        *key,
        "main",
        "a",
        "b",
        "value_a",
        "low_a",
        "high_a",
        "value_b",
        "low_b",
        "high_b",
        "difference",
        "low",
        "high",
        "p",
    ]
    out = pd.DataFrame(rows, columns=columns)
    out["p_corrected"] = np.nan
    main = out["main"].to_numpy(bool)
    out.loc[main, "p_corrected"] = holm(out.loc[main, "p"].to_numpy(float))
    return out


def _with_field_to_field(table):
    """Intervals of densities widened by the scatter of the number of defects from field to field (Poisson)."""
    table = table.copy()
    counts = table[table["quantity"] == "count per frame"]
    for k in table.index[table["quantity"] == "density"]:
        value, low, high = (float(table.loc[k, c]) for c in ("value", "low", "high"))
        own = counts[counts["subject"] == table.loc[k, "subject"]]
        same = own[own["method"] == table.loc[k, "method"]]  # a kind may be counted in several ways
        n = float((same if len(same) else own)["value"].iloc[0]) if len(own) else np.nan
        if np.isfinite([value, low, high, n]).all() and n > 0:
            down, up = (value * abs(stats.gamma.ppf(q, n + d) / n - 1) for q, d in ((0.025, 0), (0.975, 1)))
            table.loc[k, "low"] = max(value - np.hypot(value - low, down), 0.0)
            table.loc[k, "high"] = value + np.hypot(high - value, up)
            table.loc[k, "method"] = f"{table.loc[k, 'method']}, and Poisson for the field"
    return table


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm, Scand. J. Stat. 6, 65 (1979))."""
    order = np.argsort(p)
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    return out


def cautions(attributes: dict[str, dict], quantities: Iterable[str] = ()) -> list[str]:
    """What makes the analyses hard to compare, one sentence each; attributes: of each table, by name; quantities: the
    names of what is compared."""
    notes = []
    if any("@" in str(q) for q in quantities):
        notes.append(
            "Orientations (@0, @1, @2) are numbered from each movie's own lattice vectors: @0 of one movie may be @1 "
            "of the other, so that only sums over orientations compare."
        )
    words = {
        "model_id": "networks",
        "material": "materials",
        "dose_e_per_px": "doses per pixel",
        "frame_time_s": "frame times",
        "source": "sources",
    }
    for key, word in words.items():
        values = {str(a.get(key)) for a in attributes.values() if a.get(key) is not None}
        if key == "source":
            if len(values) < len(attributes) and len(attributes) > 1 and values:
                notes.append("Some of these analyses have the same source: their differences are not independent data.")
        elif len(values) > 1:
            notes.append(
                f"The {word} differ ({', '.join(sorted(values))}): what is missed and taken wrongly may differ too, "
                "which the intervals do not include."
            )
    units = {"nm" if a.get("pixel_size_nm") else "px" for a in attributes.values()}
    if len(units) > 1:
        notes.append("One table has no pixel size: its lengths are in pixels and are not compared.")
    return notes
