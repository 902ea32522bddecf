"""Linking and drift against simulated movies whose identities are known."""

import numpy as np
import pytest

from stemdefects.analysis import synthetic
from stemdefects.analysis.tracking import drift, linking
from stemdefects.scoring import matching


def test_links_of_a_dense_movie():
    rng = np.random.default_rng(0)
    frame, yx, who = synthetic.movie_points(rng, synthetic.Points(60, 150, 20.0))
    links = linking.link(linking.Points(frame, yx), linking.Rules(1.5 * synthetic.A_NM))
    recall, precision = synthetic.link_scores(who, frame, links.track)
    assert recall > 0.97 and precision > 0.95


def test_links_agree_with_trackpy():
    """Without kinds our links are those of an independent implementation, but for a few ambiguous ones."""
    trackpy = pytest.importorskip("trackpy", reason="trackpy is not installed (pip install stemdefects[dev])")
    import pandas as pd

    trackpy.quiet()
    frame, yx, who = synthetic.movie_points(np.random.default_rng(0), synthetic.Points(60, 150, 20.0))
    ours = linking.link(linking.Points(frame, yx), linking.Rules(1.5 * synthetic.A_NM, memory=2, gap_cost=0.0)).track
    table = pd.DataFrame({"frame": frame, "y": yx[:, 0], "x": yx[:, 1]})
    found = trackpy.link(table, 1.5 * synthetic.A_NM, pos_columns=["y", "x"], memory=2)
    theirs = found["particle"].to_numpy()[np.argsort(found.index.to_numpy(), kind="stable")]
    agreement = synthetic.link_scores(theirs, frame, ours, memory=2)
    assert min(agreement) > 0.97
    ours_right, theirs_right = (synthetic.link_scores(who, frame, t, memory=2) for t in (ours, theirs))
    assert ours_right[0] > theirs_right[0] - 0.01 and ours_right[1] > theirs_right[1] - 0.01


def test_fiducials_alone_decide_the_drift():
    """Most defects wander together, three stay: only those named count."""
    from stemdefects.analysis.data import detections
    from stemdefects.analysis.tracking import registration
    from stemdefects.schema import AnalysisConfig

    rng = np.random.default_rng(5)
    n = 40
    path = np.cumsum(0.03 * rng.standard_normal((n, 2)), 0)
    resting, moving = rng.uniform(0, 10, (5, 2)), rng.uniform(0, 10, (30, 2))
    away = np.outer(np.arange(n), [0.02, 0.01])
    frame = np.repeat(np.arange(n), 35)
    yx = np.concatenate([np.concatenate([resting + path[t], moving + path[t] + away[t]]) for t in range(n)])
    rows = synthetic.defect_rows(frame, yx, 0.03, np.tile(["V_W"] * 5 + ["V_S"] * 30, n))
    found = detections.Detections(rows, n, np.arange(float(n)), 0.03, 0.0, 1.0)
    cfg = AnalysisConfig(name="test")
    error = {}
    for fiducials in (None, ["V_W"]):
        cfg.drift.fiducials = fiducials
        moved = registration.register(found, cfg, synthetic.A_NM, None, None, notes := [])
        error[bool(fiducials)] = np.abs(moved.yx - path + path[0]).max()
    assert error[True] < 0.01 < 0.3 < error[False]
    cfg.drift.fiducials = ["Mo_W"]
    registration.register(found, cfg, synthetic.A_NM, None, None, notes)
    assert "no fiducials" in notes[-1]


def test_assignment_equals_the_dense_solution():
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(1)
    for _ in range(20):
        matrix = np.where(rng.random((12, 9)) < 0.25, rng.random((12, 9)), 0)
        i, j = np.nonzero(matrix)
        chosen = matching.assign(i, j, matrix[i, j])
        r, c = linear_sum_assignment(matrix, maximize=True)
        assert matrix[i[chosen], j[chosen]].sum() == pytest.approx(matrix[r, c].sum())
        assert len(set(i[chosen])) == len(chosen) == len(set(j[chosen]))


