"""The page and the files of an analysis, and the command line."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stemdefects import config
from stemdefects.analysis import pipeline, synthetic
from stemdefects.analysis.data import detections
from stemdefects.analysis.estimates import estimate, number
from stemdefects.commands import analyze
from stemdefects.crystal import material
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.movie import Movie
from stemdefects.io.tables.table import DefectTable
from stemdefects.report import output
from stemdefects.report.rendering import frame_uri, nice
from stemdefects.schema import AnalyzeRoot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    rng = np.random.default_rng(0)
    frame, yx, _ = synthetic.movie_points(rng, synthetic.Points(30, 30, 8.0))
    rows = synthetic.defect_rows(frame, yx, 0.03, rng.choice(["V_S", "V_S2"], len(frame)))
    patches = rng.standard_normal((len(rows), 32, 32)).astype(np.float16)
    found = detections.Detections(rows, 30, np.arange(30) * 2.0, 0.03, 0.02, 2.0, "movie.h5", patches=patches)
    cfg = config.load_group("analysis", "default")
    cfg.transitions.n_gibbs, cfg.transitions.n_burn, cfg.diffusion.n_bootstrap = 40, 20, 100
    cfg.clustering.max_classes, cfg.clustering.n_resamples = 2, 1
    movie = Movie(rng.poisson(20, (30, 270, 270)).astype(np.uint16), 0.03, 2.0)
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"), movie)
    labels = folder / "learned.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(labels)
    earlier = {"labels": labels, "strain": folder / "not_there.png"}
    page = output.write(result, folder, "Test <movie>", "a: 1\n", earlier=earlier)
    return folder, result, page.read_text()


@pytest.fixture(scope="module")
def image_page(tmp_path_factory):
    """Page of one image."""
    rng = np.random.default_rng(0)
    rows = synthetic.defect_rows(np.zeros(40, int), rng.uniform(0.2, 5, (40, 2)), 0.03)
    found = detections.Detections(rows, 1, np.zeros(1), 0.03, 0.02, None, "image.tif")
    movie = Movie(rng.poisson(20, (1, 180, 180)).astype(np.uint16), 0.03)
    result = pipeline.analyse(found, config.load_group("analysis", "default"), material.load("ws2_mo"), movie)
    return output.write(result, tmp_path_factory.mktemp("image"), "image", "a: 1\n")


def test_page_needs_no_network_and_says_everything(written):
    _, result, text = written
    assert not re.search(r"""src\s*=\s*["']?(https?:)?//|<link|@import""", text)
    assert set(re.findall(r'href="(https?://[^"]+)', text)) == {"https://doi.org/10.1038/s41524-019-0152-9"}
    assert len(re.findall("data:image/(?:png|webp);base64,", text)) >= 5
    assert "Test &lt;movie&gt;" in text and "How to cite" in text and "npj Comput. Mater." in text
    assert 'type="range"' in text
    figures = re.findall("<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) > 5 and all("<figcaption>" in one for one in figures)
    assert "(covariance estimator; " in text and not re.search(r"[(>](cve|msd|hmm|hmm_model)[;<]", text)
    assert "What the network learned from" in text
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).lower().replace("nanom", "")
    for e in result.estimates:
        if e.headline:
            assert nice(number(e.value)) in text


def test_frames_are_light_and_lose_less_than_their_noise():
    """As a page shows a movie of 24 electrons a pixel: the picture's error is half of the noise."""
    y, x = np.mgrid[:256, :256]
    lattice = 24 * (1 + 0.4 * np.cos(2 * np.pi * x / 10) * np.cos(2 * np.pi * y / 17))
    counts = np.random.default_rng(0).poisson(lattice)
    grey = np.clip((counts - 5) * 4, 0, 255).astype(np.uint8)
    head, data = frame_uri(Image.fromarray(grey)).split(",")
    lossless = io.BytesIO()
    Image.fromarray(grey).save(lossless, "PNG")
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")).astype(float)
    assert head.startswith("data:image/") and len(data) < 0.6 * len(lossless.getvalue())
    assert np.sqrt(((back - grey) ** 2).mean()) < 0.5 * 4 * np.sqrt(24)


def test_the_page_is_light(written):
    """30 frames of 270 x 270 px with 900 detections, figures and scripts."""
    _, _, text = written
    frames = re.search(r'"pictures":\[(.*?)\]', text)[1]
    assert len(text) < 1_800_000 and len(frames) / 30 < 39_000  # as JPEG of the same error: 2.2 MB, 53,000


