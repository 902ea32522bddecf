"""From a table with evidence to estimates, notes, tables and what is drawn: one small run, looked at from all sides."""

from dataclasses import replace

import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis import pipeline
from stemdefects.analysis.data import detections
from stemdefects.analysis.estimates import Estimate
from stemdefects.analysis.kinetics import Code, infer, stage, statements, tables
from stemdefects.analysis.kinetics.lattice import sites
from stemdefects.analysis.kinetics.posterior import agreement
from stemdefects.analysis.kinetics.reading import read
from stemdefects.analysis.kinetics.sampling import Settings
from stemdefects.analysis.notes import Code as NoteCode
from stemdefects.analysis.notes import codes
from stemdefects.analysis.stage import Figure, Fold, Items
from stemdefects.io.tables import evidence as stored
from stemdefects.io.tables.table import DefectTable, empty, empty_frames
from stemdefects.report.drawings import registry
from stemdefects.report.style import Colours
from stemdefects.schema import KineticsConfig

RING = [[0, 1], [1, 0], [1, -1], [0, -1], [-1, 0], [-1, 1]]
SIDE, FRAMES, STEP_S = 9, 24, 2.0
SHORT = KineticsConfig(chains=2, warmup=40, sweeps=60, max_sweeps=60, r_hat=2.0, effective_samples=1)
ALWAYS = {"kinetics", "counts_posterior", "switching_posterior", "kinetics_windows", "kinetics_orientations"}
VECTORS = 0.3 * np.array([[np.sqrt(0.75), 0.5], [0, 1.0]])


def table(n_walkers=4, hop=True, seed=0):
    """A hexagonal field of sites `a` (a dopant `D`) and `b`, on which vacancies `V` go a step every third frame."""
    rng = np.random.default_rng(seed)
    cells = np.array([(i, j) for i in range(SIDE) for j in range(SIDE)])
    n = len(cells)
    sites = np.zeros(2 * n, stored.SITE_DTYPE)
    sites["sublattice"] = np.repeat([0, 1], n)
    sites["cell_1"], sites["cell_2"] = np.tile(cells, (2, 1)).T
    place = cells @ VECTORS
    both = np.concatenate([place + VECTORS.sum(0) / 3, place])
    sites["y_nm"], sites["x_nm"] = both.T
    values = np.zeros((FRAMES, 2 * n, 4), np.float16)
    values[:, SIDE + 1, 2] = 0.95
    line = rng.normal(size=(FRAMES, n))
    at = [np.array(c) for c in ((6, 2), (2, 6), (6, 6), (4, 4))[:n_walkers]]
    truth = np.zeros((FRAMES, n), bool)
    for f in range(FRAMES):
        for w, cell in enumerate(at):
            if hop and f % 3 == 2:
                to = np.clip(cell + RING[rng.integers(6)], 1, SIDE - 2)
                at[w] = cell if any((to == other).all() for other in at) else to  # never two on a site
            line[f, at[w][0] * SIDE + at[w][1]] -= 5.0
            truth[f, at[w][0] * SIDE + at[w][1]] = True
    values[:, n:, 0] = line
    state = {"state": "", "signal": 0.5, "expected_level": 5.0, "site_frames": 9.0}
    description = {
        "headline": "V",
        "centre": ["D"],
        "frames_together": 1,
        "sublattices": [
            {
                "name": "a",
                "features": ["line", "light", "D"],
                "states": [],
                "ring": RING,
                "bonds": [[0, 0, 1], [1, 0, 1], [0, 1, 1]],
            },
            {
                "name": "b",
                "features": ["line", "light", "V", "V2"],
                "ring": RING,
                "scale_range": [0.8, 1.25],
                "bonds": [[0, 0, 0], [-1, 0, 0], [0, -1, 0]],
                "states": [state | {"kind": "V", "level": -5.0}, state | {"kind": "V2", "level": -10.0}],
            },
        ],
    }
    flags = np.zeros((FRAMES, 2 * n), np.uint8)
    found = stored.Evidence(sites, description, values, flags, np.ones((FRAMES, 2), np.float32))
    frames = empty_frames(FRAMES)
    frames["time_s"] = STEP_S * np.arange(FRAMES)
    frames["drift_y_px"], frames["drift_x_px"] = 0.5 * np.arange(FRAMES), -0.25 * np.arange(FRAMES)
    frames["n_sites"], frames["fraction_lattice"] = 2 * n, 1
    attrs = {"pixel_size_nm": 0.03, "frame_time_s": STEP_S}
    return DefectTable(empty(0), frames, attrs=attrs, over_time=empty(0), evidence=found), truth, place


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    made, truth, place = table()
    path = made.write(tmp_path_factory.mktemp("table") / "defects.h5")
    found = detections.read(path, config.load_group("analysis", "default").table)
    return found, stage.of_table(found, SHORT), truth, place


