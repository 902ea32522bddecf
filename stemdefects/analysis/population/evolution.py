"""Counts, densities, areas of phases and their growth laws: the part of the analysis that is about time."""

import numpy as np

from stemdefects.analysis import run_comparison, seeds
from stemdefects.analysis.crystallography import surroundings
from stemdefects.analysis.data import square_pixels
from stemdefects.analysis.estimates import estimate
from stemdefects.analysis.motion import diffusion
from stemdefects.analysis.motion import estimators as motion
from stemdefects.analysis.population import growth
from stemdefects.analysis.population.counts import growth_rate, trend
from stemdefects.analysis.tracking import registration

MIN_COUNT = 3.0  # mean per frame for which a law is looked for
MIN_CHANGE = 5.0  # defects between the tenth and the nine tenths of the frames: one or two events make no law
MIN_SHARE = 0.002  # largest share of the field for which a law is looked for


def counts(result, seed: int) -> None:
    """Counts and densities per kind, with their change and exponential rate."""
    of, found = result.counts, result.found
    good = ~of.skipped
    totals = [*zip(of.kinds, of.counts.T, strict=True), (motion.ALL, of.counts.sum(1))]
    for kind, values in totals if len(of.kinds) > 1 else totals[:-1]:
        series = np.where(good, values, np.nan)
        t = trend(of.times, series, rng=seeds.stream(seed, "counts", kind))
        result.estimates.append(estimate(
            "count per frame", t.mean, t.mean_low, t.mean_high, "defects", "mean, block bootstrap", subject=kind,
            n=t.n_frames, n_of="frames", headline=True))  # fmt: skip
        if not found.followed:  # frames of different fields have no course in time
            continue
        result.estimates.append(estimate(
            "change of the count", t.slope, t.slope_low, t.slope_high, f"defects/{found.time_unit}",
            "straight line, block bootstrap", subject=kind, n=t.n_frames, n_of="frames"))  # fmt: skip
        k = growth_rate(of.times, series, rng=seeds.stream(seed, "growth rate", kind))
        if np.isfinite(k[0]):
            result.estimates.append(estimate(
                "exponential growth rate", *k, f"1/{found.time_unit}", "Poisson regression, block bootstrap",
                subject=kind, n=t.n_frames, n_of="frames"))  # fmt: skip
        if of.area_nm2 is not None and np.isfinite(of.area_nm2).any():
            d = trend(of.times, series / of.area_nm2, rng=seeds.stream(seed, "density", kind))
            result.estimates.append(estimate(
                "density", d.mean, d.mean_low, d.mean_high, "1/nm^2", "mean, block bootstrap", subject=kind,
                n=d.n_frames, n_of="frames"))  # fmt: skip


def purity(result, stage) -> None:
    """How many detections of each kind are right: by the lattice model where it says so, else by the detector's own,
    calibrated probabilities."""
    rows, kinds = result.found.rows, result.found.kinds
    told = {e.subject: e.value for e in stage.estimates if e.quantity == "expected precision"}
    for kind in result.counts.kinds if len(rows) else ():
        p = rows["kind_prob"][kinds == kind].astype(float)
        share, by = told.get(kind), "The lattice model"
        if share is None:
            if not (rows["kind_prob"] < 1).any():
                continue
            share, by = float(np.nanmean(p)), "The detector itself"
            result.estimates.append(estimate(
                "expected precision", share, None, None, "1", "the detector's own probabilities", subject=kind,
                n=len(p), n_of="detections"))  # fmt: skip
        if share < 0.7:
            result.notes.append(
                f"{by} gives the {kind} detections of single frames a mean probability of {share:.2f}: tracks, motion "
                f"and states that are made from them are those of a mixture with false ones."
            )


