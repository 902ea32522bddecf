"""The confusion of a network that ships, counted on fresh images as inference calls columns."""

import numpy as np
import pytest

from stemdefects.inference.columns import confusion
from stemdefects.limit import calls
from stemdefects.models import artifact, shipped


@pytest.mark.skipif("ws2_mo" not in shipped.names(), reason="the network ws2_mo does not ship here")
def test_calls_are_those_of_columns_that_are_there():
    folder = shipped.folder() / "ws2_mo"
    model = artifact.load(folder)
    found = calls.confusion(folder, n_images=2, size_px=(128, 128))
    assert found["light"] and found["decision"] == "thresholds" and set(found["doses"]) == set(model.confusion["doses"])
    counts = {dose: np.array(table["counts"]) for dose, table in found["doses"].items()}
    per_state = [c[:-1].sum(1) for c in counts.values()]
    assert (per_state[0] == per_state[1]).all() and (per_state[0] == per_state[2]).all(), (
        "the same columns at each dose"
    )
    w, v_w = (found["true"].index(name) for name in ("W", "V_metal"))
    high = counts["high_dose"]
    assert high[w, w] > 0.95 * high[w].sum() > 50
    assert high[v_w, v_w] >= 0.5 * high[v_w].sum()
    for table in found["doses"].values():
        rows = np.array(table["probability"]).sum(1)
        assert np.allclose(rows[np.array(table["counts"]).sum(1) > 0], 1, atol=1e-5)


def test_networks_that_ship_say_what_inference_calls():
    for name in shipped.names():
        model = artifact.load(shipped.folder() / name)
        if model.config.model.told_signals:  # made for no crystal: what it calls differs from one to the next
            continue
        assert model.confusion.get("light"), f"{name}: python benchmarks/ship.py calls={name}"
        assert confusion.nearest(model, 400.0)["decision"] == "thresholds"
        assert "## Calls" in (shipped.folder() / name / "README.md").read_text()
