"""A person's corrections: what they change, what they say of the model, and what is refused."""

import dataclasses

import numpy as np
import pytest

from stemdefects.analysis import inputs
from stemdefects.analysis.corrections import applied as corrections
from stemdefects.analysis.corrections import queue_stage
from stemdefects.analysis.corrections import stage as corrections_stage
from stemdefects.analysis.data import detections
from stemdefects.analysis.synthetic import defect_rows
from stemdefects.analysis.tracking.linking import relinked
from stemdefects.config import load_group
from stemdefects.crystal import material
from stemdefects.errors import UserError
from stemdefects.io.tables import corrections as files
from stemdefects.io.tables.corrections import Correction
from stemdefects.io.tables.table import DefectTable
from stemdefects.scoring.proportion import proportion

SHAPE = (200, 200)


def movie(n_frames=6):
    """Four resting defects, 40 px apart, in every frame."""
    yx = np.array([[40.0, 40], [40, 120], [120, 40], [120, 120]])
    frame = np.repeat(np.arange(n_frames), 4)
    rows = defect_rows(
        frame, np.tile(yx * 0.03, (n_frames, 1)), 0.03, np.tile(["V_S", "V_S", "Mo_W", "V_S2"], n_frames)
    )
    found = detections.Detections(rows, n_frames, np.arange(n_frames) * 2.0, 0.03, 0.0, 2.0, "movie.h5")
    found.attrs["source_shape"] = [n_frames, *SHAPE]
    return found


def given(found, *items):
    items = tuple(dataclasses.replace(one, line=k + 2) for k, one in enumerate(items))
    return files.Corrections(items, files.digest(found.rows), "c.csv")


def test_add_delete_relabel_exclude_beside_the_table():
    found = movie()
    before = found.rows.tobytes()
    done = corrections.apply(
        found,
        given(
            found,
            Correction("delete", 0, 40.8, 40.0),
            Correction("relabel", 1, 120, 41, "V_W"),
            Correction("add", 2, 160, 160, "V_S"),
            Correction("relabel", 2, 160, 161, "V_S2"),
            Correction("exclude", None, 110, 110, y_to_px=130, x_to_px=130),
            Correction("checked", 0),
            Correction("checked", 2),
        ),
        material.load("ws2_mo"),
    )
    assert found.rows.tobytes() == before and found.corrected is None
    assert len(done.rows) == 24 - 1 + 1 - 6 and (np.diff(done.rows["frame"]) >= 0).all()
    assert not ((done.rows["frame"] == 0) & (done.rows["x_px"] == 40) & (done.rows["y_px"] == 40)).any()
    assert done.rows["kind"][(done.rows["frame"] == 1) & (done.rows["y_px"] == 120)].tolist() == [b"V_W"]
    added = done.rows[done.corrected.origin < 0]
    assert added["kind"] == b"V_S2" and added["time_s"] == 4.0 and added["y_nm"] == pytest.approx(4.8)
    assert len(done.corrected.excluded) == 6 and done.corrected.frames.tolist() == [0, 2] and done.corrected.whole
    cfg = load_group("analysis", "default")
    prepared, _ = inputs.prepare(done, cfg, material.load("ws2_mo"))
    said = {(e.quantity, e.subject): e for e in corrections_stage.run(prepared, cfg, 0).estimates}
    # frames 0 and 2 hold 6 calls outside the region, one of them deleted; 6 are true, one of them missed
    assert said["precision of the model", "all kinds"].value == pytest.approx(5 / 6)
    assert said["recall of the model", "all kinds"].value == pytest.approx(5 / 6)
    assert said["precision of the model", "V_S"].value == pytest.approx(3 / 4)
    assert said["recall of the model", "V_S2"].value == 0


def test_a_region_moves_with_the_specimen():
    import pandas as pd

    found = movie(2)
    found.rows["y_px"][4:] += 30
    frames = {"frame": [0, 1], "drift_y_px": [0.0, 30.0], "drift_x_px": [0.0, 0.0], "fraction_lattice": [1.0, 0.8]}
    found.frames = pd.DataFrame(frames)
    done = corrections.apply(found, given(found, Correction("exclude", None, 30, 0, y_to_px=60, x_to_px=200)))
    assert done.rows["y_px"].tolist() == [120, 120, 150, 150]
    share = 30 / 200
    assert done.frames["fraction_lattice"].tolist() == pytest.approx([1 - share, 0.8 * (1 - share)], abs=0.02)


