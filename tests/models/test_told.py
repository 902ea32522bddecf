"""A network that is told the signals of its crystal's species serves every crystal of its build."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import formula
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import architecture, artifact, other_crystal, told, transfer
from stemdefects.models.unet import with_signals
from stemdefects.schema import InferenceConfig

TMD = crystal.load("tmd")
IMAGE = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)


def small(**changes):
    cfg = config.load_group("model", "unet_small")
    cfg.filters, cfg.depths = [8, 12], [1, 1]
    for name, value in changes.items():
        setattr(cfg, name, value)
    return cfg


def stirred(params):
    """Weights without zeros: layers that change nothing at first would hide what they do."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    return tree.unflatten([a + 0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)])


@pytest.fixture(scope="module")
def network():
    groups = {"material": "tmd", "simulation": "train", "labels": "simulated", "training": "quick"}
    sections = artifact.Sections(
        model=small(told_signals=True), **{g: config.load_group(g, n) for g, n in groups.items()}
    )
    module = architecture.build(sections.model, TMD)
    params = stirred(jax.jit(module.init)(jax.random.key(0, impl="rbg"), IMAGE))
    calibration = artifact.Calibration(np.linspace(-2, 2, TMD.n_states), 1.2, {"V_X": 0.4, "D_M": 0.6, "defect": 0.5})
    apply = architecture.apply_function(sections.model, sections.training, TMD)
    return artifact.LoadedModel("id", None, sections, TMD, params, apply, calibration, {"doses": {}}, {"0/n": 1}, {})


def test_at_first_it_answers_as_the_network_it_starts_from():
    was, now = small(), small(told_signals=True)
    before = architecture.build(was, TMD)
    params = stirred(jax.jit(before.init)(jax.random.key(0, impl="rbg"), IMAGE))
    after = architecture.build(now, TMD)
    same = transfer.fit_model(params, was, now, "x", TMD)
    for a, b in zip(jax.jit(after.apply)(same, IMAGE)[:5], jax.jit(before.apply)(params, IMAGE)[:5], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_what_an_image_is_told_is_what_its_crystal_says(network):
    """Channels behind the frames, one crystal per image, against a network of that crystal alone."""
    apply = jax.jit(network.apply_fn)
    each = [told.signals(TMD, crystal.load(name)) for name in ("ws2_mo", "mose2")]
    shown = np.stack([with_signals(jnp.asarray(i), jnp.array(s)) for i, s in zip(IMAGE, each, strict=True)])
    together = apply(network.params, shown)
    for number, signals in enumerate(each):
        one = jax.jit(architecture.build(network.config.model, TMD, signals=signals).apply)
        alone = one(network.params, IMAGE[number : number + 1])
        for a, b in zip(together[:5], alone[:5], strict=True):
            np.testing.assert_allclose(a[number], b[0], atol=2e-5)
    usual = apply(network.params, IMAGE)
    assert np.abs(usual.state - together.state).max() > 1e-3, "signals count"


def test_a_network_knows_states_by_their_role():
    assert told.known_states(TMD, crystal.load("mose2")).tolist() == list(range(10))
    vanadium = crystal.from_config(formula.material("Mo0.98V0.02S2"))
    known = told.known_states(TMD, vanadium)
    assert [TMD.state_names[k] for k in known][-1] == "D" and sorted(known) == list(range(10))
    alloy = crystal.from_config(formula.material("WS1.6Se0.4"))
    assert (told.known_states(TMD, alloy) == told.UNKNOWN).sum() == 2, "SSe and Se2 are no state it saw"
    pure = crystal.from_config(formula.material("MoTe2"))
    assert told.UNKNOWN not in told.known_states(TMD, pure) and pure.n_states == 9


def test_signals_are_those_of_the_roles():
    def said(name, material=None):
        return np.exp(told.signals(TMD, material or crystal.load(name)))

    np.testing.assert_allclose(said("mos2"), [1, 2.30, 0.207], rtol=1e-3)
    np.testing.assert_allclose(said("", crystal.from_config(formula.material("MoS2")))[1], 0.43, rtol=1e-5)
    rhenium = crystal.from_config(formula.material("W0.9Re0.1S2"))  # as bright as W
    np.testing.assert_allclose(said("", rhenium)[1], 1.3, rtol=1e-5)


def test_answers_come_in_the_order_and_at_the_prevalence_of_the_crystal(network):
    cfg = formula.material("Mo0.9V0.1S2")
    shown = told.shown_as(network, cfg)
    target, known = shown.material, told.known_states(TMD, shown.material)
    module = architecture.build(network.config.model, TMD, signals=told.signals(TMD, target))
    own = module.apply(network.params, IMAGE)
    np.testing.assert_allclose(shown.apply(IMAGE).state, own.state[..., known], atol=1e-6)
    kind = target.kinds[target.kind_index("V_on_Mo")]
    assert shown.thresholds["V_on_Mo"] == 0.6 and shown.thresholds["V_S"] == 0.4 and not shown.by_light
    # posterior odds of the dopant against the ideal metal, by hand: network's, training's, and the file's
    shift, ideal = np.asarray(network.calibration.log_prior_shift), target.ideal_states[0]
    change = np.log(0.1 / (1 - sum(k.prevalence for k in target.kinds if target.states[k.state].site == 0)))
    before = np.log(0.02 / (1 - 0.02 - 0.002 - 2 * 3e-4))
    odds = shown.calibration.log_prior_shift[kind.state] - shown.calibration.log_prior_shift[ideal]
    assert odds == pytest.approx(shift[1] - shift[0] + change - before, abs=1e-4)
    assert shown.trained is not None and shown.trained.material is TMD and shown.signature != network.signature


def test_states_that_it_never_saw_are_left_to_the_light(network):
    assert told.shown_as(network, formula.material("WS1.6Se0.4")).by_light
    assert told.shown_as(network, config.load_group("material", "wse2"), by_light=True).by_light


def test_crystals_it_does_not_know_are_refused(network):
    with pytest.raises(UserError, match="graphene_si: its columns are not built like those of tmd"):
        told.shown_as(network, config.load_group("material", "graphene_si"))
    alike = config.load_group("material", "wse2")
    alike.species["Se"].intensity = [0.5, 0.5, 0.5]
    with pytest.raises(
        UserError, match=r"metal and chalcogen columns one has 1\.00 of the other's light: nobody can tell"
    ):
        told.shown_as(network, alike)
    assert not told.serves(TMD, crystal.from_config(alike))
    with pytest.raises(UserError, match="say which one the frames show"):
        other_crystal.asked_for(network, InferenceConfig(name="test"))
    same = other_crystal.asked_for(network, InferenceConfig(name="test", material="mote2"))
    assert same.material.name == "mote2" and not same.by_light
    alone = dataclasses.replace(network, config=dataclasses.replace(network.config, model=small()))
    assert other_crystal.shown(alone, config.load_group("material", "mos2")).by_light, "told nothing, it knows its own"
