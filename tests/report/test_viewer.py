"""The viewer of the page: its script does what the analysis does, and a browser can use it."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stemdefects.analysis import pipeline, synthetic
from stemdefects.analysis.corrections import applied
from stemdefects.analysis.data import detections
from stemdefects.config import load_group
from stemdefects.crystal import material
from stemdefects.io.movie import Movie
from stemdefects.io.tables import corrections as files
from stemdefects.report import output

ASSETS = Path(files.__file__).parents[2] / "report" / "assets"
COUNTS = ["counts", "tracks", "corrections", "queue"]


def node(script, tmp_path):
    """What a script prints as JSON, with the viewer's modules at hand."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    for name in ("corrections", "camera"):
        shutil.copy(ASSETS / f"{name}.js", tmp_path / f"{name}.js")
    head = "const Corrections = require('./corrections.js'), Camera = require('./camera.js');\n"
    (tmp_path / "script.js").write_text(head + f"console.log(JSON.stringify({script}))")
    done = subprocess.run(["node", "script.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def movie_of(n_frames=5):
    rng = np.random.default_rng(0)
    at = np.array([(y, x) for y in (30, 90, 150) for x in (30, 90, 150)]) * 0.03
    frame = np.repeat(np.arange(n_frames), len(at))
    kinds = np.tile(["V_S", "V_S", "V_S2"] * 3, n_frames)
    rows = synthetic.defect_rows(frame, np.tile(at, (n_frames, 1)) + rng.normal(0, 0.005, (len(frame), 2)), 0.03, kinds)
    found = detections.Detections(rows, n_frames, np.arange(n_frames) * 2.0, 0.03, 0.0, 2.0, "movie.h5")
    found.attrs["source_shape"] = [n_frames, 180, 180]
    return found, Movie(rng.poisson(20, (n_frames, 180, 180)).astype(np.uint16), 0.03, 2.0)


def test_the_script_applies_corrections_as_the_analysis_does(tmp_path):
    """300 random actions, drawn on the page as they are computed afterwards; the file is read back as it was made."""
    found, _ = movie_of()
    crystal, rng = material.load("ws2_mo"), np.random.default_rng(1)
    items, rows = [], found
    while len(items) < 300:  # only what can be done, as on the page
        frame, (y, x) = int(rng.integers(5)), rng.uniform(5, 175, 2).round(2).tolist()
        here = rows.rows[rows.rows["frame"] == frame]
        action = rng.choice(["add", "delete", "relabel", "exclude"], p=[0.5, 0.3, 0.19, 0.01])
        if action in ("delete", "relabel"):
            one = here[rng.integers(len(here))]
            y, x = round(float(one["y_px"]) + 0.5, 2), round(float(one["x_px"]), 2)
        to = {"y_to_px": y + 8, "x_to_px": x + 8} if action == "exclude" else {}
        kind = str(rng.choice(crystal.kind_names)) if action in ("add", "relabel") else None
        item = files.Correction(str(action), frame, y, x, kind, **to)
        try:
            rows = applied.apply(found, files.Corrections((*items, item), files.digest(found.rows)), crystal)
        except applied.UserError:
            continue
        items.append(item)
    plain = [{k: v for k, v in item.__dict__.items() if v is not None and k != "line"} for item in items]
    base = [
        [
            {"x": float(r["x_px"]), "y": float(r["y_px"]), "kind": r["kind"].decode()}
            for r in found.rows[found.rows["frame"] == f]
        ]
        for f in range(5)
    ]
    left = node(
        f"{json.dumps(base)}.map((b, f) => Corrections.marksOf(b, {json.dumps(plain)}, f, [0, 0], 3)"
        ".filter(m => m.state !== 'deleted' && m.state !== 'excluded'))",
        tmp_path,
    )
    for frame, marks in enumerate(left):
        mine = rows.rows[rows.rows["frame"] == frame]
        wanted = sorted((round(float(r["y_px"]), 2), round(float(r["x_px"]), 2), r["kind"].decode()) for r in mine)
        assert sorted((round(m["y"], 2), round(m["x"], 2), m["kind"]) for m in marks) == wanted
    columns = json.dumps(files.COLUMNS)
    text = node(f"Corrections.csv({json.dumps(plain)}, 'abc', {files.SCHEMA_VERSION}, {columns}, [1, 1])", tmp_path)
    (tmp_path / "c.csv").write_text(text)
    back = files.read(tmp_path / "c.csv")
    assert back.table == "abc" and [(i.action, i.frame, i.kind) for i in back.items] == [
        (i.action, i.frame, i.kind) for i in items
    ]
    assert all(abs(a.y_px - b.y_px) < 0.006 for a, b in zip(back.items, items, strict=True))
    doubled = node(
        f"Corrections.csv([{{action: 'delete', frame: 1, y_px: 20, x_px: 7}}], 'a', 1, {columns}, [2, 1])", tmp_path
    )
    assert "delete,1,10,7" in doubled  # pixels twice as high as wide are shown square


def test_undo_and_the_camera(tmp_path):
    got = node(
        """(() => {
      const l = Corrections.start([{action: 'checked', frame: 0}]);
      Corrections.undo(l); const kept = l.items.length;
      Corrections.act(l, {action: 'delete'}); Corrections.act(l, {action: 'add'}); Corrections.undo(l);
      const undone = l.items.map(i => i.action); Corrections.redo(l); const again = l.items.length;
      Corrections.undo(l); Corrections.act(l, {action: 'x'}); Corrections.redo(l);
      const v = {w: 400, h: 300}, im = {w: 200, h: 200}, f = Camera.fit(v, im), z = Camera.zoom(f, 3, 120, 80, v, im);
      const far = Camera.pan(z, 1e6, 1e6, v, im);
      return {kept, undone, again, last: l.items.map(i => i.action), f, before: Camera.toImage(f, 120, 80),
        after: Camera.toImage(z, 120, 80), far, out: Camera.zoom(z, 1e-9, 0, 0, v, im),
        round: Camera.toScreen(z, ...Camera.toImage(z, 33, 44))};
    })()""",
        tmp_path,
    )
    assert got["kept"] == 1 and got["undone"] == ["checked", "delete"] and got["again"] == 3
    assert got["last"] == ["checked", "delete", "x"]
    assert got["f"] == {"scale": 1.5, "x": pytest.approx(-33.8333, abs=1e-3), "y": -0.5}  # centred, pixel 0 is whole
    assert got["after"] == pytest.approx(got["before"]) and got["far"]["x"] == -0.5 and got["out"] == got["f"]
    assert got["round"] == pytest.approx([33, 44])


def test_a_browser_looks_corrects_and_saves(browser, tmp_path):
    """Play, click, delete, relabel, add, undo, save; the analysis then has the rows that were expected."""
    found, movie = movie_of()
    cfg = load_group("analysis", "default")
    cfg.leave_out = [name for name in pipeline.STAGES if name not in COUNTS]
    crystal = material.load("ws2_mo")
    output.write(pipeline.analyse(found, cfg, crystal, movie), tmp_path, "Movie", "a: 1\n")
    page = browser.new_page(viewport={"width": 1000, "height": 900}, accept_downloads=True)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    assert "9 detections" in page.text_content("#when")
    scale = page.eval_on_selector("#movie", "c => c.clientWidth") / 180

    def click(y, x):
        page.click("#movie", position={"x": (x + 0.5) * scale, "y": (y + 0.5) * scale})

    click(30, 30)
    assert page.text_content("#said").startswith("V_S, probability 1.00") and page.is_visible("#patches")
    page.click("#delete")
    assert "8 detections" in page.text_content("#when")
    click(90, 30)
    page.select_option("#as", "Mo_W")
    page.click("#relabel")
    assert "Mo_W" in page.text_content("#who") and "relabelled" in page.text_content("#who")
    page.check("input[value=add]")
    click(60, 60)
    click(120, 120)
    assert "10 detections" in page.text_content("#when")
    page.click("#undo")
    page.check("#checked")
    page.check("input[value=look]")
    page.focus("#movie")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    assert page.text_content("#when").startswith("frame 1")
    page.click("#play")
    page.wait_for_function("document.getElementById('when').textContent.startsWith('frame 3')")
    page.click("#play")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "c.csv")
    assert not errors
    done = applied.apply(found, files.read(tmp_path / "c.csv"), crystal)
    assert done.corrected.counts == {"delete": 1, "relabel": 1, "add": 1, "checked": 1}
    first = done.rows[done.rows["frame"] == 0]
    kinds, number = np.unique(first["kind"], return_counts=True)
    assert dict(zip(kinds.tolist(), number.tolist(), strict=True)) == {b"Mo_W": 2, b"V_S": 4, b"V_S2": 3}
    page.goto("about:blank")
    (tmp_path / "again").mkdir()
    output.write(pipeline.analyse(done, cfg, crystal, movie), tmp_path / "again", "Movie", "a: 1\n")
    page.goto((tmp_path / "again" / "report.html").as_uri())
    assert "9 detections" in page.text_content("#when")  # what was applied is not applied twice, and is saved again
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "again.csv")
    assert files.read(tmp_path / "again.csv") == files.Corrections(
        done.corrected.given.items, done.corrected.given.table, str(tmp_path / "again.csv")
    )
