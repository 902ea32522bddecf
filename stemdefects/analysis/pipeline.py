"""The whole analysis in order: drift, tracks, classes, counts, diffusion, transitions, comparison with the truth."""

from __future__ import annotations  # fields share the names of the modules that make them

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stemdefects.analysis import classes, diffusion, drift, kinetics, linking, states, tracks, transitions
from stemdefects.analysis import truth as truths
from stemdefects.analysis.detections import Detections
from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.schema import AnalysisConfig

ALL = "all kinds"


@dataclass
class Analysis:
    """Everything the analysis found; `notes` says in one sentence each what could not be computed and why."""

    found: Detections
    cfg: AnalysisConfig
    lattice_constant: float  # in the length unit of `found`
    gate: float
    drift: drift.Drift
    tracks: tracks.Tracks
    events: np.ndarray
    counts: kinetics.Counts
    classes: classes.Classes | None = None
    diffusion: dict[str, dict[str, diffusion.Diffusion]] = field(default_factory=dict)
    gate_scan: dict[str, list[tuple]] = field(default_factory=dict)
    chain: states.Chain | None = None
    transitions: dict[str, transitions.Transitions] = field(default_factory=dict)
    estimates: list[Estimate] = field(default_factory=list)
    truth: truths.Truth | None = None
    scores: list[truths.Score] = field(default_factory=list)
    comparison: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    material: Any = None
    movie: Any = None

    @property
    def D_unit(self) -> str:
        return f"{self.found.length_unit}^2/{self.found.time_unit}"

    def track_kinds(self) -> np.ndarray:
        """(n_tracks,) most frequent kind of each track."""
        kinds, index = np.unique(self.found.kinds, return_inverse=True)
        votes = np.zeros((self.tracks.n_tracks, len(kinds)))
        np.add.at(votes, (self.tracks.track, index[self.tracks.index]), 1)
        return kinds[votes.argmax(1)] if len(kinds) and self.tracks.n_tracks else np.empty(0, "U1")


def analyse(
    found: Detections,
    cfg: AnalysisConfig,
    material=None,
    movie=None,
    truth: truths.Truth | None = None,
    seed: int = 0,
    progress=None,
) -> Analysis:
    """Analyse a defect table.

    Args:
        found: detections, from `detections.read`.
        cfg: the analysis config.
        material: `crystal.material.Material`, for the lattice constant and which kinds share a sublattice.
        movie: the source movie, for pictures and Bragg phases; None: the table alone is used.
        truth: of a simulated movie, to compare with.
        seed: of every resampling.
        progress: tqdm, or None for silence.

    Returns:
        `Analysis`. Parts that the data cannot support are left out, and `notes` says why.
    """
    rng = np.random.default_rng(seed)
    clock = _Clock()
    notes = list(found.notes)
    a = _lattice_constant(found, material, notes)
    gate = cfg.linking.gate_nm if cfg.linking.gate_nm and found.length_unit == "nm" else cfg.linking.gate_lattice * a
    moved = _drift(found, cfg, a, movie, notes)
    clock("drift")
    corrected = found.yx - moved.yx[found.rows["frame"]] if len(found.rows) else found.yx
    sites = _sites(found, material)
    links = _link(found, corrected, gate, cfg, sites, progress)
    found.rows["track"] = links.track
    linked = tracks.build(links.track, found.rows["frame"], _times(found), corrected, found.rows["sigma_nm"])
    clock("linking")
    area = _field_area(found, movie)
    result = Analysis(
        found, cfg, a, gate, moved, linked, links.events, kinetics.count(found, area), truth=truth, notes=notes,
        material=material, movie=movie,
    )  # fmt: skip
    _classes(result, seed)
    clock("classes")
    _counts(result, rng)
    _diffusion(result, corrected, sites, rng)
    clock("diffusion")
    _transitions(result, rng)
    clock("transitions")
    if truth is not None:
        _compare(result)
        clock("truth")
    result.timings = clock.parts
    return result


class _Clock:
    def __init__(self):
        self.parts, self.last = {}, time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.parts[name], self.last = now - self.last, now


def _times(found: Detections) -> np.ndarray:
    return found.times[found.rows["frame"]] if len(found.rows) else np.empty(0)