def test_headlines_are_D_and_the_counts_of_both_kinds(moving):
    _, result, truth, _ = moving
    heads = {(e.quantity, e.subject): e for e in result.estimates if e.headline}
    assert set(heads) == {("D", "V"), ("count per frame", "V"), ("count per frame", "V2")}
    assert result.estimates[0].quantity == "D" and all(e.method == "lattice model" for e in result.estimates)
    assert abs(heads["count per frame", "V"].value - truth.sum(1).mean()) < 0.2
    d = heads["D", "V"]
    assert d.low > 0 and d.low < 0.3**2 / (3 * STEP_S) / 4 < d.high  # a step every third frame
    assert heads["count per frame", "V2"].low == 0
    assert all(e.value is None or np.isfinite(e.value) for e in result.estimates)


def test_a_count_says_over_what_area_and_how_dense_that_is(moving):
    """Neighbours are .3 nm apart on a triangular lattice."""
    _, result, *_ = moving
    count, density = (
        next(e for e in result.estimates if (e.quantity, e.subject) == (what, "V"))
        for what in ("count per frame", "density")
    )
    counted = np.isfinite(result.data.occupancy[0, :, 0]).sum()
    area = counted * 0.3**2 * np.sin(np.pi / 3)
    assert density.unit == "1/nm^2" and f"{area:.4g} nm^2" in count.warning
    for one, per_area in ((count.value, density.value), (count.low, density.low), (count.high, density.high)):
        assert per_area == pytest.approx(one / area)


def test_tables_hold_the_posterior_of_every_frame(moving):
    _, result, truth, place = moving
    assert set(result.tables) == {*ALWAYS, "defects_over_time", "link_alternatives"}
    counts = result.tables["counts_posterior"]
    assert len(counts) == 2 * FRAMES and (counts["low"] <= counts["median"]).all()
    assert counts["time_s"].max() == STEP_S * (FRAMES - 1)
    states = result.tables["defects_over_time"]
    there = {(f, s) for f, s in zip(*np.nonzero(truth), strict=True)}
    yx = states[["y_px", "x_px"]].to_numpy() - np.array([0.5, -0.25]) * states[["frame"]].to_numpy()
    site = np.array([np.hypot(*(place - 0.03 * p).T).argmin() for p in yx])
    said = set(zip(states["frame"].tolist(), site.tolist(), strict=True))
    assert len(said & there) > 0.9 * len(there) and len(said - there) < 0.1 * len(there)
    assert set(states["kind"]) == {"V"} and states["track"].nunique() < 12
    assert states["track_prob"].between(0, 1).all() and states["track_prob"].mean() > 0.8
    quantities = result.tables["kinetics"].set_index("quantity")
    assert quantities.loc["hop rate", ["r_hat", "effective_samples"]].notna().all()
    assert {"D", "D+V@0", "D+2V@1", "D+3V"} <= set(result.tables["switching_posterior"]["from"])


def test_section_says_it_plainly_and_every_figure_is_drawn(moving):
    _, result, _, _ = moving
    blocks = [b for block in result.section.blocks for b in (block.blocks if isinstance(block, Fold) else [block])]
    text = " ".join(line for block in blocks if isinstance(block, Items) for line in block.lines)
    assert result.section.title == "Kinetics" and "D of V = " in text and "nan" not in text.lower()
    shown = [block.name for block in blocks if isinstance(block, Figure)]
    assert len(shown) == 6
    for name in shown:
        if name == "kinetics_windows":  # one window of one place is no picture
            continue
        assert registry.draw(name, result.figures[name], Colours(["V"])) is not None, name


def test_the_answer_is_a_function_of_table_and_seed(moving):
    found, result, _, _ = moving
    assert stage.of_table(found, SHORT).estimates == result.estimates


def test_still_vacancies_give_an_upper_limit_and_no_vacancies_no_D():
    def told(**kind):
        found = detections.from_table(table(**kind)[0], config.load_group("analysis", "default").table)
        result = stage.of_table(found, SHORT)
        return next(e for e in result.estimates if e.quantity == "D"), result

    d, result = told(hop=False)
    assert d.headline and d.code == Code.NONE.value and d.value == d.low == 0
    watched_s = 4 * STEP_S * (FRAMES - 1)
    assert d.high == pytest.approx(3.0 / watched_s * 0.3**2 / 4, rel=0.25)  # 0 hops in that time: 3.0 at most (95%)
    assert NoteCode.NO_HOPS in codes(result.notes[0])
    d, result = told(n_walkers=0)
    count = next(e for e in result.estimates if e.quantity == "count per frame" and e.subject == "V")
    assert d.value is None and not d.headline and d.warning
    assert NoteCode.NO_VACANCIES in codes(result.notes[0])
    assert count.low == 0 and count.headline
    by_tracks = [row("D", 1.0, 0.5, 1.5, "cve")]
    assert not statements.cross_checks(result.estimates, by_tracks)[0].headline
    assert statements.none_switch(result.estimates)


