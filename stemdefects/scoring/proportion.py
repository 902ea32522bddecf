"""A share of right calls with its interval, where several calls are of one thing and right or wrong together."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

Z = 1.959964  # of 95%


class Proportion(NamedTuple):
    """A share with its 95% interval; `n` calls, worth `n_effective` independent ones."""

    value: float
    low: float
    high: float
    n: int
    n_effective: float


def proportion(right: Bool[np.ndarray, " n"], group: Shaped[np.ndarray, " n"]) -> Proportion | None:
    """Share of `right` (n,) bool; None without any. group: (n,) number of the thing that each call is of.

    Wilson's interval (J. Am. Stat. Assoc. 22, 209 (1927)) for as many independent calls as scatter like the groups
    (Rao and Scott, Biometrics 48, 577 (1992)). Where all are right, or none, the groups cannot tell: each counts
    once.
    """
    right, n = np.asarray(right, bool), len(right)
    if n == 0:
        return None
    value = float(right.mean())
    inverse = np.unique(group, return_inverse=True)[1]
    n_groups = int(inverse.max()) + 1
    worth = float(n_groups)
    if 0 < value < 1 and n_groups > 1:
        sums = np.bincount(inverse, right - value)
        inflated = (sums**2).sum() * n_groups / (n_groups - 1) / (n * value * (1 - value))
        worth = n / max(1.0, float(inflated))
    middle = (value + Z**2 / (2 * worth)) / (1 + Z**2 / worth)
    half = Z * np.sqrt(value * (1 - value) / worth + Z**2 / (4 * worth**2)) / (1 + Z**2 / worth)
    return Proportion(value, max(0.0, middle - half), min(1.0, middle + half), n, worth)
