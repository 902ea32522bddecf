"""Diffusion of each kind by every estimator, what they say together, and when not to trust them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.analysis import seeds
from stemdefects.analysis.data import scales
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.estimates import Estimate, in_words
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.motion import diffusion, hop_counts, hopping, msd, rows
from stemdefects.analysis.notes import Code, Note, codes, join
from stemdefects.analysis.tracking import tracks
from stemdefects.analysis.tracking.tracks import ALL
from stemdefects.schema import AnalysisConfig, DiffusionConfig

MAX_SITE_ROWS = 12_000  # detections of a kind that the site model takes: its time grows with them
NEAR_BONDS = 1.5  # the next columns of a honeycomb lattice that are not bonded lie at 2 bonds


@dataclass
class Motion:
    """Results by kind and method, the gate scan of the headline kind, D per time window, estimates and notes."""

    results: dict[str, dict[str, diffusion.Diffusion]] = field(default_factory=dict)
    headline: str | None = None
    gate_scan: list[tuple] = field(default_factory=list)  # gate, D, low, high, n_tracks
    windows: list[tuple] = field(default_factory=list)  # first frame, last frame, D, low, high, n_tracks
    estimates: list[Estimate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Given(NamedTuple):
    """What an estimator is given: tracks of one kind, the lattice constant in their length unit, the lattice's vectors
    (2, 2) where it is known and one kind moves on it, how far its phase is shared, and the settings."""

    tracks: tracks.Tracks
    a: float
    vectors: np.ndarray | None
    bandwidth: float
    cfg: DiffusionConfig

    def of_sites(self, rng: np.random.Generator) -> tracks.Tracks:
        """As many tracks, drawn at random, as the models of sites take."""
        some = self.tracks
        if len(some.frame) <= MAX_SITE_ROWS:
            return some
        return some.select(rng.permutation(some.n_tracks) < some.n_tracks * MAX_SITE_ROWS / len(some.frame))


class Estimator(Protocol):
    """A way to D; None where it cannot be asked."""

    def __call__(self, given: Given, rng: np.random.Generator) -> diffusion.Diffusion | None: ...


def _cve(given: Given, rng: np.random.Generator) -> diffusion.Diffusion:
    return diffusion.cve(given.tracks, given.cfg.n_bootstrap, rng, given.a)


def _msd(given: Given, rng: np.random.Generator) -> diffusion.Diffusion:
    return msd.msd(given.tracks, given.cfg.max_lag, min(given.cfg.n_bootstrap, 500), rng)


def _sites(given: Given, rng: np.random.Generator) -> diffusion.Diffusion | None:
    if given.vectors is None or not given.tracks.n_tracks:
        return None
    few = given.of_sites(rng)
    return hopping.site_model(few, given.vectors, None, given.bandwidth, rng, min(given.cfg.n_bootstrap, 300))


def _hops(given: Given, rng: np.random.Generator) -> diffusion.Diffusion | None:
    if given.vectors is None or not given.tracks.n_tracks:
        return None
    return hop_counts.count_hops(given.of_sites(rng), given.vectors, given.bandwidth)


def _paper(given: Given, rng: np.random.Generator) -> diffusion.Diffusion:
    return diffusion.paper(given.tracks)


ESTIMATORS: dict[str, Estimator] = {"cve": _cve, "msd": _msd, "sites": _sites, "hops": _hops, "paper": _paper}


def labels(found: Detections, centre: str | None) -> np.ndarray:
    """Kind of every row; what sits in a complex beside its `centre` is a kind of its own, since it cannot go freely."""
    names = found.kinds.astype("U40")
    bound = (found.rows["complex"] >= 0) & (names != centre)
    names[bound] = np.char.add(names[bound], " in a complex")
    return names


def unnamed_complexes(found: Detections, centre: str | None, bond: float) -> dict[str, int]:
    """Defects bound to a `centre` in a table that names no complexes, which so count as free: how many, by kind.

    Args:
        bond: length of the bond between a centre and its neighbours, in the table's length unit; 0: there is none.
    """
    if not bond or (found.rows["complex"] >= 0).any():
        return {}
    beside = _beside(found, found.kinds == centre, NEAR_BONDS * bond)
    kinds, numbers = np.unique(found.kinds[beside], return_counts=True)
    return dict(zip(kinds.tolist(), numbers.tolist(), strict=True))


def _as_free(bound: dict[str, int], kind: str, found: Detections, centre: str | None) -> Note:
    """What D of `kind` has to say of the defects `bound`, see `unnamed_complexes`; empty for none."""
    n = sum(bound.values()) if kind == ALL else bound.get(kind, 0)
    if not n:
        return Note()
    of = int((found.kinds != centre).sum() if kind == ALL else (found.kinds == kind).sum())
    return Note(
        f"The table names no complexes: {n} of {of} detections are bound to a {centre} and count as free, so D is of "
        "both together; a column `complex` (its number, -1 for none) tells them apart.",
        Code.UNNAMED_COMPLEXES,
    )


def _beside(found: Detections, is_centre: np.ndarray, distance: float) -> np.ndarray:
    """(n,) bool: no centre, and one within `distance` in the same frame."""
    out = np.zeros(len(is_centre), bool)
    if not is_centre.any() or is_centre.all():
        return out
    # frames lie apart in a third direction by more than the distance that counts
    points = np.column_stack([found.yx, 2.0 * distance * found.rows["frame"]])
    out[~is_centre] = np.isfinite(
        cKDTree(points[is_centre]).query(points[~is_centre], distance_upper_bound=distance)[0]
    )
    return out


def subjects(some: tracks.Tracks, names: np.ndarray, cfg: AnalysisConfig) -> dict[str, np.ndarray]:
    """Which tracks count for which kind: name -> (n_tracks,) bool, tracks of `min_length` and more only."""
    long = some.lengths >= cfg.linking.min_length
    kinds = tracks.majority(some, names)
    wanted = list(cfg.diffusion.kinds or [k for k in np.unique(kinds) if (long & (kinds == k)).any()])
    chosen = {str(kind): long & (kinds == kind) for kind in wanted}
    if len(wanted) != 1:
        chosen[ALL] = long
    return chosen


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int = 0) -> Motion:
    """Every estimator for every kind; each kind and estimator has a random stream of its own."""
    out, found, some, a = Motion(), inputs.found, inputs.tracks, inputs.lattice_constant
    if (n := len(inputs.follower.looked.frames)) < 3:
        if found.n_frames > 1:
            out.notes.append(f"{n} frame{'s' if n > 1 else ''}: no motion can be measured.")
        return out
    names = labels(found, cfg.transitions.centre)
    bound = unnamed_complexes(found, cfg.transitions.centre, inputs.bond)
    out.notes += [said] if (said := _as_free(bound, ALL, found, cfg.transitions.centre)) else []
    chosen = subjects(some, names, cfg)
    for kind, keep in chosen.items():
        if not keep.any():
            out.notes.append(f"{kind}: no track has {cfg.linking.min_length} detections or more.")
    vectors, how = inputs.lattice
    if vectors is None:
        out.notes.append(f"No hop rate from a lattice-site model: the lattice's orientation is not known, {how}.")
    # tracks of one sublattice share the lattice's phase nearby; else each track has its own
    bandwidth = 10 * a if inputs.follower.one_sublattice else 0.1 * a
    for kind, keep in chosen.items():
        given = Given(some.select(keep), a, None if kind == ALL else vectors, bandwidth, cfg.diffusion)
        out.results[kind] = _estimators(given, kind, seed)
    out.headline = _headline(out, cfg)
    dose_per_time = scales.dose_per_time(found, cfg)
    for kind in out.results:
        said = _as_free(bound, kind, found, cfg.transitions.centre)
        counted = _hops_are_known(out.results[kind], cfg.diffusion.method) and bool(found.attrs.get("places"))
        main = ("hops" if counted else cfg.diffusion.method) if kind == out.headline else None
        units = rows.Units(inputs.D_unit, found.length_unit, found.time_unit, dose_per_time)
        made = rows.of_kind(kind, out.results[kind], units, main, said)
        hopped = ("hop rate", "hops") if counted and main else None
        out.estimates += [replace(e, headline=True) if (e.quantity, e.method) == hopped else e for e in made]
        _disagreement(out, kind, inputs.D_unit)
    if out.headline:
        _gates(out, out.headline, inputs, names, cfg, seed)
        _windows(out, inputs, some.select(chosen[out.headline]), cfg, seed)
        _honest_headline(out, out.headline, a)
    return out


def _estimators(given: Given, kind: str, seed: int) -> dict[str, diffusion.Diffusion]:
    """What every estimator says that can, each from a random stream of its own."""
    made = {name: how(given, seeds.stream(seed, "diffusion", kind, name)) for name, how in ESTIMATORS.items()}
    return {name: d for name, d in made.items() if d is not None}


def _hops_are_known(results: dict[str, diffusion.Diffusion], asked: str) -> bool:
    """Whether the count of hops has an interval and the estimator that is asked for has none: a single atom that is
    followed from place to place, which is one track."""
    known = {name for name, d in results.items() if np.isfinite(d.low)}
    return "hops" in known and asked not in known


def _headline(out: Motion, cfg) -> str | None:
    """The kind whose D is the headline: the one asked for, else all."""
    for kind in [cfg.diffusion.headline, *(cfg.diffusion.kinds or [])]:
        if kind in out.results:
            return kind
    return ALL if ALL in out.results else next(iter(out.results), None)


def _disagreement(out: Motion, kind, unit) -> None:
    """A note when trustworthy estimators have intervals that do not meet."""
    usable = _usable(out.results[kind])
    if len(usable) < 2:
        return
    lowest, highest = (pick(usable, key=lambda k: usable[k].D) for pick in (min, max))
    if usable[lowest].high < usable[highest].low:
        why = ""
        if highest == "cve":
            why = " Steps that are taken back at once (flicker, wrong links) raise the covariance estimate most."
        elif highest == "sites":
            why = " Tracks lose long steps (the gate, misses) or defects hop back and forth more than they spread."
        out.notes.append(
            f"The estimators disagree on D of {kind}: {in_words(lowest)} {usable[lowest].D:.2e}, "
            f"{in_words(highest)} {usable[highest].D:.2e} {unit}, and their intervals do not meet: "
            f"plain diffusion on whole tracks would let them.{why}"
        )


def _gates(out: Motion, kind: str, inputs: Inputs, names: np.ndarray, cfg: AnalysisConfig, seed: int) -> None:
    """D of `kind`, the headline, against the linking gate: a plateau is needed before D can be believed."""
    follower, a = inputs.follower, inputs.lattice_constant
    for factor in cfg.diffusion.gate_scan_lattice:
        gate = factor * a
        again = follower.tracks(follower.link(gate))
        rng = seeds.stream(seed, "gates", str(factor))
        keep = subjects(again, names, cfg).get(kind)
        d = diffusion.cve(again.select(keep), 300, rng, a) if keep is not None and keep.any() else None
        out.gate_scan.append((gate, d.D, d.low, d.high, d.n_tracks) if d else (gate, np.nan, np.nan, np.nan, 0))
    scan = np.array([row[:4] for row in out.gate_scan], float).reshape(-1, 4)
    wide = scan[(scan[:, 0] >= 1.2 * a) & np.isfinite(scan).all(1)]
    if len(wide) > 1 and wide[:, 2].max() > wide[:, 3].min():
        out.notes.append(
            f"D of {kind} depends on the linking gate: {wide[:, 1].min():.2e} to {wide[:, 1].max():.2e} "
            f"{inputs.D_unit} for gates of 1.2 lattice constants and more. "
            "Linking is ambiguous (defects are dense, or flicker), and D is no better than this range."
        )


def _honest_headline(out: Motion, kind: str, a: float) -> None:
    """Where gates or estimators contradict each other, the interval of `kind`, the headline, is the range of them all,
    not one's own."""
    ranges = [(d.low, d.high) for d in _usable(out.results[kind]).values()]
    gates = [row[2:4] for row in out.gate_scan if row[0] >= 1.2 * a and np.isfinite(row[3])]
    if not _apart(ranges) and not _apart(gates):
        return
    low = max(min(r[0] for r in ranges + gates), 0.0)
    high = max(r[1] for r in ranges + gates)
    why = "Not determined by these data beyond this range: gates or estimators contradict each other."
    for k, e in enumerate(out.estimates):
        if e.headline and e.quantity == "D" and e.value is not None:
            method = f"{e.method}, range over gates and estimators"
            said = join([why, e.warning])
            out.estimates[k] = replace(e, low=float(low), high=float(high), method=method, warning=said)


