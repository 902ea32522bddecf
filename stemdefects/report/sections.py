"""What each section of the page says: plain sentences, each number with interval, method and warning."""

import html
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stemdefects.analysis.estimates import number
from stemdefects.analysis.patches.classes import STABLE
from stemdefects.report import crystal_sections


@dataclass(frozen=True)
class Section:
    """A section: `text(result)` gives HTML (empty: nothing to say), `figures` the names of its pictures; those of
    `folded_figures` unfold on a click on `fold`."""

    title: str
    text: Callable
    figures: tuple[str, ...] = ()
    captions: dict[str, str] = field(default_factory=dict)
    folded_figures: tuple[str, ...] = ()
    fold: str = ""


def _sentences(result, wanted: Callable) -> str:
    items = "".join(f"<li>{nice(e.sentence())}</li>" for e in result.estimates if wanted(e))
    return f"<ul>{items}</ul>" if items else ""


def nice(text: str) -> str:
    """Escaped for HTML, with powers as such."""
    return html.escape(text).replace("^2", "²").replace("^4", "⁴")


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _truth(result) -> str:
    if result.truth is None:
        return ""
    share = lambda v: "none" if v is None else f"{v:.3f}"  # noqa: E731
    text = (
        f"<p>The source is a simulation, so the truth is known. A detection is right when it lies within "
        f"{result.cfg.truth_radius_nm:g} nm of a true defect of its kind (best one-to-one matching, frame by "
        f"frame).</p>"
    )
    text += _table(
        ["kind", "true", "found", "precision", "recall", "F1", "position error (px, per axis)"],
        [[html.escape(s.kind), s.n_true, s.n_found, share(s.precision), share(s.recall), share(s.f1),
          "none" if not np.isfinite(s.rms_error_px) else f"{s.rms_error_px:.2f}"] for s in result.scores],
    )  # fmt: skip
    if result.comparison:
        rows = []
        for c in result.comparison:
            verdict = {True: '<span class="good">yes</span>', False: '<span class="bad">no</span>', None: ""}[
                c["inside"]
            ]
            interval = f"{number(c['low'])} to {number(c['high'])}" if c["low"] is not None else ""
            rows.append([html.escape(c["quantity"]), number(c["true"]), number(c["found"]), interval, verdict])
        text += _table(["quantity", "true", "found", "95% interval", "truth inside"], rows)
    return text


def _counts(result) -> str:
    text = _sentences(result, lambda e: e.quantity == "count per frame")
    rest = _sentences(result, lambda e: e.quantity in ("change of the count", "exponential growth rate", "density"))
    return text + (f"<details><summary>densities and changes</summary>{rest}</details>" if rest else "")


def _growth(result) -> str:
    if not result.growth:
        return ""
    text = "<ul>" + "".join(f"<li>{html.escape(g.verdict())}</li>" for g in result.growth.values()) + "</ul>"
    names = {name for g in result.growth.values() for law in g.laws.values() for name in law.parameters}
    names |= {f"rate, {law}" for g in result.growth.values() for law in g.laws}
    text += _sentences(result, lambda e: e.quantity in names and e.subject in result.growth)
    rows = [[html.escape(g.subject), law.name, f"{law.aic:.1f}", f"{law.bic:.1f}"]
            for g in result.growth.values() for law in g.laws.values()]  # fmt: skip
    table = _table(["series", "law", "AIC above the best", "BIC above the best"], rows)
    return text + f"<details><summary>laws compared</summary>{table}</details>"


def _drift(result) -> str:
    d = result.drift
    if d.method == "none":
        return ""
    how = {
        "points": "from the detections' own pattern: each frame registered with the recent ones, then all together",
        "table": "as stored with the detections",
        "bragg": "from the lattice's Bragg phases for the fraction of a lattice vector, and from the point "
        "pattern for the rest",
    }[d.method]
    step = np.hypot(*np.diff(d.yx, axis=0).T)
    text = f"The field moved {np.hypot(*d.yx[-1]):.2f} {result.found.length_unit} from first to last frame, " \
           f"{np.median(step):.3f} {result.found.length_unit} in a typical step, {how}."  # fmt: skip
    if np.isfinite(d.sigma).any():
        most = "at most " if d.method == "bragg" else ""
        text += f" Its error is {most}about {np.nanmedian(d.sigma):.1g} {result.found.length_unit}."
    return f"<p>{html.escape(text)} {html.escape(d.note)}</p>"


