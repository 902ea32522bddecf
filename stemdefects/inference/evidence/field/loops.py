"""The loops of `registration` over the columns of a frame, compiled.

n columns, S states, G sublattices. belief: (n0, n1, G, S) of the sites; cell: (n, 2) in its rows and columns; site:
(n,) sublattice; likelihood: (n, S).
"""

import math

import numpy as np

from stemdefects.compiled import entry

LEAST = 1e-6  # chance of what was seen, however little it was expected
TOGETHER = 16  # chances whose product has a logarithm: sixteen of `LEAST`, or of 1e9, are numbers of double precision


@entry
def expected(
    belief: np.ndarray, cell: np.ndarray, site: np.ndarray, likelihood: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """(m,) log-likelihood of the columns moved by each of `steps` (m, 2) cells, where these are known sites."""
    out = np.zeros(len(steps))
    for m in range(len(steps)):
        product, factors = 1.0, 0
        for n in range(len(cell)):
            i, j = cell[n, 0] + steps[m, 0], cell[n, 1] + steps[m, 1]
            if 0 <= i < belief.shape[0] and 0 <= j < belief.shape[1]:
                seen = 0.0
                for s in range(likelihood.shape[1]):
                    seen += belief[i, j, site[n], s] * likelihood[n, s]
                product *= max(seen, LEAST)
                factors += 1
                if factors % TOGETHER == 0:
                    out[m] += math.log(product)
                    product = 1.0
        out[m] += math.log(product)
    return out


@entry
def recognised(
    belief: np.ndarray,
    base: np.ndarray,
    cell: np.ndarray,
    site: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray],
    trust: float,
) -> tuple[float, float]:
    """Log-odds of what is seen against what is usual, `base` (G, S): expected by the belief, and by what is seen
    itself. seen: (n, S) posterior, and likelihood; trust: in either."""
    prob, likelihood = seen
    known, telling, tiny = 0.0, 0.0, 1e-12
    for n in range(len(cell)):
        i, j, g = cell[n, 0], cell[n, 1], site[n]
        if not (0 <= i < belief.shape[0] and 0 <= j < belief.shape[1]):
            continue
        usual, before, own = 0.0, 0.0, 0.0
        for s in range(likelihood.shape[1]):
            usual += base[g, s] * likelihood[n, s]
            before += belief[i, j, g, s] * likelihood[n, s]
            own += prob[n, s] * likelihood[n, s]
        rest = (1 - trust) * usual + tiny
        known += math.log((trust * before + rest) / (usual + tiny))
        telling += math.log((trust * own + rest) / (usual + tiny))
    return known, telling


@entry
def learned(
    belief: np.ndarray,
    base: np.ndarray,
    cell: np.ndarray,
    site: np.ndarray,
    likelihood: np.ndarray,
    forget: float,
) -> None:
    """Bayes' rule for the sites of a frame's columns, whose belief first fades towards `base` (G, S) by `forget`."""
    n_states = likelihood.shape[1]
    after = np.empty(n_states)
    for n in range(len(cell)):
        i, j, g, total = cell[n, 0], cell[n, 1], site[n], 0.0
        for s in range(n_states):
            before = (1 - forget) * belief[i, j, g, s] + forget * base[g, s]
            after[s] = before * max(likelihood[n, s], LEAST)
            total += after[s]
        for s in range(n_states):
            belief[i, j, g, s] = after[s] / max(total, 1e-30)
