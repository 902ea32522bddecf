"""The loops of `column_intensity` over the states of every column, compiled. n columns, S states, G sublattices."""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry


@entry
def rough(image: np.ndarray, centre: np.ndarray, reach: int, width: float) -> np.ndarray:
    """(m,) mean square of the second differences along both axes around the `centre` (m, 2) pixels, weighed by a
    Gaussian of `width` px within `reach`; what the places have in common is taken off before."""
    side = 2 * reach + 3
    common = np.zeros((side, side))
    for k in range(len(centre)):
        for a in range(side):
            row = image[centre[k, 0] - reach - 1 + a]
            for b in range(side):
                common[a, b] += row[centre[k, 1] - reach - 1 + b]
    common /= len(centre)
    weight, total = np.empty(side - 2), 0.0
    for a in range(side - 2):
        weight[a] = math.exp(-0.5 * ((a - reach) / width) ** 2)
        total += weight[a]
    weight /= total
    out, rest = np.zeros(len(centre)), np.empty((side, side))
    for k in range(len(centre)):
        for a in range(side):
            row = image[centre[k, 0] - reach - 1 + a]
            for b in range(side):
                rest[a, b] = row[centre[k, 1] - reach - 1 + b] - common[a, b]
        for a in range(side - 2):
            for b in range(side - 2):
                upper = rest[a, b] - 2 * rest[a, b + 1] + rest[a, b + 2]
                middle = rest[a + 1, b] - 2 * rest[a + 1, b + 1] + rest[a + 1, b + 2]
                lower = rest[a + 2, b] - 2 * rest[a + 2, b + 1] + rest[a + 2, b + 2]
                out[k] += weight[a] * weight[b] * (upper - 2 * middle + lower) ** 2
    return out


@entry
def log_ratios(
    deviation: np.ndarray,
    site: np.ndarray,
    scatter: np.ndarray,
    site_of_state: np.ndarray,
    ideal: np.ndarray,
    level: np.ndarray,
    clip: float,
) -> np.ndarray:
    """(n, S) float32 Gaussian log-likelihood of each state of a column's site, less that of its ideal state, none more
    than `clip` below the best.

    deviation: (n,) NaN where nothing is known; scatter: (G,) NaN for sublattices not judged; ideal: (G,) state;
    level: (S,) where each state stands.
    """
    n_states = len(site_of_state)
    out, ratio = np.zeros((len(site), n_states), np.float32), np.zeros(n_states)
    for k in range(len(site)):
        g = site[k]
        if np.isnan(deviation[k]) or np.isnan(scatter[g]):
            continue
        best = -np.inf
        for s in range(n_states):
            if site_of_state[s] == g:
                # (x^2 - (x - level)^2) / 2 scatter^2
                ratio[s] = level[s] * (deviation[k] - 0.5 * level[s]) / scatter[g] ** 2
                best = max(best, ratio[s])
        own = max(ratio[ideal[g]] - best, -clip)
        for s in range(n_states):
            if site_of_state[s] == g:
                out[k, s] = max(ratio[s] - best, -clip) - own
    return out


class States(NamedTuple):
    """Sublattice (S,) of each state, ideal state (G,) of each sublattice, signal (S,) and logarithm of the prevalence
    (S,) of each state."""

    site_of_state: np.ndarray
    ideal: np.ndarray
    signal: np.ndarray
    log_prior: np.ndarray


@entry
def pooled(
    prob: np.ndarray,
    found: np.ndarray,
    network: np.ndarray,
    light: np.ndarray,
    site: np.ndarray,
    states: States,
) -> np.ndarray:
    """(n, S) posterior from `prob` (n, S) and the light's log-ratios `found` (n, S), which count `network` and `light`
    (n, S); see `column_intensity.pooled`. site: (n,) sublattice."""
    site_of_state, ideal, signal, log_prior = states
    n_states = len(site_of_state)
    out, logit = prob.copy(), np.zeros(n_states)
    for k in range(len(site)):
        says = False
        for s in range(n_states):
            says |= found[k, s] != 0
        if not says:
            continue
        own = ideal[site[k]]
        zero = math.log(max(prob[k, own], 1e-30)) - log_prior[own]
        best = -np.inf
        for s in range(n_states):
            if site_of_state[s] == site[k]:
                ratio = math.log(max(prob[k, s], 1e-30)) - log_prior[s] - zero
                if signal[s] > signal[own]:
                    together = 0.5 * ratio + 0.5 * min(found[k, s], ratio)
                else:
                    together = network[k, s] * ratio + light[k, s] * found[k, s]
                logit[s] = log_prior[s] + together
                best = max(best, logit[s])
        total = 0.0
        for s in range(n_states):
            logit[s] = math.exp(logit[s] - best) if site_of_state[s] == site[k] else 0.0
            total += logit[s]
        for s in range(n_states):
            out[k, s] = logit[s] / total
    return out


@entry
def posteriors(
    logit: np.ndarray, site: np.ndarray, own: np.ndarray, shift: np.ndarray, temperature: np.ndarray
) -> np.ndarray:
    """(n, S) posterior of the states by their logits (n, S): of `models.probability.states.log_posterior` the
    exponentials. own: (G, S) bool, states of each sublattice; shift, temperature: (S,)."""
    n_states = logit.shape[1]
    out = np.zeros((len(logit), n_states))
    for k in range(len(logit)):
        largest, total = -np.inf, 0.0
        for s in range(n_states):
            if own[site[k], s]:
                out[k, s] = logit[k, s] / temperature[s] + shift[s]
                largest = max(largest, out[k, s])
        for s in range(n_states):
            if own[site[k], s]:
                out[k, s] = math.exp(out[k, s] - largest)
                total += out[k, s]
        for s in range(n_states):
            out[k, s] /= total
    return out