def laws(result) -> None:
    """Growth laws of the counts, of hole area and of other phases, where there is enough of them."""
    of, found = result.counts, result.found
    series = []
    for kind, values in zip(of.kinds, of.counts.T, strict=True):
        values = np.where(of.skipped, np.nan, values.astype(float))
        enough = np.isfinite(values).any() and np.nanmean(values) >= MIN_COUNT
        if enough and np.ptp(np.nanquantile(values, [0.1, 0.9])) >= MIN_CHANGE:
            series.append((f"number of {kind}", "defects", values, True))
    frames = found.frames
    if frames is not None and "frame" in frames:
        number = frames["frame"].to_numpy(int)
        for phase, name in (("hole", "hole area"), ("amorphous", "amorphous area"), ("1T", "1T area")):
            if f"fraction_{phase}" not in frames:
                continue
            values = np.full(found.n_frames, np.nan)
            values[number] = frames[f"fraction_{phase}"].to_numpy(float)
            values[of.skipped] = np.nan
            if not np.isfinite(values).any() or np.nanmax(values) < MIN_SHARE:
                continue
            unit, area = ("nm^2", result.field_nm2) if result.field_nm2 else ("of the field", 1.0)
            series.append((name, unit, values * area, False))
    for subject, unit, values, counted in series:
        g = growth.fit(of.times, values, subject, unit, counted)
        if g is None:
            continue
        result.growth[subject] = g
        for law in g.laws.values():
            for name, (value, low, high) in law.parameters.items():
                if law.name not in g.rivals or not np.isfinite(value):
                    continue
                known = {"rate": f"{unit}/{found.time_unit}", "Avrami exponent": "1"}
                others = ", ".join(r for r in g.rivals if r != law.name)
                result.estimates.append(estimate(
                    f"{name}, {law.name}" if name == "rate" else name, value, low, high,
                    known.get(name, f"1/{found.time_unit}"), f"{law.name} law, least squares", subject=subject,
                    n=len(g.times), n_of="frames",
                    warning=f"Not told apart from: {others}." if others else ""))  # fmt: skip


def events(result) -> None:
    """Rates of births, deaths and merges of tracks, by exact intervals of their counts."""
    from scipy import stats

    found = result.found
    duration = result.followed.seconds
    if not len(result.events) or not duration > 0:
        return
    for name in ("birth", "death", "merge"):
        n = int((result.events["event"] == name.encode()).sum())
        low = stats.gamma.ppf(0.025, n) if n else 0.0
        result.estimates.append(estimate(
            f"{name}s of tracks", n / duration, low / duration, stats.gamma.ppf(0.975, n + 1) / duration,
            f"1/{found.time_unit}", "count of events, exact interval", n=n, n_of="events",
            warning="Missed detections end tracks too, so this is an upper bound."))  # fmt: skip


def regions(result, seed: int) -> None:
    """D of the headline kind within a nanometre of holes and amorphous patches, and away from them."""
    found, kind = result.found, result.motion.headline
    frames = found.frames
    if kind is None or result.movie is None or found.length_unit != "nm" or frames is None:
        return
    share = sum(frames[f"fraction_{p}"].to_numpy(float) for p in ("hole", "amorphous") if f"fraction_{p}" in frames)
    if not np.any(np.nan_to_num(share) > 0.01):
        return
    square, movie = square_pixels.view(found, result.movie)
    vectors = registration.lattice_px(square, result.material, movie)
    if vectors is None:
        return
    numbers = registration.some_observed(found, len(result.movie), 8)
    maps = surroundings.distance_to_gaps(movie, numbers, vectors, found.pixel_size_nm)
    if not maps or not any(np.isfinite(m).all() for m in maps.values()):
        return
    names = motion.labels(found, result.cfg.transitions.centre)
    keep = motion.subjects(result.tracks, names, result.cfg).get(kind)
    if keep is None or not keep.any():
        return
    some = result.tracks.select(keep)
    near = surroundings.track_distance(some, square.rows, maps) < surroundings.NEAR_NM
    parts = {f"within {surroundings.NEAR_NM:g} nm of holes": near, "away from holes": ~near}
    for place, which in parts.items():
        if which.sum() >= 3:
            d = diffusion.cve(some.select(which), 300, seeds.stream(seed, "regions", place), result.lattice_constant)
            result.regions[place] = d
            result.estimates.append(estimate(
                "D by region", d.D, d.low, d.high, result.D_unit, "cve", subject=f"{kind} {place}", n=d.n_tracks,
                warning=d.warning))  # fmt: skip
    if len(result.regions) == 2:
        one, two = ((d.D, d.low, d.high) for d in result.regions.values())
        if np.isfinite([*one, *two]).all():
            p = run_comparison.difference(one, two)[3]
            if p < 0.05:
                result.notes.append(f"D of {kind} near holes differs from that away from them (p = {p:.2g}).")