def _lattice_constant(found: Detections, material, notes) -> float:
    """Lattice constant in the table's length unit; from the material, else a typical distance of neighbours."""
    if found.length_unit == "nm" and material is not None:
        return float(material.a_nm)
    if found.frames is not None and {"a1_y_px", "a1_x_px"} <= set(found.frames):
        length = np.nanmedian(np.hypot(found.frames["a1_y_px"], found.frames["a1_x_px"]))
        if np.isfinite(length) and length > 0:
            return float(length) * found.scale
    from scipy.spatial import cKDTree

    nearest = []
    for f in np.unique(found.rows["frame"])[:50]:
        points = found.yx[found.rows["frame"] == f]
        if len(points) > 1:
            nearest.extend(cKDTree(points).query(points, 2)[0][:, 1])
    guess = float(np.median(nearest)) / 4 if nearest else 10.0
    notes.append(
        f"The lattice constant is not known in {found.length_unit}; lengths are judged against a quarter of the median "
        f"distance of neighbouring defects, {guess:.1f} {found.length_unit}. Set analysis.linking.gate_nm or the pixel size."
    )
    return guess


def _drift(found: Detections, cfg: AnalysisConfig, a: float, movie, notes) -> drift.Drift:
    method = cfg.drift.method
    if method not in ("auto", "table", "bragg", "points", "none"):
        from stemdefects.errors import UserError

        raise UserError(f"analysis.drift.method={method}: there are auto, table, bragg, points, none")
    if method == "none" or found.n_frames < 2:
        return drift.none(found.n_frames)
    if method in ("auto", "table"):
        stored = _stored_drift(found)
        if stored is not None:
            return stored
        if method == "table":
            notes.append("The table holds no drift; it was taken from the point pattern.")
    unit = a / 0.3153  # the config is in nm of a lattice like WS2; tables in pixels are scaled by their lattice
    scale = 1.0 if found.length_unit == "nm" else unit
    sigma = np.nanmedian(found.rows["sigma_nm"]) if np.isfinite(found.rows["sigma_nm"]).any() else 0.0
    radius = min(max(cfg.drift.radius_nm * scale, 3.5 * sigma if found.length_unit == "nm" else 0), 0.45 * a)
    result = drift.from_points(
        found.rows["frame"], found.yx, found.n_frames, radius, cfg.drift.max_step_nm * scale,
        found.rows["kind"], cfg.drift.min_points,
    )  # fmt: skip
    if result.note:
        notes.append(result.note)
    return result


def _stored_drift(found: Detections) -> drift.Drift | None:
    if found.frames is None or not {"drift_y_px", "drift_x_px"} <= set(found.frames):
        return None
    yx = found.frames[["drift_y_px", "drift_x_px"]].to_numpy(float)
    good = np.isfinite(yx).all(1)
    if good.sum() < 2 or not np.any(yx[good]):
        return None
    frames = np.arange(found.n_frames)
    where = found.frames["frame"].to_numpy(int)
    full = np.column_stack([np.interp(frames, where[good], yx[good, k]) for k in range(2)]) * found.scale
    filled = np.ones(found.n_frames, bool)
    filled[where[good]] = False
    return drift.Drift(full - full[0], np.full(found.n_frames, np.nan), filled, "table")


def _sites(found: Detections, material) -> np.ndarray | None:
    """Sublattice of each detection by its kind; -1 where the kind is not the material's. None when no kind is."""
    if material is None:
        return None
    site_of = {kind.name: material.states[kind.state].site for kind in material.kinds}
    sites = np.array([site_of.get(kind, -1) for kind in found.kinds], int)
    return sites if (sites >= 0).any() else None


def _link(found, corrected, gate, cfg, sites, progress) -> linking.Links:
    track = found.rows["track"]
    if (track >= 0).any() and found.attrs.get("linked"):
        return linking.Links(track.astype(np.int64), np.empty(0, linking.EVENT_DTYPE))
    return linking.link(
        found.rows["frame"], corrected, gate, cfg.linking.memory, found.rows["kind"],
        sites if cfg.linking.same_site_only else None, cfg.linking.kind_cost, cfg.linking.gap_cost, progress,
    )  # fmt: skip


def _field_area(found: Detections, movie) -> float | None:
    """Area of the field of view in nm^2; from the movie's size, the table's, else the extent of the detections."""
    if found.pixel_size_nm is None:
        return None
    shape = None
    if movie is not None:
        shape = movie.frames.shape[1:] if hasattr(movie.frames, "shape") else np.shape(movie.frames[0])
    for key in ("frame_shape", "shape"):
        if shape is None and isinstance(found.attrs.get(key), (list, tuple, np.ndarray)):
            shape = found.attrs[key][-2:]
    if shape is None:
        if len(found.rows) < 20:
            return None
        shape = [np.ptp(found.rows[c]) for c in ("y_px", "x_px")]
    return float(shape[0]) * float(shape[1]) * found.pixel_size_nm**2


