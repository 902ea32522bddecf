"""Switching of defects between states: the hidden Markov model with its tests, beside the estimates at face value."""

import numpy as np
from scipy import stats
from scipy.linalg import expm, logm

from stemdefects.analysis import bootstrap, markov, transitions
from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.states import Chain
from stemdefects.analysis.transitions import Transitions
from stemdefects.schema import TransitionsConfig

MAX_CELLS = 2_000_000  # frames x traces that the sampler takes; longer sets are cut to the longest traces


def hidden(
    chain: Chain, cfg: TransitionsConfig, confusion: np.ndarray | None = None, rng=None, dt: float = 1.0, progress=None
) -> Transitions:
    """Transition matrix by the hidden Markov model: EM, then Gibbs samples for the intervals.

    Args:
        chain: observed states.
        confusion: (S, S) probability of each label given the state; None: estimated jointly.
        dt: time of one frame, for rates.

    Returns:
        `Transitions` with posterior medians; `extra` has the `posterior`, mean `confusion`, `rates` and their intervals
        (S, S), `dwell` times (S, 3: value, low, high), `stationary` (S, 3), `net_flux` (z of the largest violation of
        detailed balance), and `chapman` (list of lag, observed, predicted, z).
    """
    rng = np.random.default_rng(0) if rng is None else rng
    observed = chain.padded()
    useful = (observed >= 0).sum(1) >= 2
    observed = observed[useful]
    if len(observed) == 0:
        raise ValueError("no trace has two observations")
    order = np.argsort(-(observed >= 0).sum(1), kind="stable")
    longest = int(np.searchsorted(np.cumsum(np.full(len(order), observed.shape[1])), MAX_CELLS, side="right"))
    observed = observed[np.sort(order[: max(longest, 10)])]
    size = len(chain.names)
    orbits = markov.orientation_orbits(chain.names) if cfg.tie_orientations else None
    batch = observed[None]
    start = (
        markov.em(batch, confusion if confusion is not None else None, cfg.prior, n_iter=60)
        if observed.max() == size - 1
        else None
    )
    posterior = markov.gibbs(
        batch, confusion, cfg.n_gibbs, cfg.n_burn, cfg.prior, orbits=orbits, rng=rng,
        start_from=start[:3] if start is not None else _start(size, confusion), progress=progress,
    )  # fmt: skip
    P = posterior.P[0]
    value = np.median(P, 0)
    value /= value.sum(1, keepdims=True)
    low, high = markov.interval(P)
    C = posterior.C[0].mean(0)
    extra = {"posterior": posterior, "confusion": C, "accuracy": float(np.diag(C).mean())}
    extra |= _rates(P, dt)
    extra["chapman"] = _chapman(observed, value, C, posterior, rng)
    extra["net_flux"] = _net_flux(P)
    warning = []
    if confusion is None:
        warning.append(
            f"The detector's confusion was estimated with the rates (labels right in "
            f"{100 * extra['accuracy']:.0f}% of frames)."
        )
    slow = transitions.memory(value)
    if np.isfinite(slow) and slow < 0.3:
        warning.append(
            "The states change as fast as frames come: rates faster than the frame rate cannot be told apart."
        )
    counts = transitions.counts(chain)
    unseen = [
        n for n, c in zip(chain.names, np.bincount(observed[observed >= 0], minlength=size), strict=True) if c < 20
    ]
    if unseen:
        warning.append(f"Seen fewer than 20 times: {', '.join(unseen)}; their rows rest on the prior.")
    return Transitions(chain.names, value, low, high, counts, "hmm", len(observed), " ".join(warning), extra)


def _start(size, confusion):
    C = markov.guess_confusion(size) if confusion is None else confusion
    return markov.guess_confusion(size, 0.8)[None], np.array(C, float)[None], np.full((1, size), 1 / size)


def generator(P: np.ndarray, dt: float) -> tuple[np.ndarray, bool]:
    """Rate matrix Q with expm(Q dt) = P, negative rates set to zero; and whether it was a true generator already."""
    Q = np.real(logm(P)) / dt
    off = Q - np.diag(np.diag(Q))
    clean = bool(off.min() > -1e-3 / dt)
    off = np.maximum(off, 0)
    return off - np.diag(off.sum(1)), clean


