"""Tables of other programs: each is read right, or refused in one line."""

import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis.data import detections
from stemdefects.errors import UserError

N_FRAMES, N = 6, 5
PLACES = np.random.default_rng(1).uniform(10, 200, (N, 2)).round(3)  # px, (y, x)
ROWS = [(t, y, x, "V_S" if k % 2 else "Mo_W") for t in range(N_FRAMES) for k, (y, x) in enumerate(PLACES)]


@pytest.fixture
def cfg():
    return config.load_group("analysis", "default").table


def read(tmp_path, cfg, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return detections.read(path, cfg)


def lines(header, make, mark=",", rows=ROWS):
    return "\n".join([header, *(mark.join(str(v) for v in make(*row)) for row in rows)]) + "\n"


def comma(value):
    return str(value).replace(".", ",")


def trackmate(unit="nm", time_unit="sec", scale=0.03):
    names = "LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME"
    words = "Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame"
    units = f",,,(quality),({unit}),({unit}),({unit}),({time_unit}),"
    body = [f"ID{i},{i},,9.5,{x * scale},{y * scale},0,{2.25 * t},{t}" for i, (t, y, x, _) in enumerate(ROWS)]
    return "\n".join([names, words, words, units, *body])


def plain(t, y, x, k):
    return t, y, x, k


WAYS = {
    "plain": lines("frame,y_px,x_px,kind", plain),
    "tabs": lines("frame\ty\tx\tkind", plain, "\t"),
    "blanks": lines("frame y x kind", plain, " "),
    "bars": lines("frame|y|x|kind", plain, "|"),
    "semicolons, decimal commas": lines("frame;y;x;kind", lambda t, y, x, k: (t, comma(y), comma(x), k), ";"),
    "tabs, decimal commas": lines("frame\ty\tx\tkind", lambda t, y, x, k: (t, comma(y), comma(x), k), "\t"),
    "blanks, decimal commas": lines("frame y x kind", lambda t, y, x, k: (t, comma(y), comma(x), k), " "),
    "quoted decimal commas": lines(
        '"frame","y","x","kind"', lambda t, y, x, k: (f'"{t}"', f'"{comma(y)}"', f'"{comma(x)}"', k)
    ),
    "units in the header": lines("Frame #,Y [px],X (pixels),Class", plain),
    "other order of columns, spaces": lines(
        " kind , x , spare , y , frame ", lambda t, y, x, k: (f" {k} ", f" {x} ", 7, f" {y} ", t)
    ),
    "comments, blank lines, title": "Results of Monday\n# by hand\n\n"
    + lines("frame,y,x,kind", plain).replace("\n", "\n\n"),
    "hint for Excel, empty cells at the end": "sep=;\n" + lines("frame;y;x;kind;;", lambda *r: (*r, "", ""), ";"),
    "numpy.savetxt": lines("# frame y x kind", plain, " "),
    "R, numbered rows": "frame y x kind\n"
    + "".join(f"{i} {t} {y} {x} {k}\n" for i, (t, y, x, k) in enumerate(ROWS, 1)),
    "trackpy": ",y,x,mass,ep,frame,particle,kind\n"
    + "".join(f"{i},{y},{x},99.5,.1,{t},{i % N},{k}\n" for i, (t, y, x, k) in enumerate(ROWS)),
    "whole frames as decimals": lines("frame,y,x,kind", lambda t, y, x, k: (f"{t}.0", y, x, k)),
    "duplicate but equal columns": lines("frame,y,x,kind,x", lambda t, y, x, k: (t, y, x, k, x)),
    "ImageJ results": " ,Area,X,Y,Slice,Frame,Class\n"
    + "".join(f"{i},4,{x},{y},1,{t},{k}\n" for i, (t, y, x, k) in enumerate(ROWS, 1)),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_detections_in_other_writing(tmp_path, cfg, way):
    found = read(tmp_path, cfg, WAYS[way])
    assert found.n_frames == N_FRAMES and found.observed.all()
    assert found.rows["frame"].tolist() == [row[0] for row in ROWS]
    assert found.yx_px[:N] == pytest.approx(PLACES, abs=1e-3)
    assert found.kinds[:2].tolist() == ["Mo_W", "V_S"]
    assert found.length_unit == "px" and found.frame_time_s is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, cfg, encoding):
    text = lines("frame;y [µm];x [µm];kind", lambda t, y, x, k: (t, y * 3e-5, x * 3e-5, k), ";")
    cfg.pixel_size_nm = 0.03
    assert read(tmp_path, cfg, text, encoding=encoding).yx_px[:N] == pytest.approx(PLACES, abs=1e-3)


def test_trackmate_spots(tmp_path, cfg):
    for unit, scale in (("nm", 0.03), ("micron", 3e-5), ("Å", 0.3), ("nm", 0.03)):
        found = read(tmp_path, cfg, trackmate(unit, "sec", scale))
        assert found.yx[:N] == pytest.approx(PLACES * 0.03, abs=1e-5)
        assert found.times.tolist() == [2.25 * t for t in range(N_FRAMES)] and found.time_unit == "s"
        assert set(found.kinds) == {"defect"}  # LABEL names the spots
    assert read(tmp_path, cfg, trackmate("pixel", "frame", 1)).length_unit == "px"
    without = trackmate().splitlines()
    with pytest.raises(UserError, match="POSITION_Y has no unit"):
        read(tmp_path, cfg, "\n".join(without[:1] + without[4:]))


def test_our_own_table_after_editing_tells_its_scale_and_times(tmp_path, cfg):
    header = "frame,time_s,y_px,x_px,y_nm,x_nm,sigma_nm,score,kind"
    text = lines(header, lambda t, y, x, k: (t, 2.25 * t, y, x, y * 0.06, x * 0.03, 0.01, "", k))
    found = read(tmp_path, cfg, text)
    assert found.pixel_size_yx_nm == pytest.approx([0.06, 0.03], rel=1e-5) and found.frame_time_s == 2.25
    assert found.yx[:N] == pytest.approx(PLACES * [0.06, 0.03], rel=1e-4)
    cfg.pixel_size_nm = 0.06  # the user's word
    found = read(tmp_path, cfg, text)
    assert found.pixel_size_yx_nm == pytest.approx([0.12, 0.06]) and found.rows["sigma_nm"][0] == pytest.approx(0.02)
    assert any("is stated" in note for note in found.notes)
    with pytest.raises(UserError, match="contradict each other"):
        read(tmp_path, cfg, lines(header, lambda t, y, x, k: (t, 0, y, x, x * 0.03, y * 0.03, 0.01, 1, k)))


@pytest.mark.parametrize(
    ("header", "make"),
    [
        ("t,y,x", lambda t: 2.25 * t),
        ("time,y,x", lambda t: 2.25 * t),
        ("t_ms,y,x", lambda t: 2250 * t),
        ("time (min),y,x", lambda t: 2.25 / 60 * t),
        ("frame,y,x", lambda t: 1732806000000 + 2250 * t),
        ("timestamp,y,x", lambda t: 1732806000 + 2.25 * t),
        ("time,y,x", lambda t: f"2024-11-28 15:00:{int(2.25 * t):02d}.{int(2.25 * t % 1 * 100):02d}"),
        ("time,y,x", lambda t: f"00:00:{2.25 * t:05.2f}"),
    ],
)
def test_times_instead_of_frames(tmp_path, cfg, header, make):
    found = read(tmp_path, cfg, lines(header, lambda t, y, x, k: (make(t), y, x)))
    assert found.n_frames == N_FRAMES and found.frame_time_s == pytest.approx(2.25)
    assert found.times == pytest.approx(2.25 * np.arange(N_FRAMES), abs=1e-6)


def test_rounded_clock_and_a_stated_frame_time_agree(tmp_path, cfg):
    cfg.frame_time_s = 2.25
    found = read(tmp_path, cfg, lines("frame,y,x", lambda t, y, x, k: (int(1732806000 + 2.25 * t), y, x)))
    assert found.times == pytest.approx(2.25 * np.arange(N_FRAMES)) and len(found.observed) == N_FRAMES


def test_a_pause_stays(tmp_path, cfg):
    make = lambda t, y, x, k: (t, 2.25 * t + 900 * (t > 2), y, x)  # noqa: E731
    found = read(tmp_path, cfg, lines("frame,time_s,y,x", make))
    assert found.times[3] - found.times[2] == 902.25 and found.frame_time_s == 2.25
    found = read(tmp_path, cfg, lines("frame,t,y,x", make))
    assert found.times[3] - found.times[2] == 902.25 and any("taken as seconds" in note for note in found.notes)


def test_numbers_of_frames(tmp_path, cfg):
    found = read(tmp_path, cfg, lines("t,y,x", lambda t, y, x, k: (t, y, x)))
    assert found.frame_time_s is None and found.n_frames == N_FRAMES
    found = read(tmp_path, cfg, lines("frame,y,x", lambda t, y, x, k: (t + 1, y, x)))
    assert found.observed.tolist() == [False] + [True] * N_FRAMES
    found = read(tmp_path, cfg, lines("frame,y,x", lambda t, y, x, k: (2 * t, y, x)))
    assert found.observed.tolist() == [True, False] * 5 + [True]
    cfg.frame_time_s = 2.0
    found = read(tmp_path, cfg, lines("frame,y,x", lambda t, y, x, k: (10**9 * (t > 2) // 10 + t, y, x)))
    assert found.n_frames == N_FRAMES and found.times[3] - found.times[2] == 2 * (1 + 10**8)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (lines("frame,y,x", lambda t, y, x, k: (t + 0.5, y, x)), "no frame number"),
        (lines("t,y,x", lambda t, y, x, k: (2 * t, y, x)), "frame numbers or seconds"),
        (lines("t,y,x", lambda t, y, x, k: (2250.5 * t, y, x)), "2250 s apart; say the unit"),
        (lines("frame,y,x", lambda t, y, x, k: (t, y / 30, x / 30)), "state no unit"),
        (lines("frame,y,x,kind", lambda t, y, x, k: (t, comma(y), comma(x), k)), "decimal commas"),
        (
            lines("frame;y;x", lambda t, y, x, k: (t, f"1,{t}00" if t else 999, 250), ";"),
            "decimal comma or a thousands separator",
        ),
        (lines("frame,y,x,x", lambda t, y, x, k: (t, y, x, y)), "two columns"),
        (lines("frame,y_px,x_nm", lambda t, y, x, k: (t, y, x)), "one axis is in pixels"),
        (lines("frame,y (furlong),x (furlong)", lambda t, y, x, k: (t, y, x)), "not a known unit of length"),
        ("frame,y,x\n", "no usable detection"),
        ("frame,y,x\n0,,\n1,nan,3\n", "no usable detection"),
        ("0,1.5,2.5\n1,1.5,2.5\n", "no line with the names"),
        ("PK\x03\x04 rest", "Excel"),
        ("<?xml version='1.0'?><TrackMate/>", "XML"),
    ],
)
def test_what_cannot_be_decided_is_asked_for_in_one_line(tmp_path, cfg, text, says):
    with pytest.raises(UserError, match=says) as error:
        read(tmp_path, cfg, text)
    assert "\n" not in str(error.value)


def test_the_user_says_what_a_column_is(tmp_path, cfg):
    cfg.columns["y_nm"], cfg.columns["x_nm"], cfg.columns["time_s"] = ["y"], ["x"], ["t"]
    found = read(tmp_path, cfg, lines("t,y,x", lambda t, y, x, k: (2 * t, y * 0.03, x * 0.03)))
    assert found.length_unit == "nm" and found.frame_time_s == 2 and found.yx[0] == pytest.approx(PLACES[0] * 0.03)


def test_numbered_kinds_and_thousands(tmp_path, cfg):
    found = read(
        tmp_path, cfg, lines("frame;y;x;kind", lambda t, y, x, k: (t, f'"1,{100 + t}.5"', x, f"{len(k)}.0"), ";")
    )
    assert found.rows["y_px"][-1] == 1105.5 and set(found.kinds) == {"4", "3"}