def test_page_closes_what_it_opens_and_its_contents_lead_somewhere(written):
    folder, result, text = written
    opened: list[str] = []
    anchors: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            anchors.extend(value for name, value in attrs if name == "id")
            if tag not in ("meta", "img", "input", "br"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Tags().feed(text)
    assert not opened and len(anchors) == len(set(anchors))
    links = re.findall(r'href="#([^"]+)"', text)
    beside = set(re.findall(r'href="([^"#:]+)"', text))
    assert "queue.csv" in beside and all((folder / name).exists() for name in beside)
    assert len(links) > 5 and set(links) <= set(anchors)
    numbers = text[text.index('id="numbers"') : text.index('id="config"')]
    assert numbers.count("<tr>") == len(result.estimates) + 1


def test_tables_have_units_intervals_and_methods(written):
    folder, result, _ = written
    diffusion = pd.read_csv(folder / "diffusion.csv")
    assert {"D_nm2_per_s", "low_nm2_per_s", "high_nm2_per_s", "method"} <= set(diffusion)
    assert {"cve", "msd", "paper"} <= set(diffusion["method"])
    assert {"y_nm", "x_nm", "time_s"} <= set(pd.read_csv(folder / "tracks.csv"))
    with h5py.File(folder / "analysis.h5") as file:
        assert len(file["tracks"]) == len(result.inputs.tracks.frame)
        assert file["diffusion"]["D_nm2_per_s"][0] == pytest.approx(diffusion["D_nm2_per_s"][0])
    filled = DefectTable.read(folder / "defects.h5").rows
    assert (filled["track"] >= 0).all()
    assert len(list((folder / "figures").glob("*.svg"))) == len(list((folder / "figures").glob("*.png"))) >= 7


def test_numbers_as_people_write_them():
    assert nice("7.70e-04 nm^2/s") == "7.70\u00a0×\u00a010⁻⁴ nm²/s" and nice("-1e+12") == "-1\u00a0×\u00a010¹²"
    assert nice("0.0112 1/s per bond") == "0.0112 s⁻¹ per bond" and nice("1/s per atom") == "s⁻¹ per atom"
    assert (
        nice("2.00e-05 1/s") == "2.00\u00a0×\u00a010⁻⁵ s⁻¹"
        and nice("kinetics 1/share, 11/s") == "kinetics 1/share, 11/s"
    )
    assert (
        nice("1/nm^2") == "nm⁻²"
        and nice("= 0.407 1/nm^2, no") == "= 0.407 nm⁻², no"
        and nice("density, 1/cm^2 (1/s)") == "density, cm⁻² (s⁻¹)"
    )
    assert nice("1 nm^-2") == "1 nm⁻²" and nice("file_2e-3a 12.3e") == "file_2e-3a 12.3e"


def test_no_nan_in_an_estimate():
    e = estimate("D", np.nan, 1, 2, "nm^2/s", "cve")
    assert e.value is None and "not computed" in e.sentence() and e.warning
    assert "no interval" in estimate("D", 1.0, np.nan, 2, "nm^2/s", "cve").sentence()
    assert number(5.123e-4) == "5.12e-04" and number(12.345) == "12.3"


def run_analyze(*arguments):
    command_line = [sys.executable, "analyze.py", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"}
    return subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)


def test_command_line_with_an_offline_wandb_run(tmp_path):
    rng = np.random.default_rng(1)
    frame, yx, _ = synthetic.movie_points(rng, synthetic.Points(12, 15, 6.0))
    rows = synthetic.defect_rows(frame, yx, 0.03)
    table = pd.DataFrame({"frame": rows["frame"], "x": rows["x_px"], "y": rows["y_px"]})
    table.assign(kind=rng.choice(["V_S", "Mo_W"], len(rows))).to_csv(tmp_path / "t.csv")
    units = ("analysis.table.pixel_size_nm=0.03", "analysis.table.frame_time_s=2", "analysis/clustering=paper")
    done = run_analyze(f"table={tmp_path / 't.csv'}", f"runs_dir={tmp_path / 'runs'}", "logging=offline", *units)
    assert done.returncode == 0, done.stderr
    assert "D of V_S" in done.stdout and "report:" in done.stdout and "wandb sync" in done.stdout
    run = next((tmp_path / "runs").iterdir())
    assert (run / "analysis" / "report.html").exists() and (run / "summary.json").exists()
    assert "features: raw" in (run / "config.yaml").read_text()
    media = next((run / "wandb").glob("offline-run-*")) / "files" / "media"
    for name in ("estimates", "tracks", "events"):
        [logged] = (media / "table" / "analyze").glob(f"{name}_*.json")
        assert len(json.loads(logged.read_text())["data"]) == len(pd.read_csv(run / "analysis" / f"{name}.csv"))
    assert list((media / "images" / "analyze").glob("*.png"))


def test_bad_input_is_one_line_and_several_runs_reach_the_command_as_one_text(tmp_path, several_commands):
    common = (f"runs_dir={tmp_path}", "logging=disabled")
    one, several = several_commands(
        [("analyze.py", "table=none.csv", *common), ("analyze.py", "run=[first,second]", *common)]
    )
    assert one.returncode == 2 and "no such defect table" in one.stderr
    assert "Traceback" not in one.stderr and len(one.stderr.strip().splitlines()) == 1
    assert several.returncode == 2 and "first" in several.stderr and "Traceback" not in several.stderr
    assert "Cannot convert" not in several.stderr


@pytest.mark.parametrize("given", [{}, {"run": "x", "table": "y"}])
def test_run_or_table_not_both(given, tmp_path):
    with pytest.raises(UserError, match="give either"):
        analyze.run(AnalyzeRoot(runs_dir=str(tmp_path), **given))


def test_existing_analysis_is_not_overwritten(tmp_path):
    run = runs.create(tmp_path)
    with pytest.raises(UserError, match="has no defects"):
        analyze.run(AnalyzeRoot(runs_dir=str(tmp_path), run=run.id))
    run.defects_path.touch()
    run.analysis_dir.mkdir()
    (run.analysis_dir / "report.html").touch()
    with pytest.raises(UserError, match="overwrite=true"):
        analyze.run(AnalyzeRoot(runs_dir=str(tmp_path), run=run.id))


@pytest.mark.parametrize("n_per_frame", [0, 3])
def test_page_of_a_table_without_tracks(tmp_path, n_per_frame):
    """No detection at all, or none that is seen twice: the page says so, without a NaN."""
    frame = np.repeat(np.arange(8), n_per_frame)
    yx = np.random.default_rng(0).uniform(0, 80, (len(frame), 2))
    rows = synthetic.defect_rows(frame, yx, 0.03)
    found = detections.Detections(rows, 8, np.arange(8) * 2.0, 0.03, 0.02, 2.0, "movie.h5")
    result = pipeline.analyse(found, config.load_group("analysis", "default"), material.load("ws2_mo"))
    text = output.write(result, tmp_path, "little", "a: 1\n").read_text()
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).lower().replace("nanom", "")
    assert ("no track has 3 detections" if n_per_frame else "no transition matrix") in text