def _classes(result: Analysis, seed: int) -> None:
    found, cfg = result.found, result.cfg.clustering
    if found.patches is None or len(found.rows) == 0:
        result.notes.append("There are no image patches in the table, so no classes were looked for.")
        return
    result.classes = classes.classify(np.asarray(found.patches), cfg, seed, found.kinds)
    if result.classes is None:
        result.notes.append(f"{len(found.patches)} patches are too few for classes (30 are needed).")
        return
    found.rows["cluster"] = result.classes.label
    if result.classes.note:
        result.notes.append(result.classes.note)


def _counts(result: Analysis, rng) -> None:
    counts, found = result.counts, result.found
    good = ~counts.skipped
    totals = [*zip(counts.kinds, counts.counts.T, strict=True), (ALL, counts.counts.sum(1))]
    for kind, values in totals if len(counts.kinds) > 1 else totals[:-1]:
        series = np.where(good, values, np.nan)
        t = kinetics.trend(counts.times, series, rng=rng)
        result.estimates.append(estimate(
            "count per frame", t.mean, t.mean_low, t.mean_high, "defects", "mean, block bootstrap", subject=kind,
            n=t.n_frames, n_of="frames", headline=True))  # fmt: skip
        result.estimates.append(estimate(
            "change of the count", t.slope, t.slope_low, t.slope_high, f"defects/{found.time_unit}",
            "straight line, block bootstrap", subject=kind, n=t.n_frames, n_of="frames"))  # fmt: skip
        if counts.area_nm2 is not None and np.isfinite(counts.area_nm2).any():
            d = kinetics.trend(counts.times, series / counts.area_nm2, rng=rng)
            result.estimates.append(estimate(
                "density", d.mean, d.mean_low, d.mean_high, "1/nm^2", "mean, block bootstrap", subject=kind,
                n=d.n_frames, n_of="frames"))  # fmt: skip


def moving_subjects(result: Analysis) -> dict[str, np.ndarray]:
    """Which tracks count for which kind: name -> (n_tracks,) bool, long tracks only."""
    cfg = result.cfg
    long = result.tracks.lengths >= cfg.linking.min_length
    kinds = result.track_kinds()
    wanted = cfg.diffusion.kinds or [k for k in result.counts.kinds if (long & (kinds == k)).any()]
    subjects = {kind: long & (kinds == kind) for kind in wanted}
    if len(wanted) != 1:
        subjects[ALL] = long
    return subjects


def _diffusion(result: Analysis, corrected, sites, rng) -> None:
    cfg, found = result.cfg, result.found
    if found.n_frames < 3:
        result.notes.append(f"{found.n_frames} frame(s): no motion can be measured.")
        return
    for kind, keep in moving_subjects(result).items():
        some = result.tracks.select(keep)
        result.diffusion[kind] = {
            "cve": diffusion.cve(some, cfg.diffusion.n_bootstrap, rng),
            "msd": diffusion.msd(some, cfg.diffusion.max_lag, min(cfg.diffusion.n_bootstrap, 500), rng),
            "paper": diffusion.paper(some),
        }
    headline = headline_kind(result)
    for kind, methods in result.diffusion.items():
        for name, d in methods.items():
            result.estimates.append(estimate(
                "D", d.D, d.low, d.high, result.D_unit, name, subject=kind, n=d.n_tracks,
                warning=d.warning, headline=kind == headline and name == cfg.diffusion.method))  # fmt: skip
        d = methods["cve"]
        if np.isfinite(d.D):
            result.estimates.append(estimate(
                "localisation error per axis", d.sigma, *_sigma_interval(d), found.length_unit, "cve",
                subject=kind, n=d.n_tracks))  # fmt: skip
    _gate_scan(result, corrected, sites, headline, rng)


def _sigma_interval(d: diffusion.Diffusion) -> tuple[float, float]:
    half = 1.96 * d.extra["sigma2_se"]
    centre = d.extra["sigma2"]
    return float(np.sqrt(max(centre - half, 0))), float(np.sqrt(max(centre + half, 0)))


def headline_kind(result: Analysis) -> str | None:
    """The kind whose D is the headline: the first asked for, else V_S, else the one with most steps."""
    if not result.diffusion:
        return None
    wanted = [*(result.cfg.diffusion.kinds or []), "V_S"]
    for kind in wanted:
        if kind in result.diffusion:
            return kind
    return ALL if ALL in result.diffusion else next(iter(result.diffusion))


