"""Tables of the lattice model's posterior: counts, states of every site and frame, centres' changes, all quantities."""

import numpy as np

from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.estimates import Estimate
from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.posterior import agreement, tracks
from stemdefects.analysis.kinetics.result import Kinetics
from stemdefects.analysis.kinetics.statements import METHOD, Names
from stemdefects.io.tables import table as defect_table

RARE = 0.5  # changes in a movie: centres' states that were seen less are left out of the picture, not of the table


def of_posterior(answer: Kinetics, found: Detections, names: Names) -> dict:
    """`kinetics`, `counts_posterior` and `switching_posterior` as DataFrames."""
    import pandas as pd

    rows = []
    for q in answer.estimates:
        check = agreement.worst_check(answer, q.name)
        rows.append(
            {
                "quantity": q.name,
                "value": q.value,
                "low": q.low,
                "high": q.high,
                "unit": q.unit,
                "code": q.code.value,
                "probability_of_none": q.none,
                "events": q.events,
                "r_hat": check.r_hat if check else np.nan,
                "effective_samples": check.effective if check else np.nan,
            }
        )
    frames = found.frame_table()["frame"]
    judged = np.flatnonzero(np.isfinite(answer.occupancy[..., 0]).any(1))
    counts = answer.counts.reshape(-1, *answer.counts.shape[2:])
    kinds = {names.one: counts[..., 0] + counts[..., 1]} | ({names.two: counts[..., 2]} if names.two else {})
    of_counts = []
    for kind, drawn in kinds.items():
        low, median, high = np.quantile(drawn[:, judged], [0.025, 0.5, 0.975], axis=0)
        of_counts.append(
            pd.DataFrame(
                {
                    "frame": frames[judged],
                    "time_s": answer.times_s[judged],
                    "kind": kind,
                    "median": median,
                    "low": low,
                    "high": high,
                }
            )
        )
    out = {"kinetics": pd.DataFrame(rows), "counts_posterior": pd.concat(of_counts, ignore_index=True)}
    if len(answer.sites.bonds):
        out["switching_posterior"] = pd.DataFrame(
            [
                {
                    "from": state_name(i, names),
                    "to": state_name(j, names),
                    "probability_per_frame": P[0],
                    "low": P[1],
                    "high": P[2],
                    "mean_number": answer.transitions_seen[i, j],
                }
                for i, row in enumerate(answer.transition)
                for j, P in enumerate(row)
            ]
        )
    return out


def state_name(bits: int, names: Names) -> str:
    """Name of a centre's state by the bit mask of its occupied bonds, as tables name complexes: `@` the bond that leads
    to the one vacancy, or of two the bond that is left."""
    held = [k for k in range(3) if bits >> k & 1]
    if not held:
        return names.centre
    if len(held) == 3:
        return f"{names.centre}+3{names.one}"
    place = held[0] if len(held) == 1 else ({0, 1, 2} - set(held)).pop()
    return f"{names.centre}+{'' if len(held) == 1 else 2}{names.one}@{names.orientations[place]}"


def one_bond(names: Names) -> dict[int | None, str]:
    """Names of a centre's states with at most one vacancy, by its bond; None: without."""
    return {None: state_name(0, names)} | {k: state_name(1 << k, names) for k in range(3)}


def states_seen(answer: Kinetics) -> list[int]:
    """Numbers of the centres' states that were seen often enough for a picture."""
    seen = answer.transitions_seen
    by_number = sorted(range(8), key=lambda i: (i.bit_count(), i))
    return [i for i in by_number if i == 0 or (seen[i] + seen[:, i]).sum() - seen[i, i] >= RARE]


def hops_by_edge(answer: Kinetics) -> np.ndarray:
    """(n, 3) pairs of sites of the evidence, the lower number first, and the mean number of hops between them."""
    moves = [events[(events[:, 0] >= 0) & (events[:, 1] >= 0), :2] for _, _, events in answer.histories]
    if not moves or not sum(map(len, moves)):
        return np.zeros((0, 3))
    ends = np.sort(answer.sites.original[np.concatenate(moves)], axis=1)
    ends = ends[ends[:, 0] != ends[:, 1]]
    pairs, number = np.unique(ends, axis=0, return_counts=True)
    return np.column_stack([pairs, number / len(answer.histories)])