def _usable(methods: dict) -> dict:
    """The estimators whose interval means something here."""
    return {
        name: d
        for name, d in methods.items()
        if name in ("cve", "msd", "sites") and np.isfinite(d.low) and Code.SITES_NOT_RESOLVED not in codes(d.warning)
    }


def _apart(ranges) -> bool:
    """Whether some two of the intervals do not meet."""
    return len(ranges) > 1 and max(r[0] for r in ranges) > min(r[1] for r in ranges)


def _windows(out: Motion, inputs: Inputs, chosen: tracks.Tracks, cfg, seed) -> None:
    """D of the `chosen` tracks in successive parts of the frames that were looked at, and a note when it changes."""
    frames = inputs.follower.looked.frames
    edges = np.append(frames, frames[-1] + 1)[np.linspace(0, len(frames), cfg.transitions.n_windows + 1).astype(int)]
    for first, last in itertools.pairwise(edges):
        inside = (chosen.frame >= first) & (chosen.frame < last)
        part = tracks.build(np.where(inside, chosen.track, -1), chosen.frame, chosen.time, chosen.yx)
        part = part.select(part.lengths >= 3) if part.n_tracks else part
        if part.n_tracks >= 3:
            d = diffusion.cve(part, 300, seeds.stream(seed, "windows", str(first)), inputs.lattice_constant)
            out.windows.append((int(first), int(last), d.D, d.low, d.high, d.n_tracks))
    usable = [w for w in out.windows if np.isfinite(w[3])]
    if len(usable) > 1 and max(w[3] for w in usable) > min(w[4] for w in usable):
        early, late = (f"{w[2]:.2e}" for w in (usable[0], usable[-1]))
        out.notes.append(
            f"D of {out.headline} changes over the movie (first window {early}, last {late} {inputs.D_unit})."
        )
