"""`analyze.py run= corrections=`: beside the analysis, never over it, all or nothing."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from stemdefects import config
from stemdefects.analysis import pipeline, synthetic
from stemdefects.commands import analyze
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.tables import corrections
from stemdefects.io.tables.corrections import Correction
from stemdefects.io.tables.table import DefectTable, empty_frames
from stemdefects.schema import AnalyzeRoot


def contents(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_beside_the_analysis_of_a_run(tmp_path, capsys):
    rng = np.random.default_rng(0)
    frame = np.repeat(np.arange(8), 12)
    at = np.tile(np.array([(y, x) for y in (1, 2, 3) for x in (1, 2, 3, 4)], float), (8, 1))
    rows = synthetic.defect_rows(
        frame, at + rng.normal(0, 0.004, at.shape), 0.03, np.tile(["V_S"] * 10 + ["Mo_W"] * 2, 8)
    )
    run = runs.create(tmp_path)
    attrs = {"pixel_size_nm": 0.03, "frame_time_s": 2.0, "source": "movie.h5", "source_shape": [8, 160, 180]}
    DefectTable(rows, empty_frames(8), attrs=attrs).write(run.defects_path)
    settings = config.load_group("analysis", "default")
    settings.leave_out = [n for n in pipeline.STAGES if n not in ("counts", "tracks", "corrections", "queue")]
    common = {"run": run.id, "runs_dir": str(tmp_path), "analysis": settings}
    common |= {name: config.load_group(name, one) for name, one in (("logging", "disabled"), ("material", "ws2_mo"))}
    analyze.run(AnalyzeRoot(**common))
    before, table = contents(run.analysis_dir), run.defects_path.read_bytes()
    first = rows[rows["frame"] == 3]
    given = corrections.Corrections(
        (
            Correction("delete", 3, float(first["y_px"][0]), float(first["x_px"][0])),
            Correction("relabel", 3, float(first["y_px"][1]), float(first["x_px"][1]), "V_S2"),
            Correction("checked", 3),
        ),
        corrections.digest(rows),
    )
    path = corrections.write(tmp_path / "c.csv", given)
    bad = tmp_path / "bad.csv"
    bad.write_text(path.read_text().replace("relabel,3", "relabel,77"))
    with pytest.raises(UserError, match=r"bad\.csv, line 3: relabel: frame 77 is not in the table"):
        analyze.run(AnalyzeRoot(**common, corrections=str(bad)))
    assert not run.corrected_dir.exists() and contents(run.analysis_dir) == before
    capsys.readouterr()
    page = analyze.run(AnalyzeRoot(**common, corrections=str(path)))
    said = capsys.readouterr().out
    assert page == run.corrected_dir / "report.html"
    assert "Corrections: 3 (deleted 1, given another kind 1, frames checked as a whole 1)" in said
    assert "V_S: 80 detections before, 78 after" in said and "V_S2: 0 detections before, 1 after" in said
    assert contents(run.analysis_dir) == before and run.defects_path.read_bytes() == table
    assert len(DefectTable.read(run.corrected_dir / "defects.h5").rows) == 95
    assert corrections.read(run.corrected_dir / "corrections.csv").items == corrections.read(path).items
    changed = pd.read_csv(run.corrected_dir / "corrections_changed.csv")
    count = changed[(changed["quantity"] == "count per frame") & (changed["subject"] == "V_S")].iloc[0]
    assert count["before"] == 10 and count["after"] == pytest.approx(78 / 8)
    text = page.read_text()
    assert "<h2>Corrections</h2>" in text and "9.75" in text
    assert given.table in text and 'href="corrections.csv"' in text
    with pytest.raises(UserError, match="overwrite=true"):
        analyze.run(AnalyzeRoot(**common, corrections=str(path)))
    assert set(run.read_summary()) >= {"analysis", "corrected"}
