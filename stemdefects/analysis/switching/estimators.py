"""Switching of defects between states: the hidden Markov model with its tests, beside the estimates at face value."""

from collections.abc import Callable, Iterable

import numpy as np
from scipy import stats
from scipy.linalg import expm

from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.notes import Code, Note, join
from stemdefects.analysis.switching import bonds, chain_tests, continuous, markov, sampling, transitions
from stemdefects.analysis.switching.confusion import Confusions
from stemdefects.analysis.switching.states import Chain, Span
from stemdefects.analysis.switching.transitions import Transitions
from stemdefects.schema import TransitionsConfig

MAX_CELLS = 2_000_000  # frames x traces that the sampler takes; longer sets are cut to the longest traces
Bar = Callable[[Iterable], Iterable]  # wraps what a long loop goes through


def hidden(
    chain: Chain,
    cfg: TransitionsConfig,
    confusion: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    dt: float = 1.0,
    progress: Bar | None = None,
) -> Transitions:
    """Transition matrix by the hidden Markov model: EM, then Gibbs samples for the intervals.

    Args:
        chain: observed states.
        confusion: (S, S) probability of each label given the state; None: estimated jointly, for a centre and its
            vacancies as the recall of each place (`bonds`).
        dt: time of one frame, for rates.

    Returns:
        `Transitions` with posterior medians; `extra` has the `posterior`, mean `confusion`, `recalls` of `bonds` where
        it was used, `rates` and their intervals (S, S), `dwell` times (S, 3: value, low, high), `stationary` (S, 3),
        `net_flux` (z of the largest violation of detailed balance), and `chapman` (list of lag, observed, predicted,
        z).
    """
    rng = np.random.default_rng(0) if rng is None else rng
    bits = bonds.of_states(chain.names, cfg.centre) if confusion is None else None
    if chain.time is None:
        value, low, high, labels, extra = _in_steps(chain, cfg, confusion, bits, rng, dt, progress)
    else:
        value, low, high, labels, extra = _in_time(chain, cfg, confusion, bits, rng, progress)
    recalls, size = extra.get("recalls"), len(chain.names)
    warning = []
    if recalls is not None:
        warning.append(recalls.sentence())
    elif confusion is None:
        warning.append(
            "The detector's confusion was estimated with the rates "
            f"(labels right in {100 * extra['accuracy']:.0f}% of frames)."
        )
    slow = transitions.memory(value)
    if np.isfinite(slow) and slow < 0.3:
        text = "The states change as fast as frames come: rates faster than the frame rate cannot be told apart."
        warning.append(Note(text, Code.FASTER_THAN_FRAMES))
    if not np.isfinite(extra["rates"]).all():
        text = (
            "No rates make these states alternate so often from frame to frame: rates and dwell times are not given. "
            "Shorter frames would tell them, or the states change in step with the frames."
        )
        warning.append(Note(text, Code.FASTER_THAN_FRAMES))
    counts = transitions.counts(chain)
    unseen = [n for n, c in zip(chain.names, np.bincount(labels[labels >= 0], minlength=size), strict=True) if c < 20]
    if unseen:
        warning.append(f"Seen fewer than 20 times: {', '.join(unseen)}; their rows rest on the prior.")
    return Transitions(chain.names, value, low, high, counts, "hmm", len(labels), join(warning), extra)


def _sampling(chain: Chain, cfg: TransitionsConfig, progress) -> sampling.Sampling:
    orbits = sampling.orientation_orbits(chain.names) if cfg.tie_orientations else None
    return sampling.Sampling(cfg.n_gibbs, cfg.n_burn, cfg.prior, orbits, progress)


