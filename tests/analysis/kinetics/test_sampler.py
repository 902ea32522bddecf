"""The sampler against the exact posterior of a tiny lattice, and against its own prior where nothing is seen."""

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm

from benchmarks.exact_lattice import MISSING, RATES, TIMES, Exact, evidence, parameters, run, scattered
from stemdefects.analysis.kinetics import lattice
from stemdefects.analysis.kinetics.lattice import N_PARAMETERS
from stemdefects.analysis.kinetics.posterior import convergence
from stemdefects.analysis.kinetics.sampler import chain, draws
from stemdefects.analysis.kinetics.sampler.light.noise import KNEES
from stemdefects.analysis.kinetics.sampler.light.unknowns import LOOSE


@pytest.mark.parametrize(("bonded", "knee"), [(3, np.inf), (2, 1.0)])
def test_agrees_with_the_sum_over_all_histories(bonded, knee):
    """Occupancy of every site, kind and frame, and the number of hops: 432 configurations, all processes, gaps; with a
    whole centre and normal light, and with a centre that the border cuts and light that has a knee."""
    shift = -0.3
    rng = np.random.default_rng(0)
    line = rng.normal(size=(4, 5))
    line[:2, 3] -= 2
    line[2:, 4] -= 2
    line[:, 1] -= 2
    line[2, 3] = line[1, 0] = np.nan
    oracle = Exact(evidence(np.zeros(line.shape), TIMES, bonded=bonded), RATES, 0.2, 0.1, 0.3, 0.3, MISSING)
    both, hops = oracle.smooth(oracle.likelihood(line, 1.0, (-2.0, -4.0), shift, knee), TIMES)
    layer = np.array(oracle.configurations)
    expected = np.stack([both @ ((layer == 1) | (layer == 2)), both @ (layer == 3)], -1)
    given = parameters(0.3, shift)
    given[lattice.KNEE] = knee if np.isfinite(knee) else 0.0
    _, sums, found = run(line, given, np.zeros(N_PARAMETERS, bool), 20000, bonded=bonded)
    assert np.abs(found - expected).max() < 0.035  # four Monte Carlo errors
    assert abs(sums[:, 0].mean() - hops) < 0.07


def test_a_site_whose_offset_is_not_known_agrees_with_the_integral_over_it():
    """One site is seen, with an offset as large as a vacancy's light, once as nothing can look: quadrature over it, all
    configurations, light that is exponential beyond a knee."""
    knee = 1.2
    tau, line = 1.2, np.full((4, 5), np.nan)
    line[:, 3] = [-1.5, -2.0, 0.5, 4.0]
    oracle = Exact(evidence(np.zeros(line.shape), TIMES), RATES, 0.2, 0.1, 0.3, 0.3, MISSING)
    layer, expected, weight = np.array(oracle.configurations), 0.0, 0.0
    steps = [expm(oracle.q * dt) for dt in np.diff(TIMES)]
    for o in np.linspace(-5, 5, 101) * tau:
        both, _, _, log = oracle.states(oracle.likelihood(line - o, 1.0, (-2.0, -4.0), knee=knee), steps)
        p = np.exp(log - 0.5 * (o / tau) ** 2)
        expected = expected + p * np.stack([both @ ((layer == 1) | (layer == 2)), both @ (layer == 3)], -1)
        weight += p
    given = parameters(0.3, 0.0)
    given[[19, lattice.TAU_BOND]], given[lattice.KNEE] = tau, knee
    _, _, found = run(line, given, np.zeros(N_PARAMETERS, bool), 60000)
    assert np.abs(found - expected / weight).max() < 0.035  # four Monte Carlo errors