def _tracks(result) -> str:
    t = result.tracks
    if t.n_tracks == 0:
        return ""
    lengths = t.lengths
    events = {name: int((result.events["event"] == name.encode()).sum()) for name in ("birth", "death", "gap", "merge")}
    return (
        f"<p>{t.n_tracks} tracks, {int((lengths >= result.cfg.linking.min_length).sum())} of them with "
        f"{result.cfg.linking.min_length} detections or more, median length {np.median(lengths):.0f}, longest "
        f"{lengths.max()}. "
        f"Linked within {result.gate:.3f} {result.found.length_unit} and over at most "
        f"{result.cfg.linking.memory} missed frames. "
        f"{events['birth']} births, {events['death']} deaths, {events['gap']} gaps bridged, "
        f"{events['merge']} tracks that ended beside another one.</p>"
    ) + _sentences(result, lambda e: e.quantity in ("births of tracks", "deaths of tracks", "merges of tracks"))


def _classes(result) -> str:
    c = result.classes
    if c is None:
        return ""
    text = (
        f"<p>{len(c.averages)} classes by {html.escape(c.method)}; {int((c.label < 0).sum())} patches belong to none."
    )
    if c.agreement is not None:
        text += f" Agreement with the network's kinds: adjusted Rand index {c.agreement:.2f} (1 the same, 0 by chance)."
    beyond = next((s for s in c.scores[1:] if s["stability"] < STABLE), None)
    if beyond is not None and not result.cfg.clustering.classes:
        text += (
            f" With {beyond['classes']} one class no longer comes back in halves of the defects (Jaccard index "
            f"{beyond['stability']:.2f})."
        )
    text += f" {html.escape(c.note)}</p>"
    if c.light is None:
        return text
    kinds = result.found.kinds
    rows = []
    for k, (own, *bonds) in enumerate(c.light):
        names, counts = np.unique(kinds[c.label == k], return_counts=True)
        most = counts.argmax()
        site = result.material.site_names[c.site[k]]
        rows.append([
            str(k), str(c.counts[k]), site, f"{own:.2f}", ", ".join(f"{b:.2f}" for b in bonds),
            f"{names[most]} ({100 * counts[most] / c.counts[k]:.0f}%)",
        ])  # fmt: skip
    head = ["class", "patches", "sublattice", "light of the column", "of its three bonded columns", "most are called"]
    text += _table(head, rows)
    return text + (
        "<p>Light is in units of an ideal column of the brighter sublattice beside it: a missing column has 0. A "
        "bonded column that differs stands first; pictures of such a class are turned onto each other.</p>"
    )


def _diffusion(result) -> str:
    m, found = result.motion, result.found
    about_motion = {e for e in m.estimates}
    text = _sentences(result, lambda e: e in about_motion and e.subject == m.headline)
    rest = _sentences(result, lambda e: e in about_motion and e.subject != m.headline)
    if rest:
        text += f"<details><summary>the other kinds</summary>{rest}</details>"
    if m.windows:
        rows = [[f"{w[0]} to {w[1] - 1}", number(w[2]), f"{number(w[3])} to {number(w[4])}", w[5]] for w in m.windows]
        head = ["frames", f"D of {m.headline} ({result.D_unit})", "95% interval", "tracks"]
        text += f"<details><summary>over the movie</summary>{_table(head, rows)}</details>"
    text += _sentences(result, lambda e: e.quantity == "D by region")
    if text and found.pixel_size_nm and found.pixel_size_relative_sigma:
        text += (
            f"<p>The pixel size is uncertain by {100 * found.pixel_size_relative_sigma:.1f}%, which adds "
            f"{200 * found.pixel_size_relative_sigma:.1f}% to every D and is not part of the intervals.</p>"
        )
    return text


def _published(result) -> str:
    """The matrix that the table's publication printed, when the config knows it."""
    printed = result.found.attrs.get("known", {}).get("published_transitions")
    if not printed:
        return ""
    from stemdefects.analysis.switching.transitions import memory

    P = np.array(printed, float)
    rows = [[f"{v:.2f}" for v in row] for row in P]
    return (
        "<p>The publication printed this matrix (its own classes, which these colours need not be), by averaging "
        f"row-normalised traces. Its second eigenvalue is {memory(P / P.sum(1, keepdims=True)):.2f}: nearly no "
        f"memory from "
        f"one frame to the next, as label noise makes it.</p>{_table([f'to {k + 1}' for k in range(len(P))], rows)}"
    )


def _space(result) -> str:
    text = _sentences(result, lambda e: e.quantity.startswith("pairs of neighbours"))
    text += _sentences(result, lambda e: e.quantity.startswith("share of defects in lines"))
    d = result.deformation
    if d is not None:
        text += (
            f"<p>Smooth deformation of the field explains {100 * d.share:.0f}% of the slow motion of "
            f"{d.n_tracks} long-lived "
            f"defects (p = {d.p:.2f} by chance), {d.relative:.2f} {result.found.length_unit} across the field over the "
            "movie.</p>"
        )
    return text


