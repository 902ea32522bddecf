"""Movies: what is written is what happened."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material
from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.io.tables.table import DEFECT_DTYPE
from stemdefects.simulation import files
from stemdefects.simulation.movies import Scene
from stemdefects.simulation.specimen.kinetics import LOST

ROOT = Path(__file__).parents[2]
WS2 = material.load("ws2_mo")
SIZE = 96


def _small(**movie):
    cfg = config.load_group("simulation", "demo_movie")
    cfg.view.size_px = [SIZE, SIZE]
    cfg.defects.density_at = 0.85
    cfg.scan.row_jitter_px = cfg.scan.slow_jitter_px = cfg.scan.flyback_px = [0.0, 0.0]
    cfg.movie.n_frames, cfg.movie.block_frames = 7, 3
    cfg.movie.hop_rate_per_s, cfg.movie.drift_px_per_frame = 0.05, [0.8, -0.5]
    for name, value in movie.items():
        setattr(cfg.movie, name, value)
    return cfg


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("movie") / "movie.h5"
    files.write_movie(path, WS2, _small(), seed=3, progress=False)
    return path


def test_the_file_keeps_its_contract(written):
    with h5py.File(written) as file:
        n, height, width = file["frames"].shape
        assert (n, height, width) == (7, SIZE, SIZE) and file["frames"].chunks == (1, SIZE, SIZE)
        for name in ("pixel_size_nm", "frame_time_s", "dose_e_per_px", "source"):
            assert name in file["frames"].attrs
        truth = file["truth"]
        n_sites = len(truth["site"])
        assert truth["defects"].dtype == DEFECT_DTYPE
        assert truth["drift_px"].shape == (7, 2) and truth["sites_px"].shape == (n_sites, 2)
        assert truth["states"].shape == (7, n_sites) and truth["states"].dtype == np.uint8
        labels = json.loads(truth.attrs["state_labels"])
        generator = truth.attrs["generator_per_s"]
        assert labels == ["Mo_W", "Mo_W+V_S@0", "Mo_W+V_S@1", "Mo_W+V_S@2"] and generator.shape == (4, 4)
        assert np.abs(generator.sum(1)).max() < 1e-12
        assert truth.attrs["D_nm2_per_s"] == pytest.approx(0.3153**2 * 6 * 0.05 / 4)
        assert json.loads(truth.attrs["config"])["movie"]["n_frames"] == 7
    movie = opening.read(written)
    assert movie.pixel_size_nm == pytest.approx(0.03) and movie.frame_time_s == pytest.approx(2.25)
    assert len(movie.frames) == 7


def test_rows_states_events_and_pictures_tell_one_story(written):
    with h5py.File(written) as file:
        frames, truth = file["frames"][:].astype(float), file["truth"]
        rows, states, drift = truth["defects"][:], truth["states"][:], truth["drift_px"][:]
        sites, events, state = truth["sites_px"][:], truth["events"][:], truth["initial_states"][:]
    kinds = WS2.kind_of_state
    for number in range(7):
        here = rows[rows["frame"] == number]
        place = sites + drift[number]
        inside = ((place > 2) & (place < SIZE - 3)).all(1)
        defective = np.flatnonzero((kinds[states[number]] >= 0) & inside)
        for slot in defective:  # every defect has its row, within relaxation, jitter and flyback of its site
            near = here[np.hypot(here["y_px"] - place[slot, 0], here["x_px"] - place[slot, 1]) < 2.0]
            assert WS2.kind_names[kinds[states[number][slot]]].encode() in near["kind"]
        assert len(np.unique(here["track"])) == len(here)  # no identity twice
        before = state.copy()
        for event in events[events["time_s"] < 2.25 * (number + 1)]:
            before[event["site"]] = event["state"]
        changed = events[(events["time_s"] >= 2.25 * number) & (events["time_s"] < 2.25 * (number + 1))]["site"]
        quiet = ~np.isin(np.arange(len(state)), changed)
        assert np.array_equal(before[quiet], states[number][quiet])
        metal = here[np.isin(here["kind"], [b"V_W"])]
        for row in metal[
            (metal["y_px"] > 3) & (metal["y_px"] < SIZE - 4) & (metal["x_px"] > 3) & (metal["x_px"] < SIZE - 4)
        ]:
            y, x = round(float(row["y_px"])), round(float(row["x_px"]))
            assert frames[number][y - 1 : y + 2, x - 1 : x + 2].mean() < np.percentile(frames[number], 50)


def test_tracks_move_by_single_hops_of_the_lattice(written):
    with h5py.File(written) as file:
        rows, drift = file["truth/defects"][:], file["truth/drift_px"][:]
    vacancies = rows[(rows["kind"] == b"V_S") & (rows["complex"] < 0)]
    lengths = []
    for track in np.unique(vacancies["track"]):
        own = vacancies[vacancies["track"] == track]
        place = np.stack([own["y_px"], own["x_px"]], 1) - drift[own["frame"]]
        step = np.linalg.norm(np.diff(place, axis=0), axis=1)[np.diff(own["frame"]) == 1] * 0.03
        lengths += step.tolist()
    lengths = np.array(lengths)
    rest, moved = lengths[lengths < 0.1], lengths[lengths >= 0.1]
    assert len(rest) > 20 and rest.max() < 0.09
    assert len(moved) > 2
    whole = np.sqrt([1, 3, 4, 7, 9, 12, 13]) * WS2.a_nm
    assert np.abs(moved[:, None] - whole).min(1).max() < 0.09


def test_orientations_are_bonds_of_the_centre(written):
    with h5py.File(written) as file:
        rows = file["truth/defects"][:]
        affine = file["truth"].attrs["affine"]
    angle = np.arctan2(affine[0, 1], affine[1, 1])
    checked = 0
    for center in rows[(rows["kind"] == b"Mo_W") & (rows["orientation"] >= 0)]:
        partner = rows[
            (rows["frame"] == center["frame"]) & (rows["complex"] == center["complex"]) & (rows["kind"] == b"V_S")
        ]
        if len(partner) == 1:
            way = np.arctan2(partner["y_px"][0] - center["y_px"], partner["x_px"][0] - center["x_px"]) - angle
            expected = np.deg2rad(30.0 + 120.0 * float(center["orientation"]))
            assert abs(np.angle(np.exp(1j * (way - expected)))) < 0.5
            checked += 1
    assert checked > 2


def test_the_same_seed_gives_the_same_movie_whatever_the_block_size(written):
    with h5py.File(written) as file:  # written by threes
        frames, states = file["frames"][:].astype(float), file["truth/states"][:]
    (whole,) = Scene(WS2, _small(block_frames=7), seed=3).blocks()
    assert np.array_equal(whole.states, states)
    assert (np.abs(whole.frames - frames) <= 1).mean() > 0.999  # rounding of counts


def test_holes_are_lost_columns_dark_and_masked():
    cfg = _small(n_frames=4, hole_cross_section_nm2=2e-10, hole_rate_per_s=0.02, damage_cross_section_nm2=1e-11)
    scene = Scene(WS2, cfg, seed=1)
    blocks = list(scene.blocks())
    states = np.concatenate([b.states for b in blocks])
    lost = (states == LOST).sum(1)
    assert lost[-1] > lost[0] and lost[-1] > 5
    regions = blocks[-1].regions
    assert regions is not None and (regions == 1).any()
    last = blocks[-1].frames[-1].astype(float)
    hole = regions[-1] == 1
    if hole.sum() > 30:
        assert last[hole].mean() < 0.7 * last[~hole].mean()


def test_crystal_film_and_dirt_drift_together():
    """Without noise and kinetics a frame is the one before, displaced by the drift."""
    cfg = _small(
        n_frames=2,
        block_frames=2,
        drift_px_per_frame=[0.0, -4.0],
        drift_wander_px=0.0,
        hop_rate_per_s=0.0,
        attach_rate_per_s=0.0,
        detach_rate_per_s=0.0,
        switch_rate_per_s=0.0,
    )
    cfg.regions.amorphous_probability, cfg.regions.amorphous_fraction = 1.0, [0.3, 0.3]
    cfg.detector.poisson = cfg.detector.integer = False
    cfg.detector.blotches, cfg.detector.blotch_length_nm = [0.3, 0.3], [0.8, 0.8]
    cfg.detector.pulse_spread = cfg.detector.read_noise_e = cfg.detector.line_gain = [0.0, 0.0]
    cfg.scan.row_jitter_y_px = cfg.detector.afterglow_px = [0.0, 0.0]
    (block,) = Scene(WS2, cfg, seed=5).blocks()
    assert (block.regions == 2).mean() > 0.1
    before = block.frames[0][:, 12:-8]
    after = block.frames[1][:, 8:-12]
    assert np.abs(after - before).max() < 0.03 * np.ptp(before)
    unmoved = block.frames[1][:, 12:-8]
    assert np.abs(unmoved - before).max() > 0.3 * np.ptp(before)


def test_tiff_movies_have_their_truth_beside_them_and_another_seed_is_another_movie(written, tmp_path):
    import tifffile

    path = files.write_movie(tmp_path / "movie.tif", WS2, _small(n_frames=3), seed=6, progress=False)
    frames = tifffile.imread(path)
    assert frames.shape == (3, SIZE, SIZE)
    with h5py.File(written) as file:
        assert (np.abs(frames.astype(float) - file["frames"][:3]) > 1).mean() > 0.5
    table = (tmp_path / "movie_truth.csv").read_text().splitlines()
    assert table[0].split(",") == list(DEFECT_DTYPE.names) and len(table) > 10
    truth = json.loads((tmp_path / "movie_truth.json").read_text())
    assert len(truth["drift_px"]) == 3 and len(truth["generator_per_s"]) == 4


def test_an_interrupted_movie_is_shorter_but_whole(tmp_path, monkeypatch):
    blocks = Scene.blocks

    def interrupted(self):
        for number, block in enumerate(blocks(self)):
            if number == 1:
                raise KeyboardInterrupt
            yield block

    monkeypatch.setattr(Scene, "blocks", interrupted)
    path = tmp_path / "movie.h5"
    with pytest.raises(KeyboardInterrupt):
        files.write_movie(path, WS2, _small(), seed=3, progress=False)
    with h5py.File(path) as file:
        assert len(file["frames"]) == len(file["truth/states"]) == len(file["truth/drift_px"]) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_are_refused_before_any_work(tmp_path):
    taken = tmp_path / "taken.h5"
    taken.write_text("mine")
    for output, words in (
        (None, "say where"),
        (str(taken), "exists already"),
        (str(tmp_path / "a.xyz"), "suffix"),
        (str(tmp_path / "none" / "a.h5"), "does not exist"),
    ):
        with pytest.raises(UserError, match=words):
            files.check_output(output, overwrite=False)
    assert files.check_output(str(taken), overwrite=True) == taken


def test_the_command_refuses_bad_settings_in_one_line(tmp_path):
    command = [sys.executable, "simulate.py", f"output={tmp_path / 'a.h5'}", "simulation.detector.dose_e_per_px=[-1,1]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "simulation.detector.dose_e_per_px" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "a.h5").exists()


def test_other_materials_move_too():
    graphene = material.load("graphene_si")
    cfg = copy.deepcopy(_small(n_frames=2))
    cfg.movie.hop_rate_per_s = 0.3
    (block,) = Scene(graphene, cfg, seed=0).blocks()
    assert np.isfinite(block.frames).all() and block.events
