"""Cells of a lattice and its reciprocal vectors."""

import functools

import numpy as np


def reciprocal(vectors: np.ndarray) -> np.ndarray:
    """Rows b1, b2 with a_i . b_j = delta_ij (no 2 pi)."""
    return np.linalg.inv(vectors).T


def shells(lattice_nm: np.ndarray, n_shells: int = 3) -> list[np.ndarray]:
    """Integer (h, k) of the reciprocal vectors, one of each +- pair, in shells of equal length; shortest first.

    The first shell spans the plane: in a crystal of low symmetry it holds vectors of several lengths.
    """
    return list(_shells(np.asarray(lattice_nm, float).tobytes(), n_shells))


@functools.lru_cache(maxsize=8)  # asked for with every frame
def _shells(lattice: bytes, n_shells: int) -> list[np.ndarray]:
    lattice_nm = np.frombuffer(lattice).reshape(2, 2)
    hk = np.array([(h, k) for h in range(-3, 4) for k in range(-3, 4) if (h, k) > (0, 0)])
    length = np.linalg.norm(hk @ reciprocal(lattice_nm), axis=1)
    order = np.argsort(length, kind="stable")
    groups: list[list[int]] = []
    for i in order:
        if groups and length[i] < 1.03 * length[groups[-1][-1]]:
            groups[-1].append(int(i))
        elif len(groups) < n_shells:
            groups.append([int(i)])
        else:
            break
        if len(groups) == 2 and np.linalg.matrix_rank(hk[groups[0]]) < 2:
            groups[0] += groups.pop()
    return [hk[group] for group in groups]


def rotation(angle: float) -> np.ndarray:
    """Matrix R so that row vectors (y, x) @ R are turned from x towards y by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def equivalent_cells(vectors: np.ndarray, lattice: np.ndarray) -> list[np.ndarray]:
    """Cells of the lattice `vectors` with the shape and handedness of `lattice`, the most alike in direction first."""
    target = lattice / np.sqrt(abs(np.linalg.det(lattice)))
    metric = target @ target.T
    small = range(-2, 3)
    choices = [((h, k), (m, n)) for h in small for k in small for m in small for n in small if abs(h * n - k * m) == 1]
    sign = np.sign(np.linalg.det(lattice))
    found = []
    for choice in np.array(choices):
        cell = choice @ vectors
        determinant = np.linalg.det(cell)
        unit = cell / np.sqrt(abs(determinant))
        if determinant * sign > 0 and np.abs(unit @ unit.T - metric).max() <= 0.25 * metric.max():
            found.append((float(((unit - target) ** 2).sum()), len(found), cell))
    return [cell for _, _, cell in sorted(found)] or [vectors]
