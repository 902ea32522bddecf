"""A path drawn back through what `forward.py` filtered (numba).

The times and places of jumps between frames are drawn with the path: how many, by the weights of R^k, then back step by
step.
"""

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.draws import uniform
from stemdefects.analysis.kinetics.sampler.path.boxes import place_in
from stemdefects.analysis.kinetics.sampler.path.crowd import crowd
from stemdefects.analysis.kinetics.sampler.path.field import BORN, COMES, COMES_TWO, DIES, HALVES, STAY, step, used


@inner
def draw_end(m, box, cols, A, rng):
    """Last state from the filtered probabilities: place of the grid (-1 absent), layer."""
    u, layers = uniform(rng) - A.absent[m, 0], (A.R.still, A.R.two)
    place, layer = -1, 1
    if u < 0.0:
        return place, layer
    for k in range(3):
        if not used(k, layers):
            continue
        for r in range(box[0], box[2]):
            for c in range(box[1], box[3]):
                p = A.alpha[m, k, place_in(r * cols + c, box, cols)]
                if p > 0.0:
                    place, layer = r * cols + c, k + 1
                    u -= p
                    if u < 0.0:
                        return place, layer
    return place, layer


@inner
def backward(y, layer, A, Q, D, V):
    """Draw the path back from its state in frame `D.last` (place of the grid, -1; layer) into `V.W.new`, latest first.

    Returns the number of its events (-1: no room) and the state in frame `D.first`.
    """
    back, W, rng, R, box, cols, omega = V.S.back, V.W, V.rng, A.R, D.box, D.cols, Q.omega
    field = R.field
    n = 0
    for f in range(D.last - 1, D.first - 1, -1):
        m = f - D.first
        crowded = False
        if y < 0:
            u, k = uniform(rng) * A.absent[m + 1, 1], 0
            while k < Q.n_jumps[f]:
                u -= Q.jumps[f, k] * A.gone[m, k]
                if u < 0.0:
                    break
                k += 1
            if k > 0:
                crowd(f, 1.0, field, omega, D, V)
                crowded = True
        else:
            at = place_in(y, box, cols)
            u, k = uniform(rng) * A.ahead[m + 1, layer - 1, at] - Q.jumps[f, 0] * A.alpha[m, layer - 1, at], 0
            if u >= 0.0:
                crowd(f, 1.0, field, omega, D, V)
                crowded = True
                _nearby(m, Q.n_jumps[f], y, A, R, D)
                while u >= 0.0 and k < Q.n_jumps[f]:
                    k += 1
                    u -= Q.jumps[f, k] * A.steps[k, layer - 1, at]
        begin = Q.times[f]
        span = Q.times[f + 1] - begin
        for j in range(k, 0, -1):
            if n >= len(W.new_time):
                n = -1
                break
            span *= uniform(rng) ** (1.0 / j)
            before, was = y, layer
            if y < 0:
                if uniform(rng) * A.gone[m, j] < A.gone[m, j - 1]:
                    continue
                y, layer = _last_place(m, j - 1, A, R, D, rng)
                _nearby(m, j - 1, y, A, R, D)
            else:
                y, layer = _back(m, j, y, layer, A, D, V)
            if y == before and layer == was:
                continue
            W.new_time[n] = begin + span
            W.new[n, 0] = back[y] if y >= 0 else -1
            W.new[n, 1] = back[before] if before >= 0 else -1
            W.new[n, 2] = was if before >= 0 else layer
            n += 1
        if crowded:
            crowd(f, -1.0, field, omega, D, V)
        if n < 0:
            break
    return n, y, layer


@tiny
def _nearby(m, most, y, A, R, D):
    """The steps of an interval again, in the rows from which a path can have come to `y` by `most` jumps."""
    box = D.box
    r = y // D.cols - box[0] + 1
    A.steps[0] = A.alpha[m]
    for j in range(1, most + 1):
        a, b = max(r - most + j, 1), min(r + most - j, box[2] - box[0])
        gone = A.gone[m, j - 1] / D.slots
        step(a * box[4] + 1, (b + 1) * box[4] - 1, A.steps[j - 1], A.steps[j], gone, R)


@tiny
def _last_place(m, j, A, R, D, rng):
    """Place and layer of a vacancy that leaves at the jump after `j` jumps."""
    box, cols, field = D.box, D.cols, R.field
    A.steps[0] = A.alpha[m]
    a, b = box[4] + 1, A.alpha.shape[2] - box[4] - 1
    for k in range(1, j + 1):
        step(a, b, A.steps[k - 1], A.steps[k], A.gone[m, k - 1] / D.slots, R)
    u = uniform(rng) * (A.gone[m, j + 1] - A.gone[m, j])
    place, layer = -1, 1
    for r in range(box[0], box[2]):
        for c in range(box[1], box[3]):
            i = r * cols + c
            for k in range(2 if R.still else 1):
                p = A.steps[j, k, place_in(i, box, cols)] * field[DIES + k, place_in(i, box, cols)]
                if p > 0.0:
                    place, layer = i, k + 1
                    u -= p
                    if u < 0.0:
                        return place, layer
    return place, layer


@tiny
def _back(m, j, y, layer, A, D, V):
    """State before the j-th jump of an interval, given that after it."""
    R, cols = A.R, D.cols
    field, ways, two, to_double = R.field, R.ways, R.two, R.to_double
    at, k = place_in(y, D.box, cols), layer - 1
    before = A.steps[j - 1]
    stay = before[k, at] * field[STAY + k, at]
    born = A.gone[m, j - 1] / D.slots * field[BORN + k, at] if k < 2 else 0.0
    halved = before[2, at] * field[HALVES + k, at] if two and k < 2 else 0.0
    from_one = before[0, at] * to_double if k == 2 else 0.0
    from_still = before[1, at] * to_double if k == 2 and R.still else 0.0
    total = stay + born + halved + from_one + from_still
    come = COMES if k == 0 else COMES_TWO
    if k != 1:
        for d in range(6):
            total += before[k, at + ways[d]] * field[come + d, at]
    u = uniform(V.rng) * total - stay
    if u < 0.0:
        return y, layer
    if k != 1:
        for d in range(6):
            p = before[k, at + ways[d]] * field[come + d, at]
            u -= p
            if u < 0.0:
                return y + V.S.steps[d, 0] * cols + V.S.steps[d, 1], layer
    u -= born
    if u < 0.0:
        return -1, 1
    u -= halved
    if u < 0.0:
        return y, 3
    u -= from_one
    if u < 0.0:
        return y, 1
    return (y, 2) if from_still > 0.0 else (y, layer)
