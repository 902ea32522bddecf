"""How common the states of a sublattice are, learned from what is said of its columns one by one.

Expectation maximisation on the posteriors (Saerens, Latinne, Decaestecker, Neural Comput. 14, 21 (2002)), with the
file's word as a Dirichlet prior worth `PRIOR_COLUMNS`. The interval of a state holds the shares whose posterior
density, the other states keeping their proportions, lies within 1.92 of its best one in logarithm; where none is found
it is an upper limit.
"""

import numpy as np

from stemdefects.crystal.material import Kind, Material

HEADROOM = 1.5  # a field may hold this much more of a kind than the densest training image
MOST_EMPTY = 0.35  # share of a sublattice's places that may have no atom left: a field with holes
EXPLAINED = 0.15  # of an ideal column's light: a level this near to a state's is that state's
PRIOR_COLUMNS = 200.0  # that the file's word is worth: fewer than one usual frame shows
RARE = 1e-3  # stated shares below stay: of what hardly occurs a few frames say less than their likelihoods are off
ROUNDS, ENOUGH = 500, 1e-9  # of expectation maximisation: at most, and the change of a share at which it ends
DROP = 1.92  # half the 95% quantile of chi squared with one degree of freedom
LOOSE = 2.0  # standard errors instead of one (docs/inference.md says how often such intervals hold)
GRID = 60  # steps over six decades, 26% apart; twice as many near the estimate


def learn(
    odds: np.ndarray, stated: np.ndarray, kept: np.ndarray | None = None, untold: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares (S,) of the states, and their 95% intervals (S,), (S,), NaN where the stated share stands.

    odds: (n, S) log-likelihood of each state for each column, up to a constant of the column; stated: (S,) what the
    file says, sums to 1, the largest is the ideal state's; kept: (S,) bool, states whose stated share stands, besides
    the rare ones; untold: (S,) bool, states that single columns hardly tell: errors of their likelihoods add up over
    all columns alike, and their intervals are `LOOSE` times as wide.
    """
    likelihood = np.exp(odds - odds.max(1, keepdims=True)) if len(odds) else np.zeros((0, len(stated)))
    fixed = (stated < RARE) | (False if kept is None else kept)
    fixed[stated.argmax()] = False
    counted, share = PRIOR_COLUMNS * stated, stated.astype(float)
    free = ~fixed
    for _ in range(ROUNDS):
        weighted = share * likelihood
        total = (weighted / np.maximum(weighted.sum(1, keepdims=True), 1e-300)).sum(0) + counted
        new = stated.astype(float)
        new[free] = total[free] / total[free].sum() * (1 - stated[fixed].sum())
        if np.abs(new - share).max() < ENOUGH:
            share = new
            break
        share = new
    low, high = np.full(len(share), np.nan), np.full(len(share), np.nan)
    defects = free & (np.arange(len(share)) != stated.argmax())
    for k in np.flatnonzero(defects):
        drop = DROP if untold is None or not untold[k] else LOOSE**2 * DROP
        low[k], high[k] = _interval(likelihood, counted, share, int(k), drop)
    # where a crystal has fewer of the common defects than stated, what is rare beside them is no more likely
    fewer = min(1.0, share[defects].sum() / max(stated[defects].sum(), 1e-12)) if defects.any() else 1.0
    rare = fixed & (stated < RARE)
    gone = (1 - fewer) * share[rare].sum()
    share[rare] *= fewer
    share[stated.argmax()] += gone
    return share, low, high


def most(kind: Kind) -> float:
    """Largest share of its sublattice that a crystal has of a kind, by the densities of the material's file."""
    return HEADROOM * kind.density[1]


def explained(relative: float, share: float, g: int, material: Material) -> bool:
    """Is a level of sublattice g's bulk, in units of an ideal column's, that of a kind of defect with this `share`? Of
    an element in another's place there may be any; of columns with fewer atoms or more as many as the material's file
    allows: the columns of an alloy may be as bright."""
    number = material.species_counts().sum(1)
    for kind in as_bright(relative, g, material):
        n, swapped = number[kind.state], number[kind.state] == number[material.sites[g].ideal]
        if share <= (1.0 if swapped else most(kind) if n else MOST_EMPTY):
            return True
    return False


def as_bright(relative: float, g: int, material: Material) -> list[Kind]:
    """Kinds of sublattice g whose columns have this light, in units of an ideal column's, by the material's signals."""
    signal, ideal = material.intensities(), material.sites[g].ideal
    mine = [kind for kind in material.kinds if material.states[kind.state].site == g]
    return [kind for kind in mine if abs(relative - signal[kind.state] / signal[ideal]) < EXPLAINED]


def shares(likelihood: np.ndarray) -> np.ndarray:
    """(K,) likeliest shares of K kinds, by the likelihoods (n, K) of n columns."""
    share = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(ROUNDS):
        weighted = share * likelihood
        new = (weighted / np.maximum(weighted.sum(1, keepdims=True), 1e-300)).mean(0)
        if np.abs(new - share).max() < ENOUGH:
            break
        share = new
    return share


def _interval(
    likelihood: np.ndarray, counted: np.ndarray, share: np.ndarray, k: int, drop: float = DROP
) -> tuple[float, float]:
    """Interval of the share of state k, where the logarithm of its density is less than `drop` below the best; 0 where
    none of it lies within."""
    others = np.delete(share, k)
    others = others / max(others.sum(), 1e-300)
    mine, rest = likelihood[:, k], np.delete(likelihood, k, 1) @ others
    top = max(share[k], 1e-6)
    grid = np.concatenate([np.geomspace(1e-3, 1e3, GRID), np.linspace(0.3, 2.0, 2 * GRID)])
    tried = np.unique(np.clip(np.append(top * grid, top), 1e-9, 1 - 1e-9))
    height = np.array([np.log(np.maximum(p * mine + (1 - p) * rest, 1e-300)).sum() for p in tried])
    height += counted[k] * np.log(tried) + (counted.sum() - counted[k]) * np.log1p(-tried)
    inside = tried[height >= height.max() - drop]
    return (0.0 if inside[0] == tried[0] else float(inside[0])), float(inside[-1])
