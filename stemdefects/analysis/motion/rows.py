"""What the estimators of diffusion found, as rows of the estimates."""

from functools import partial
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.motion.diffusion import Diffusion
from stemdefects.analysis.notes import Note, join


class Units(NamedTuple):
    """Units of D, lengths and times; dose_per_time: e/nm^2 in one unit of time, None where it is not known."""

    D: str
    length: str
    time: str
    dose_per_time: float | None


def of_kind(kind: str, methods: dict[str, Diffusion], units: Units, main: str | None, said: Note) -> list[Estimate]:
    """All rows of one kind.

    Args:
        methods: what each estimator found.
        main: the estimator whose D is a headline; None: no headline is of this kind.
        said: of the table, to be said beside every D.
    """
    out = []
    for name, d in methods.items():
        warning = join([d.warning, said])
        of = {"subject": kind, "n": d.n_tracks, "headline": name == main}
        out.append(estimate("D", d.D, d.low, d.high, units.D, name, warning=warning, **of))
    out += _by_covariance(kind, methods["cve"], units)
    msd = methods["msd"]
    if np.isfinite(msd.extra.get("alpha", np.nan)):
        three = (msd.extra[name] for name in ("alpha", "alpha_low", "alpha_high"))
        out.append(estimate("anomalous exponent", *three, unit="1", method="msd", subject=kind, n=msd.n_tracks))
    sites = methods.get("sites")
    if sites is not None and np.isfinite(sites.D):
        out += _by_hops(kind, sites, methods["hops"], units)
    return out


def _by_covariance(kind: str, cve: Diffusion, units: Units) -> list[Estimate]:
    """What else the covariance of steps says: the error of positions, and whether one axis moves more."""
    if not np.isfinite(cve.D):
        return []
    row = partial(estimate, method="cve", subject=kind, n=cve.n_tracks)
    centre, half = cve.extra["sigma2"], 1.96 * cve.extra["sigma2_se"]
    low, high = (float(np.sqrt(max(v, 0))) for v in (centre - half, centre + half))
    out = [row("localisation error per axis", cve.sigma, low, high, units.length)]
    total = cve.extra["D_y"] + cve.extra["D_x"]
    if total > 0 and np.isfinite(cve.low) and cve.low > 0:
        value, half = cve.extra["difference"] / total, 1.96 * cve.extra["difference_se"] / total
        out.append(row("anisotropy (D_y - D_x)/(D_y + D_x)", value, value - half, value + half, "1"))
    if units.dose_per_time:
        out.append(row("D per dose", *(v / units.dose_per_time for v in (cve.D, cve.low, cve.high)), unit="nm^4/e"))
    return out


def _by_hops(kind: str, sites: Diffusion, hops: Diffusion, units: Units) -> list[Estimate]:
    """Hop rates by the model of sites and by counting, and the share of tracks that stay."""
    e, per_time = sites.extra, f"1/{units.time}"
    per_rate = hops.extra["length"] ** 2 / 4
    of_sites, of_hops = ({"subject": kind, "n": d.n_tracks} for d in (sites, hops))
    rate, counted = (e["rate"], e["rate_low"], e["rate_high"]), (v / per_rate for v in (hops.D, hops.low, hops.high))
    return [
        estimate("hop rate", *rate, unit=per_time, method="sites", warning=sites.warning, **of_sites),
        estimate("hop rate", *counted, unit=per_time, method="hops", warning=hops.warning, **of_hops),
        estimate("share of tracks that never hop", *e["immobile"], unit="1", method="sites", **of_sites),
    ]
