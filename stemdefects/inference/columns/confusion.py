"""Which of a model's confusion matrices a movie gets: that of the validation dose nearest to its own."""

from typing import Any

import numpy as np


def nearest(model: Any, dose_e_per_px: float | None) -> dict[str, Any] | None:
    """The model's confusion at the validation dose nearest (by ratio) to the movie's, as an attribute of the table.

    With an unknown dose, of the movie or of the sets, the one in the middle. `counts` has rows true state (last:
    no column there) and columns the state said (last: not found), see `training.outcome.validation.confusion_tables`;
    `decision` is `thresholds`, or `most probable` in models of before. None for a model without confusion.
    """
    tables = model.confusion.get("doses") or {}
    if not tables:
        return None
    stated = model.config.training.validation.doses_e_per_px
    known = {name: float(stated[name]) for name in tables if stated.get(name)}
    names = sorted(known, key=lambda name: known[name]) or list(tables)
    if dose_e_per_px and dose_e_per_px > 0 and known:
        name = min(names, key=lambda n: abs(np.log(known[n] / dose_e_per_px)))
    else:
        name = names[len(names) // 2]
    return {
        "set": name,
        "dose_e_per_px": known.get(name),
        "movie_dose_e_per_px": dose_e_per_px or None,
        "true": model.confusion["true"],
        "said": model.confusion["said"],
        "counts": tables[name]["counts"],
        "decision": model.confusion.get("decision", "most probable"),
    }


def unsaid(model: Any, dose_e_per_px: float | None) -> list[str]:
    """What to tell where the movie's dose is not known: that the table gets the confusion of some dose."""
    used = nearest(model, dose_e_per_px)
    if used is None or dose_e_per_px is not None:
        return []
    at = f"{used['dose_e_per_px']:g} e/px" if used["dose_e_per_px"] else f"its validation set {used['set']}"
    return [
        f"The dose is not known: how often the network mistakes one kind for another is taken as at {at}, which need "
        "not be this movie's; inference.dose_e_per_px=<electrons per pixel and frame> says it."
    ]
