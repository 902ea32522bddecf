"""A lattice of five sites on which the sampler can be held to exact answers: all configurations, by matrices.

Shares nothing with the sampler: the process is written down rule by rule.
"""

import itertools

import numpy as np
from scipy import stats
from scipy.linalg import expm

from stemdefects.analysis.kinetics import lattice
from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.lattice import N_PARAMETERS, Rate, sites
from stemdefects.analysis.kinetics.sampler import chain, draws
from stemdefects.analysis.kinetics.sampler.light.glow import UNUSUAL

# a triangle of bonds, two free
PLACES = np.array([[0, 0], [0, 1], [np.sqrt(0.75), 0.5], [np.sqrt(0.75), 1.5], [0, 2.0]])


def evidence(line, times, centre=True, places=PLACES, scatter=1.0, level=(-2.0, -4.0), bonded=3):
    """Evidence of a tiny lattice: neighbours at distance 1; the first `bonded` sites are a centre's, and fewer than
    three are those of one that the border cuts."""
    n = len(places)
    near = np.full((n, 6), -1)
    for i in range(n):
        found = [j for j in range(n) if j != i and np.hypot(*(places[j] - places[i])) < 1.1]
        near[i, : len(found)] = found
    bonds = np.full((n, 3), -1)
    bonds[:bonded, 0] = 0
    return Evidence(
        places * 0.3,
        near,
        bonds,
        np.array([1.0 if centre else 0.0]),
        np.asarray(line, float),
        np.float64(scatter),
        np.array(level),
        0.8,
        1.15,
        np.asarray(times, float),
        np.ones((len(times), n), bool),
        np.zeros(n, bool),
    )


class Exact:
    """Configurations, generator and start of the process, written down rule by rule."""

    def __init__(self, data, rates, rho, rho_two, rho_bond, share, missing):
        where = sites(data)
        self.near, self.rates, n = where.near, np.asarray(rates, float), len(where.kind)
        bond, cut = where.kind == 1, where.kind == 2  # of a whole centre; of one that touches another or the border
        layers = [(0, 1, 3) if bond[i] or cut[i] else (0, 1, 2, 3) for i in range(n)]
        self.configurations = list(itertools.product(*layers))
        number = {c: k for k, c in enumerate(self.configurations)}
        q = np.zeros((len(number),) * 2)
        self.hops = np.zeros_like(q)
        r = lambda name: self.rates[Rate[name]]  # noqa: E731
        for c, k in number.items():
            at_centre = sum(c[i] > 0 for i in range(n) if bond[i])

            def go(changes, rate, hop=False, c=c, k=k):
                after = list(c)
                for site, layer in changes:
                    after[site] = layer
                m = number[tuple(after)]
                q[k, m] += rate
                if hop:
                    self.hops[k, m] = rate

            for i in range(n):
                alone = at_centre - (c[i] > 0) == 0
                if c[i] == 0 and bond[i]:
                    go([(i, 1)], r("ATTACH") if alone else r("ATTACH_MORE"))
                elif c[i] == 0 and cut[i]:
                    go([(i, 1)], r("ATTACH_MORE"))
                elif c[i] == 0:
                    go([(i, 1)], r("APPEAR") * (1 - share) + r("HOP") * rho * missing[i])
                    go([(i, 2)], r("APPEAR") * share)
                elif c[i] == 3:
                    go([(i, 1)], r("HALVE") * (1 if bond[i] or cut[i] else 1 - share))
                    if not bond[i] and not cut[i]:
                        go([(i, 2)], r("HALVE") * share)
                elif bond[i]:
                    go([(i, 3)], r("DOUBLE"))
                    go([(i, 0)], r("DETACH") if alone else r("DETACH_MORE"))
                elif cut[i]:
                    go([(i, 3)], r("DOUBLE"))
                    go([(i, 0)], r("DETACH_MORE"))
                else:
                    go([(i, 3)], r("DOUBLE"))
                    go([(i, 0)], r("VANISH") + (r("HOP") * missing[i] if c[i] == 1 else 0))
                for j in self.near[i]:
                    if j < 0 or c[j] or c[i] not in (1, 3):
                        continue
                    if c[i] == 3:
                        go([(i, 0), (j, 3)], r("HOP_TWO"))
                    elif cut[i] or cut[j]:
                        go([(i, 0), (j, 1)], r("CLUSTER"))
                    elif bond[i] and bond[j]:
                        go([(i, 0), (j, 1)], r("TURN") if alone else r("TURN_MORE"))
                    elif bond[i]:
                        go([(i, 0), (j, 1)], r("RELEASE"))
                    elif bond[j]:
                        go([(i, 0), (j, 1)], r("CATCH"))
                    else:
                        go([(i, 0), (j, 1)], r("HOP"), hop=True)
        np.fill_diagonal(q, q.diagonal() - q.sum(1))
        self.q = q
        start = []
        for c in self.configurations:
            p = 1.0
            for i in range(n):
                held = bond[i] or cut[i]
                one = rho_bond if held else rho
                p *= {
                    0: (1 - one) * (1 - rho_two),
                    1: one * (1 if held else 1 - share),
                    2: one * share,
                    3: (1 - one) * rho_two,
                }[c[i]]
            start.append(p)
        self.start = np.array(start)

    def likelihood(self, line, scatter, level, shift=0.0, knee=np.inf):
        """Density of each frame's line given each configuration, (T, configurations); NaN says nothing."""
        c = np.array(self.configurations)
        mean = np.select([c == 3, c > 0], [level[1], level[0]], 0.0)
        weight = np.where(c == 3, 2.0, (c > 0).astype(float))
        for i, near in enumerate(self.near):
            mean[:, i] += shift * weight[:, near[near >= 0]].sum(1)
        z = (line[:, None] - mean[None]) / scatter
        toward = np.where(np.isfinite(z), z, 0.0) * np.sign(level[0])  # vacancies; beyond the knee it is exponential
        within = np.minimum(toward, knee)
        return np.exp(-0.5 * np.minimum(within * (2.0 * toward - within), UNUSUAL)).prod(-1)

    def smooth(self, likelihood, times):
        """Probability of each configuration in each frame (T, configurations), expected free hops."""
        both, forward, backward, _ = self.states(likelihood, [expm(self.q * dt) for dt in np.diff(times)])
        total, hops, n = forward[-1].sum(), 0.0, len(self.start)
        for k, dt in enumerate(np.diff(times)):  # integral of expm(Q s) H expm(Q (dt - s)), Van Loan
            block = np.block([[self.q, self.hops], [np.zeros((n, n)), self.q]])
            hops += forward[k] @ expm(block * dt)[:n, n:] @ (likelihood[k + 1] * backward[k + 1]) / total
        return both, hops

    def states(self, likelihood, steps):
        """Probability of each configuration in each frame (T, configurations), forward and backward, log evidence;
        steps: the chances of change between frames."""
        forward = [self.start * likelihood[0]]
        for step, like in zip(steps, likelihood[1:], strict=True):
            forward.append((forward[-1] @ step) * like)
        backward = [np.ones(len(self.start))]
        for step, like in zip(steps[::-1], likelihood[:0:-1], strict=True):
            backward.insert(0, step @ (like * backward[0]))
        total = forward[-1].sum()
        both = np.array([f * b / total for f, b in zip(forward, backward, strict=True)])
        return both, forward, backward, np.log(total)


