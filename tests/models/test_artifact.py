"""A model survives the way to disk and back, without pickle, and damage is noticed."""

import dataclasses
import json
import zipfile

import jax
import numpy as np
import pytest
import yaml

from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import artifact
from stemdefects.models.artifact import weights
from stemdefects.models.probability import emissions


def test_round_trip(saved):
    folder, model_id, model, params = saved
    loaded = artifact.load(folder)
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 1)).astype(np.float32)
    for a, b in zip(jax.jit(loaded.apply)(image), jax.jit(model.apply)(params, image), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.id == model_id and len(model_id) == 12
    assert loaded.thresholds == {"V_S": 0.4, "defect": 0.6} and loaded.calibration.temperature == 1.3
    assert loaded.pixel_size_nm == 0.03 and loaded.divisor == 8 and loaded.stride == 2 and loaded.frames == 1
    assert loaded.material.state_names == crystal.load("ws2_mo").state_names
    assert loaded.record["seed"] == 3 and loaded.record["test"] == {"f1": None, "n": 4}
    assert "NaN" not in (folder / "model.json").read_text()
    peaks = jax.jit(lambda x: loaded.find_peaks(jax.tree.map(lambda a: a[0], loaded.apply(x)), max_peaks=50))(image)
    assert peaks.state_prob.shape == (50, loaded.material.n_states)


@pytest.mark.parametrize("file", [weights.NAME, emissions.NAME])
def test_arrays_hold_no_pickle(saved, file):
    with zipfile.ZipFile(saved[0] / file) as archive:
        assert archive.namelist()
        for name in archive.namelist():
            assert name.endswith(".npy")
            assert b"O" not in archive.read(name)[:128].split(b"'descr':")[1][:8]  # no object arrays


def test_emissions_come_back_as_they_went_and_belong_to_their_model(saved, records):
    folder = saved[0]
    loaded = artifact.load(folder)
    expected = emissions.packed(records)
    assert expected.keys() == loaded.emissions.keys() == {f"{s}/{part}" for s in (0, 1) for part in emissions.PARTS}
    for name, array in expected.items():
        assert loaded.emissions[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.emissions[name], array)
    assert loaded.emissions["1/sum"].tolist() == [r["sum"] for r in records if r["site"] == 1]
    assert (folder / "model.json").read_text().count("\n") < 100
    weights.write(folder, {name: array + 1 for name, array in expected.items()}, emissions.NAME)
    with pytest.raises(UserError, match=r"emissions.npz is \w{12}, model.json belongs to"):
        artifact.load(folder)
    (folder / emissions.NAME).unlink()
    with pytest.raises(UserError, match=r"cannot be read .*emissions.npz"):
        artifact.load(folder)


def test_a_model_of_the_first_format_is_read(saved, records):
    """It had the emissions in model.json."""
    folder = saved[0]
    now = artifact.load(folder)
    about = json.loads((folder / "model.json").read_text()) | {"format_version": 1, "emissions": records}
    (folder / "model.json").write_text(json.dumps(about))
    (folder / emissions.NAME).unlink()
    then = artifact.load(folder)
    assert then.record == now.record and then.id == now.id
    jax.tree.map(np.testing.assert_array_equal, then.emissions, now.emissions)
    del about["emissions"]
    (folder / "model.json").write_text(json.dumps(about))
    assert artifact.load(folder).emissions == {}


def test_poisoned_weights_are_not_unpickled(saved, tmp_path):
    folder = saved[0]

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    for name in (emissions.NAME, weights.NAME):
        np.savez(folder / name, a=np.array([Bomb()], dtype=object))
        with pytest.raises(UserError, match="cannot be read"):
            artifact.load(folder)
    assert not (tmp_path / "exploded").exists()


def test_damage_and_strangers_are_refused(saved, tmp_path):
    folder = saved[0]
    with pytest.raises(UserError, match=r"weights.npz, config.yaml, model.json missing"):
        artifact.load(tmp_path / "nothing")
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"id": "0" * 12}))
    with pytest.raises(UserError, match="belongs to 000000000000"):
        artifact.load(folder)
    (folder / "model.json").write_text(json.dumps(about | {"format_version": 99}))
    with pytest.raises(UserError, match="format version 99"):
        artifact.load(folder)
    (folder / "model.json").write_text(json.dumps(about))
    data = (folder / "weights.npz").read_bytes()
    (folder / "weights.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        artifact.load(folder)


def test_a_record_of_another_version_is_no_obstacle_to_inference(saved, capsys):
    folder = saved[0]
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    stored["simulation"]["probe"]["of_old"] = 1.0
    stored["simulation"]["scan"]["drift_px"] = {"was": "a group"}
    stored["training"]["of_old"] = {"a": 1}
    stored["training"]["ensemble"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(stored, sort_keys=False))
    loaded = artifact.load(folder)
    note = capsys.readouterr().err
    for key in ("simulation.probe.of_old", "simulation.scan.drift_px", "training.of_old"):
        assert key in note
    assert note.count("\n") == 1
    assert loaded.config.training.steps == stored["training"]["steps"] and loaded.id == saved[1]
    assert loaded.config.simulation.scan.row_jitter_px == stored["simulation"]["scan"]["row_jitter_px"]
    stored["model"]["of_old"] = 3  # what inference computes with must be understood
    (folder / "config.yaml").write_text(yaml.safe_dump(stored, sort_keys=False))
    with pytest.raises(UserError, match="'of_old' does not exist"):
        artifact.load(folder)


def test_half_precision_weights_load_as_single(saved):
    folder, _, _, params = saved
    flat = {name: array.astype(np.float16) for name, array in weights.flatten(params).items()}
    weights.write(folder, flat)
    with pytest.raises(UserError, match="belongs to"):
        artifact.load(folder)  # other weights, other id
    about = json.loads((folder / "model.json").read_text()) | {"id": weights.identity(flat)}
    (folder / "model.json").write_text(json.dumps(about))
    loaded = artifact.load(folder)
    assert {a.dtype for a in jax.tree.leaves(loaded.params)} == {np.dtype("float32")}
    for exact, rounded in zip(jax.tree.leaves(params), jax.tree.leaves(loaded.params), strict=True):
        np.testing.assert_allclose(rounded, exact, rtol=1e-3, atol=1e-6)


def test_the_signature_covers_all_that_changes_an_answer(saved):
    model = artifact.load(saved[0])
    assert model.signature == artifact.load(saved[0]).signature and len(model.signature) == 12
    cooler = dataclasses.replace(model.calibration, temperature=1.1)
    stricter = dataclasses.replace(model.calibration, thresholds={"defect": 0.9})
    labels = dataclasses.replace(model.config.labels, prior={"V_S": 0.05})
    others = [
        dataclasses.replace(model, calibration=cooler),
        dataclasses.replace(model, calibration=stricter),
        dataclasses.replace(model, config=dataclasses.replace(model.config, labels=labels)),
    ]
    assert all(other.id == model.id for other in others)
    assert len({model.signature, *(other.signature for other in others)}) == 4
