"""The notebooks run from top to bottom, and show what their words say."""

import ast
import json
import types
import warnings
from pathlib import Path

import matplotlib.pyplot

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def executed(name, cwd, monkeypatch):
    """Run all code cells in one namespace, as a notebook does; gives the namespace and what each cell showed."""
    monkeypatch.chdir(cwd)
    matplotlib.use("agg")
    module = types.ModuleType(name)
    shown = []
    for number, cell in enumerate(json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]):
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], "notebooks are committed without outputs"
        tree = ast.parse("".join(cell["source"]), f"{name}.ipynb, cell {number}")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}.ipynb, cell {number}", "exec"), module.__dict__)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"{name}.ipynb, cell {number}", "eval"), module.__dict__)
            html = getattr(value, "_repr_html_", None)
            shown.append((html and html()) or repr(value))  # a figure has an empty one
    matplotlib.pyplot.close("all")
    return module, shown


def test_every_notebook_is_executed_here():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {
        name.removeprefix("test_") for name in globals() if (NOTEBOOKS / f"{name.removeprefix('test_')}.ipynb").exists()
    }


def test_your_own_movie_in_ten_minutes(tmp_path, monkeypatch):
    book, shown = executed("your_own_movie_in_ten_minutes", tmp_path, monkeypatch)
    scores = book.result.tables["truth_scores"].set_index("kind")
    assert scores.loc["any", "f1"] > 0.6
    assert len(book.corrected.analysis.inputs.found.rows) == len(book.table) - 1
    assert any("data:image/png" in one and "95% interval" in one for one in shown)
    assert (tmp_path / "analysis" / "report.html").exists() and (tmp_path / "defects.xml").exists()


def test_your_own_material(tmp_path, monkeypatch, capsys):
    book, _ = executed("your_own_material", tmp_path, monkeypatch)
    assert "Cr_W" in book.crystal.kind_names
    assert "site 'metall' does not exist" in capsys.readouterr().out
    scores = book.result.tables["truth_scores"].set_index("kind")
    assert scores.loc["Cr_W", "f1"] > 0.7


def test_statistics_you_may_cite(tmp_path, monkeypatch, capsys):
    with warnings.catch_warnings():  # the notebook sets its own
        book, _ = executed("statistics_you_may_cite", tmp_path, monkeypatch)
    ratio = (book.repeats["D_nm2_per_s"] / book.TRUE_D).groupby("method").mean()
    assert 0.8 < ratio["cve"] < 1.2 and ratio["paper"] < 0.5
    covered = book.holds.groupby("method").sum()
    assert covered["cve"] >= 9 and covered["paper"] == 0
    assert (book.limit["low"] <= 0).all() and book.limit["warning"].str.contains("zero").all()
    assert "nm^2/s (95% interval" in capsys.readouterr().out
    assert book.widths.loc["cve", "30 tracks"] < 0.8 * book.widths.loc["cve", "10 tracks"]
