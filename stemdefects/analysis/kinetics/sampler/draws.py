"""Random numbers inside compiled code: an explicit state, so that a chain is a function of its key (numba).

xoshiro256+ by Blackman & Vigna, ACM Trans. Math. Softw. 47, 36 (2021); gamma variates by Marsaglia & Tsang, ACM
Trans. Math. Softw. 26, 363 (2000). A state is `(4,)` uint64 and is changed in place.
"""

import math

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner


def seeded(key: int, stream: int) -> np.ndarray:
    """State `(4,)` of the generator of one stream (a chain) of one key."""
    return np.random.SeedSequence([int(key), int(stream)]).generate_state(4, np.uint64)


@inner
def uniform(s):
    """One number in (0, 1)."""
    result = s[0] + s[3]
    t = s[1] << np.uint64(17)
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = (s[3] << np.uint64(45)) | (s[3] >> np.uint64(19))
    return (np.float64(result >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@inner
def below(s, n):
    """One integer in 0..n-1."""
    return min(int(uniform(s) * n), n - 1)


@inner
def exponential(s):
    """Mean 1."""
    return -math.log(uniform(s))


@inner
def normal(s):
    """Mean 0, variance 1."""
    return math.sqrt(-2.0 * math.log(uniform(s))) * math.cos(2.0 * math.pi * uniform(s))


@inner
def gamma(s, shape):
    """Of the given shape (> 0), scale 1."""
    boost = 1.0
    if shape < 1.0:
        boost = uniform(s) ** (1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(s)
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(uniform(s)) < 0.5 * x * x + d - d * v + d * math.log(v):
            return d * v * boost


@inner
def beta(s, a, b):
    """Beta variate, kept off 0 and 1 by what a double can hold."""
    x, y = gamma(s, a), gamma(s, b)
    return min(max(x / max(x + y, 1e-300), 1e-12), 1.0 - 1e-12)


@inner
def bounded_normal(s, mean, deviation, low, high):
    """Normal variate between two bounds: by rejection near the mean, by the exponential's envelope in a tail."""
    a, b = (low - mean) / deviation, (high - mean) / deviation
    if a > 8.0 or b < -8.0:  # far in the tail the density falls like an exponential: invert that
        edge, sign = (a, 1.0) if a > 0 else (-b, -1.0)
        width = b - a
        x = -math.log(1.0 - uniform(s) * (1.0 - math.exp(-edge * width))) / edge
        return mean + deviation * sign * (edge + x)
    lower, upper = 0.5 * math.erfc(-a / math.sqrt(2.0)), 0.5 * math.erfc(-b / math.sqrt(2.0))
    if upper - lower > 0.2:
        while True:
            x = normal(s)
            if a <= x <= b:
                return mean + deviation * x
    top = max(0.0 if a <= 0.0 <= b else min(abs(a), abs(b)), 0.0)
    while True:  # uniform proposals under the highest density of the interval
        x = a + (b - a) * uniform(s)
        if math.log(uniform(s)) < 0.5 * (top * top - x * x):
            return mean + deviation * x
