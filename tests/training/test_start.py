"""Weights to start from: what fits, and what is refused, for a network that a run left."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from omegaconf import OmegaConf

from stemdefects import config, schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import artifact
from stemdefects.simulation import images
from stemdefects.training import loop, movie, start, task
from stemdefects.training.outcome import adaptation


def test_a_run_starts_a_network_of_several_frames_for_another_crystal(undisturbed, tiny_config, capsys):
    cfg = tiny_config(training__init=undisturbed, model__frames=3)
    cfg.material = config.load_group("material", "mos2")
    same, params, material = start.weights(cfg, resumed=False)
    assert same is cfg and material.name == "ws2_mo"  # simulation keeps the config it was given
    said = capsys.readouterr().out
    assert "spread over 3 frames" in said and "W -> Mo" in said
    the_task = task.from_config(cfg, None, params)
    wanted = jax.eval_shape(dataclasses.replace(the_task, params=None).init, jax.random.key(0))
    assert jax.tree.map(np.shape, the_task.init(None)) == jax.tree.map(lambda a: a.shape, wanted)
    kernel = artifact.load(undisturbed / "model").params["params"]["Conv_0"]["kernel"]
    np.testing.assert_allclose(params["params"]["Conv_0"]["kernel"][:, :, ::3] * 3, kernel, rtol=1e-6)


def test_what_does_not_fit_is_refused(undisturbed, tiny_config):
    with pytest.raises(UserError, match=r"model.filters is \[8, 8\] in that network and \[8, 12\] here"):
        start.weights(tiny_config(training__init=undisturbed, model__filters=[8, 12]), resumed=False)
    with pytest.raises(UserError, match=r"training.init=ws3: no network of this name ships"):
        start.weights(tiny_config(training__init="ws3"), resumed=False)
    cfg = tiny_config(training__init="ws3")
    assert start.weights(cfg, resumed=True) == (cfg, None, None)  # the checkpoints hold its weights


def test_a_network_is_adapted_to_how_a_single_image_was_taken(undisturbed, tiny_config, tmp_path, capsys):
    """Simulated around the image's own probe, scan and noise, scored there, and no worse than where it began."""
    cfg = tiny_config()
    simulate = jax.jit(
        images.make_simulator(crystal.load("ws2_mo"), config.load_group("simulation", "typical"), (192, 192))
    )
    path = tmp_path / "one.npy"
    np.save(path, np.asarray(simulate(jax.random.key(3), 3000.0)[0]))
    with pytest.raises(UserError, match=r"training=adapt training.init=<network>"):
        loop.train_and_evaluate(tiny_config(input=path))
    run = loop.train_and_evaluate(tiny_config(input=path, training__init=undisturbed))
    said = capsys.readouterr().out
    assert "frames: rows jitter by" in said and "score on validation images by share" in said
    stored = config.to_object(OmegaConf.load(run.path / "config.yaml"), schema.TrainRoot)
    assert list(stored.training.validation.doses_e_per_px) == [start.OWN_DOSE]
    assert stored.simulation.detector.dose_e_per_px[0] < 3000 < stored.simulation.detector.dose_e_per_px[1]
    narrow, wide = (c.view.pixel_size_nm for c in (stored.simulation, cfg.simulation))
    assert wide[0] <= narrow[0] < narrow[1] < wide[1]
    record = json.loads((run.model_dir / "model.json").read_text())
    assert record["share_trained"] in adaptation.SHARES
    assert "one.npy" in (run.model_dir / "README.md").read_text()
    # a run that is gone on with keeps what was measured, and needs the image no more
    path.unlink()
    cfg, source, _ = movie.prepare(stored, resumed=True)
    assert cfg is stored and source is None