def _in_steps(chain, cfg, confusion, bits, rng, dt, progress):
    """Matrix, interval, labels and what else comes of a chain at even intervals."""
    observed = chain.padded()
    useful = (observed >= 0).sum(1) >= 2
    observed = observed[useful]
    if len(observed) == 0:
        raise ValueError("no trace has two observations")
    order = np.argsort(-(observed >= 0).sum(1), kind="stable")
    longest = int(np.searchsorted(np.cumsum(np.full(len(order), observed.shape[1])), MAX_CELLS, side="right"))
    observed = observed[np.sort(order[: max(longest, 10)])]
    size = len(chain.names)
    how = _sampling(chain, cfg, progress)
    batch = observed[None]
    start = (
        markov.em(batch, confusion if confusion is not None else None, cfg.prior, n_iter=60)
        if observed.max() == size - 1
        else None
    )
    recalls = None
    if bits is not None:
        posterior, recalls = bonds.gibbs(batch, bits, how, rng)
    else:
        begin = start[:3] if start is not None else _start(size, confusion)
        posterior = sampling.gibbs(batch, confusion, how, rng, begin)
    P = posterior.P[0]
    value = np.median(P, 0)
    value /= value.sum(1, keepdims=True)
    low, high = sampling.interval(P)
    C = posterior.C[0].mean(0)
    extra = {"posterior": posterior, "confusion": C, "accuracy": float(np.diag(C).mean())}
    best = markov.em(batch, confusion, cfg.prior, n_iter=60) if start is None else start
    extra["log_likelihood"] = float(best[3][0])
    extra |= transitions.of_matrices(P, dt)
    detector = C if bits is None or recalls is None else bonds.confusion(bits, recalls.places[0], recalls.false.mean())
    extra["chapman"] = chain_tests.chapman(observed, value, detector, posterior, rng)
    extra["net_flux"] = chain_tests.net_flux(P)
    if recalls is not None:
        extra["recalls"] = recalls
    return value, low, high, observed, extra


def _in_time(chain, cfg, confusion, bits, rng, progress):
    """The same for looks at any times, by rates; the matrix is that of `chain.interval`."""
    seen = continuous.looks(chain, MAX_CELLS)
    if len(seen.label) == 0:
        raise ValueError("no trace has two observations")
    size = len(chain.names)
    places = None if bits is None else bonds.Places(bits, (1, *seen.label.shape))
    detector = places or continuous.Confusion(size, confusion)
    samples = continuous.gibbs(seen, detector, size, chain.interval, _sampling(chain, cfg, progress), rng)
    P = np.array([expm(Q * chain.interval) for Q in samples.Q])
    value = np.median(P, 0)
    value /= value.sum(1, keepdims=True)
    low, high = sampling.interval(P)
    Q, C = samples.Q.mean(0), samples.C.mean(0)
    extra = {
        "posterior": sampling.Posterior(P[None], samples.C[None], samples.start[None]),
        "confusion": C,
        "accuracy": float(np.diag(C).mean()),
        "log_likelihood": float(samples.log_likelihood.max()),
        "net_flux": chain_tests.net_flux(P),
        "embeddable": 1.0,
    } | transitions.summaries(samples.Q, P)
    if bits is not None and places is not None:
        extra["recalls"] = places.recalls()
        C = bonds.confusion(bits, extra["recalls"].places[0], extra["recalls"].false.mean())
    table = markov.label_table(C[None])[0]
    path = continuous.sample_paths(seen, continuous.uniform(Q, seen.spans).propagators(), table, samples.start[-1], rng)
    extra["chapman"] = chain_tests.chapman_in_time(
        seen, path[0], lambda times: continuous.uniform(Q, times).propagators(), C, rng
    )
    return value, low, high, seen.label, extra


def _start(size, confusion):
    C = markov.guess_confusion(size) if confusion is None else confusion
    return markov.guess_confusion(size, 0.8)[None], np.array(C, float)[None], np.full((1, size), 1 / size)


def run(
    chain: Chain,
    cfg: TransitionsConfig,
    span: Span,
    rng: np.random.Generator,
    known: Confusions | None = None,
    progress: Bar | None = None,
) -> tuple[dict[str, Transitions], list[Estimate], list[str], dict | None]:
    """All estimates of a chain. `hmm` is the one that `cfg.confusion` asks for; the other stands beside it.

    Returns:
        (transitions by method, list of `Estimate`, notes, stationarity result or None).
    """
    known = known or Confusions()
    fixed = known.given if known.given is not None else known.model
    main = "hmm" if cfg.confusion == "estimate" or fixed is None else "hmm_estimate"
    found = {main: hidden(chain, cfg, None, rng, span.dt, progress)}
    if fixed is not None:
        other = "hmm_model" if main == "hmm" else "hmm"
        found[other] = hidden(chain, cfg, fixed, rng, span.dt, progress)
        found[other].extra["about"] = known.about
        found[other].warning = join([f"With a fixed confusion: {known.about}.", found[other].warning])
    found = {name: found[name] for name in ("hmm", "hmm_model", "hmm_estimate") if name in found}
    found["pooled"] = transitions.pooled(chain, cfg.prior)
    found["paper"] = transitions.paper(chain, rng=rng)
    change = chain_tests.stationarity(chain, span.n_frames, cfg.n_windows, rng)
    return found, _rows(found, span), _notes(found, change) + _disagreement(found), change


