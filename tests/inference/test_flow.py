"""infer.py from file to table, with a small real network. Its weights are random, so presence is asked for at a level
where it calls columns: what is tested here is the way, not the accuracy."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from stemdefects.commands import detection, infer, resumption
from stemdefects.commands.detection import load_model
from stemdefects.errors import StemdefectsWarning, UserError
from stemdefects.inference.setup import prepare
from stemdefects.inference.tables import stream
from stemdefects.inference.tables.partial_results import PartialResults
from stemdefects.io import locks, opening, runs
from stemdefects.io import movie as movies
from stemdefects.io.tables import table
from stemdefects.report.animation import has_mp4
from tests.inference.small_network import LOOSE, hexagonal_frames, save_model, settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def movie_file(tmp_path_factory):
    """Frames of a clear lattice (so that calibration works), some of them bad; odd size."""
    path = tmp_path_factory.mktemp("movie") / "movie.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = hexagonal_frames(11, (90, 121))
        file["frames"][4] = 7.0
        file["frames"][6, :70] = np.nan
        file.attrs.update(pixel_size_nm=0.03, frame_time_s=2.0)
    return path


@pytest.fixture(scope="module")
def whole(model_dir, movie_file, tmp_path_factory):
    """The run of an inference that nothing disturbed."""
    cfg = settings(model_dir, movie_file, tmp_path_factory.mktemp("whole"))
    cfg.inference.pictures.every = 4
    return infer.infer(cfg)


def test_from_file_to_table_with_bad_frames(model_dir, movie_file, whole, tmp_path):
    run = whole
    found = table.DefectTable.read(run.defects_path)
    assert len(found) > 20 and len(found.patches) == len(found)
    assert found.frames["frame"].tolist() == list(range(11))
    assert found.frames["quality"].tolist() == [0, 0, 0, 0, movies.CONSTANT, 0, movies.NOT_FINITE, 0, 0, 0, 0]
    assert not np.isin(found.rows["frame"], (4, 6)).any() and (np.diff(found.rows["frame"]) >= 0).all()
    np.testing.assert_array_equal(np.bincount(found.rows["frame"], minlength=11), found.frames["n_defects"])
    pixel = found.pixel_size_nm
    assert pixel == pytest.approx(0.03, rel=0.01)
    np.testing.assert_allclose(found.rows["y_nm"], found.rows["y_px"] * pixel, rtol=1e-5)
    np.testing.assert_allclose(found.rows["time_s"], 2.0 * found.rows["frame"])
    assert (found.rows["y_px"] > 0).all() and (found.rows["y_px"] < 90).all() and (found.rows["x_px"] < 121).all()
    assert (found.rows["score"] <= 1).all() and (found.rows["score"] >= found.rows["kind_prob"] - 1e-6).all()
    fractions = [found.frames[f"fraction_{n}"] for n in ("lattice", "hole", "amorphous", "1T")]
    np.testing.assert_allclose(np.sum(fractions, 0)[found.frames["quality"] == 0], 1, atol=1e-5)
    assert {"source_sha256", "model_id", "material", "config", "calibration"} <= set(found.attrs)
    assert len(found.attrs["source_sha256"]) == 64
    summary = run.read_summary()
    assert summary["n_frames_skipped"] == 2 and summary["skipped"] == {"constant": 1, "not finite": 1}
    assert not (run.path / "defects.partial").exists()
    pictures = {p.name for p in (run.path / "pictures").iterdir()}
    assert {
        "contact_sheet.png",
        f"detections.{'mp4' if has_mp4() else 'gif'}",
        "first_frame_00000.png",
        "last_frame_00010.png",
    } <= pictures
    more = sorted(p.name for p in (run.path / "pictures" / "frames").iterdir())
    assert more == ["frame_00000.png", "frame_00005.png", "frame_00010.png"]  # of those that are good
    rows = (run.path / "defects.csv").read_text().splitlines()
    assert len(rows) == len(found) + 1 and rows[0].split(",") == list(table.DEFECT_DTYPE.names)
    assert found.over_time is not None and (np.diff(found.over_time["frame"]) >= 0).all()
    assert (found.over_time["score"] >= 0.5).all() and np.isfinite(found.over_time["y_px"]).all()
    assert len((run.path / "defects_over_time.csv").read_text().splitlines()) == len(found.over_time) + 1
    # the columns of a network that learned nothing form no lattice to drift with; test_devices.py has one that does
    assert np.isnan(found.frames["drift_y_px"][[4, 6]]).all()
    again = dataclasses.replace(settings(model_dir, movie_file, tmp_path), run=run.id, runs_dir=str(run.path.parent))
    again.inference.model = None
    with pytest.raises(UserError, match="overwrite=true"):
        infer.infer(again)


def test_killed_and_resumed_gives_the_same_bytes(model_dir, movie_file, whole, tmp_path):
    folder = tmp_path / "killed" / "runs"
    command = [
        sys.executable,
        str(ROOT / "infer.py"),
        f"model={model_dir}",
        f"runs_dir={folder}",
        f"input={movie_file}",
        "logging=disabled",
        "inference.block_frames=3",
        "inference.batch_size=2",
        *LOOSE,
    ]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    deadline = time.time() + 300
    while first.poll() is None and not list(folder.glob("*/*/block_*.npz")) and time.time() < deadline:
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    first.wait()
    [run_id] = runs.list_ids(folder)
    run = runs.Run(folder / run_id)
    partial = run.path / "defects.partial"
    assert not run.defects_path.exists(), "an unfinished table must not look finished"
    kept = len(list(partial.glob("block_*.npz")))
    assert 1 <= kept <= 4
    (partial / "block_000003.npz").write_bytes(b"half a block")  # as a full disk would leave it
    second = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert second.returncode == 0, second.stderr
    assert f"run {run_id}: going on after an interruption" in second.stdout and runs.list_ids(folder) == [run_id]
    assert "2 frames skipped" in second.stdout and "defects.h5" in second.stdout
    ours, theirs = (table.DefectTable.read(r.defects_path) for r in (run, whole))
    for name in ("rows", "frames", "over_time"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.tobytes() == b.tobytes(), name
    assert ours.patches.tobytes() == theirs.patches.tobytes()


def test_only_left_blocks_of_the_same_inference_are_gone_on_with(tmp_path):
    same, other = {"source": "a.h5"}, {"source": "b.h5"}

    def interrupted(runs_dir):
        with contextlib.ExitStack() as holding:
            run = resumption.interrupted(str(runs_dir), same, holding)
            return run and run.id

    assert interrupted(tmp_path / "none") is None
    old, finishing, another, replacing = (runs.create(tmp_path) for _ in range(4))
    for run, what in ((old, same), (finishing, same), (another, other), (replacing, same)):
        about = {"fingerprint": what, "replaces": run is replacing}
        PartialResults(run.path / "defects.partial").start(about)
    finishing.defects_path.touch()  # its table is there, its end was not reached
    first = max(old.id, finishing.id)
    assert interrupted(tmp_path) == first
    with locks.held(runs.Run(tmp_path / first), "infer"):  # as by a process that works on it
        assert interrupted(tmp_path) == min(old.id, finishing.id)
    assert interrupted(tmp_path) == first


def test_an_interrupted_inference_with_other_settings_is_not_mixed(model_dir, movie_file, tmp_path):
    cfg = settings(model_dir, movie_file, tmp_path)
    run = runs.create(cfg.runs_dir)
    (run.path / "model").symlink_to(model_dir)
    cfg.run, cfg.inference.model = run.id, None
    PartialResults(run.path / "defects.partial").start({"fingerprint": {"source": "another.h5"}})
    with pytest.raises(UserError, match=r"another\.h5"):
        infer.infer(cfg)
    cfg.overwrite = True
    assert len(table.DefectTable.read(infer.infer(cfg).defects_path)) > 0


def test_an_image_and_part_of_a_movie(model_dir, movie_file, tmp_path):
    with opening.read(movie_file) as movie:
        np.save(tmp_path / "one.npy", movie.frame(0))
    cfg = settings(model_dir, tmp_path / "one.npy", tmp_path, frames="0")
    run = infer.infer(cfg)
    one = table.DefectTable.read(run.defects_path)
    assert one.n_frames == 1 and np.isnan(one.rows["time_s"]).all()
    assert [p.name for p in sorted((run.path / "pictures").iterdir())] == ["contact_sheet.png", "first_frame_00000.png"]
    part = table.DefectTable.read(infer.infer(settings(model_dir, movie_file, tmp_path, frames="1:10:4")).defects_path)
    assert part.frames["frame"].tolist() == [1, 5, 9] and set(part.rows["frame"]) <= {1, 5, 9}


def test_frames_do_not_depend_on_their_neighbours_or_the_batch(model_dir, movie_file, whole):
    """And the library gives what the command line gives."""
    a = table.DefectTable.read(whole.defects_path)
    with pytest.warns(StemdefectsWarning, match="2 frames skipped .1 not finite, 1 constant.; first: "):
        b = detection.detect(
            movie_file,
            model_dir,
            progress=False,
            batch_size=3,
            block_frames=5,
            presence=0.14,
            thresholds={"defect": 0.05},
            exclude_regions=[],
            over_time={"min_frames": 12},
        )
    assert "2 frames skipped" in repr(b)
    assert b.over_time is None and b.n_frames == a.n_frames and b.pixel_size_nm == a.pixel_size_nm
    assert len(a) == len(b)
    for name in ("y_px", "x_px", "score"):
        np.testing.assert_allclose(a.rows[name], b.rows[name], atol=1e-3)


def test_a_model_of_three_frames_sees_its_neighbours_whatever_the_blocks(movie_file, tmp_path):
    model = save_model(tmp_path, n_frames=3)
    common = {"progress": False, "presence": 0.14, "thresholds": {"defect": 0.05}, "exclude_regions": []}
    a = detection.detect(movie_file, model, block_frames=2, frames="0:8", **common)
    b = detection.detect(movie_file, model, block_frames=5, frames="0:8", **common)
    assert a.frames["quality"].tolist() == [0, 0, 0, 0, movies.CONSTANT, 0, movies.NOT_FINITE, 0]
    assert len(a) == len(b) > 20
    for name in ("frame", "y_px", "x_px", "score"):
        np.testing.assert_allclose(a.rows[name], b.rows[name], atol=1e-3)


def test_an_ensemble_says_how_far_its_members_differ(movie_file, tmp_path):
    common = {"progress": False, "presence": 0.14, "thresholds": {"defect": 0.05}, "exclude_regions": []}
    common |= {"frames": "0:2", "over_time": {"enabled": False}}
    alike, apart = (save_model(tmp_path / str(seeds[1]), seeds=seeds) for seeds in ((3, 3), (3, 4)))
    one = detection.detect(movie_file, save_model(tmp_path / "one"), **common)
    two = detection.detect(movie_file, alike, **common)
    assert len(one) == len(two) > 5 and np.isnan(one.rows["kind_spread"]).all()
    np.testing.assert_allclose(two.rows["kind_prob"], one.rows["kind_prob"], atol=1e-4)
    np.testing.assert_allclose(two.rows["kind_spread"], 0, atol=1e-4)
    for symmetries in (1, 2):
        found = detection.detect(movie_file, apart, symmetries=symmetries, **common).rows
        p, spread = found["kind_prob"].astype(float), found["kind_spread"]
        assert len(found) and (spread > 1e-5).all() and (spread <= np.sqrt(p * (1 - p)) + 1e-6).all()


def test_the_mean_of_nine_frames_has_a_third_of_the_noise(tmp_path):
    frames, clean = hexagonal_frames(9, (96, 96)), hexagonal_frames(1, (96, 96), seed=None)[0]
    movie = movies.Movie(frames, pixel_size_nm=0.03, frame_time_s=1.0)
    setup = prepare(movie, load_model(save_model(tmp_path / "one")), detection.configure(average_frames=9))
    seen = next(stream._read_ahead(movie, setup, [0])).stacks[4].stack
    assert seen.shape == (1, 96, 96)
    assert (seen[0] - clean).std() == pytest.approx((frames[4] - clean).std() / 3, rel=0.05)
    with pytest.raises(UserError, match="takes 3 frames"):
        prepare(movie, load_model(save_model(tmp_path / "three", n_frames=3)), detection.configure(average_frames=3))


@pytest.mark.parametrize(
    "change,message",
    [
        ({"calibration": "guess"}, "lattice, metadata"),
        ({"frames": "9:1"}, "selects no frames"),
        ({"frames": "a:b"}, "start:stop:step"),
        ({"tile_px": 8}, "tile_px"),
        ({"batch_size": 0}, "batch_size"),
        ({"average_frames": 4}, "must be odd"),
        ({"patch_nm": -1.0}, "patch_nm"),
        ({"exclude_regions": ["moon"]}, "exclude_regions=moon: there are: lattice, hole, amorphous, 1T"),
        ({"thresholds": {"V_S": 1.5}}, "thresholds.V_S=1.5: must lie in 0..1"),
        ({"thresholds": {"V_Q": 0.5}}, "no such kind"),
    ],
)
def test_settings_that_make_no_sense(model_dir, movie_file, tmp_path, change, message):
    cfg = settings(model_dir, movie_file, tmp_path)
    for name, value in change.items():
        setattr(cfg.inference, name, value)
    with pytest.raises(UserError, match=message):
        infer.infer(cfg)


def test_bad_input_is_one_line_and_exit_2_and_leaves_nothing(model_dir, tmp_path):
    noise = np.random.default_rng(0).poisson(5.0, (64, 64)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    np.save(tmp_path / "constant.npy", np.ones((3, 64, 64)))
    (tmp_path / "text.dm3").write_text("not a dm3")
    messages = {"missing.tif": "no such file", "constant.npy": "no usable frame", "text.dm3": "cannot be read as"}
    for name, message in messages.items():
        with pytest.raises(UserError, match=message):
            infer.infer(settings(model_dir, tmp_path / name, tmp_path))
    found = subprocess.run(
        [
            sys.executable,
            str(ROOT / "infer.py"),
            f"inference.model={model_dir}",
            f"input={tmp_path / 'noise.npy'}",
            f"runs_dir={tmp_path / 'runs'}",
            "logging=disabled",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert found.returncode == 2, found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "inference.pixel_size_nm" in last and "Traceback" not in found.stderr
    assert not (tmp_path / "runs").exists(), "nothing is left of a failure"


def test_calibration_by_the_lattice_or_by_the_metadata(model_dir, tmp_path):
    """The file states 8% too little. Which counts is the user's choice; the network sees the same either way."""
    frames = hexagonal_frames(2, (96, 96))
    movie = movies.Movie(frames, pixel_size_nm=0.03 / 1.08)
    common = {"progress": False, "presence": 0.14, "thresholds": {"defect": 0.05}, "exclude_regions": []}
    with pytest.warns(StemdefectsWarning, match="Pixel size: .*DISAGREES"):
        by_lattice = detection.detect(movie, model_dir, **common)
    assert "pixel size disagrees" in repr(by_lattice)
    by_file = detection.detect(movie, model_dir, calibration="metadata", **common)
    assert by_lattice.pixel_size_nm == pytest.approx(0.03, rel=0.01)
    assert by_file.pixel_size_nm == pytest.approx(0.03 / 1.08, rel=1e-6)
    assert "DISAGREES" in by_lattice.attrs["calibration"]["message"]
    assert by_file.attrs["calibration"]["origin"] == "metadata"
    assert len(by_file) == pytest.approx(len(by_lattice), rel=0.05)  # edge_nm is another number of pixels
    for found in (by_file, by_lattice):
        np.testing.assert_allclose(found.rows["y_nm"], found.rows["y_px"] * found.pixel_size_nm, rtol=1e-5)
    np.testing.assert_allclose(by_lattice.frames["pixel_size_nm"], 0.03, rtol=0.01)
    np.testing.assert_allclose(by_lattice.frames["strain_yy"], 0, atol=0.01)
    with pytest.raises(UserError, match="no pixel size and no lattice"):
        noise = np.random.default_rng(0).poisson(5.0, (1, 64, 64))
        detection.detect(movies.Movie(noise), model_dir, calibration="lattice", **common)