def test_a_table_without_evidence_says_why_and_keeps_its_headlines():
    rows = empty(12)
    rows["frame"], rows["y_px"], rows["x_px"], rows["kind"] = np.arange(12), 20, 20 + np.arange(12) % 3, b"V_S"
    found = detections.Detections(rows, 12, 2.0 * np.arange(12), 0.03, 0.0, 2.0)
    cfg = config.load_group("analysis", "default")
    result = pipeline.analyse(found, cfg)
    [note] = [n for n in result.notes if NoteCode.NO_LATTICE_MODEL in codes(n)]
    assert "no evidence" in note and not any(e.method == statements.METHOD for e in result.estimates)
    assert any(e.headline for e in result.estimates)
    cfg.kinetics.enabled = False
    assert not any(codes(n) & {NoteCode.NO_LATTICE_MODEL} for n in pipeline.analyse(found, cfg).notes)


def row(quantity, value, low, high, method, code="", headline=True, subject="V"):
    return Estimate(quantity, value, low, high, "u", method, subject, code=code, headline=headline)


def test_other_estimates_lose_the_headline_and_contradictions_name_what_fails():
    ok = [row("D", 3.0, 2.0, 4.0, "lattice model", "ok"), row("count per frame", 10, 9, 11, "lattice model", "ok")]
    others = [
        row("D", 1.0, 0.5, 1.5, "cve"),
        row("D", 2.5, 1.9, 3.0, "msd", headline=False),
        row("count per frame", 5.0, 4.8, 5.2, "mean"),
        row("count per frame", 3.0, 2, 4, "mean", subject="W"),
    ]
    kept, notes = statements.cross_checks(ok, others), statements.against(ok, others, "1.5 lattice constants")
    assert [e.headline for e in kept] == [False, False, False, True]
    assert len(notes) == 2 and "1.5 lattice constants" in notes[0] and "thresholds" in notes[1]
    assert all(NoteCode.TRACKS_DISAGREE in codes(n) for n in notes)
    unsure = [row("D", 3.0, 2.0, 4.0, "lattice model", "not converged", headline=False)]
    kept, notes = statements.cross_checks(unsure, others), statements.against(unsure, others, "")
    # no headline of its own, but what all its chains deny is none either
    assert [e.headline for e in kept] == [False, False, True, True] and not notes
    wide = [row("D", 3.0, 1.0, 6.0, "lattice model", "not converged", headline=False)]
    assert [e.headline for e in statements.cross_checks(wide, others)] == [e.headline for e in others]
    limit = row("D", 2.0, 2.0, None, "lattice model", "lower limit")
    assert "at least that" in limit.sentence()
    kept, notes = statements.cross_checks([limit], others), statements.against([limit], others, "x")
    assert not kept[0].headline and len(notes) == 1


