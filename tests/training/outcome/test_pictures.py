"""Figures of a validation, from matched columns made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from stemdefects.models.artifact import Calibration
from stemdefects.scoring import columns
from stemdefects.training import task
from stemdefects.training.outcome import card, pictures, validation


@pytest.fixture
def case(tiny_config):
    """A validation of one dose: 200 columns of which 20 are Mo_W, all but two found as what they are."""
    cfg = tiny_config(training__validation__doses_e_per_px__low_dose="null")
    the_task = task.from_config(cfg)
    material, rng = the_task.material, np.random.default_rng(0)
    w, mo, n = material.state_index("W"), material.state_index("Mo"), 200
    state = np.where(np.arange(n) < 20, mo, w)
    p_mo = np.where(state == mo, 0.95, 0.001)
    p_mo[:2] = 0.001
    log_prob = np.full((n, material.n_states), -np.inf)
    log_prob[:, mo], log_prob[:, w] = np.log(p_mo), np.log(1 - p_mo)
    yx = rng.uniform(5, 27, (n, 2))
    matched = columns.Matched(
        state, np.zeros(n, int), log_prob, rng.normal(0, 0.004, (n, 2)), np.full(n, 0.004), np.zeros(n, int), yx
    )
    result = validation.Result({"typical": matched}, {"typical": [None]})
    calibration = Calibration(np.zeros(material.n_states), 1.0, {"Mo_W": 0.5, "defect": 0.5})
    truth = SimpleNamespace(pixel_size_nm=np.array([0.03]), dose_e_per_px=np.array([400.0]))
    frames = rng.normal(size=(1, 32, 32, 1))
    validator = SimpleNamespace(task=the_task, sets={"typical": SimpleNamespace(frames=frames, truth=truth)})
    return cfg, the_task, result, calibration, validator


def test_figures_count_what_is_there(case):
    _, the_task, result, calibration, _ = case
    figures = validation.figures(result, the_task, calibration)["typical"]
    mo = figures["kinds"]["Mo_W"]
    assert mo["n"] == 20 and mo["recall"] == pytest.approx(0.9) and mo["precision"] == pytest.approx(1.0)
    assert np.isnan(figures["kinds"]["V_S"]["f1"])
    assert figures["found"] == pytest.approx(1.0)
    assert figures["rmse_nm"] == pytest.approx(0.004, rel=0.1) and figures["sigma_ratio"] == pytest.approx(1, rel=0.1)
    flat = validation.flat({"typical": figures})
    assert flat["typical/Mo_W/recall"] == pytest.approx(0.9) and "typical/V_S/f1" not in flat
    table = validation.confusion_tables(result, the_task, calibration)
    mo_row = table["doses"]["typical"]["counts"][the_task.material.state_index("Mo")]
    assert mo_row[the_task.material.state_index("Mo")] == 18 and mo_row[the_task.material.state_index("W")] == 2
    for row, counts in zip(table["doses"]["typical"]["probability"], table["doses"]["typical"]["counts"], strict=True):
        assert sum(row) == pytest.approx(1 if sum(counts) else 0, abs=1e-4)


def test_pictures_and_card_are_made(case, tmp_path):
    cfg, the_task, result, calibration, validator = case
    figures = validation.figures(result, the_task, calibration)
    confusion = validation.confusion_tables(result, the_task, calibration)
    for path in (
        pictures.draw(validator, result, calibration, tmp_path / "a" / "found.png", 2),
        pictures.draw_reliability(figures, tmp_path / "calibration.png"),
        pictures.draw_confusion(confusion, tmp_path / "confusion.png"),
    ):
        assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 8000
    about = {"run": "r", "command": "python train.py", "seed": 0, "steps": 5, "images": 40, "seconds": 60.0}
    about |= {"hardware": "1 x cpu", "versions": "jax", "n_weights": 1000, "share_trained": 1.0}
    text = card.make(cfg, the_task, calibration, figures, about, confusion)
    assert "| Mo_W | 0.9" in text and "python train.py" in text and "typical: 400 incident e/px" in text
    assert "| true | W | Mo |\n|---|---|---|\n| W | 180 | 0 |\n| Mo | 2 | 18 |" in text
    assert "| 0.9-1.0 | 0.95: 1.00 |" in text and "| 0.1-0.2 | - |" in text and "ensemble" not in text


def test_the_kind_furthest_above_its_threshold_is_called(case):
    _, the_task, *_ = case
    material = the_task.material
    prob = np.zeros((3, material.n_states))
    v_s, v_s2 = material.state_index("S"), material.state_index("V_chalcogen")
    prob[0, [v_s, v_s2]] = 0.5, 0.4
    prob[1, [v_s, v_s2]] = 0.35, 0.25
    prob[2, [v_s, v_s2]] = 0.1, 0.1
    called = pictures.decisions(prob, the_task, {"V_S": 0.4, "V_S2": 0.3})
    names = [material.kind_names[k] if k >= 0 else None for k in called]
    assert names == ["V_S2", None, None]  # 0.4 / 0.3 beats 0.5 / 0.4
