"""The sampler against the exact posterior of a tiny lattice, and against its own prior where nothing is seen."""

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm

from benchmarks.exact_lattice import MISSING, RATES, TIMES, Exact, evidence, parameters, run
from stemdefects.analysis.kinetics import lattice
from stemdefects.analysis.kinetics.posterior import convergence
from stemdefects.analysis.kinetics.sampler import chain, draws


@pytest.mark.parametrize("bonded", [3, 2])
def test_agrees_with_the_sum_over_all_histories(bonded):
    """Occupancy of every site, kind and frame, and the number of hops: 432 configurations, all processes, gaps; with a
    whole centre, and with one that the border cuts."""
    shift = -0.3
    rng = np.random.default_rng(0)
    line = rng.normal(size=(4, 5))
    line[:2, 3] -= 2
    line[2:, 4] -= 2
    line[:, 1] -= 2
    line[2, 3] = line[1, 0] = np.nan
    oracle = Exact(evidence(np.zeros(line.shape), TIMES, bonded=bonded), RATES, 0.2, 0.1, 0.3, 0.3, MISSING)
    both, hops = oracle.smooth(oracle.likelihood(line, 1.0, (-2.0, -4.0), shift), TIMES)
    layer = np.array(oracle.configurations)
    expected = np.stack([both @ ((layer == 1) | (layer == 2)), both @ (layer == 3)], -1)
    _, sums, found = run(line, parameters(0.3, shift), np.zeros(24, bool), 20000, bonded=bonded)
    assert np.abs(found - expected).max() < 0.035  # four Monte Carlo errors
    assert abs(sums[:, 0].mean() - hops) < 0.07


def test_a_site_whose_offset_is_not_known_agrees_with_the_integral_over_it():
    """One site is seen, with an offset as large as a vacancy's light, once as nothing can look: quadrature over it, all
    configurations."""
    tau, line = 1.2, np.full((4, 5), np.nan)
    line[:, 3] = [-1.5, -2.0, 0.5, 4.0]
    oracle = Exact(evidence(np.zeros(line.shape), TIMES), RATES, 0.2, 0.1, 0.3, 0.3, MISSING)
    layer, expected, weight = np.array(oracle.configurations), 0.0, 0.0
    steps = [expm(oracle.q * dt) for dt in np.diff(TIMES)]
    for o in np.linspace(-5, 5, 101) * tau:
        both, _, _, log = oracle.states(oracle.likelihood(line - o, 1.0, (-2.0, -4.0)), steps)
        p = np.exp(log - 0.5 * (o / tau) ** 2)
        expected = expected + p * np.stack([both @ ((layer == 1) | (layer == 2)), both @ (layer == 3)], -1)
        weight += p
    given = parameters(0.3, 0.0)
    given[19] = tau
    _, _, found = run(line, given, np.zeros(24, bool), 60000)
    assert np.abs(found - expected / weight).max() < 0.035  # four Monte Carlo errors


def test_without_data_the_prior_comes_back():
    """Every rate, density and share is distributed as its prior where no frame shows anything (Geweke's idea)."""
    n = 6000
    kept, _, _ = run(np.full((4, 5), np.nan), parameters(0.3, 0.0), np.ones(24, bool), n)
    thin = kept[200::12]
    for k in range(15):
        assert stats.kstest(thin[:, k], stats.gamma(1.0, scale=0.25).cdf).pvalue > 1e-4, lattice.Rate(k).name
    for k, prior in ((16, (2, 8)), (17, (1, 9)), (18, (2, 4))):
        assert stats.kstest(thin[:, k], stats.beta(*prior).cdf).pvalue > 1e-4, k
    mixed = thin[:, 23] > 0
    assert abs(mixed.mean() - 0.5) < 0.1
    assert stats.kstest(thin[mixed, 15], stats.beta(2, 3).cdf).pvalue > 1e-4
    assert stats.kstest(thin[:, 20], stats.uniform(0.8, 0.35).cdf).pvalue > 1e-4
    assert abs(kept[:, 21].std() - 0.1) < 0.02


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
        np.zeros((6, n)), np.zeros((6, n)), np.array([-2.0, -4.0]), np.array([0.8, 1.15]), times,
        np.ones((6, n), bool), np.ones(15), np.ones(15), np.ones((3, 2)), np.ones(3), np.ones(6), np.zeros(24, bool),
    )  # fmt: skip
    state, sweeps = chain.begin(n, given, 4000, draws.seeded(1, 0)), 700
    kept, sums = np.zeros((sweeps, 24)), np.zeros((sweeps, chain.N_SUMS))
    counts, totals = np.zeros((sweeps, 6, 3)), chain.Sums(np.zeros((6, n, 2)), np.zeros((8, 8)))
    done, full = chain.advance(
        sweeps, 80, 1, False, chain.table(place), data, state, chain.work_for(state), kept, sums, counts, totals, True
    )
    assert done == sweeps and not full
    vacancies = counts[200:, :, 0].mean(1)
    hops = sums[200:, lattice.Rate.HOP]
    exact = hop * rho * (1 - rho) * (place.near >= 0).sum() * 5.0
    for found, right in ((vacancies, rho * n), (hops, exact)):
        error = found.std() / np.sqrt(convergence.effective_samples(found[None]))
        assert error < 0.08 * right and abs(found.mean() - right) < 4 * error, (found.mean(), right, error)