def _rates(P: np.ndarray, dt: float) -> dict:
    picks = np.linspace(0, len(P) - 1, min(200, len(P))).astype(int)
    with np.errstate(all="ignore"):
        results = [generator(P[k], dt) for k in picks]
    Q = np.array([q for q, _ in results])
    clean = np.mean([ok for _, ok in results])
    dwell = 1 / np.maximum(-np.diagonal(Q, axis1=1, axis2=2), 1e-12)
    shares = np.array([_stationary_of(p) for p in P[picks]])

    def summary(samples):
        return np.stack([np.median(samples, 0), *np.quantile(samples, [0.025, 0.975], axis=0)], -1)

    return {"rates": summary(Q), "dwell": summary(dwell), "stationary": summary(shares), "embeddable": float(clean)}


def _stationary_of(P: np.ndarray) -> np.ndarray:
    size = len(P)
    system = np.vstack([P.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]


def _chapman(observed, P, C, posterior, rng, lags=(1, 2, 4, 8)) -> list[dict]:
    """Chapman-Kolmogorov test on what is seen: how often two labels `lag` frames apart are the same.

    If states switch without memory, the model fitted to single frames predicts it for every lag.
    """
    path = markov.sample_paths(observed[None], P[None], C[None], posterior.start[:, -1], rng)[0]
    rows = []
    for lag in lags:
        if observed.shape[1] <= lag:
            break
        a, b = observed[:, :-lag], observed[:, lag:]
        ok = (a >= 0) & (b >= 0)
        if ok.sum() < 30:
            break
        occupied = np.bincount(path[:, :-lag][ok], minlength=len(P)) / ok.sum()
        predicted = float(np.einsum("i,ij,io,jo->", occupied, np.linalg.matrix_power(P, lag), C, C))
        same, total = ((a == b) & ok).sum(1).astype(float), ok.sum(1).astype(float)
        weights = bootstrap.weights(len(total), 300, rng)
        with np.errstate(invalid="ignore"):
            error = np.nanstd((weights @ same) / (weights @ total))
        seen = same.sum() / total.sum()
        rows.append({"lag": lag, "observed": float(seen), "predicted": predicted, "error": float(error),
                     "z": float((seen - predicted) / max(error, 1e-6))})  # fmt: skip
    return rows


def _net_flux(P: np.ndarray) -> dict:
    """Largest net probability flux pi_i P_ij - pi_j P_ji over its posterior scatter: a test of detailed balance."""
    picks = P[:: max(1, len(P) // 200)]
    weights = np.array([_stationary_of(p) for p in picks])
    flow = weights[:, :, None] * picks
    net = flow - flow.swapaxes(1, 2)
    mean, spread = net.mean(0), net.std(0)
    z = np.where(spread > 0, mean / np.maximum(spread, 1e-12), 0.0)
    i, j = np.unravel_index(np.abs(z).argmax(), z.shape)
    pairs = len(P[0]) * (len(P[0]) - 1) // 2
    p = min(1.0, 2 * stats.norm.sf(abs(z[i, j])) * pairs)
    return {"from": int(i), "to": int(j), "flux": float(mean[i, j]), "z": float(z[i, j]), "p": float(p)}


def stationarity(chain: Chain, n_frames: int, n_windows: int, rng, n_shuffles: int = 200) -> dict | None:
    """Do transition probabilities change over the movie? Log-likelihood ratio of pooled counts per time window.

    The p-value is by shuffling whole tracks' windows: each track is given the window order at random by shifting the
    steps' frames along a circle, so that label noise and memory inside tracks do not look like change.

    Returns:
        dict with `p`, `windows` (list of first frame, last frame, (S, S) counts), or None with too few steps.
    """
    a, b, track, frame = chain.steps()
    size = len(chain.names)
    if len(a) < 50 * n_windows or n_windows < 2:
        return None
    edges = np.linspace(0, n_frames, n_windows + 1).astype(int)

    def ratio(frames):
        window = np.clip(np.searchsorted(edges, frames, side="right") - 1, 0, n_windows - 1)
        counts = np.zeros((n_windows, size, size))
        np.add.at(counts, (window, a, b), 1)
        return 2 * (_log_likelihood(counts).sum() - _log_likelihood(counts.sum(0))), counts

    value, counts = ratio(frame)
    # one shift for all tracks would keep the windows together; each track gets its own
    owners = np.unique(track, return_inverse=True)[1]
    chance = []
    for _ in range(n_shuffles):
        shift = rng.integers(0, n_frames, owners.max() + 1)
        chance.append(ratio((frame + shift[owners]) % n_frames)[0])
    p = (1 + np.sum(np.array(chance) >= value)) / (1 + n_shuffles)
    windows = [(int(edges[k]), int(edges[k + 1]), counts[k]) for k in range(n_windows)]
    return {"p": float(p), "windows": windows}


def _log_likelihood(counts):
    total = counts.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nansum(np.where(counts > 0, counts * np.log(counts / total), 0.0), axis=(-1, -2))


def run(chain: Chain, cfg: TransitionsConfig, n_frames: int, dt: float, time_unit: str, rng, progress=None):
    """All estimates of a chain.

    Returns:
        (transitions by method, list of `Estimate`, notes, stationarity result or None).
    """
    found = {"hmm": hidden(chain, cfg, None, rng, dt, progress)}
    found["pooled"] = transitions.pooled(chain, cfg.prior)
    found["paper"] = transitions.paper(chain, rng=rng)
    out: list[Estimate] = []
    for name, t in found.items():
        for i, j in np.ndindex(*t.P.shape):
            out.append(estimate(
                f"P({t.names[i]} -> {t.names[j]}) per frame", t.P[i, j], t.low[i, j], t.high[i, j], "1", name,
                n=int(t.counts[i].sum()), n_of="steps", warning=t.warning if name != "hmm" else ""))  # fmt: skip
    t, e = found["hmm"], found["hmm"].extra
    for i, name in enumerate(t.names):
        out.append(estimate("dwell time", *e["dwell"][i], time_unit, "hmm", subject=name, n=t.n_tracks))
        out.append(estimate("long-run share", *e["stationary"][i], "1", "hmm", subject=name, n=t.n_tracks))
        for j, other in enumerate(t.names):
            if i != j:
                out.append(
                    estimate(f"rate {name} -> {other}", *e["rates"][i, j], f"1/{time_unit}", "hmm", n=t.n_tracks)
                )
    for kind, method in (("pooled", "labels at face value"), ("hmm", "hidden Markov model")):
        left = transitions.memory(found[kind].P)
        out.append(estimate("second eigenvalue of the transition matrix", left, None, None, "1", kind,
                            subject=method, n=int(t.counts.sum()), n_of="steps"))  # fmt: skip
    change = stationarity(chain, n_frames, cfg.n_windows, rng)
    return found, out, _notes(found, change), change


def _notes(found, change) -> list[str]:
    notes = []
    t, e = found["hmm"], found["hmm"].extra
    if t.warning:
        notes.append(f"Transitions: {t.warning}")
    face = transitions.memory(found["pooled"].P)
    if np.isfinite(face) and face < 0.3:
        notes.append(
            f"The labels keep almost no memory from frame to frame (second eigenvalue {face:.2f}): taken at face "
            f"value the "
            "transition matrix is mostly label noise."
        )
    worst = max(e["chapman"], key=lambda row: abs(row["z"]), default=None)
    if worst and abs(worst["z"]) > 3.5 and abs(worst["observed"] - worst["predicted"]) > 0.02:
        notes.append(
            f"Chapman-Kolmogorov test: labels {worst['lag']} frames apart agree in "
            f"{100 * worst['observed']:.1f}% of pairs, "
            f"the model says {100 * worst['predicted']:.1f}%. The states are not a chain without memory (states "
            f"are mixed, "
            "or defects differ), so rates are averages at best."
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


def true_matrix(attrs: dict, dt: float) -> tuple[list[str], np.ndarray] | None:
    """State names and transition matrix per frame of a simulated movie, from its `/truth` attributes."""
    Q, names = attrs.get("generator_per_s"), attrs.get("state_labels")
    if Q is None or not names or not np.any(Q):
        return None
    return [str(n) for n in names], expm(np.asarray(Q, float) * dt)
