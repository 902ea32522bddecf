"""Networks for other programs: what another runtime computes of them, and that a hub's folder is the same network."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import yaml

import stemdefects as sd
from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import architecture, artifact, ensemble


def network(norm, frames, members, stem=4, stride=2):
    """A small network of random weights, a `LoadedModel` without a folder."""
    names = {"material": "ws2_mo", "simulation": "train", "labels": "simulated", "model": "unet_small"}
    sections = artifact.Sections(**{g: config.load_group(g, n) for g, n in (names | {"training": "quick"}).items()})
    sections.model.filters, sections.model.depths, sections.model.norm = [8, 12], [1, 2], norm
    sections.model.frames, sections.model.stem, sections.model.stride = frames, stem, stride
    sections.training.ensemble = members
    material = crystal.from_config(sections.material)
    module, image = architecture.build(sections.model, material), np.zeros((1, 16, 16, frames), np.float32)

    def init(key):
        return module.init(key, image)

    init = init if members == 1 else ensemble.init_members(init, members)
    params = jax.jit(init)(jax.random.key(3, impl="rbg"))
    spread = jax.tree.map(lambda a: a + 0.05 * np.random.default_rng(1).normal(size=a.shape).astype(np.float32), params)
    return artifact.LoadedModel(
        "id",
        None,
        sections,
        material,
        spread,
        architecture.apply_function(sections.model, sections.training, material),
        artifact.Calibration(np.zeros(material.n_states)),
        {},
        {},
        {},
    )


@pytest.mark.parametrize(
    "norm, frames, members, stem, stride", [("none", 1, 1, 4, 2), ("group", 3, 1, 2, 1), ("none", 1, 3, 2, 2)]
)
def test_another_runtime_gives_the_same_maps(tmp_path, norm, frames, members, stem, stride):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = network(norm, frames, members, stem, stride)
    session = onnxruntime.InferenceSession(str(sd.export(model, tmp_path / "model.onnx")))
    names = [output.name for output in session.get_outputs()]
    assert names == ["presence", "state", "offset", "log_sigma", "region", *(["spread"] if members > 1 else [])]
    for shape in ((1, 32, 48), (2, 16, 16)):  # any size that the network takes
        images = np.random.default_rng(0).normal(size=(*shape, frames)).astype(np.float32)
        wanted = jax.jit(model.apply)(images)
        for name, found in zip(names, session.run(None, {"frames": images}), strict=True):
            np.testing.assert_allclose(found, getattr(wanted, name), atol=1e-4, err_msg=name)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["states"]) == model.material.state_names and about["material"] == "ws2_mo"


def test_the_network_that_ships_in_another_runtime(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = sd.load_model("ws2_mo")
    session = onnxruntime.InferenceSession(str(sd.export("ws2_mo", tmp_path / "m.onnx")))
    images = np.random.default_rng(2).normal(size=(1, 64, 96, 1)).astype(np.float32)
    for found, wanted in zip(session.run(None, {"frames": images}), jax.jit(model.apply)(images)[:5], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_folder_for_a_hub_is_the_same_network(saved, tmp_path):
    pytest.importorskip("safetensors")
    model = artifact.load(saved[0])
    folder = sd.export(model, tmp_path / "hub")
    assert (folder / "weights.safetensors").is_file() and not (folder / "weights.npz").exists()
    again = artifact.load(folder)
    assert again.id == model.id and again.signature == model.signature
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "bsd-3-clause" and told["library_name"] == "stemdefects" and "ws2_mo" in told["tags"]
    assert body.lstrip().startswith("# card") and "sd.detect" in body
    twice = sd.export(again, tmp_path / "twice")
    assert (twice / "README.md").read_text() == (folder / "README.md").read_text()
    (folder / "weights.safetensors").write_bytes(b"{")
    with pytest.raises(UserError, match="may be damaged"):
        artifact.load(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.npz missing"):
        artifact.load(folder)


def test_scores_of_the_card_are_those_of_the_test():
    from stemdefects.models.exchange import hub_card

    model = sd.load_model("ws2_mo")
    index = hub_card.front_matter(model)["model-index"][0]
    told = {(r["dataset"]["name"], m["name"]): m["value"] for r in index["results"] for m in r["metrics"]}
    for dose, figures in model.record["test"].items():
        assert told[f"train, {dose}", "F1 of Mo_W"] == round(figures["kinds"]["Mo_W"]["f1"], 4)


@pytest.mark.parametrize(
    "path, said",
    [("m.bin", r"\.bin is not known; there are: \.onnx"), ("no/m.onnx", "there is no folder"), ("", "not an empty")],
)
def test_refusals(saved, tmp_path, path, said):
    with pytest.raises(UserError, match=said):
        sd.export(artifact.load(saved[0]), tmp_path / path)
    if path == "m.bin":
        other = artifact.load(saved[0])
        other = dataclasses.replace(
            other, config=dataclasses.replace(other.config, model=config.load_group("model", "unet"))
        )
        other.config.model.architecture = "plain"
        pytest.importorskip("onnx")
        with pytest.raises(UserError, match="architecture=plain is of another package"):
            sd.export(other, tmp_path / "m.onnx")