def mean_over_frames(occupancy: np.ndarray) -> np.ndarray:
    """(N,) mean over the frames that say something, NaN where none does."""
    known = np.isfinite(occupancy)
    total, n = np.where(known, occupancy, 0).sum(0), known.sum(0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def over_time(answer: Kinetics, evidence: Evidence, found: Detections, names: Names) -> dict:
    """`defects_over_time`: where the posterior says that a vacancy is, by frame and kind, each with its track and how
    sure the link to its last place is; other kinds, and what lies where the model says nothing, as inference has it.
    `link_alternatives`: where those whose link is not sure may have come from, in the specimen's frame."""
    import pandas as pd

    frames = found.frame_table()
    one, two = answer.occupancy[..., 0], answer.occupancy[..., 1]
    f, site = np.nonzero(np.nan_to_num(one + two) > 0.5)
    rows = defect_table.empty(len(f))
    rows["frame"], rows["time_s"] = frames["frame"][f], answer.times_s[f]
    drift = np.nan_to_num(np.column_stack([frames["drift_y_px"], frames["drift_x_px"]]))
    yx_px = evidence.yx_nm[site] / found.scale_yx + drift[f]
    rows["y_px"], rows["x_px"] = yx_px.T
    rows["y_nm"], rows["x_nm"] = (yx_px * found.scale_yx).T
    double = two[f, site] > one[f, site]
    rows["kind"] = np.where(double, names.two, names.one).astype("S24")
    rows["kind_prob"] = np.where(double, two[f, site], one[f, site])
    rows["score"] = (one + two)[f, site]
    rows["track"], sure = tracks.link(answer, f, site)
    table = defect_table.dataframe(rows)
    table["track_prob"] = sure
    others = _others(answer, evidence, found, names, frames["frame"], drift)
    if len(others):
        table = pd.concat([table, defect_table.dataframe(others)], ignore_index=True)
    return {
        "defects_over_time": table.sort_values(["frame", "kind"], kind="stable", ignore_index=True),
        "link_alternatives": _alternatives(answer, evidence, rows, f, site),
    }


def _alternatives(answer: Kinetics, evidence: Evidence, rows: np.ndarray, f: np.ndarray, site: np.ndarray):
    """Table of where vacancies whose link is not sure may have been in the frame before."""
    import pandas as pd

    found = tracks.alternatives(answer, f, site)
    here, known = rows[found["row"]], found["from_site"] >= 0
    origin = np.where(known[:, None], evidence.yx_nm[np.maximum(found["from_site"], 0)], np.nan)
    at = evidence.yx_nm[site[found["row"]]]
    return pd.DataFrame(
        {
            "frame": here["frame"],
            "track": here["track"],
            "y_nm": at[:, 0],
            "x_nm": at[:, 1],
            "from_y_nm": origin[:, 0],
            "from_x_nm": origin[:, 1],
            "probability": found["probability"],
        }
    )


def _others(answer, evidence, found, names, frames, drift) -> np.ndarray:
    """Rows of inference's states over time that the lattice model does not replace."""
    from scipy.spatial import cKDTree

    rows = found.over_time
    if rows is None or not len(rows):
        return defect_table.empty(0)
    own = np.isin(rows["kind"], [names.one.encode(), names.two.encode()])
    number = np.searchsorted(frames, rows["frame"]).clip(0, len(frames) - 1)
    yx_nm = (np.column_stack([rows["y_px"], rows["x_px"]]) - drift[number]) * found.scale_yx
    distance, site = cKDTree(evidence.yx_nm).query(yx_nm)
    judged = np.isfinite(answer.occupancy[..., 0])[number, site] & (distance < 0.5 * answer.sites.hop_nm)
    return rows[~own | ~judged]


def precision(answer: Kinetics, evidence: Evidence, found: Detections, kinds: tuple[str, ...]) -> list[Estimate]:
    """The share of single frames' calls of each kind that the posterior takes for right: its mean where they lie."""
    from scipy.spatial import cKDTree

    frames = found.frame_table()
    drift = np.nan_to_num(np.column_stack([frames["drift_y_px"], frames["drift_x_px"]]))
    number = np.searchsorted(frames["frame"], found.rows["frame"]).clip(0, max(len(frames) - 1, 0))
    said = []
    for layer, kind in enumerate(kinds):
        calls = np.flatnonzero(found.kinds == kind) if len(found.rows) else np.zeros(0, int)
        if not len(calls):
            continue
        yx_nm = (found.yx_px[calls] - drift[number[calls]]) * found.scale_yx
        distance, site = cKDTree(evidence.yx_nm).query(yx_nm)
        p = np.where(distance < 0.5 * answer.sites.hop_nm, answer.occupancy[number[calls], site, layer], np.nan)
        if np.isfinite(p).any():
            said.append(
                Estimate(
                    quantity="expected precision",
                    value=float(np.nanmean(p)),
                    low=None,
                    high=None,
                    unit="1",
                    method=METHOD,
                    subject=kind,
                    n=int(np.isfinite(p).sum()),
                    n_of="detections",
                )
            )
    return said