def _gate_scan(result: Analysis, corrected, sites, kind, rng) -> None:
    """D of the headline kind against the linking gate: a plateau is needed before D can be believed."""
    if kind is None:
        return
    found, cfg = result.found, result.cfg
    rows = []
    for factor in cfg.diffusion.gate_scan_lattice:
        gate = factor * result.lattice_constant
        links = linking.link(
            found.rows["frame"], corrected, gate, cfg.linking.memory, found.rows["kind"],
            sites if cfg.linking.same_site_only else None, cfg.linking.kind_cost, cfg.linking.gap_cost,
        )  # fmt: skip
        t = tracks.build(links.track, found.rows["frame"], _times(found), corrected)
        other = Analysis(found, cfg, result.lattice_constant, gate, result.drift, t, links.events, result.counts)
        keep = moving_subjects(other).get(kind)
        d = diffusion.cve(t.select(keep), 200, rng) if keep is not None and keep.any() else None
        rows.append((gate, d.D, d.low, d.high, d.n_tracks) if d else (gate, np.nan, np.nan, np.nan, 0))
    result.gate_scan[kind] = rows
    values = np.array([r[1] for r in rows])
    wide = np.isfinite(values) & (np.array([r[0] for r in rows]) >= 1.2 * result.lattice_constant)
    if wide.sum() > 1 and values[wide].min() > 0 and values[wide].max() > 1.5 * values[wide].min():
        result.notes.append(
            f"D of {kind} depends on the linking gate: {values[wide].min():.2e} to {values[wide].max():.2e} {result.D_unit} "
            "for gates of 1.2 lattice constants and more. Linking is then ambiguous, and D is no better than this range."
        )


def _transitions(result: Analysis, rng) -> None:
    cfg = result.cfg.transitions
    long = result.tracks.lengths >= 2
    some = result.tracks.select(long)
    result.chain = (
        states.build(some, result.found.rows, cfg.states, cfg.centre, cfg.max_states) if some.n_tracks else None
    )
    if result.chain is None:
        result.notes.append("No defect was seen in two different states in successive frames: no transition matrix.")
        return
    result.transitions = {
        "pooled": transitions.pooled(result.chain, cfg.prior),
        "paper": transitions.paper(result.chain, rng=rng),
    }
    for name, t in result.transitions.items():
        for i, j in np.ndindex(*t.P.shape):
            result.estimates.append(estimate(
                f"P({t.names[i]} -> {t.names[j]}) per frame", t.P[i, j], t.low[i, j], t.high[i, j], "1", name,
                n=int(t.counts[i].sum()), n_of="steps", warning=t.warning))  # fmt: skip
    _judge_memory(result)


def _judge_memory(result: Analysis) -> None:
    t = result.transitions["pooled"]
    left = transitions.memory(t.P)
    if np.isfinite(left):
        result.estimates.append(estimate(
            "second eigenvalue of the transition matrix", left, None, None, "1", "pooled",
            n=int(t.counts.sum()), n_of="steps"))  # fmt: skip
        if left < 0.3:
            result.notes.append(
                f"The states keep almost no memory from frame to frame (second eigenvalue {left:.2f}): the transition "
                "matrix is mostly label noise."
            )


def _compare(result: Analysis) -> None:
    found, truth = result.found, result.truth
    radius = result.cfg.truth_radius_nm / found.scale if found.length_unit == "nm" else 0.3 * result.lattice_constant
    good = np.flatnonzero(~result.counts.skipped)
    result.scores = truths.score(found.rows, truth.rows, radius, good)
    kind = headline_kind(result)
    if truth.D_nm2_per_s is not None and result.D_unit == "nm^2/s" and kind in result.diffusion:
        d = result.diffusion[kind][result.cfg.diffusion.method]
        result.comparison.append(_against(f"D of {kind} (nm^2/s)", truth.D_nm2_per_s, d.D, d.low, d.high))
    if truth.drift_px is not None:
        rms, worst = truths.drift_error(result.drift.yx, truth.drift_px, found.scale)
        result.comparison.append(_against(f"drift error, rms ({found.length_unit})", 0.0, rms, None, None))
        result.comparison.append(_against(f"drift error, largest ({found.length_unit})", 0.0, worst, None, None))


def _against(name, true, value, low, high) -> dict:
    ok = value is not None and np.isfinite(value)
    inside = bool(low <= true <= high) if ok and low is not None and np.isfinite(low) and np.isfinite(high) else None
    clean = [None if v is None or not np.isfinite(v) else float(v) for v in (value, low, high)]
    return {
        "quantity": name,
        "true": float(true),
        "found": clean[0],
        "low": clean[1],
        "high": clean[2],
        "inside": inside,
    }