def test_without_data_the_prior_comes_back():
    """Every rate, density and share is distributed as its prior where no frame shows anything (Geweke's idea)."""
    n = 6000
    given = parameters(0.3, 0.0)
    given[lattice.KNEE] = 2.0
    kept, _, _ = run(np.full((4, 5), np.nan), given, np.ones(N_PARAMETERS, bool), n)
    thin = kept[200::12]
    for k in range(15):
        assert stats.kstest(thin[:, k], stats.gamma(0.5, scale=0.5).cdf).pvalue > 1e-4, lattice.Rate(k).name
    for k, prior in ((16, (2, 8)), (17, (1, 9)), (18, (2, 4))):
        assert stats.kstest(thin[:, k], stats.beta(*prior).cdf).pvalue > 1e-4, k
    mixed = thin[:, 23] > 0
    assert abs(mixed.mean() - 0.5) < 0.1
    assert stats.kstest(thin[mixed, 15], stats.beta(2, 3).cdf).pvalue > 1e-4
    deviation = 0.35 / LOOSE
    level = stats.truncnorm(-0.2 / deviation, 0.15 / deviation, 1, deviation)
    assert all(stats.kstest(thin[:, k], level.cdf).pvalue > 1e-4 for k in (20, lattice.SCALE_TWO))
    assert abs(kept[:, 21].std() - 0.1) < 0.02
    place = np.log(kept[200:, lattice.KNEE] / KNEES[0]) / np.log(KNEES[1] / KNEES[0])  # even; it takes many steps
    assert abs(place.mean() - 0.5) < 0.1 and abs(place.std() - 12**-0.5) < 0.06 and place.min() > 0 and place.max() < 1


def seen_everywhere(line: np.ndarray, times: np.ndarray, free: np.ndarray, base: float) -> chain.Data:
    """Readings of scatter about 1, none missing. base: spread of what full sites are off zero."""
    return chain.Data(
        line,
        np.ones(line.shape),
        np.array([-2.0, -4.0]),
        np.array([0.8, 1.15]),
        times,
        np.ones(line.shape, bool),
        np.ones(15),
        np.ones(15),
        np.ones((3, 2)),
        np.ones(3),
        np.array([0.1, 0.2, 10.0, 10.0, base, 1.0]),
        free,
    )


def test_what_full_sites_are_off_zero_and_the_noise_are_found_on_many_readings():
    """900 sites of which three are a centre's, none vacant, lines off zero by what they are beside a centre. Of 36,000
    readings a few are odd whatever the noise is: a draw that stopped at them would stay where it began."""
    rng, side, times = np.random.default_rng(3), 30, np.arange(40.0)
    row, col = np.indices((side, side)).reshape(2, -1)
    places = np.stack([row * np.sqrt(0.75), col + 0.5 * (row % 2)], 1)
    triangle = [14 * side + 14, 14 * side + 15, 15 * side + 14]  # of even row 14: the two nearest below are 14 and 13
    order = np.append(triangle, np.setdiff1d(np.arange(side**2), triangle))
    of = evidence(np.zeros((40, side**2)), times, places=places[order], bonded=3)
    place = lattice.sites(of)
    assert (place.kind == lattice.BOND).sum() == 3
    right = {lattice.FREE: -0.06, lattice.BOND: 0.3}
    line = np.vectorize(right.get)(place.kind) + 1.05 * rng.normal(size=(40, side**2))
    given, free = parameters(0.0, 0.0), np.zeros(N_PARAMETERS, bool)
    given[:15], given[16:19] = 1e-9, 1e-9
    free[[lattice.NOISE, lattice.BASE, lattice.BASE + lattice.BOND]] = True
    data = seen_everywhere(line, times, free, base=0.2)
    state, sweeps = chain.begin(side**2, given, 1000, draws.seeded(2, 0)), 300
    kept = chain.recorder(sweeps, 40)
    chain.advance(chain.Plan(2, 1, False), chain.table(place), data, state, chain.work_for(state), kept)
    for index, of_kind in ((lattice.BASE, place.kind == lattice.FREE), (lattice.BASE + 1, place.kind == lattice.BOND)):
        readings, found = line[:, of_kind], kept.draws[100:, index]
        precision = readings.size / 1.05**2 + 0.2**-2
        exact, deviation = readings.sum() / 1.05**2 / precision, precision**-0.5
        assert abs(found.mean() - exact) < 0.35 * deviation and 0.8 < found.std() / deviation < 1.25
    noise = kept.draws[100:, lattice.NOISE]
    assert abs(noise.mean() - 1.05) < 0.015 and 0.7 < noise.std() / (1.05 / np.sqrt(2 * line.size)) < 1.4


