"""A small model folder."""

import jax
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.models import architecture, artifact
from stemdefects.models.probability import emissions


@pytest.fixture
def records():
    """Emissions of two sublattices on three images, as the first format had them."""
    return [
        {
            "site": s,
            "scatter": [0.5 + i] * (1 + s),
            "n": [40 + i] * (2 + s),
            "sum": [[float(i)] * (1 + s)] * (2 + s),
            "square": [[[2.0 * i] * (1 + s)] * (1 + s)] * (2 + s),
        }
        for i in range(3)
        for s in (0, 1)
    ]


@pytest.fixture
def saved(tmp_path, records):
    names = {"material": "ws2_mo", "simulation": "train", "labels": "simulated", "model": "unet_small"}
    sections = artifact.Sections(**{g: config.load_group(g, n) for g, n in (names | {"training": "quick"}).items()})
    sections.model.filters, sections.model.depths = [8, 12], [1, 1]
    material = crystal.from_config(sections.material)
    model = architecture.build(sections.model, material)
    params = jax.jit(model.init)(jax.random.key(0, impl="rbg"), np.zeros((1, 16, 16, 1)))
    calibration = artifact.Calibration(np.linspace(-1, 1, material.n_states), 1.3, {"V_S": 0.4, "defect": 0.6})
    folder = tmp_path / "model"
    model_id = artifact.save(
        folder,
        artifact.Contents(
            params=params,
            sections=sections,
            calibration=calibration,
            confusion={"doses": {}},
            record={"seed": 3, "test": {"f1": np.float32("nan"), "n": np.int64(4)}},
            card="# card",
            emitted=emissions.packed(records),
        ),
    )
    return folder, model_id, model, params
