from types import SimpleNamespace

import numpy as np
import pytest

from stemdefects.models.probability import emissions

SITE_OF_STATE = np.array([0, 0, 1, 1, 1])
IDEAL = np.array([0, 2])


def image(scatter, separation, n, seed, index=0, shift=0.0):
    """Columns of two sublattices whose log-ratios are Gaussian: `separation` between ideal and defect."""
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 2, n)
    defect = rng.random(n) < 0.1
    which = rng.integers(0, 2, n)
    state = np.where(site == 0, np.where(defect, 1, 0), np.where(defect, 3 + which, 2))
    log_prob = np.zeros((n, 5))
    for s in (1, 3, 4):
        log_prob[:, s] = rng.normal(-3 + shift + separation * (state == s), scatter, n)
    return SimpleNamespace(state=state, site=site, log_prob=log_prob, image=np.full(n, index))


def test_gaussians_are_measured_and_chosen_by_scatter():
    noisy = [image(1.5, 1.0, 3000, i, i) for i in range(6)]
    clear = [image(0.4, 4.0, 3000, 10 + i, 10 + i, shift=2.0) for i in range(6)]
    records = emissions.measure(noisy + clear, SITE_OF_STATE, IDEAL)
    assert {name: a.shape[0] for name, a in records.items() if name.endswith("/n")} == {"0/n": 12, "1/n": 12}
    for scatter, separation in ((1.5, 1.0), (0.4, 4.0)):
        found = emissions.fitted(records, 1, np.full(2, scatter), SITE_OF_STATE, 2)
        assert found.states.tolist() == [2, 3, 4]
        np.testing.assert_allclose(found.mean, [[0, 0], [separation, 0], [0, separation]], atol=0.12)
        np.testing.assert_allclose(np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2)), scatter, rtol=0.2)


def test_log_likelihood_is_the_gaussian_density():
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(0)
    covariance = np.array([[[1.0, 0.5], [0.5, 2.0]], [[0.3, 0.0], [0.0, 0.4]]])
    model = emissions.Emissions(np.array([0, 1]), np.array([[0.0, 0.0], [1.0, -1.0]]), covariance)
    x = rng.normal(size=(4, 3, 2))
    expected = np.stack(
        [multivariate_normal(m, c).logpdf(x) for m, c in zip(model.mean, covariance, strict=True)], axis=-1
    )
    np.testing.assert_allclose(model.log_likelihood(x), expected + np.log(2 * np.pi), atol=1e-4)


def test_states_never_seen_are_left_out_and_nothing_is_none():
    part = image(1.0, 2.0, 2000, 0)
    keep = part.state != 4
    part = SimpleNamespace(**{k: v[keep] for k, v in vars(part).items()})
    records = emissions.measure([part], SITE_OF_STATE, IDEAL)
    assert emissions.fitted(records, 1, np.ones(2), SITE_OF_STATE, 2).states.tolist() == [2, 3]
    assert emissions.fitted({}, 1, np.ones(2), SITE_OF_STATE, 2) is None
    assert emissions.measure([image(1.0, 2.0, 20, 0)], SITE_OF_STATE, IDEAL) == {}, "too few columns to say"


def test_the_bulk_of_the_columns_is_the_origin():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(-2, 0.5, (900, 1)), rng.normal(8, 1, (100, 1))])
    middle, scatter = emissions.centre(features)
    assert middle[0] == pytest.approx(-2, abs=0.15) and scatter[0] == pytest.approx(0.5, rel=0.35)