def test_a_single_image_has_a_page_of_its_own(image_page):
    text = image_page.read_text()
    assert "40 detections in one image" in text and "s/frame" not in text and "1 frames" not in text
    for heading in ("Counts against time", "Diffusion", "Drift", "Tracks", "Transitions"):
        assert f"<h2>{heading}" not in text
    assert "<h2>Counts</h2>" in text and "<td>40</td>" in text and "count per frame" not in text.split("<h2>")[0]
    assert "no motion can be" not in text and "times are in frames" not in text  # nobody asks that of an image


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_for_everybody(browser, written, image_page, scheme):
    """axe-core finds nothing serious in the page of a movie with a defect chosen, nor in that of an image; neither is
    wider than a telephone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for path in (written[0] / "report.html", image_page):
        tab = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
        tab.goto(path.as_uri())
        tab.focus("#movie")
        tab.keyboard.press("n")
        assert tab.is_visible("#detail")
        tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        faults = axe.Axe().run(tab).response["violations"]
        told = [(one["impact"], one["id"], one["nodes"][0]["html"][:200]) for one in faults]
        assert not [one for one in told if one[0] in ("serious", "critical")], told
        tab.close()


def test_a_result_in_a_notebook(written):
    from stemdefects.commands.results import Result, configure

    _, analysis, _ = written
    result = Result(analysis, configure())
    assert repr(result).startswith("Result(movie.h5: ") and len(repr(result)) < 200
    shown = result._repr_html_()
    assert (
        "data:image/png;base64," in shown
        and "count per frame of V_S" in shown
        and "e-0" not in shown.split("<table>")[1]
    )
    assert len(result.tracks) == len(analysis.inputs.tracks.frame) and {"method", "D_nm2_per_s"} <= set(
        result.diffusion
    )
    assert set(result.estimates["quantity"]) >= {"D"} and "trajectories" in result.plot()
    assert result.plot("trajectories").axes
    with pytest.raises(UserError, match="there is no figure 'tracks'"):
        result.plot("tracks")