def _transitions(result) -> str:
    if not result.transitions:
        return ""
    chain, hmm = result.chain, result.transitions["hmm"]
    text = (
        f"<p>States: {html.escape(chain.how)} ({html.escape(', '.join(chain.names))}). {len(chain.steps()[0])} "
        f"steps between "
        f"neighbouring frames in {chain.n_tracks} tracks. The hidden Markov model takes wrong labels and missed "
        f"frames into "
        f"account. {_labels_right(hmm)} {_confusion(result)}"
        f"The pooled counts "
        f"take labels "
        "at face value; the published formula is shown for comparison only. "
        f"All matrices are {result.step}{'' if chain.time is None else ', from rates in continuous time'}.</p>"
    )
    text += _sentences(result, lambda e: e.quantity in ("dwell time", "long-run share"))
    text += _sentences(result, lambda e: e.quantity.startswith("second eigenvalue"))
    rates = _sentences(result, lambda e: e.quantity.startswith("rate "))
    text += f"<details><summary>rates</summary>{rates}</details>"
    rows = [[r["lag"], f"{r['observed']:.3f} ± {r['error']:.3f}", f"{r['predicted']:.3f}", f"{r['z']:.1f}"]
            for r in hmm.extra["chapman"]]  # fmt: skip
    head = ["frames apart", "labels equal, observed", "model", "difference (sigma)"]
    text += f"<p>Does one memoryless chain describe it (Chapman-Kolmogorov)?</p>{_table(head, rows)}"
    if result.stationarity:
        p = result.stationarity["p"]
        said = "they change" if p < 0.01 else "no change is seen" if p > 0.05 else "a change is possible"
        text += f"<p>Are the probabilities the same all along the movie? p = {p:.3f}: {said}.</p>"
    flux = hmm.extra["net_flux"]
    text += _published(result)
    return text + (
        f"<p>Largest net flux, {html.escape(hmm.names[flux['from']])} to {html.escape(hmm.names[flux['to']])}: "
        f"{abs(flux['z']):.1f} sigma, p = {flux['p']:.2f} for detailed balance (reported, not imposed).</p>"
    )


def _labels_right(hmm) -> str:
    recalls = hmm.extra.get("recalls")
    return (
        recalls.sentence() if recalls else f"By its own account {100 * hmm.extra['accuracy']:.0f}% of labels are right."
    )


def _confusion(result) -> str:
    """What the network's own confusion says, where it is known."""
    other = result.transitions.get("hmm_model") or result.transitions.get("hmm_estimate")
    if other is None:
        return ""
    share = f"{100 * other.extra['accuracy']:.0f}% of labels right"
    if "hmm_model" in result.transitions:
        return f"With {html.escape(result.confusions.about)}, {share}, the matrix beside it results. "
    return f"The matrix beside it has the confusion estimated instead ({share}). "


FIRST = (
    Section("What the network learned from", lambda result: "", ("labels",), {
        "labels": "Labels made from the movie's first frames (docs/labels.md): frame, Bragg peaks, what repeats, what "
        "does not, labels, the part held out."}),
    Section("Found against true", _truth, ("scores",)),
)  # fmt: skip
SECTIONS = (
    Section("Counts against time", _counts, ("counts", "regions"), {
        "counts": "Points: frames. Line: running mean, with its 95% band from the scatter of the frames."}),
    Section("Growth laws", _growth, ("growth",), {
        "growth": "Points: frames. Solid: laws that the data leave possible; dotted: the others."}),
    Section("Drift", _drift, ("drift",)),
    Section("Tracks", _tracks, ("trajectories", "broom"), {
        "trajectories": "In the sample's frame, drift removed.",
        "broom": "Every linked detection in space and time: a resting defect draws a straight line."}),
    Section("Classes of the image patches", _classes, ("classes",)),
    Section("Diffusion", _diffusion, ("diffusion", "msd", "gate_scan", "rose"), {
        "diffusion": "Bars: 95% intervals from resampling tracks. Grey: the formula of the reference work.",
        "msd": "The dashed line is the covariance estimate; the curve bends where motion is confined or tracks break.",
        "gate_scan": "D has to level off with the gate. Where it keeps growing, chance links are taken for motion."}),
    Section("In space", _space, ("pairs", "lines"), {
        "lines": "Rows of neighbours along the lattice's directions. Grey: random sites, as many defects.",
        "pairs": "Above 1: more pairs at this distance than random places give. Grey: 95% of chance for a single "
        "frame, "
                 "since frames repeat the same defects."}),
    Section("Crystal around the defects", crystal_sections.local, ("displacements", "components")),
    Section("Strain of the field", crystal_sections.strain, ("strain",), {
        "strain": "At each column of the brightest sublattice, averaged over about 1 nm. Grey: border."}),
    Section("Transitions between states", _transitions, ("transitions",)),
)  # fmt: skip