def test_matching_prefers_more_pairs_over_closer_ones():
    a = np.array([[0.0, 0.0], [0.0, 1.0]])
    b = np.array([[0.0, 0.9], [0.0, 1.9]])
    i, j = matching.match(a, b, 1.0)
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_sublattices_and_kinds_keep_apart():
    frame = np.array([0, 0, 1, 1])
    yx = np.array([[0.0, 0.0], [0.0, 0.18], [0.0, 0.16], [0.0, 0.02]])
    links = linking.link(linking.Points(frame, yx, kind=np.array(["a", "b", "b", "a"])), linking.Rules(0.4))
    assert links.track.tolist() == [0, 1, 1, 0]
    alone = linking.link(linking.Points(frame[:3], yx[[0, 0, 1]], site=np.array([0, 0, 1])), linking.Rules(0.4))
    assert alone.track.tolist() == [0, 1, 2]


def test_memory_bridges_gaps_and_events_say_so():
    frame = np.array([0, 1, 4, 5, 9])
    yx = np.zeros((5, 2))
    links = linking.link(linking.Points(frame, yx), linking.Rules(0.4, memory=2))
    assert links.track.tolist() == [0, 0, 0, 0, 1]
    assert sorted(links.events["event"].tolist()) == [b"birth", b"death", b"gap"]


def test_no_link_spans_a_pause_in_which_all_may_have_moved():
    frame, yx = np.repeat(np.arange(6), 2), np.tile([[0.0, 0.0], [5.0, 5.0]], (6, 1))
    times = np.array([0.0, 1, 2, 900, 901, 902])
    assert linking.longest_step(times, 3) == 5
    links = linking.link(
        linking.Points(frame, yx, times=times), linking.Rules(0.4, longest=linking.longest_step(times, 3))
    )
    assert links.track.tolist() == [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3] and links.cuts.tolist() == [2]
    assert len(links.events) == 0  # tracks end at the pause: no defect vanished, none appeared
    still = linking.longest_step(times, 3, reach=0.1, D=1e-6)
    assert (
        still > 900
        and linking.link(linking.Points(frame, yx, times=times), linking.Rules(0.4, longest=still)).track.max() == 1
    )


def test_births_and_deaths_between_pauses_are_events():
    frame = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    yx = np.array([[0, 0], [0, 0], [5, 5], [5, 5], [9, 9], [9, 9], [2, 2], [2, 2.0]])
    times = np.array([0.0, 1, 2, 3, 500, 501, 502, 503])
    links = linking.link(linking.Points(frame, yx, times=times), linking.Rules(0.4, memory=0, longest=2.0))
    found = [(e["event"].decode(), int(e["frame"])) for e in links.events]
    assert sorted(found) == [("birth", 2), ("birth", 6), ("death", 1), ("death", 5)]


@pytest.mark.parametrize(("D", "false", "missed", "wide"), [(2e-3, 0.05, 0.1, True), (2e-4, 0.2, 0.34, False)])
def test_the_gate_is_what_hops_ask_for_and_false_detections_allow(D, false, missed, wide):
    from stemdefects.analysis.motion import diffusion
    from stemdefects.analysis.tracking import gates, tracks

    rng = np.random.default_rng(4)
    frame, yx, who = synthetic.movie_points(
        rng, synthetic.Points(40, 40, 12.0, D=D, false=false, missed=missed, exclusive=False)
    )
    a, times = synthetic.A_NM, 2.25 * np.arange(40)

    def linked(factor):
        return tracks.build(
            linking.link(linking.Points(frame, yx), linking.Rules(factor * a)).track, frame, times[frame], yx
        )

    chosen = gates.reach(linked(1.5), 40, 2.25, a, 144.0)
    assert (chosen > 1.5) == wide
    true = diffusion.cve(tracks.build(who, frame, times[frame], yx), 20, rng, a).D
    error = {factor: abs(diffusion.cve(linked(factor), 20, rng, a).D / true - 1) for factor in gates.REACHES}
    assert error[chosen] < 0.1 or error[chosen] == min(error.values())