def test_links_of_a_person():
    frame = np.tile(np.arange(4), 2)
    track = np.repeat([0, 1], 4)
    swapped = relinked(track, frame, np.array([[1, 6]]), np.empty(0, int))  # 0 and 1 were confused from frame 2 on
    assert swapped.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    cut = relinked(track, frame, np.empty((0, 2), int), np.array([2]))
    assert cut.tolist() == [0, 0, 2, 2, 1, 1, 1, 1]
    assert relinked(cut, frame, np.array([[2, 1]]), np.empty(0, int)).tolist() == track.tolist()
    found = movie(4)
    done = corrections.apply(
        found,
        given(
            found,
            Correction("relink", 1, 40, 40, frame_to=2, y_to_px=40, x_to_px=120),
            Correction("unlink", 2, 120, 120),
        ),
    )
    prepared, _ = inputs.prepare(done, load_group("analysis", "default"), material.load("ws2_mo"))
    t = prepared.found.rows["track"].reshape(4, 4)
    assert (t[:2, 0] == t[2:, 1]).all() and (t[:2, 1] == t[2:, 0]).all() and t[1, 3] != t[2, 3]
    assert (t[:, 2] == t[0, 2]).all() and (prepared.events["event"] == b"birth").sum() == 1


def test_file_round_trip_and_what_is_refused(tmp_path):
    found = movie()
    good = given(found, Correction("add", 0, 10.25, 20.5, "V_S"), Correction("checked", 3))
    path = files.write(tmp_path / "c.csv", good)
    assert files.read(path).items == good.items and files.read(path).table == good.table
    text = path.read_text()
    semicolons = tmp_path / "excel.csv"
    semicolons.write_text("\ufeff" + text.replace(",", ";"), encoding="utf-8")
    assert files.read(semicolons).items == good.items
    for change, said in [
        (("add,0", "paint,0"), "line 2: action 'paint'"),
        (("\n1,", "\n2,"), "line 2: schema_version 2"),
        (("10.25", ""), "line 2: add needs y_px"),
        (("10.25", "ten"), "line 2: y_px is 'ten'"),
        (("add,0", "add,0.5"), "line 2: frame is '0.5'"),
        (("kind", "sort"), "no column kind"),
    ]:
        (tmp_path / "bad.csv").write_text(text.replace(*change))
        with pytest.raises(UserError, match=said):
            files.read(tmp_path / "bad.csv")
    with pytest.raises(UserError, match="no such file"):
        files.read(tmp_path / "none.csv")
    with pytest.raises(UserError, match="another table"):
        other = movie()
        other.rows["x_px"][0] += 1
        corrections.apply(other, good)
    for one, said in [
        (Correction("add", 0, 250, 20, "V_S"), "line 3: add: y 250, x 20 lies outside the frames of 200 x 200"),
        (Correction("add", 9, 25, 20, "V_S"), "frame 9 is not in the table"),
        (Correction("relabel", 0, 40, 40, "V_X"), "kind 'V_X' is not one of"),
        (Correction("delete", 0, 60, 60), "no detection within 3.0 px"),
        (Correction("add", 0, 41, 40, "V_S"), "there is a V_S already"),
        (Correction("relink", 0, 40, 40, frame_to=0, y_to_px=40, x_to_px=120), "are in one frame"),
    ]:
        before = found.rows.tobytes()
        with pytest.raises(UserError, match=said):
            corrections.apply(found, given(found, Correction("delete", 1, 40, 40), one), material.load("ws2_mo"))
        assert found.rows.tobytes() == before


def test_interval_of_a_share_holds_for_repeated_calls():
    """Places that are right or wrong together over 10 frames: the interval covers the share nine times in ten or
    more; that of independent calls does not come near."""
    rng = np.random.default_rng(0)
    inside, naive = 0, 0
    for _ in range(300):
        group = np.repeat(np.arange(30), 10)
        right = (rng.random(30) < 0.8)[group] ^ (rng.random(300) < 0.05)
        p = proportion(right, group)
        true = 0.8 * 0.95 + 0.2 * 0.05
        inside += p.low <= true <= p.high
        alone = proportion(right, np.arange(300))
        naive += alone.low <= true <= alone.high
    assert inside > 270 and naive < 180
    all_right = proportion(np.ones(300, bool), group)
    assert all_right.value == 1 and all_right.low < 0.9
    assert proportion(np.zeros(0, bool), np.zeros(0)) is None


