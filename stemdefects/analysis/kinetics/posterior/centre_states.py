"""How the states of a centre, with none to three vacancies beside it, follow each other."""

import numpy as np

from stemdefects.analysis.kinetics.lattice import Rate


def transition(draws: np.ndarray, events: np.ndarray, exposure: np.ndarray, step_s: float, n: int = 200) -> np.ndarray:
    """Chance per frame of a centre's states (bit mask of its occupied bonds), `(8, 8, 3)`: median, 2.5, 97.5%.

    Attaching and detaching are by all ways: what comes from the lattice adds to what comes from nowhere that is seen.
    """
    from scipy.linalg import expm

    flat, count, time = (x.reshape(-1, x.shape[-1]) for x in (draws[..., :15], events, exposure))
    chosen = np.unique(np.linspace(0, len(flat) - 1, n).astype(int))
    matrices = []
    for r, c, t in zip(flat[chosen], count[chosen], time[chosen], strict=True):
        empty = t[Rate.ATTACH] + t[Rate.ATTACH_MORE]
        held = t[Rate.DETACH] + t[Rate.DETACH_MORE]
        come, go = c[Rate.CATCH] / max(empty, 1e-12), c[Rate.RELEASE] / max(held, 1e-12)
        q = np.zeros((8, 8))
        for i in range(8):
            alone = i.bit_count() == 1
            for k in range(3):
                if not i >> k & 1:
                    q[i, i | 1 << k] = (r[Rate.ATTACH] if i == 0 else r[Rate.ATTACH_MORE]) + come
                    continue
                q[i, i & ~(1 << k)] = (r[Rate.DETACH] if alone else r[Rate.DETACH_MORE]) + go
                for m in range(3):
                    if not i >> m & 1:
                        q[i, (i & ~(1 << k)) | 1 << m] = r[Rate.TURN] if alone else r[Rate.TURN_MORE]
        np.fill_diagonal(q, -q.sum(1))
        matrices.append(expm(q * step_s))
    return np.moveaxis(np.quantile(matrices, [0.5, 0.025, 0.975], axis=0), 0, -1)
