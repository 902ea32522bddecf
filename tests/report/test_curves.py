"""Curves on the page: the numbers of the analysis, read at the cursor in a real browser."""

import json
import re

import numpy as np
import pytest

from stemdefects.analysis import pipeline, synthetic
from stemdefects.analysis.data import detections
from stemdefects.config import load_group
from stemdefects.crystal import material
from stemdefects.report import output
from stemdefects.report.drawings import curves

COUNTS = ("preparation", "counts")
FRAMES = 12


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    rng = np.random.default_rng(0)
    n = rng.integers(2, 12, FRAMES)  # another number in every frame
    frame, yx = np.repeat(np.arange(FRAMES), n), rng.uniform(0.5, 5, (n.sum(), 2))
    rows = synthetic.defect_rows(frame, yx, 0.03, rng.choice(["V_S", "Mo_W"], n.sum()))
    found = detections.Detections(rows, FRAMES, np.arange(FRAMES) * 2.0, 0.03, 0.0, 2.0, "movie.h5")
    cfg = load_group("analysis", "default")
    cfg.leave_out = [name for name in pipeline.STAGES if name not in COUNTS]
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"))
    folder = tmp_path_factory.mktemp("curves")
    numbers = {kind: np.bincount(frame[rows["kind"] == kind.encode()], minlength=FRAMES) for kind in ("V_S", "Mo_W")}
    return result, output.write(result, folder, "Movie", "a: 1\n"), numbers


def test_a_curve_holds_the_numbers_that_were_found(page):
    _, path, numbers = page
    held = json.loads(re.search(r'<script type="application/json">(\{"x".*?)</script>', path.read_text())[1])
    points = {one["name"]: one["y"] for one in held["series"] if one["points"]}
    assert {kind: [int(v) for v in y] for kind, y in points.items()} == {k: n.tolist() for k, n in numbers.items()}
    assert held["x"] == (2.0 * np.arange(FRAMES)).tolist()
    bands = [one for one in held["series"] if "low" in one]
    assert bands and all(np.all(np.array(one["low"]) <= np.array(one["high"])) for one in bands)


def test_what_is_not_finite_is_no_number_and_pages_without_curves_carry_no_library(page):
    line = curves.Line("a", "#000000", np.array([1.0, np.nan, 123456.789]))
    plain = curves.Curve(np.arange(3.0), "x", "y", [line]).to_plain()
    assert plain["series"][0]["y"] == [1.0, None, 123460.0] and "low" not in plain["series"][0]
    result, path, _ = page
    assert "leeoniya/uPlot" in path.read_text()
    bare = output.page.write(path.with_name("bare.html"), result, {}, "Movie", "")
    assert "leeoniya/uPlot" not in bare.read_text()


def test_a_browser_reads_the_curve_and_prints_the_picture(browser, page):
    _, path, numbers = page
    tab = browser.new_page(viewport={"width": 900, "height": 900})
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(path.as_uri())
    curve = tab.locator("figure.curve").first
    curve.scroll_into_view_if_needed()
    tab.wait_for_selector("figure.curve.live .u-over")
    curve.locator(".plot").focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(100)
    said = curve.locator(".u-legend").inner_text().replace("\n", " ")
    for kind, n in numbers.items():
        assert re.search(rf"{kind}:?\s*{n[2]}(?!\d)", said), said
    assert not curve.locator("img").is_visible()
    tab.emulate_media(media="print")
    assert curve.locator("img").is_visible() and not curve.locator(".plot").is_visible()
    assert (
        tab.pdf().count(b"/Subtype /Image") >= tab.locator("figure img").count() > 0
    )  # all of them, seen before or not
    assert not errors
