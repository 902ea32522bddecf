"""What joint fits say: sentences, remarks, and their tables."""

from typing import Any

import numpy as np

from stemdefects.analysis.damage.series.joint import WHAT, Joint, Series
from stemdefects.analysis.estimates import number
from stemdefects.analysis.notes import Code, Note, codes


def refused(series: Series) -> bool:
    """Whether the runs contradict the model, so that its parameters are no answer."""
    return any(Code.JOINT_REFUSED in codes(note) for note in series.notes)


def sentences(joint: Joint) -> list[str]:
    """Every parameter in words."""
    out = []
    for series in joint.series:
        if series.fit is None or refused(series):
            continue
        for p in series.fit.parameters:
            if p.value is None:
                out.append(f"{series.subject}, {p.name}: not determined.")
                continue
            if p.said == "lower limit":
                text = f"at least {number(p.low)} {p.unit} (95%)"
            elif p.said == "upper limit":
                text = f"at most {number(p.high)} {p.unit} (95%)"
            else:
                text = f"{number(p.value)} {p.unit}, 95% interval {number(p.low)} to {number(p.high)}"
            out.append(f"{series.subject}, {p.name}: {text} ({len(series.told)} runs).")
        if np.isfinite(series.fit.correlation):
            names = " and ".join(p.name for p in series.fit.parameters)
            p_value = f"; p of the fit {series.fit.p_value:.2g}" if np.isfinite(series.fit.p_value) else ""
            out.append(f"{series.subject}: correlation of {names} {series.fit.correlation:+.2f}{p_value}.")
    return out


def remarks(joint: Joint) -> list[Note]:
    """What could not be done or rests on something, each once; what is said of one process begins with its name."""
    out = list(joint.notes)
    for series in joint.series:
        for note in series.notes:
            general = Code.JOINT_ASSUMED in codes(note)
            out.append(note if general else Note(f"{series.subject}: {note}", *codes(note)))
    return list(dict.fromkeys(out))


def parameters(joint: Joint) -> Any:
    """One row per parameter; no numbers where the model is refused. `codes`: names of what is said of its process."""
    import pandas as pd

    rows = []
    for series in joint.series:
        if series.fit is None:
            continue
        none = refused(series)
        codes_of = " ".join(sorted({code.name for note in series.notes for code in codes(note)}))
        of_fit = (len(series.told), series.fit.correlation, series.fit.p_value, codes_of)
        for p in series.fit.parameters:
            three = (None, None, None) if none else (p.value, p.low, p.high)
            said = "model refused" if none else p.said
            rows.append((series.subject, joint.over, p.name, *three, p.unit, said, *of_fit))
    columns = "process over parameter value low high unit said runs correlation p_value codes"
    return pd.DataFrame(rows, columns=columns.split())


def points(joint: Joint) -> Any:
    """One row per process and run: what was fitted, and the interval of the run's own analysis."""
    import pandas as pd

    condition = WHAT[joint.over][2]
    rows = [
        (series.subject, one.run, p.x, one.value, one.low, one.high, series.unit, p.events, p.exposure)
        for series in joint.series
        for one, p in ((told, told.point) for told in series.told)
    ]
    columns = f"process run {condition} value low high unit equivalent_events exposure"
    return pd.DataFrame(rows, columns=columns.split())
