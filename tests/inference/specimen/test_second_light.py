"""Two detectors of one scan, against populations whose states are known."""

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.inference import source
from stemdefects.inference.specimen import light_levels, second_light
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.schema import LabelsConfig

WSE2 = crystal.load("wse2_ti")
STATED = state_prior(LabelsConfig(name="test"), WSE2)
IDEAL, TI = WSE2.state_index("W"), WSE2.state_index("Ti")


def population(together, n=6000, seed=0):
    """Light of n metal columns on two detectors, whose scatter has this correlation, a twentieth of them Ti."""
    rng = np.random.default_rng(seed)
    dopant = rng.random(n) < 0.05
    noise = rng.multivariate_normal([0, 0], [[1, together], [together, 1]], n)
    first = np.where(dopant, 0.40, 1.0) + 0.2 * noise[:, 0]
    second = np.where(dopant, 0.55, 1.0) + 0.15 * noise[:, 1]
    return first, second, dopant


def judged(together, seed=0):
    first, second, dopant = population(together, seed=seed)
    site = np.zeros(len(first), int)
    prior = STATED.copy()
    prior[IDEAL], prior[TI] = 0.95 - prior[[2, 3, 4]].sum(), 0.05
    taught = light_levels.learn(first, site, WSE2, prior)
    alone = light_levels.posterior(first, site, taught, WSE2)
    other = second_light.learn(first, second, site, alone, taught, WSE2)
    said = second_light.likelihood(first, second, site, taught, other, WSE2)
    return alone[:, TI], second_light.heard(alone, said)[:, TI], dopant, other


def f1(prob, dopant):
    called = prob > 0.5
    return 2 * (called & dopant).sum() / (called.sum() + dopant.sum())


def test_a_second_detector_tells_a_dopant_better_and_claims_no_more_than_it_knows():
    alone, both, dopant, other = judged(0.0)
    assert f1(alone, dopant) < 0.9 and f1(both, dopant) > f1(alone, dopant) + 0.05
    assert other.level[TI] == pytest.approx(0.55, abs=0.04) and other.slope[0] == pytest.approx(0, abs=0.06)
    unsure = (both > 0.1) & (both < 0.9)
    assert dopant[unsure].mean() > both[unsure].mean() - 0.05, "what is claimed is so"


def test_what_both_detectors_have_in_common_is_no_second_opinion():
    _, both, dopant, other = judged(0.9)
    assert other.slope[0] == pytest.approx(0.9 * 0.15 / 0.2, abs=0.06)
    sure = both > 0.5
    assert dopant[sure].mean() > both[sure].mean() - 0.05, "what is claimed is so"


def test_where_the_second_says_nothing_the_first_one_stands():
    first, second, _ = population(0.0, 500)
    site = np.zeros(500, int)
    taught = light_levels.learn(first, site, WSE2, STATED)
    alone = light_levels.posterior(first, site, taught, WSE2)
    other = second_light.learn(first, second, site, alone, taught, WSE2)
    said = second_light.likelihood(first, np.full(500, np.nan), site, taught, other, WSE2)
    np.testing.assert_allclose(second_light.heard(alone, said), alone / alone.sum(1, keepdims=True), atol=1e-6)
    again = second_light.Second.from_plain(other.to_plain())
    np.testing.assert_array_equal(again.level, other.level)


def test_two_signals_are_of_one_scan_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    for name, side in (("a", 32), ("b", 32), ("c", 40)):
        np.save(tmp_path / f"{name}.npy", rng.poisson(5, (side, side)).astype(np.float32))
    a, b, c = (str(tmp_path / f"{n}.npy") for n in "abc")
    movie = source.opened(a, [a, b])
    assert movie.second is not None and np.array_equal(movie.second.frame(0), np.load(b))
    assert source.opened(a, None).second is None
    with pytest.raises(UserError, match=r"1 x 32 x 32 and 1 x 40 x 40 .* are not two detectors of one scan"):
        source.opened(a, [a, c])
    for wrong in ([a], [a, a], [a, b, c]):
        with pytest.raises(UserError, match="one signal, or two different ones"):
            source.opened(a, wrong)


def test_two_signals_are_taken_as_they_are_typed(tmp_path):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random((32, 32)))
    typed = f"[{tmp_path / 'a.npy'}, {tmp_path / 'b.npy'}]"
    movie = source.opened(str(tmp_path / "a.npy"), typed)
    assert movie.second is not None and movie.second.shape == movie.shape