@pytest.mark.parametrize("knee", [2.0, None])
def test_where_readings_cease_to_be_normal_is_found(knee):
    """16,000 readings of full sites, whose levels lie on the negative side, of which some look like a vacancy; None:
    normal throughout, where the knee is beyond nearly all of them."""
    rng, side, times = np.random.default_rng(5), 20, np.arange(40.0)
    row, col = np.indices((side, side)).reshape(2, -1)
    places = np.stack([row * np.sqrt(0.75), col + 0.5 * (row % 2)], 1)
    of = evidence(np.zeros((40, side**2)), times, centre=False, places=places, bonded=0)
    line = -1.1 * (rng.normal(size=(40, side**2)) if knee is None else scattered(rng, knee, (40, side**2)))
    given, free = parameters(0.0, 0.0), np.zeros(N_PARAMETERS, bool)
    given[:15], given[16:19], given[lattice.KNEE] = 1e-9, 1e-9, 2.6
    free[[lattice.NOISE, lattice.KNEE]] = True
    data = seen_everywhere(line, times, free, base=0.2)
    state, sweeps = chain.begin(side**2, given, 1000, draws.seeded(3, 0)), 600
    kept = chain.recorder(sweeps, 40)
    chain.advance(chain.Plan(2, 1, False), chain.table(lattice.sites(of)), data, state, chain.work_for(state), kept)
    found, noise = kept.draws[100:, lattice.KNEE], kept.draws[100:, lattice.NOISE]
    assert abs(noise.mean() - 1.1) < 4 * noise.std() < 0.05
    if knee is None:
        assert found.mean() > 3.0
    else:
        assert abs(found.mean() - knee) < 3 * found.std() < 0.6


def test_a_field_that_is_drawn_in_boxes_has_the_stationary_number_of_vacancies_and_hops():
    """1,936 free sites without data, more than are drawn as a whole. Births, deaths and hops keep independent sites as
    they are (a simple exclusion process), so that number and hops are known."""
    side, times, rho, hop, vanish = 44, np.arange(6.0), 0.02, 0.15, 0.1
    row, col = np.indices((side, side)).reshape(2, -1)
    places = np.stack([row * np.sqrt(0.75), col + 0.5 * (row % 2)], 1)
    n = len(places)
    of = evidence(np.full((6, n), np.nan), times, centre=False, places=places, bonded=0)
    place = lattice.sites(of._replace(line=np.zeros((6, n))))._replace(missing=np.zeros(n))
    given = parameters(0.0, 0.0)
    given[:15], given[16:18] = 0.0, (rho, 0.0)
    given[[lattice.Rate.HOP, lattice.Rate.VANISH]] = hop, vanish
    given[lattice.Rate.APPEAR] = vanish * rho / (1 - rho)
    given[23] = 0.0
    data = chain.Data(
        np.zeros((6, n)),
        np.zeros((6, n)),
        np.array([-2.0, -4.0]),
        np.array([0.8, 1.15]),
        times,
        np.ones((6, n), bool),
        np.ones(15),
        np.ones(15),
        np.ones((3, 2)),
        np.ones(3),
        np.ones(6),
        np.zeros(N_PARAMETERS, bool),
    )
    state, sweeps = chain.begin(n, given, 4000, draws.seeded(1, 0)), 700
    kept, plan = chain.recorder(sweeps, 6), chain.Plan(80, 1, False)
    done, full = chain.advance(plan, chain.table(place), data, state, chain.work_for(state), kept)
    assert done == sweeps and not full
    vacancies = kept.counts[200:, :, 0].mean(1)
    hops = kept.sums[200:, lattice.Rate.HOP]
    exact = hop * rho * (1 - rho) * (place.near >= 0).sum() * 5.0
    for found, right in ((vacancies, rho * n), (hops, exact)):
        error = found.std() / np.sqrt(convergence.effective_samples(found[None]))
        assert error < 0.08 * right and abs(found.mean() - right) < 4 * error, (found.mean(), right, error)
