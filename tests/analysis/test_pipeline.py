"""The whole analysis: on simulated tables with known truth, on the published detections, on tables with little in
them."""

from pathlib import Path

import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis import detections, pipeline, states, synthetic, truth
from stemdefects.crystal import material
from stemdefects.io.table import empty

PUBLISHED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "paper_movie_defects.csv"


@pytest.fixture
def cfg():
    cfg = config.load_group("analysis", "default")
    cfg.diffusion.n_bootstrap = 200
    cfg.transitions.n_gibbs, cfg.transitions.n_burn = 60, 30
    cfg.diffusion.gate_scan_lattice = [0.6, 1.25, 1.5]
    return cfg


def simulated(seed=0, **settings):
    rng = np.random.default_rng(seed)
    path = np.cumsum(0.02 * rng.standard_normal((60, 2)), 0)
    frame, yx, _ = synthetic.movie_points(rng, 60, 60, 14.0, drift=path, **settings)
    rows = synthetic.defect_rows(frame, yx, 0.03)
    found = detections.Detections(rows, 60, np.arange(60) * 2.25, 0.03, 0.0, 2.25, "simulated")
    return found, path


def test_D_end_to_end_from_points_with_drift_misses_and_false_detections(cfg):
    cfg.diffusion.gate_scan_lattice = []
    inside = []
    for seed in range(3):
        found, _ = simulated(seed, D=8e-4)
        result = pipeline.analyse(found, cfg, material.load("ws2_mo"), seed=seed)
        d = result.motion.results["V_S"]["cve"]
        inside.append(d.low <= 8e-4 <= d.high)
        assert pytest.approx(8e-4, rel=0.5) == d.D
        assert result.motion.headline == "V_S"
    assert sum(inside) >= 2


def test_small_gates_lose_D(cfg):
    found, _ = simulated(1, D=8e-4, false=0.0)
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"))
    scan = np.array(result.motion.gate_scan)
    assert scan[0, 1] < 0.2 * scan[-1, 1]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published detections are not here")
def test_published_detections(cfg):
    cfg.diffusion.gate_scan_lattice = [0.6, 1.25, 1.5, 2.5]
    found = detections.read(PUBLISHED, cfg.table)
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"))
    assert len(found.rows) == 7986 and result.found.n_frames == 100
    assert 0.7 < np.hypot(*result.drift.yx[-1]) < 1.6  # about 1 nm is stated
    assert {"hmm", "pooled", "paper"} <= set(result.transitions)
    assert any("depends on the linking gate" in n for n in result.notes)
    headline = next(e for e in result.estimates if e.headline and e.quantity == "D")
    assert "range over gates" in headline.method and headline.high > 2.5 * headline.value
    for e in result.estimates:
        assert e.value is None or np.isfinite(e.value)


@pytest.mark.parametrize("n_frames", [0, 1, 2, 5])
def test_tables_with_little_in_them(cfg, n_frames):
    rows = empty(n_frames)
    rows["frame"], rows["y_px"], rows["x_px"], rows["kind"] = np.arange(n_frames), 50, 60, b"V_S"
    found = detections.Detections(rows, n_frames, np.arange(n_frames) * 1.0, 0.03, 0.0, 1.0)
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"))
    assert result.notes
    for e in result.estimates:
        assert e.value is None or np.isfinite(e.value)
        assert e.value is not None or e.warning


def test_states_of_complexes():
    rows = empty(7)
    rows["kind"] = [b"Mo_W", b"V_S", b"Mo_W", b"V_S", b"V_S", b"V_S", b"Mo_W"]
    rows["complex"] = [0, 0, 1, 1, 1, -1, -1]
    rows["orientation"] = [2, 2, 0, 0, 0, -1, -1]
    labels = states.complex_labels(rows, "Mo_W")
    assert labels.tolist() == ["Mo_W+V_S@2", "", "Mo_W+2V_S@0", "", "", "", "Mo_W"]


def test_scores_by_kind():
    true = synthetic.defect_rows(np.zeros(4, int), np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), 0.03, "V_S")
    true["kind"][3] = b"Mo_W"
    mine = true[:3].copy()
    mine["y_px"][0] += 2
    mine["y_px"][1] += 9
    scores = {s.kind: s for s in truth.score(mine, true, 3.0)}
    assert (scores["V_S"].n_right, scores["V_S"].precision) == (2, pytest.approx(2 / 3))
    assert scores["Mo_W"].recall == 0 and scores["Mo_W"].precision is None
    assert scores["any"].f1 == pytest.approx(2 * 2 / 7)