def test_a_quantity_counts_by_what_it_rests_on_where_chains_do_not_agree_on_all(moving, monkeypatch):
    from stemdefects.analysis.kinetics.quantities import Quantity
    from stemdefects.analysis.kinetics.result import nothing
    from stemdefects.analysis.kinetics.sampling import Check

    evidence = read(moving[0].table())
    names = ("D", "single per frame", "single off centres per frame", "attach rate", "vanish rate")
    said = [Quantity(n, 1.0, 0.5, 2.0, "1", Code.NOT_CONVERGED, 0.0, 9.0) for n in names]
    good, bad = Check(1.01, 400.0), Check(1.3, 9.0)
    answer = nothing(evidence, sites(evidence))._replace(
        code=Code.NOT_CONVERGED,
        estimates=said,
        rates=np.full((2, 5, 15), 0.01),
        apart=4.0,
        checks={"single": good, "double": good, "level": good, "hop": good, "hops": bad, "attach": good},
    )

    def converged(checks):
        judged = agreement.each_by_itself(answer._replace(checks=answer.checks | checks), 1.05, 150)
        return [q.name for q in judged.estimates if q.code == Code.OK]

    assert converged({}) == list(names[1:4])
    assert converged({"hops": good}) == list(names[:4])
    assert converged({"attach": bad, "hops": good}) == []  # counts hang on what centres hold
    assert converged({"level": bad, "hops": good}) == []
    fast = answer._replace(rates=np.full((2, 5, 15), 0.2), checks=answer.checks | {"hops": good})
    judged = {q.name: q.code for q in agreement.each_by_itself(fast, 1.05, 150).estimates}
    assert judged["D"] == judged["single per frame"] == Code.LOWER_LIMIT != judged["attach rate"]
    perhaps = fast.rates.copy()  # one draw in ten is beyond two hops a frame
    perhaps[...] = 0.9 * 2 / 6 / np.median(np.diff(answer.times_s))
    perhaps[0, 0] *= 2
    said = agreement.each_by_itself(fast._replace(rates=perhaps), 1.05, 150).estimates
    assert said[0].code == Code.LOWER_LIMIT, "too fast unless that is ruled out"
    perhaps[0, 0] /= 2
    assert agreement.each_by_itself(fast._replace(rates=perhaps), 1.05, 150).estimates[0].code == Code.OK
    faint = {q.name: q for q in agreement.each_by_itself(fast._replace(apart=1.5), 1.05, 150).estimates}
    count, d = faint["single per frame"], faint["D"]
    assert (count.code, count.low, d.code) == (Code.NONE, 0.0, Code.CANNOT_TELL) and count.high > 3.0
    assert np.isnan([d.value, d.low, d.high]).all() and faint["attach rate"].code == Code.OK
    assert "look like noise" in statements._said(count, "count per frame", fast)
    unshown = fast._replace(apart=1.5, code=Code.OK, none=0.0, estimates=list(faint.values()))
    assert any(NoteCode.LIKE_NOISE in codes(n) for n in statements.notes(unshown, statements.Names("V", "V2", "D")))
    rough = answer._replace(checks=answer.checks | {"hops": Check(1.2, 16.0)})
    d = agreement.each_by_itself(rough, 1.05, 150).estimates[0]
    assert d.code == Code.OK and d.low < 0.5 and d.high > 2.0 and d.widened == pytest.approx(1.12, abs=0.02)
    assert "Few effective samples: the interval is 1.12 times wider" in statements._said(d, "D", rough)
    agreed = answer._replace(
        code=Code.OK, estimates=[said[0]._replace(code=Code.OK)], checks={"hop": Check(1.0, 100.0)}
    )
    d = agreement.each_by_itself(agreed, 1.05, 50).estimates[0]
    assert d.widened == pytest.approx(1.02, abs=0.005) and not statements._said(d, "D", agreed)
    asked = replace(SHORT, effective_samples=1e6, sweeps=240, max_sweeps=240)
    d = next(e for e in stage.of_table(moving[0], asked).estimates if e.quantity == "D")
    assert d.headline and not d.warning  # more than fifty, though fewer than were asked for
    monkeypatch.setattr(Check, "roughly", lambda self: False)
    assert stage.of_table(moving[0], asked).tables.keys() == ALWAYS


def test_frames_that_the_analysis_does_not_use_are_missing(moving):
    found = moving[0]
    part = replace(found, observed=np.arange(FRAMES) % 4 != 1)
    told = stage.of_table(part, SHORT)
    counts = told.tables["counts_posterior"]
    assert set(counts["frame"]) == set(np.flatnonzero(part.observed))
    d = next(e for e in told.estimates if e.quantity == "D")
    assert d.low < 0.3**2 / (3 * STEP_S) / 4 < d.high


def test_names_of_states_follow_the_complexes_of_tables(moving):
    assert stage.names_of(moving[0]) == (
        "V",
        "V2",
        "D",
        (0, 2, 1),
    )  # cells in order: 0 0, 0 1, 1 0; listed: 0 0, 1 0, 0 1
    names = statements.Names("V", "V2", "D")
    assert [tables.state_name(i, names) for i in (0, 1, 4, 3, 7)] == ["D", "D+V@0", "D+V@2", "D+2V@2", "D+3V"]


def test_large_movies_are_sampled_no_longer_than_their_work_allows(moving):
    evidence = read(moving[0].table())
    asked = Settings(chains=2, warmup=10, sweeps=20, max_sweeps=50, r_hat=1.0, effective=1e9, rough_sweeps=10**6)
    site_frames = len(sites(evidence).kind) * len(evidence.line)
    for work, kept in ((1.0, 20), (35.5 * site_frames, 35), (1e12, 50)):
        answer = infer(evidence, asked._replace(max_work=work))
        assert answer.code == Code.NOT_CONVERGED and answer.rates.shape[1] == kept
