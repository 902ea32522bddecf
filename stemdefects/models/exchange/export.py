"""`stemdefects.export(model, "model.onnx")`: a network for other programs."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stemdefects.errors import UserError
from stemdefects.models import architecture, artifact
from stemdefects.models.artifact import LoadedModel, weights
from stemdefects.models.exchange import hub_card, onnx_graph
from stemdefects.models.probability.states import site_mask
from stemdefects.needed import HUB, needed

KEPT = ("config.yaml", "model.json", "confusion.json", "emissions.npz")  # of a model folder, beside weights and card


def export(model: LoadedModel | str | Path, path: str | Path) -> Path:
    """Write a network for other programs; returns where it is.

    Args:
        model: from `stemdefects.load_model`, or what that takes: a network that ships, a run, a model folder.
        path: `<name>.onnx`: the network from normalised frames (B, H, W, T) to its maps, for any H and W that it takes,
            with states and calibration as metadata; `<name>.safetensors`: its weights; a folder: a model folder
            (`load_model` and `infer.py model=` read it) with weights as safetensors and a card that a model hub reads.

    Raises UserError where the package it needs is missing, the network's architecture is of another package (ONNX), or
    there is something at `path`'s place that is no such file or folder.
    """
    if not isinstance(model, LoadedModel):
        from stemdefects.models import shipped

        model = artifact.load(shipped.locate(model))
    path = Path(path)
    if not path.absolute().parent.is_dir():
        raise UserError(f"export {path}: there is no folder {path.parent}; make it first")
    if path.suffix in (".onnx", ".safetensors"):
        if path.is_dir():
            raise UserError(f"export {path}: is a folder")
        return _onnx(model, path) if path.suffix == ".onnx" else weights.write_safetensors(path, _flat(model))
    if path.suffix:
        raise UserError(f"export {path}: {path.suffix} is not known; there are: .onnx, .safetensors, and a folder")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"export {path}: is there already and not an empty folder")
    return _folder(model, path)


def _flat(model: LoadedModel) -> dict[str, np.ndarray]:
    """The weights as they are stored, so that the model keeps its id."""
    if model.path is not None:
        return weights.read(model.path)
    return weights.flatten(jax.device_get(model.params))


def _onnx(model: LoadedModel, path: Path) -> Path:
    """See `export`."""
    onnx, cfg = needed("onnx", f"export {path}", HUB), model.config.model
    if cfg.architecture != architecture.OWN_ARCHITECTURE:
        raise UserError(f"export {path}: model.architecture={cfg.architecture} is of another package, which exports it")
    if cfg.told_signals:
        raise UserError(
            f"export {path}: a network that is told its crystal's signals is not a plain graph; export a folder"
        )
    material, graph = model.material, onnx_graph.Graph()
    frames = graph.add("Transpose", "frames", perm=[0, 3, 1, 2])
    params = jax.tree.map(np.asarray, jax.device_get(model.params)["params"])
    n_members = model.config.training.ensemble

    def one(k):
        own = params if n_members == 1 else jax.tree.map(lambda a: a[k], params)
        return onnx_graph.network(graph, frames, own, cfg, material.n_sites, material.n_states)

    members = [one(k) for k in range(n_members)]
    names = onnx_graph.NAMES if n_members == 1 else (*onnx_graph.NAMES, "spread")
    mask = site_mask(material.site_of_state, material.n_sites)
    last = members[0] if n_members == 1 else onnx_graph.ensemble(graph, members, mask)
    for value, name in zip(last, names, strict=True):
        graph.nodes.append(graph.helper.make_node("Identity", [value], [name]))
    kind = onnx.TensorProto.FLOAT
    inputs = [graph.helper.make_tensor_value_info("frames", kind, ["batch", "height", "width", cfg.frames])]
    g, s = material.n_sites, material.n_states
    depth = {"presence": [g], "state": [s], "offset": [g, 2], "log_sigma": [g], "region": [onnx_graph.N_REGIONS]}
    depth["spread"] = [s]
    outputs = [
        graph.helper.make_tensor_value_info(name, kind, ["batch", "rows", "columns", *depth[name]]) for name in names
    ]
    made = graph.helper.make_model(
        graph.helper.make_graph(graph.nodes, "stemdefects", inputs, outputs, graph.constants),
        opset_imports=[graph.helper.make_opsetid("", onnx_graph.OPSET)],
        producer_name="stemdefects",
        ir_version=8,
    )
    graph.helper.set_model_props(made, _about(model))
    onnx.checker.check_model(made)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(made.SerializeToString())
    partial.replace(path)
    return path


def _about(model: LoadedModel) -> dict[str, str]:
    """What a user of the maps must know, as texts."""
    material = model.material
    plain: dict[str, Any] = {
        "id": model.id,
        "material": material.name,
        "sites": material.site_names,
        "states": material.state_names,
        "site_of_state": [int(g) for g in material.site_of_state],
        "stride_px": model.stride,
        "divisor_px": model.divisor,
        "pixel_size_nm": model.pixel_size_nm,
        "log_prior_shift": [float(x) for x in model.calibration.log_prior_shift],
        "temperature": float(model.calibration.temperature),
        "thresholds": dict(model.calibration.thresholds),
        "input": "each frame normalised by stemdefects.models.frames.normalization.normalize_frames, frames last",
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in plain.items()}


def _folder(model: LoadedModel, path: Path) -> Path:
    """See `export`."""
    if model.path is None:
        raise UserError(f"export {path}: this network has no folder of its own; load it by stemdefects.load_model")
    path.mkdir(exist_ok=True)
    for name in KEPT:
        if (model.path / name).is_file():
            shutil.copyfile(model.path / name, path / name)
    weights.write_safetensors(path / weights.SAFETENSORS, _flat(model))
    card = model.path / "README.md"
    (path / "README.md").write_text(hub_card.card(model, card.read_text() if card.is_file() else ""))
    return path
