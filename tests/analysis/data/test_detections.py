"""Reading tables: column mapping, missing units, bad rows, bad files."""

import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis.data import detections
from stemdefects.analysis.motion import estimators
from stemdefects.errors import UserError
from stemdefects.io.tables.table import DefectTable, empty


@pytest.fixture
def cfg():
    cfg = config.load_group("analysis", "default").table
    cfg.min_score = 0.5
    return cfg


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_columns_are_found_by_their_usual_names(tmp_path, cfg):
    path = write(tmp_path, "Frame,cls,X,Y\n1,red,10,20\n0,blue,1,2\n")
    cfg.pixel_size_nm, cfg.frame_time_s = 0.03, 2.0
    found = detections.read(path, cfg)
    assert found.rows["frame"].tolist() == [0, 1]
    assert found.kinds.tolist() == ["blue", "red"]
    assert found.yx[1] == pytest.approx([0.6, 0.3])
    assert found.rows["time_s"][1] == 2.0
    assert (found.length_unit, found.time_unit) == ("nm", "s")


def test_missing_units_are_said_and_lengths_stay_in_pixels(tmp_path, cfg):
    found = detections.read(write(tmp_path, "frame,x,y\n0,1,2\n1,1,2\n"), cfg)
    assert (found.length_unit, found.time_unit) == ("px", "frame")
    assert any("pixel size" in n for n in found.notes) and any("frame time" in n for n in found.notes)


def test_bad_rows_are_left_out_and_counted(tmp_path, cfg):
    text = "frame,x,y,kind\n0,1,1,a\n0,1,1,a\nx,2,2,b\n3,5,nan,a\n4,6,6,\n"
    found = detections.read(write(tmp_path, text), cfg)
    assert len(found.rows) == 2 and found.kinds.tolist() == ["a", "unknown"]
    notes = " ".join(found.notes)
    assert "2 rows without a frame or position" in notes and "1 duplicated" in notes


def test_times_that_run_backwards_are_said(tmp_path, cfg):
    found = detections.read(write(tmp_path, "frame,time_s,x,y\n0,5,1,1\n1,3,1,1\n2,4,1,1\n"), cfg)
    assert any("Times do not increase" in n for n in found.notes)
    assert found.time_unit == "frame"


def test_positions_in_nm_alone(tmp_path, cfg):
    found = detections.read(write(tmp_path, "frame,x_nm,y_nm\n0,1.5,2.5\n"), cfg)
    assert found.yx[0] == pytest.approx([2.5, 1.5]) and found.length_unit == "nm"


def test_known_tables_bring_their_calibration(tmp_path, cfg):
    found = detections.read(write(tmp_path, "frame,cls,x,y\n0,red,1,2\n", "paper_movie_defects.csv"), cfg)
    assert found.pixel_size_nm == 0.0327 and found.frame_time_s == 2.25
    assert found.pixel_size_relative_sigma > 0 and "Source:" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [("a,b\n1,2\n", "no frame column"), ("frame,b\n1,2\n", "no column for y"), ("", "not a readable CSV")],
)
def test_files_that_are_no_table(tmp_path, cfg, text, says):
    with pytest.raises(UserError, match=says):
        detections.read(write(tmp_path, text), cfg)


def test_binary_and_missing_files(tmp_path, cfg):
    (tmp_path / "b.csv").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(UserError, match="not a readable CSV"):
        detections.read(tmp_path / "b.csv", cfg)
    with pytest.raises(UserError, match="no such defect table"):
        detections.read(tmp_path / "none.csv", cfg)


def test_own_table_keeps_frames_without_detections(tmp_path, cfg):
    from stemdefects.io.tables.table import empty_frames

    rows = empty(3)
    rows["frame"], rows["score"], rows["kind"] = [2, 0, 2], [0.9, 0.9, 0.2], b"V_S"
    rows["y_px"] = [1, 2, 3]
    patches = np.arange(3)[:, None, None] * np.ones((3, 32, 32), np.float16)
    DefectTable(rows, empty_frames(6), patches, {"pixel_size_nm": 0.03, "frame_time_s": 1.0}).write(tmp_path / "d.h5")
    found = detections.read(tmp_path / "d.h5", cfg)
    assert found.n_frames == 6 and len(found.rows) == 2
    assert found.patches[:, 0, 0].tolist() == [1, 0]  # in the order of the rows, sorted by frame
    assert any("score below" in n for n in found.notes)


