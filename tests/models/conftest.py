"""A small model folder."""

import jax
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.models import artifact


@pytest.fixture
def saved(tmp_path):
    names = {"material": "ws2_mo", "simulation": "train", "labels": "simulated", "model": "unet_small"}
    sections = {g: config.load_group(g, n) for g, n in (names | {"training": "quick"}).items()}
    sections["model"].filters, sections["model"].depths = [8, 12], [1, 1]
    material = crystal.from_config(sections["material"])
    model = artifact.build(sections["model"], material)
    params = jax.jit(model.init)(jax.random.key(0, impl="rbg"), np.zeros((1, 16, 16, 1)))
    calibration = artifact.Calibration(np.linspace(-1, 1, material.n_states), 1.3, {"V_S": 0.4, "defect": 0.6})
    folder = tmp_path / "model"
    model_id = artifact.save(
        folder, params=params, sections=sections, calibration=calibration,
        confusion={"doses": {}}, record={"seed": 3, "test": {"f1": np.float32("nan"), "n": np.int64(4)}}, card="# card",
    )  # fmt: skip
    return folder, model_id, model, params
