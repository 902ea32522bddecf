"""The Markov chain of a centre that catches, turns and releases vacancies: its generator and states."""

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.simulation.specimen.processes import Rates


def generator(rates: Rates, n_bonds: int = 3) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Generator Q (1/s, rows sum to zero) of one centre, and its states as tuples of the bonds with a vacancy.

    States: none, each single bond, and, when `attach_second` is positive, each pair of bonds.
    """
    states: list[tuple[int, ...]] = [(), *[(k,) for k in range(n_bonds)]]
    if rates.attach_second > 0:
        states += [(k, m) for k in range(n_bonds) for m in range(k + 1, n_bonds)]
    matrix = np.zeros((len(states), len(states)))
    for i, source in enumerate(states):
        for j, target in enumerate(states):
            common, n, m = len(set(source) & set(target)), len(source), len(target)
            if (n, m, common) == (0, 1, 0):
                matrix[i, j] = rates.attach
            elif (n, m, common) == (1, 0, 0):
                matrix[i, j] = rates.detach
            elif (n, m, common) == (1, 1, 0):
                matrix[i, j] = rates.switch
            elif (n, m, common) == (1, 2, 1):
                matrix[i, j] = rates.attach_second
            elif (n, m, common) == (2, 1, 1):
                matrix[i, j] = rates.detach_second
            elif (n, m, common) == (2, 2, 1):
                matrix[i, j] = rates.switch_second
    np.fill_diagonal(matrix, -matrix.sum(1))
    return matrix, states


def state_labels(
    material: Material, states: list[tuple[int, ...]], center: int, mobile: int, n_bonds: int = 3
) -> list[str]:
    """Names of a centre's states: `Mo_W`, `Mo_W+V_S@0`, ..., `Mo_W+2V_S@k` (k: the bond that is left)."""
    base = material.kind_names[material.kind_of_state[center]]
    vacancy = material.kind_names[material.kind_of_state[mobile]]
    labels = []
    for state in states:
        if not state:
            labels.append(base)
        elif len(state) == 1:
            labels.append(f"{base}+{vacancy}@{state[0]}")
        else:
            labels.append(f"{base}+{len(state)}{vacancy}@{(set(range(n_bonds)) - set(state)).pop()}")
    return labels


def stationary(matrix: np.ndarray) -> np.ndarray:
    """Stationary distribution of a generator; all in the first state where nothing moves."""
    n = len(matrix)
    if not np.any(matrix):
        return np.eye(n)[0]
    system = np.vstack([matrix.T, np.ones(n)])
    solution = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0]
    return np.clip(solution, 0, None) / np.clip(solution, 0, None).sum()