def test_longer_hops_are_the_share_that_a_gate_loses():
    from stemdefects.analysis.tracking import gates

    assert gates.lost(1e-4, 1.5) < 1e-3 and gates.lost(0.3, 0.5) == pytest.approx(1)
    # with two hops: half of the ways end beyond 1.5 at squares 3, 3, 4 of 0, 1, 1, 3, 3, 4; MSD of m hops is m
    assert gates.lost(0.05, 1.5) == pytest.approx(np.exp(-0.05) * 0.05 / 2 * 10 / 6, rel=0.1)


def test_bad_arguments():
    with pytest.raises(ValueError):
        linking.link(linking.Points(np.array([1, 0]), np.zeros((2, 2))), linking.Rules(0.4))
    with pytest.raises(ValueError):
        linking.link(linking.Points(np.array([0, 1]), np.zeros((2, 2))), linking.Rules(0.0))
    assert len(linking.link(linking.Points(np.empty(0, int), np.empty((0, 2))), linking.Rules(0.4)).track) == 0


@pytest.mark.parametrize("seed", range(4))
def test_drift_with_jumps_is_never_off_by_a_lattice_vector(seed):
    rng = np.random.default_rng([9, seed])
    steps = 0.02 * rng.standard_normal((50, 2))
    steps[[12, 30]] += rng.uniform(-1, 1, (2, 2))
    true = np.cumsum(steps, 0)
    frame, yx, _ = synthetic.movie_points(rng, synthetic.Points(50, 60, 12.0), drift=true)
    d = drift.from_points(frame, yx, 50, drift.Rules(0.09, 2.0))
    error = d.yx - true
    error -= np.median(error, 0)
    assert np.abs(error).max() < 0.06
    assert np.sqrt((error**2).sum(1).mean()) < 0.015


def test_drift_of_rounded_positions_is_not_held_at_zero():
    rng = np.random.default_rng(3)
    true = np.outer(np.arange(100), [0.0, 0.01])
    frame, yx, _ = synthetic.movie_points(rng, synthetic.Points(100, 70, 15.0, mobile=0.2), drift=true)
    rounded = np.round(yx / 0.046) * 0.046
    d = drift.from_points(frame, rounded, 100, drift.Rules(0.11, 2.0))
    assert d.yx[-1, 1] - d.yx[0, 1] == pytest.approx(0.99, abs=0.05)


def test_drift_without_points():
    d = drift.from_points(np.empty(0, int), np.empty((0, 2)), 5, drift.Rules(0.1, 1.0))
    assert d.method == "none" and (d.yx == 0).all()


def test_bragg_phases_and_points_together_beat_points_alone():
    from stemdefects.analysis.tracking import lattice_drift
    from stemdefects.io.movie import Movie

    rng = np.random.default_rng(5)
    size, scale, n = 160, 0.05, 12
    vectors = synthetic.hexagonal(angle=0.2) / scale
    steps = 0.03 * rng.standard_normal((n, 2))
    steps[6] += 0.8
    true = np.cumsum(steps, 0)
    y, x = np.mgrid[:size, :size]
    g = lattice_drift.three_peaks(vectors)
    frames = []
    for d in true / scale:
        image = sum(np.cos(2 * np.pi * (k[0] * (y - d[0]) + k[1] * (x - d[1]))) for k in g)
        frames.append(rng.poisson(3 * np.exp(0.5 * image)))
    movie = Movie(np.array(frames, np.float32), scale)
    rough = true + 0.04 * rng.standard_normal((n, 2))
    points = drift.Drift(rough, np.full(n, 0.04), np.zeros(n, bool), "points")
    found = lattice_drift.from_movie(movie, vectors, points, scale)
    error = found.yx - (true - true[0])
    assert np.hypot(*error.T).max() < 0.01 and found.method == "bragg" and not found.filled.any()
    blank = Movie(np.concatenate([np.array(frames[:3], np.float32), np.zeros((1, size, size), np.float32)]), scale)
    part = drift.Drift(rough[:4], np.full(4, 0.04), np.zeros(4, bool), "points")
    found = lattice_drift.from_movie(blank, vectors, part, scale)
    assert found.filled.tolist() == [False, False, False, True] and np.isfinite(found.yx).all()