def test_the_lattice_model_hears_of_corrections():
    """Evidence of a corrected site frame stands where such a column stands; others are untouched."""
    from stemdefects.io.tables.evidence import EXCLUDED, SITE_DTYPE, Evidence

    found = movie(3)
    sites = np.zeros(2, SITE_DTYPE)
    sites["y_nm"], sites["x_nm"], sites["cell_1"] = [1.2, 4.8], [1.2, 4.8], [0, 9]
    states = [{"kind": "V_S", "level": 5.0}, {"kind": "V_S2", "level": 9.0}]
    description = {"sublattices": [{"features": ["line", "light", "V_S", "V_S2"], "states": states}]}
    values = np.full((3, 2, 4), 0.25, np.float16)
    evidence = Evidence(sites, description, values, np.zeros((3, 2), np.uint8), np.ones((3, 1), np.float32))
    import pandas as pd

    found = dataclasses.replace(found, evidence=evidence, frames=pd.DataFrame({"frame": [0, 1, 2]}))
    done = corrections.apply(
        found,
        given(
            found,
            Correction("delete", 0, 40, 40),
            Correction("add", 1, 161, 160, "V_S2"),
            Correction("add", 1, 80, 80, "V_S"),
            Correction("exclude", 2, 150, 150, y_to_px=170, x_to_px=170),
        ),
        material.load("ws2_mo"),
    )
    got = done.evidence
    assert got.values[0, 0].tolist() == [0, 0.25, 0, 0] and got.values[1, 1].tolist() == [9, 0.25, 0, 1]
    assert (np.delete(got.values.reshape(6, 4), [0, 3], 0) == 0.25).all() and (values == 0.25).all()
    assert got.flags.tolist() == [[0, 0], [0, 0], [0, EXCLUDED]] and done.corrected.unplaced == 1
    added = done.rows[done.corrected.origin < 0]
    assert sorted(added["y_px"].tolist()) == [80, 160]  # one click was put onto its site, the other has none


def test_the_queue_is_not_twenty_times_the_same():
    """Doubts of one sort come first only as long as they are few; nothing is lost, and worth decides within a sort."""
    even = [queue_stage.Doubt(1 - 0.01 * k, k, "even", sort="probability") for k in range(15)]
    odd = [queue_stage.Doubt(0.5 - 0.01 * k, 20 + k, "odd", sort="light") for k in range(5)]
    mixed = queue_stage._mixed([*even, *odd])
    n = queue_stage.ALIKE
    assert [one.row for one in mixed] == [*range(n), *range(20, 25), *range(n, 15)]


def test_library_takes_corrections(tmp_path):
    import stemdefects as sd

    found = movie()
    table = DefectTable(found.rows, attrs={"pixel_size_nm": 0.03, "frame_time_s": 2.0, "source_shape": [6, *SHAPE]})
    frame = files.write(tmp_path / "c.csv", given(found, Correction("delete", 0, 40, 40)))
    leave = [name for name in sd.analyze.__globals__["pipeline"].STAGES if name not in ("counts", "corrections")]
    result = sd.analyze(table, corrections=frame, leave_out=leave, progress=False)
    assert len(result.analysis.inputs.found.rows) == 23 and len(table.rows) == 24
    assert "Corrections: 1 (deleted 1)" in str(result)


def test_a_dataframe_needs_the_columns_of_its_actions_alone():
    import pandas as pd

    found = movie()
    bare = pd.DataFrame({"action": ["delete", "checked"], "frame": [0, 1], "y_px": [40, np.nan], "x_px": [40, np.nan]})
    read = files.read(bare, files.digest(found.rows))
    assert [one.action for one in read.items] == ["delete", "checked"] and read.items[1].y_px is None
    assert len(corrections.apply(found, read).rows) == 23
    with pytest.raises(UserError, match="no column table"):
        files.read(bare)
    with pytest.raises(UserError, match="another table"):  # what it says of itself counts
        corrections.apply(found, files.read(bare.assign(table="0" * 64), files.digest(found.rows)))
    with pytest.raises(UserError, match="line 2: relabel needs kind"):
        files.read(bare.assign(action="relabel"), files.digest(found.rows))
