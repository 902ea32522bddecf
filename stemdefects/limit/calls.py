"""What inference says of the columns of each true state: network and light together, at the network's thresholds."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from stemdefects.limit.networks import Network
from stemdefects.models import artifact
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.scoring import columns
from stemdefects.simulation.images import make_clip_simulator

MARGIN_PX = 8.0  # columns nearer to the border are not counted: part of them is not in the image


def confusion(folder: Path, n_images: int = 24, seed: int = 0, size_px: tuple[int, int] = (256, 256)) -> dict[str, Any]:
    """`confusion.json` of the network in `folder` as `infer.py` calls columns, with its validation doses, on fresh
    images of the simulation it was trained on.

    As `training.outcome.validation.confusion_tables`, whose posterior is the network's alone; `light` is true.
    """
    model = artifact.load(folder)
    material, doses = model.material, model.config.training.validation.doses_e_per_px
    network = Network(folder, material, state_prior(model.config.labels, material), size_px, light=True)
    make = jax.jit(make_clip_simulator(material, model.config.simulation, size_px, network.frames))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 7), n_images)  # not the observer's, nor training's
    tables = {}
    for name, dose in doses.items():
        for number, key in enumerate(tqdm(keys, desc=name, unit="image")):
            frames, truth = jax.tree.map(np.asarray, make(key, dose))
            network.look(name, number, frames, truth, MARGIN_PX)
        matched = columns.concatenate(network.parts[name], material.n_states)
        prob = columns.posterior(matched, material, network.shift, model.calibration.temperature)
        counts = columns.confusion(matched, columns.called(prob, material, model.thresholds), material.n_states)
        rows = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        tables[name] = {"counts": counts.astype(int).tolist(), "probability": np.round(rows, 6).tolist()}
    names = material.state_names
    return {
        "true": [*names, "none"],
        "said": [*names, "missed"],
        "decision": "thresholds",
        "light": True,
        "doses": tables,
    }