def own_table(n_frames: int, chosen, pixel_yx=(0.06, 0.03), times=None) -> DefectTable:
    """One defect in each of the `chosen` frames of a movie of `n_frames`, as inference would store them."""
    from stemdefects.io.tables.table import empty_frames

    rows, frames = empty(len(chosen)), empty_frames(len(chosen))
    rows["frame"] = frames["frame"] = chosen
    rows["score"], rows["kind"], rows["y_px"], rows["x_px"] = 1, b"V_S", 10.0, 20.0
    rows["y_nm"], rows["x_nm"] = 10 * pixel_yx[0], 20 * pixel_yx[1]
    frames["n_sites"], frames["fraction_lattice"] = 100, 1.0
    if times is not None:
        frames["time_s"] = times
    attrs = {"pixel_size_nm": pixel_yx[1], "pixel_size_yx_nm": list(pixel_yx), "source_shape": [n_frames, 64, 64]}
    return DefectTable(rows, frames, None, attrs)


def test_a_table_of_oblong_pixels_keeps_its_nanometres(cfg):
    found = detections.from_table(own_table(3, [0, 1, 2]), cfg)
    assert found.yx[0] == pytest.approx([0.6, 0.6]) and found.rows["y_nm"][0] == pytest.approx(0.6)
    cfg.pixel_size_nm = 0.02  # the user's width; the shape of a pixel stays
    found = detections.from_table(own_table(3, [0, 1, 2]), cfg)
    assert found.yx[0] == pytest.approx([0.4, 0.4])


def test_frames_that_nobody_looked_at_are_not_observed(cfg):
    table = own_table(12, range(4, 10))
    table.frames["quality"][1] = 4
    table.frames["n_sites"][2] = 0
    found = detections.from_table(table, cfg)
    assert found.n_frames == 12 and np.flatnonzero(found.observed).tolist() == [4, 7, 8, 9]


def test_recorded_times_are_taken_with_their_pauses(cfg):
    found = detections.from_table(own_table(5, [0, 1, 3, 4], times=[0, 2, 906, 908]), cfg)
    assert found.times.tolist() == [0, 2, 454, 906, 908] and found.frame_time_s == 2
    cfg.frame_time_s = 2.0
    assert detections.from_table(own_table(5, [0, 1, 3, 4], times=[0, 2, 906, 908]), cfg).times[3] == 906
    cfg.frame_time_s = 4.0  # the user's word, and it is said that the table's is another
    found = detections.from_table(own_table(5, [0, 1, 3, 4], times=[0, 2, 906, 908]), cfg)
    assert found.times.tolist() == [0, 4, 8, 12, 16] and any("stated one is used" in note for note in found.notes)


def test_what_an_analysis_writes_is_read_again_the_same(cfg, tmp_path):
    import dataclasses

    found = detections.from_table(own_table(12, range(4, 10), times=[8, 10, 12, 914, 916, 918]), cfg)
    attrs = {"pixel_size_nm": found.pixel_size_nm, "pixel_size_yx_nm": found.scale_yx.tolist()}
    DefectTable(found.rows, found.frame_table(), None, attrs | {"source_shape": [12, 64, 64]}).write(tmp_path / "d.h5")
    again = detections.read(tmp_path / "d.h5", cfg)
    assert np.array_equal(again.observed, found.observed) and again.times == pytest.approx(found.times)
    assert again.yx == pytest.approx(found.yx)
    DefectTable(found.rows).write_csv(tmp_path / "d.csv")  # edited or not: scale and times are in its columns
    again = detections.read(tmp_path / "d.csv", cfg)
    assert again.yx == pytest.approx(found.yx, rel=1e-5) and np.ptp(again.rows["time_s"]) == 910
    assert np.array_equal(again.observed[:10], found.observed[:10])
    alone = dataclasses.replace(found, frames=None)
    assert alone.frame_table()["frame"].tolist() == list(range(4, 10))


