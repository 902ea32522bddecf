"""From a movie to a trained detector: what training makes of it, and what it refuses."""

import dataclasses
from types import SimpleNamespace

import h5py
import jax
import numpy as np
import pytest

from stemdefects.config import load_group
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.labels.simulated import Targets
from stemdefects.models import artifact
from stemdefects.models.probability.states import floating_log_posterior, site_mask
from stemdefects.simulation.images import Truth
from stemdefects.training import loop, movie, task
from stemdefects.training.outcome import adaptation, results, validation
from stemdefects.training.update import mixing

VECTORS = np.array([[1.9, 9.82], [9.45, 3.26]])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A movie of three frames of a lattice with 30 dark sites, 0.03 nm per pixel."""
    rng = np.random.default_rng(1)
    i, j = np.meshgrid(np.arange(-40, 40), np.arange(-40, 40), indexing="ij")
    yx = np.stack([i.ravel(), j.ravel()], 1) @ VECTORS
    yx = yx[((yx > -9) & (yx < 169)).all(1)]
    height = np.where(rng.random(len(yx)) < 0.1, 2.0, 10.0)
    rows = np.exp(-0.5 * ((np.arange(160)[:, None] - yx[:, 0]) / 1.6) ** 2) * height
    mean = rows @ np.exp(-0.5 * ((np.arange(160)[:, None] - yx[:, 1]) / 1.6) ** 2).T + 1
    path = tmp_path_factory.mktemp("movie") / "small.h5"
    with h5py.File(path, "w") as out:
        out["frames"] = rng.poisson(mean, (3, 160, 160)).astype(np.uint16)
        out.attrs["pixel_size_nm"] = 0.03
    return path


@pytest.fixture
def movie_config(tiny_config, tmp_path, file):
    cfg = tiny_config()
    return dataclasses.replace(
        cfg, labels=load_group("labels", "fourier"), input=str(file), runs_dir=str(tmp_path / "runs")
    )


def test_a_detector_is_trained_on_the_movie_alone(movie_config):
    run = loop.train_and_evaluate(movie_config)
    model = artifact.load(run.model_dir)
    assert model.material.kind_names == ["dark"]  # no bright label beyond chance: none is trained
    assert model.material.sites[0].floating
    # the measured lattice is the crystal that inference calibrates with
    assert model.material.cell_area_nm2 == pytest.approx(abs(np.linalg.det(VECTORS)) * 0.03**2, rel=0.01)
    assert (run.path / "figures" / "labels.png").stat().st_size > 20_000
    assert len((run.path / "labels.csv").read_text().splitlines()) > 20
    summary = run.read_summary()
    assert summary["labels_dark"] >= 20
    assert isinstance(summary["labels_warnings"], list) and isinstance(summary["not_learned"], list)
    card = (run.model_dir / "README.md").read_text()
    assert "held_out" in card and card.count("The scores rest on ") == 1
    assert summary["labels_share_dirt"] == 0 and 0 < summary["labels_share_left_out"] < 0.5
    from stemdefects.inference.network.engine import Engine

    frame = np.random.default_rng(0).poisson(5, (1, 1, 160, 160)).astype(np.float32)
    assert Engine(model, (160, 160), 0.03)(frame)[0].image.shape == (160, 160)

    # weights between those it began with and the trained ones are chosen on the validation images
    training = dataclasses.replace(movie_config.training, init=str(run.model_dir))
    cfg, source, params = movie.prepare(dataclasses.replace(movie_config, training=training))
    the_task = task.from_config(cfg, source, params)
    validator = validation.Validator(cfg, the_task)
    spoilt = jax.tree.map(np.zeros_like, params)
    seen = validator.run(spoilt)
    calibration = results.calibration_of(the_task, np.ones(the_task.material.n_states), seen)
    trained = (cfg, the_task, validator, spoilt, seen, calibration)
    with pytest.MonkeyPatch.context() as patch:
        for values, expected in (((0.3, 0.1, 0.3, 0.2, 0.3), 0.0), ((0.1, 0.2, 0.5, 0.5, 0.4), 0.5)):
            answers = iter(values)
            patch.setattr(adaptation, "score", lambda *_, answers=answers: next(answers))
            weights, _, chosen, share = adaptation.best_share(*trained)
            assert share == expected
            wanted = jax.tree.map(lambda p, s=share: (1 - s) * p, jax.device_get(model.params))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), weights, wanted)
            # the first network's own calibration where it is kept as it was
            assert (chosen.temperature == model.calibration.temperature) or share > 0
    # spoilt weights are worth nothing
    assert adaptation.best_share(*trained)[3] < 1


def test_what_the_config_becomes(movie_config):
    cfg, source, params = movie.prepare(movie_config)
    assert params is None and source.floating
    assert cfg.material.name == "measured" and list(cfg.training.validation.doses_e_per_px) == ["held_out"]
    assert sum(cfg.labels.prior.values()) == pytest.approx(0.999)
    assert not (source.train & source.test).any()
    right = source.labels.yx[..., 1] > np.flatnonzero(source.test.any((0, 1))).min()  # counted by place
    n = int((right & source.labels.sure).sum())
    assert source.tested_on().startswith(f"The scores rest on {n} labels in {len(source.test)} frame")
    assert crystal.from_config(cfg.material).nothing_states.tolist() == [0]
    assert cfg.model.pixel_size_nm == 0.03 and source.labels.gain == pytest.approx(1.0, rel=0.1)
    # of frames that are enlarged, white noise must have the power that the movie's has below a column's frequencies
    fourier = dataclasses.replace(movie_config.labels.fourier, pixel_size_nm=0.045)
    labels = dataclasses.replace(movie_config.labels, fourier=fourier)
    _, source, _ = movie.prepare(dataclasses.replace(movie_config, labels=labels))
    assert source.labels.frames.shape[1:] == (239, 239)
    assert source.labels.gain == pytest.approx(1.5**2, rel=0.1)


def test_refusals(movie_config, tiny_config):
    with pytest.raises(UserError, match=r"say input=<movie"):
        movie.prepare(dataclasses.replace(movie_config, input=None))
    with pytest.raises(UserError, match="is used with labels=fourier"):
        movie.prepare(dataclasses.replace(tiny_config(), input="m.h5"))
    with pytest.raises(UserError, match="must be 1"):
        movie.prepare(dataclasses.replace(movie_config, model=dataclasses.replace(movie_config.model, frames=3)))
    several = dataclasses.replace(movie_config.training, init="ws2_mo_movie")
    with pytest.raises(UserError, match=r"model.frames=5 \(of training.init=ws2_mo_movie\) must be 1"):
        movie.prepare(dataclasses.replace(movie_config, training=several))
    labels = dataclasses.replace(
        movie_config.labels, fourier=dataclasses.replace(movie_config.labels.fourier, held_out=1.5)
    )
    with pytest.raises(UserError, match=r"held_out=1\.5"):
        movie.prepare(dataclasses.replace(movie_config, labels=labels))


def test_presence_decides_where_a_column_need_not_be():
    mask = site_mask([0, 0, 0, 1, 1], 2)
    logits = np.log(np.array([[5.0, 3.0, 1.0, 1.0, 1.0]]))
    log_p = floating_log_posterior(logits, np.array([0]), mask, np.array([0]), np.array([0.6]))
    np.testing.assert_allclose(np.exp(log_p)[0, :3], [0.4, 0.45, 0.15], atol=1e-6)


def test_mixed_batches_come_from_one_source_at_a_time():
    lists = ("y_px", "x_px", "site", "state", "valid", "complex", "complex_kind", "orientation")

    def make(value, length):
        def example(key, dose=None):
            truth = Truth(**{f: np.zeros(length if f in lists else 2, np.float32) for f in Truth._fields})
            lengths = {"presence": 4, "region": 4}
            targets = Targets(**{f: np.zeros((lengths.get(f, length), 4), np.float32) for f in Targets._fields})
            return jax.numpy.full((4, 4, 1), value, np.float32), targets, truth

        return example

    draw = jax.jit(mixing.mixed_draw(make(1, 5), make(2, 3), 0.7))
    values = []
    for n in range(40):
        keys = jax.random.split(jax.random.key(n), 4)
        frames, _, truth = draw(jax.random.key(n), keys)
        assert truth.site.shape == (4, 5)
        values.append(np.unique(frames).tolist())
    assert all(len(v) == 1 for v in values)
    assert 0.5 < np.mean([v[0] == 1 for v in values]) < 0.9


def test_simulated_images_are_as_noisy_as_the_movie():
    """Dose from the noise alone, whatever the detector's gain and offset; inverse to the variance; within the range."""
    ws2, simulation = crystal.load("ws2_mo"), load_group("simulation", "train")
    simulation.detector = dataclasses.replace(simulation.detector, pulse_spread=[0.0, 0.0])
    fraction = ws2.intensities(80.0)[ws2.ideal_states].sum() * ws2.cross_section_nm2(80.0) / ws2.cell_area_nm2

    def dose(electrons, gain, offset, excess=1.0):
        clean = np.full((8, 8), gain * electrons + offset)
        noise = {"gain": gain * excess, "read_variance": -gain * excess * offset}
        source = SimpleNamespace(labels=SimpleNamespace(clean=clean, **noise), crystal=SimpleNamespace(material=ws2))
        return movie.Source.dose_e_per_px(source, simulation)

    assert dose(500 * fraction, 20.0, 50.0) == pytest.approx(500, rel=1e-3)
    assert dose(500 * fraction, 1.0, 0.0) == pytest.approx(500, rel=1e-3)
    assert dose(500 * fraction, 1.0, 0.0, excess=2.0) == pytest.approx(250, rel=1e-3)
    assert dose(1e6 * fraction, 1.0, 0.0) == simulation.detector.dose_e_per_px[1]
    simulation.detector.pulse_spread = [0.0, 0.9]
    assert dose(500 * fraction, 1.0, 0.0) == pytest.approx(500 * 1.27, rel=1e-3)
    near = jax.vmap(mixing.at_dose(lambda key, dose: dose, 300.0))(jax.random.split(jax.random.key(0), 200))
    assert 200 <= near.min() < 220 and 420 < near.max() <= 450


def test_a_network_that_finds_nothing_is_said_so():
    def at(**f1):
        return {"kinds": {kind: {"f1": value, "n": 5 * (value >= 0)} for kind, value in f1.items()}}

    figures = {"low": at(dark=0.0, bright=0.0), "high": at(dark=0.0, bright=0.4), "none": at(dark=-1, bright=-1)}
    assert results.not_learned(figures, ["dark", "bright"]) == ["dark"]
    assert results.not_learned(figures, ["bright"]) == []
