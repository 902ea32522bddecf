"""The whole analysis: on simulated tables with known truth, on the published detections, on tables with little in
them."""

from pathlib import Path

import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis import pipeline, synthetic
from stemdefects.analysis.data import detections, truth
from stemdefects.analysis.notes import Code, codes
from stemdefects.analysis.switching import states
from stemdefects.crystal import material
from stemdefects.io.tables.table import empty

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
PUBLISHED = SHARED / "data" / "paper_movie_defects.csv"
CASES = SHARED / "cases" / "tables"


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
    frame, yx, _ = synthetic.movie_points(rng, synthetic.Points(60, 60, 14.0, **settings), drift=path)
    rows = synthetic.defect_rows(frame, yx, 0.03)
    found = detections.Detections(rows, 60, np.arange(60) * 2.25, 0.03, 0.0, 2.25, "simulated")
    return found, path


def test_D_end_to_end_from_points_with_drift_misses_and_false_detections(cfg):
    cfg.diffusion.gate_scan_lattice = []
    inside = []
    for seed in range(3):
        found, _ = simulated(seed, D=8e-4)
        result = pipeline.analyse(found, cfg, material.load("ws2_mo"), seed=seed)
        d = result.of("diffusion").motion.results["V_S"]["cve"]
        inside.append(d.low <= 8e-4 <= d.high)
        assert pytest.approx(8e-4, rel=0.5) == d.D
        assert result.of("diffusion").motion.headline == "V_S"
    assert sum(inside) >= 2


def test_small_gates_lose_D(cfg):
    found, _ = simulated(1, D=8e-4, false=0.0)
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"))
    scan = np.array(result.of("diffusion").motion.gate_scan)
    assert scan[0, 1] < 0.2 * scan[-1, 1]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published detections are not here")
def test_published_detections(cfg):
    cfg.diffusion.gate_scan_lattice = [0.6, 1.25, 1.5, 2.5]
    found = detections.read(PUBLISHED, cfg.table)
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"))
    assert len(found.rows) == 7986 and result.inputs.found.n_frames == 100
    assert 0.7 < np.hypot(*result.inputs.drift.yx[-1]) < 1.6  # about 1 nm is stated
    assert {"hmm", "pooled", "paper"} <= set(result.of("transitions").transitions)
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


@pytest.fixture
def quick(cfg):
    cfg.diffusion.gate_scan_lattice = []
    cfg.transitions.n_gibbs, cfg.transitions.n_burn = 10, 5
    return cfg


def walkers(times, observed=None, D=3e-4, seed=0, n=40):
    """Vacancies that hop in true time, in a table of the frames that were observed."""
    rng = np.random.default_rng(seed)
    frame, yx, _ = synthetic.movie_points(
        rng, synthetic.Points(len(times), n, 14.0, D=D, false=0.0, missed=0.05, exclusive=False), times=times
    )
    seen = np.ones(len(times), bool) if observed is None else observed
    rows = synthetic.defect_rows(frame[seen[frame]], yx[seen[frame]], 0.03)
    return detections.Detections(
        rows, len(times), np.asarray(times, float), 0.03, 0.0, float(np.median(np.diff(times))), observed=seen
    )


def D_of(result):
    return result.of("diffusion").motion.results["V_S"]["cve"]


@pytest.mark.parametrize("how", ["pause", "jitter", "rate"])
def test_D_of_a_table_whose_clock_is_not_even(quick, how):
    times = synthetic.recorded_times(np.random.default_rng(1), 60, how=how)
    result = pipeline.analyse(walkers(times), quick, material.load("ws2_mo"))
    d = D_of(result)
    assert d.low < 3e-4 < d.high and pytest.approx(3e-4, rel=0.3) == d.D
    track, time = result.inputs.tracks.track, result.inputs.tracks.time
    spans = np.diff(time)[np.diff(track) == 0]
    assert spans.max() < (400 * 2.25 if how == "pause" else 60)
    cut = [n for n in result.notes if Code.TRACKS_CUT in codes(n)]
    assert len(cut) == (how == "pause")
    if how == "pause":
        assert "births of tracks" not in [e.quantity for e in result.estimates if e.value and e.value > 0.1]


