"""One-to-one assignment on a sparse list of possible pairs: the largest sum of gains, group by connected group."""

import numpy as np
from jaxtyping import Float, Int, Real
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


def assign(
    i: Int[np.ndarray, " pairs"], j: Int[np.ndarray, " pairs"], gain: Float[np.ndarray, " pairs"]
) -> Int[np.ndarray, " chosen"]:
    """Choose pairs so that each `i` and each `j` is used at most once and the sum of `gain` is largest.

    Groups that hold one candidate pair, nearly all of them in practice, need no solver; the others are small.

    Args:
        i, j: (m,) integer ends of the possible pairs, no pair twice.
        gain: (m,) positive gains.

    Returns:
        Indices into the pairs of those chosen.
    """
    if len(i) == 0:
        return np.empty(0, int)
    n = int(i.max()) + 1
    graph = coo_matrix((np.ones(len(i)), (i, n + j)), (n + int(j.max()) + 1,) * 2)
    group = connected_components(graph, directed=False)[1][i]
    alone = np.bincount(group)[group] == 1
    chosen = [np.flatnonzero(alone)]
    rest = np.flatnonzero(~alone)
    rest = rest[np.argsort(group[rest], kind="stable")]
    for edges in np.split(rest, np.flatnonzero(np.diff(group[rest])) + 1) if len(rest) else ():
        left, k = np.unique(i[edges], return_inverse=True)
        right, m = np.unique(j[edges], return_inverse=True)
        if len(left) == 1 or len(right) == 1:
            chosen.append(edges[np.argmax(gain[edges])][None])
            continue
        matrix, which = np.zeros((len(left), len(right))), np.zeros((len(left), len(right)), int)
        matrix[k, m], which[k, m] = gain[edges], edges
        row, column = linear_sum_assignment(matrix, maximize=True)
        chosen.append(which[row, column][matrix[row, column] > 0])
    return np.concatenate(chosen)


def match(
    a: Real[np.ndarray, "m 2"], b: Real[np.ndarray, "n 2"], radius: float
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """As many pairs of points of `a` (m, 2) and `b` (n, 2) within `radius` as possible, with the least sum of squares.

    Returns:
        Indices into `a`, rising, and into `b`.
    """
    if len(a) == 0 or len(b) == 0:
        return np.empty(0, int), np.empty(0, int)
    near = cKDTree(a).sparse_distance_matrix(cKDTree(b), radius, output_type="ndarray")
    # a pair is worth more than any saving in distance
    gain = 2.0 * max(len(a), len(b)) - (near["v"] / radius) ** 2
    chosen = assign(near["i"], near["j"], gain)
    chosen = chosen[np.argsort(near["i"][chosen], kind="stable")]
    return near["i"][chosen], near["j"][chosen]