def _rows(found: dict[str, Transitions], span: Span) -> list[Estimate]:
    """Every matrix as rows of the estimates; of the hidden Markov model also what follows from it."""
    out: list[Estimate] = []
    for name, t in found.items():
        for i, j in np.ndindex(t.P.shape):
            quantity, three = f"P({t.names[i]} -> {t.names[j]}) {span.per}", (t.P[i, j], t.low[i, j], t.high[i, j])
            of = {"n": int(t.counts[i].sum()), "n_of": "steps", "warning": t.warning if name != "hmm" else ""}
            out.append(estimate(quantity, *map(float, three), unit="1", method=name, **of))
    t, e, unit = found["hmm"], found["hmm"].extra, span.unit
    lasts = span.n_frames * span.dt if span.lasts is None else span.lasts
    for i, name in enumerate(t.names):
        value, low, high = e["dwell"][i]
        beyond = f"Longer than the movie ({lasts:.3g} {unit}): hardly any was seen to end." if high > lasts else ""
        of = {"subject": name, "n": t.n_tracks}
        said = beyond if value <= lasts else f"{beyond} Trust the lower end only."
        out.append(estimate("dwell time", value, low, high, unit, "hmm", warning=said, **of))
        out.append(estimate("long-run share", *e["stationary"][i], unit="1", method="hmm", **of))
        for j, other in enumerate(t.names):
            if i != j:
                rate = {"unit": f"1/{unit}", "method": "hmm", "n": t.n_tracks}
                out.append(estimate(f"rate {name} -> {other}", *e["rates"][i, j], **rate))
    of = {"n": int(t.counts.sum()), "n_of": "steps"}
    for kind, method in (("pooled", "labels at face value"), ("hmm", "hidden Markov model")):
        quantity, left = "second eigenvalue of the transition matrix", transitions.memory(found[kind].P)
        out.append(estimate(quantity, left, None, None, "1", kind, subject=method, **of))
    return out


def _disagreement(found) -> list[str]:
    """A note when the fixed and the estimated confusion lead to different transitions, or the fixed one misfits."""
    free = found.get("hmm_estimate", found["hmm"])
    fixed = found["hmm"] if "hmm_estimate" in found else found.get("hmm_model")
    if fixed is None:
        return []
    gain = 2 * (free.extra["log_likelihood"] - fixed.extra["log_likelihood"])
    size = len(free.names)
    p = float(stats.chi2.sf(max(gain, 0), size * (size - 1)))
    notes = []
    if p < 0.01:
        notes.append(
            f"The labels do not fit that confusion ({fixed.extra['about']}; likelihood ratio, p = {p:.1g}): "
            "this movie is seen better or worse than the network's simulated images, so the estimated one counts."
        )
    apart = (free.low > fixed.high) | (fixed.low > free.high)
    if apart.any():
        i, j = np.argwhere(apart)[0]
        notes.append(
            f"Estimated and fixed confusion disagree on {int(apart.sum())} of {apart.size} transition probabilities, "
            f"for example {free.names[i]} -> {free.names[j]}: {free.P[i, j]:.3f} and {fixed.P[i, j]:.3f} in one step."
        )
    return notes


def _notes(found, change) -> list[str]:
    notes = []
    t, e = found["hmm"], found["hmm"].extra
    if t.warning:
        notes.append(f"Transitions: {t.warning}")
    face = transitions.memory(found["pooled"].P)
    if np.isfinite(face) and face < 0.3:
        notes.append(
            f"The labels keep almost no memory from frame to frame (second eigenvalue {face:.2f}): "
            "taken at face value the transition matrix is mostly label noise."
        )
    worst = max(e["chapman"], key=lambda row: abs(row["z"]), default=None)
    if worst and abs(worst["z"]) > 3.5 and abs(worst["observed"] - worst["predicted"]) > 0.02:
        notes.append(
            f"Chapman-Kolmogorov test: labels {worst['lag']} frames apart agree in {100 * worst['observed']:.1f}% "
            f"of pairs, the model says {100 * worst['predicted']:.1f}%. The states are not a chain without memory "
            "(states are mixed, or defects differ), so rates are averages at best."
        )
    if change and change["p"] < 0.01:
        notes.append(
            "The transition probabilities change over the movie "
            f"(p = {change['p']:.3f}): one matrix for the whole movie is an average."
        )
    flux = e["net_flux"]
    if flux["p"] < 0.01:
        notes.append(
            f"Detailed balance does not hold: there is a net flux {t.names[flux['from']]} -> {t.names[flux['to']]} "
            f"({abs(flux['z']):.1f} sigma), as a beam that drives the system makes."
        )
    return notes