def test_vacancies_beside_a_centre_are_said_where_no_complex_is_named():
    rows = empty(4)
    rows["kind"], rows["frame"] = [b"Mo_W", b"V_S", b"V_S", b"V_S"], [0, 0, 0, 1]
    rows["y_px"], rows["x_px"] = 50, [50, 56, 62, 56]  # bonded, not bonded, of another frame
    found = detections.Detections(rows, 2, np.arange(2) * 1.0, 0.03, 0.0, 1.0)
    assert estimators.unnamed_complexes(found, "Mo_W", 0.182) == {"V_S": 1}
    assert not estimators.unnamed_complexes(found, "Mo_W", 0.0)
    rows["complex"] = [0, 0, -1, -1]
    assert not estimators.unnamed_complexes(found, "Mo_W", 0.182)


def test_every_D_says_how_many_bound_defects_count_as_free(tmp_path):
    """In the table of estimates, in the summary and to the library."""
    import pandas as pd

    import stemdefects as sd

    rng, lines = np.random.default_rng(3), []
    for track in range(8):
        y, x = 40 + 60 * (track // 4), 40 + 60 * (track % 4)
        for frame in range(12):
            lines.append((frame, y, x, "Mo_W"))
            lines.append((frame, y + rng.normal(0, 0.3), x + 6.07 + rng.normal(0, 0.3), "V_S"))
            lines.append((frame, y + 30 + rng.normal(0, 0.5), x + 30 + rng.normal(0, 0.5), "V_S"))
    path = tmp_path / "others.csv"
    pd.DataFrame(lines, columns=["frame", "y", "x", "kind"]).to_csv(path, index=False)
    quick = {"diffusion": {"n_bootstrap": 30, "gate_scan_lattice": []}, "transitions": {"n_gibbs": 5, "n_burn": 2}}
    with pytest.warns(UserWarning, match="96 of 192 detections are bound to a Mo_W"):
        found = sd.analyze(
            path,
            progress=False,
            table={"pixel_size_nm": 0.03, "frame_time_s": 1.0},
            crystal={"enabled": False},
            **quick,
        )
    of = [e.warning for e in found.analysis.estimates if e.quantity == "D" and e.subject == "V_S"]
    assert of and all("96 of 192 detections are bound" in text for text in of)
    assert not [e for e in found.analysis.estimates if e.subject == "Mo_W" and "bound" in e.warning]
    from stemdefects.report.summary import summary

    assert "UNNAMED_COMPLEXES" in summary(found.analysis)["analysis"]["note_codes"]


def test_states_over_time_give_counts_and_no_rates(tmp_path):
    """By what their rows say, by the name of older files, and where somebody put them in the place of the rows."""
    import dataclasses

    import stemdefects as sd
    from stemdefects.analysis.notes import Code, codes
    from stemdefects.io.tables import table_writer

    rng, rows = np.random.default_rng(5), empty(240)
    rows["frame"], rows["kind"] = np.repeat(np.arange(20), 12), b"V_S"
    rows["y_px"] = np.tile(30 * np.arange(12), 20) + np.cumsum(rng.normal(0, 2, (20, 12)), 0).ravel()
    rows["x_px"], rows["time_s"] = 50 + np.cumsum(rng.normal(0, 2, (20, 12)), 0).ravel(), rows["frame"] * 1.0
    rows["y_nm"], rows["x_nm"] = rows["y_px"] * 0.03, rows["x_px"] * 0.03
    quick = {
        "diffusion": {"n_bootstrap": 30, "gate_scan_lattice": []},
        "crystal": {"enabled": False},
        "kinetics": {"enabled": False},
        "transitions": {"n_gibbs": 5, "n_burn": 2},
    }

    def found(table):
        with pytest.warns(UserWarning):
            return sd.analyze(table, progress=False, **quick).analysis

    everywhere = rows.copy()  # each was called in every frame: all frames together have it at the same places
    everywhere["score"] = 0.99
    own = DefectTable(rows, attrs={"pixel_size_nm": 0.03, "frame_time_s": 1.0}, over_time=everywhere)
    assert [e for e in found(own).estimates if e.quantity == "D" and e.value]
    said = table_writer.write_csv(tmp_path / "anything.csv", [rows], all_frames=True)
    named = table_writer.write_csv(tmp_path / "my_defects_over_time.csv", [rows])
    for table in (said, named, dataclasses.replace(own, over_time=rows.copy())):
        smoothed = found(table)
        assert not [e for e in smoothed.estimates if "D" in e.quantity.split() or "hop" in e.quantity]
        assert any(Code.SMOOTHED in codes(note) for note in smoothed.notes)
        assert len(smoothed.inputs.found.rows) == 240