def test_fast_hops_get_the_gate_they_need_when_asked(quick):
    quick.linking.gate_lattice = None
    result = pipeline.analyse(walkers(2.25 * np.arange(30), D=2e-3, n=30), quick, material.load("ws2_mo"))
    assert result.inputs.gate > 2 * synthetic.A_NM and pytest.approx(2e-3, rel=0.35) == D_of(result).D


def test_resting_defects_are_followed_over_a_pause(quick):
    times = synthetic.recorded_times(np.random.default_rng(1), 60, how="pause")
    times[31:] -= 860  # a minute
    result = pipeline.analyse(walkers(times, D=0.0, n=60), quick, material.load("ws2_mo"))
    assert any(Code.PAUSES_BRIDGED in codes(n) for n in result.notes)
    assert np.median(result.inputs.tracks.lengths) > 50


@pytest.mark.parametrize("which", ["4:40", "::2"])
def test_frames_that_nobody_looked_at_are_missing_and_not_empty(quick, which):
    times = np.arange(60) * 2.25
    observed = np.zeros(60, bool)
    observed[slice(*(int(p) if p else None for p in which.split(":")))] = True
    some = walkers(times, observed)
    result = pipeline.analyse(some, quick, material.load("ws2_mo"))
    d = D_of(result)
    assert pytest.approx(3e-4, rel=0.45) == d.D  # some 40 hops; the wrong clock is off by a factor of 2
    count = next(e for e in result.estimates if e.quantity == "count per frame" and e.subject == "V_S")
    assert count.n == observed.sum() and count.value == pytest.approx(len(some.rows) / observed.sum())
    assert not any(e["frame"] not in np.flatnonzero(observed) for e in result.inputs.events)
    # as the same frames in a table of their own
    own = detections.Detections(
        some.rows.copy(), int(observed.sum()), times[observed], 0.03, 0.0, float(np.diff(times[observed])[0])
    )
    own.rows["frame"] = np.searchsorted(np.flatnonzero(observed), own.rows["frame"])
    again = pipeline.analyse(own, quick, material.load("ws2_mo"))
    assert (
        pytest.approx(d.D, rel=1e-6) == D_of(again).D and again.inputs.tracks.n_tracks == result.inputs.tracks.n_tracks
    )
    rates = [{e.quantity: e.value for e in r.estimates if e.quantity.endswith("of tracks")} for r in (result, again)]
    assert rates[0] == pytest.approx(rates[1])


def test_a_stage_left_out_changes_no_other(quick):
    found = walkers(np.arange(20) * 2.25, n=20)
    numbers = []
    for gates, kinds in (([], None), ([1.25, 2.0], None), ([], ["V_S"])):
        quick.diffusion.gate_scan_lattice, quick.diffusion.kinds = gates, kinds
        copy = detections.Detections(found.rows.copy(), 20, found.times, 0.03, 0.0, 2.25)
        result = pipeline.analyse(copy, quick, material.load("ws2_mo"), seed=3)
        windows = [w[2:5] for w in result.of("diffusion").motion.windows]
        numbers.append((D_of(result).low, *np.ravel(windows)))
    assert numbers[0] == numbers[1] == numbers[2]


@pytest.mark.parametrize("left", [("counts", "tracks"), ("diffusion",), ("space", "classes", "drift", "growth")])
def test_a_whole_stage_left_out_changes_no_other(quick, left):
    quick.diffusion.n_bootstrap = 50

    def numbers():
        result = pipeline.analyse(walkers(np.arange(20) * 2.25, n=20), quick, material.load("ws2_mo"), seed=3)
        return {name: stage.estimates for name, stage in result.stages.items()}

    whole, quick.leave_out = numbers(), list(left)
    part = numbers()
    assert part == {name: said for name, said in whole.items() if name not in left}
    assert all(whole[name] for name in left if name not in ("classes", "drift", "growth"))


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
def test_a_pause_of_900_s_decides_nothing(quick):
    quick.table.pixel_size_nm = 0.03
    found = {}
    for name in ("plain", "time_gap"):
        quick.table.frame_time_s = 2.25 if name == "plain" else None
        table = detections.read(CASES / f"{name}.csv", quick.table)
        found[name] = D_of(pipeline.analyse(table, quick, material.load("ws2_mo"))).D
    assert found["plain"] == pytest.approx(8.9e-4, rel=0.02)
    assert found["time_gap"] == pytest.approx(found["plain"], rel=0.1)
