"""The tracks as a stage of the analysis: how long they are, how often they begin, end and merge."""

import numpy as np

from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.stage import Figure, Section, StageResult, sentences
from stemdefects.schema import AnalysisConfig

CAPTIONS = {
    "trajectories": "In the sample's frame, drift removed.",
    "broom": "Every linked detection in space and time: a resting defect draws a straight line.",
}


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """What linking made of the detections; `data` is `tracks.Tracks`."""
    t, found = inputs.tracks, inputs.found
    said = rates(inputs)
    blocks = [_text(inputs, cfg), sentences(said)] if t.n_tracks else []
    figure = {
        "tracks": t,
        "kinds": inputs.track_kinds(),
        "min_length": cfg.linking.min_length,
        "n_frames": found.n_frames,
        "unit": found.length_unit,
        "time_unit": found.time_unit,
    }
    section = Section("Tracks", [*blocks, *(Figure(name, text) for name, text in CAPTIONS.items())])
    return StageResult(said, (), _tables(inputs), dict.fromkeys(CAPTIONS, figure), section, t)


def rates(inputs: Inputs) -> list[Estimate]:
    """Rates of births, deaths and merges of tracks, by exact intervals of their counts."""
    from scipy import stats

    found, events, duration = inputs.found, inputs.events, inputs.followed.seconds
    if not found.followed or found.smoothed or not len(events) or not duration > 0:
        return []
    out = []
    for name in ("birth", "death", "merge"):
        n = int((events["event"] == name.encode()).sum())
        low = stats.gamma.ppf(0.025, n) if n else 0.0
        out.append(
            estimate(
                f"{name}s of tracks",
                n / duration,
                low / duration,
                stats.gamma.ppf(0.975, n + 1) / duration,
                f"1/{found.time_unit}",
                "count of events, exact interval",
                n=n,
                n_of="events",
                warning="Missed detections end tracks too, so this is an upper bound.",
            )
        )
    return out


def _text(inputs: Inputs, cfg: AnalysisConfig) -> str:
    lengths, least = inputs.tracks.lengths, cfg.linking.min_length
    n = {name: int((inputs.events["event"] == name.encode()).sum()) for name in ("birth", "death", "gap", "merge")}
    return (
        f"{len(lengths)} tracks, {int((lengths >= least).sum())} of them with {least} detections or more, median "
        f"length {np.median(lengths):.0f}, longest {lengths.max()}. Linked within {inputs.gate:.3f} "
        f"{inputs.found.length_unit} and over at most {cfg.linking.memory} missed frames. {n['birth']} births, "
        f"{n['death']} deaths, {n['gap']} gaps bridged, {n['merge']} tracks that ended beside another one."
    )


def _tables(inputs: Inputs) -> dict:
    import pandas as pd

    found, t, events = inputs.found, inputs.tracks, inputs.events
    unit = found.length_unit
    of_tracks = pd.DataFrame(
        {
            "track": found.rows["track"][t.index],
            "frame": t.frame,
            f"time_{found.time_unit}": t.time,
            f"y_{unit}": t.yx[:, 0],
            f"x_{unit}": t.yx[:, 1],
            "kind": found.kinds[t.index],
            "track_kind": inputs.track_kinds()[t.track] if t.n_tracks else [],
        }
    )
    of_events = pd.DataFrame(
        {
            "frame": events["frame"],
            "event": [e.decode() for e in events["event"]],
            "track": events["track"],
            "other": events["other"],
            f"y_{unit}": events["y"],
            f"x_{unit}": events["x"],
        }
    )
    return {"tracks": of_tracks, "events": of_events}
