"""Which found column is which true column: optimal matching within a radius."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


def match(true_yx: np.ndarray, found_yx: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (true index, found index) no further apart than `radius`, each point used once.

    true_yx: (M, 2), found_yx: (N, 2), in one unit with `radius`. Of all matchings with the most pairs, the one with the
    least sum of squared distances (a linear assignment per connected component). Returns two int arrays of one length,
    ordered by true index.
    """
    if len(true_yx) == 0 or len(found_yx) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    near = cKDTree(true_yx).sparse_distance_matrix(cKDTree(found_yx), radius, output_type="coo_matrix")
    rows, columns, squared = near.row, near.col, near.data**2
    m, n = len(true_yx), len(found_yx)
    alone = (np.bincount(rows, minlength=m)[rows] == 1) & (np.bincount(columns, minlength=n)[columns] == 1)
    pairs = [np.stack([rows[alone], columns[alone]], 1)]
    rows, columns, squared = rows[~alone], columns[~alone], squared[~alone]
    if len(rows):
        graph = coo_matrix((np.ones(len(rows)), (rows, m + columns)), shape=(m + n, m + n))
        label = connected_components(graph, directed=False)[1][rows]
        for component in np.unique(label):
            r, c, d = (a[label == component] for a in (rows, columns, squared))
            true, i = np.unique(r, return_inverse=True)
            found, j = np.unique(c, return_inverse=True)
            # an impossible pair costs more than any number of possible ones: the most pairs come first
            forbidden = (1 + radius**2) * (min(len(true), len(found)) + 1)
            cost = np.full((len(true), len(found)), forbidden)
            cost[i, j] = d
            a, b = linear_sum_assignment(cost)
            kept = cost[a, b] < forbidden
            pairs.append(np.stack([true[a[kept]], found[b[kept]]], 1))
    joined = np.concatenate(pairs)
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    return joined[:, 0].astype(int), joined[:, 1].astype(int)