TIMES = np.array([0, 1.0, 2.5, 3.2])
RATES = np.array([0.3, 0.25, 0.2, 0.35, 0.5, 0.1, 0.1, 0.3, 0.2, 0.45, 0.07, 0.12, 0.15, 0.4, 0.2])
MISSING = np.array([0, 0, 0, 1.0, 2.0])


def scattered(rng: np.random.Generator, knee: float, shape: tuple[int, ...]) -> np.ndarray:
    """Readings in scatters, positive towards vacancies: normal below the knee, exponential beyond."""
    beyond = np.exp(-0.5 * knee**2) / knee
    share = beyond / (beyond + np.sqrt(2 * np.pi) * stats.norm.cdf(knee))
    usual = stats.truncnorm.rvs(-np.inf, knee, size=shape, random_state=rng)
    return np.where(rng.random(shape) < share, knee + rng.exponential(1 / knee, shape), usual)


def run(line, parameters, free, n_sweeps, shape=0.5, scale=2.0, key=0, times=TIMES, bonded=3):
    """Sweeps of one chain on the tiny lattice: parameters, sums, occupancy."""
    place = lattice.sites(evidence(np.zeros(line.shape), times, bonded=bonded))._replace(missing=MISSING)
    weight = np.isfinite(line).astype(float)
    data = chain.Data(
        np.where(weight > 0, line, 0.0),
        weight,
        np.array([-2.0, -4.0]),
        np.array([0.8, 1.15]),
        times,
        np.ones(line.shape, bool),
        np.full(15, shape),
        np.full(15, scale),
        np.array([[2.0, 8], [1.0, 9], [2.0, 4]]),
        np.array([0.5, 2.0, 3.0]),
        np.array([0.1, 0.2, 10.0, 10.0, 0.1, 1.0]),
        free,
    )
    state = chain.begin(5, parameters, 1000, draws.seeded(key, 0))
    room = chain.work_for(state)
    kept, plan = chain.recorder(n_sweeps, len(times)), chain.Plan(8, 1, True)
    totals = chain.Sums(np.zeros((len(times), 5, 2)), np.zeros((8, 8)))
    done, full = chain.advance(plan, chain.table(place), data, state, room, kept, totals)
    assert done == n_sweeps and not full
    return kept.draws, kept.sums, totals.occupancy / n_sweeps


def parameters(share, shift):
    values = np.zeros(N_PARAMETERS)
    values[:15] = RATES
    values[15:24] = [share, 0.2, 0.1, 0.3, 1e-6, 1.0, shift, 1.0, 1.0]
    values[lattice.SCALE_TWO], values[lattice.SHIFT_BOND], values[lattice.TAU_BOND] = 1.0, shift, 1e-6
    return values
