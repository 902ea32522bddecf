"""The independent simulator: its kinetics have the rates they are given, its frames show what its truth says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.independent import files, kinetics, scene
from benchmarks.independent.render import Camera
from benchmarks.independent.specimen import Specimen

RATES = kinetics.Rates(hop=0.05, attach=0.02, detach=0.04, turn=0.05, fill=0.001, pair=0.02, split=0.03)


def walk(reservoir: bool, rates=RATES, seed: int = 0, seconds: float = 250.0) -> kinetics.Walk:
    lattice = kinetics.Lattice(22)
    rng = np.random.default_rng(seed)
    centres = [k for k, (i, j) in enumerate(lattice.cells) if i % 5 == 2 and j % 5 == 2]
    missing = np.zeros(len(lattice.cells), int)
    missing[rng.choice(len(missing), 40, replace=False)] = 1
    missing[lattice.bonds[centres]] = 0
    run = kinetics.Walk(lattice, missing, centres, np.ones(len(missing), bool), rates, reservoir, rng)
    run.advance(seconds)
    return run


@pytest.mark.parametrize("reservoir", [True, False])
def test_events_over_exposure_give_the_rates_back(reservoir):
    run = walk(reservoir)
    times = np.arange(0.25, 250, 0.5)
    e = kinetics.exposure(run, np.ones((len(times), len(run.missing)), bool), times, 250.0)
    ways = {"hop": "hop_way", "attach": "attach_way", "detach": "caught", "turn": "turn_way", "split": "empty"}
    for process, of in ways.items():
        expected = getattr(RATES, process) * e[of]
        assert expected > 10, process
        assert abs(e[f"n_{process}"] - expected) < 4 * np.sqrt(expected), process


def test_centres_hold_a_vacancy_for_the_share_of_time_that_their_rates_say():
    run = walk(True, kinetics.Rates(attach=0.02, detach=0.03, turn=0.05), seconds=1200.0)
    times = np.arange(100, 1200, 10.0)
    held = np.mean([run.at(s, times)[0] for s in run.lattice.bonds[run.centres].ravel()]) * 3
    assert abs(held - 0.06 / (0.06 + 0.03)) < 0.05


def test_a_closed_lattice_keeps_its_vacancies_and_hops_go_to_neighbours():
    run = walk(False, kinetics.Rates(hop=0.1, attach=0.2, detach=0.05, turn=0.1, pair=0.05, split=0.05))
    assert sum(run.missing) == run.start.sum()
    assert set(run.missing) <= {0, 1, 2}
    e = run.events
    assert len(e.time_s) > 200
    assert all(t in run.lattice.hops[s] for s, t in zip(e.source, e.target, strict=True))


@pytest.mark.parametrize("variant", ["plain", "strain"])
def test_frames_show_what_the_truth_says(variant):
    setting = replace(scene.draw(variant, 3, 5e4, 128, 3, ["plain"]), gain=10.0)
    specimen = Specimen(setting)
    frame, seen = Camera(specimen).frame(2)
    n = len(specimen.metal)
    inner = ((seen.place_px > 8) & (seen.place_px < 120)).all(1)
    light = [_around(frame, place) for place in seen.place_px[inner]]
    kind = np.where(np.arange(2 * n) < n, np.append(specimen.metal, specimen.metal), "S2")
    kind[n:][seen.missing == 1], kind[n:][seen.missing == 2] = "S", "V"
    mean = {k: np.mean(np.array(light)[kind[inner] == k]) for k in ("W", "Mo", "S2", "S")}
    assert mean["W"] > 1.8 * mean["S2"]
    assert mean["S2"] < mean["Mo"] < 0.75 * mean["W"]
    assert mean["S"] < mean["S2"]


def _around(frame, place):
    y, x = np.rint(place).astype(int)
    return frame[y - 1 : y + 2, x - 1 : x + 2].mean()


def test_the_files_hold_the_same_truth(tmp_path):
    import h5py
    import pandas as pd

    setting = scene.draw("gaps", 1, 400.0, 96, 12, ["plain"])
    path = files.write(tmp_path / "movie.h5", setting)
    truth = json.loads((tmp_path / "movie_truth.json").read_text())
    table, arrays = pd.read_csv(tmp_path / "movie_defects.csv"), np.load(tmp_path / "movie_truth.npz")
    for kind, counts in truth["counts_per_frame"].items():
        assert (table["kind"] == kind).groupby(table["frame"]).sum().tolist() == counts
    assert ((arrays["missing"] == 1) & arrays["seen"]).sum(1).tolist() == truth["counts_per_frame"]["V_S"]
    with h5py.File(path) as file:
        assert file["frames"].shape == (12, 96, 96)
        assert np.diff(file["time_s"][:]).max() > 2 * setting.frame_time_s
        assert "frame_time_s" not in file["frames"].attrs