def test_pixels_that_are_not_square():
    """Rows 1.25 times as far apart as columns: the same places in nm, rows counted in the file's own pixels."""
    import jax

    from stemdefects import config
    from stemdefects.crystal import material as crystal
    from stemdefects.models.frames import resample
    from stemdefects.simulation.images import make_simulator

    cfg = config.load_group("simulation", "limit")
    cfg.detector.dose_e_per_px = [20000.0, 20000.0]
    image, _ = make_simulator(crystal.load("ws2_mo"), cfg, (160, 128))(jax.random.key(0))
    fine = np.repeat(np.asarray(image)[None], 3, 0)
    square = movies.Movie(fine, pixel_size_nm=0.03)
    shape = resample.resampled_shape((160, 128), (0.8, 1.0))
    coarse = np.einsum("nHW,hH->nhW", fine, resample.weights(160, 0.8, shape[0]))
    sizes = {"pixel_size_yx_nm": (0.0375, 0.03)}
    tall = movies.Movie(coarse, pixel_size_nm=0.03, metadata=sizes)
    assert tall.aspect == pytest.approx(1.25) and square.aspect == 1
    a, b = (detection.detect(m, "ws2_mo", over_time={"min_frames": 2}, progress=False) for m in (square, tall))
    assert min(len(a.rows), len(b.rows), len(b.over_time)) > 20
    assert b.pixel_size_nm == pytest.approx(0.03, rel=0.01)
    np.testing.assert_allclose(b.rows["y_nm"], b.rows["y_px"] * 1.25 * b.pixel_size_nm, rtol=1e-5)
    np.testing.assert_allclose(b.over_time["y_nm"], b.over_time["y_px"] * 1.25 * b.pixel_size_nm, rtol=1e-5)
    assert b.rows["y_px"].max() < shape[0] and b.rows["y_nm"].max() > 0.9 * a.rows["y_nm"].max()
    for found in (a, b):  # each frame's own lattice: 0.03 nm/px, turned alike, not strained
        np.testing.assert_allclose(found.frames["pixel_size_nm"], 0.03, rtol=1e-3)
        np.testing.assert_allclose(found.frames["angle_deg"], a.frames["angle_deg"][0], atol=0.1)
        for name in ("strain_yy", "strain_xx", "strain_xy"):
            np.testing.assert_allclose(found.frames[name], 0, atol=1e-3)
    for name in ("a1_y_px", "a2_y_px"):
        assert np.median(b.frames[name]) * 1.25 == pytest.approx(np.median(a.frames[name]), abs=0.05)
    places = [np.stack([t.rows["y_nm"], t.rows["x_nm"]], 1)[t.rows["frame"] == 0] for t in (a, b)]
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=2).min(1)
    assert (apart < 0.02).mean() > 0.8, "the same defects at the same places"
