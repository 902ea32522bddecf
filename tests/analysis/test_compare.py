"""Several analyses side by side."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stemdefects.analysis import run_comparison, synthetic
from stemdefects.commands import analyze
from stemdefects.errors import UserError
from stemdefects.report import run_comparison_page


def test_difference_of_even_intervals_is_the_plain_test():
    value, low, high, p = run_comparison.difference((1.0, 0.8, 1.2), (1.5, 1.2, 1.8))
    half = np.hypot(0.2, 0.3)
    assert (value, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert p == pytest.approx(2 * stats.norm.sf(0.5 / half * 1.96), rel=1e-3)


def test_p_values_of_equal_counts_are_even():
    """Two Poisson counts of one mean, each with its exact interval: a nominal 5% test refuses about 5%."""
    rng = np.random.default_rng(0)

    def exact(n):
        return float(n), stats.gamma.ppf(0.025, n), stats.gamma.ppf(0.975, n + 1)

    p = np.array([run_comparison.difference(exact(a), exact(b))[3] for a, b in rng.poisson(25, (1000, 2))])
    assert 0.01 < (p < 0.05).mean() < 0.07
    other = np.array([run_comparison.difference(exact(a), exact(b))[3] for a, b in rng.poisson((25, 60), (300, 2))])
    assert (other < 0.05).mean() > 0.9


def test_holm():
    assert run_comparison.holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


def estimates(D):
    columns = ["quantity", "subject", "method", "unit", "value", "low", "high"]
    rows = [
        ("D", "V_S", "cve", "nm^2/s", D, 0.9 * D, 1.1 * D),
        ("D", "V_S", "paper", "nm^2/s", D / 5, D / 6, D / 4),
        ("count per frame", "V_S", "mean", "defects", 10.0, np.nan, np.nan),
        ("rate Mo_W -> Mo_W+V_S", np.nan, "hmm", "1/s", 0.1, 0.05, 0.2),
        ("dwell time", "Mo_W", "hmm", "s", np.nan, np.nan, np.nan),
    ]
    return pd.DataFrame(rows, columns=columns)


def test_side_by_side_tests_what_has_intervals(tmp_path):
    tables = {"first": estimates(1e-3), "second": estimates(2e-3)}
    rows = run_comparison.side_by_side(tables)
    assert rows["main"].tolist() == [True, False, False, True] and rows["p_corrected"][0] < 1e-6
    page = run_comparison_page.write(
        tmp_path, rows, tables, run_comparison.cautions({"first": {}, "second": {}}), {n: n for n in tables}
    )
    text = page.read_text()
    assert (
        "D of V_S differs" in text
        and " nan<" not in (tmp_path / "figures" / "comparison_rates.svg").read_text()
        and (tmp_path / "comparison.csv").exists()
        and ">nan" not in text
    )
    same = run_comparison.side_by_side({"a": estimates(1e-3), "b": estimates(1.02e-3)})
    assert "None of 2 comparisons" in run_comparison_page.sentences(same)[0]


def test_densities_of_two_fields_of_one_sample_do_not_differ():
    """Frames repeat the same defects: 18 and 13 of them in two fields are no difference, however many frames."""
    columns = ["quantity", "subject", "method", "unit", "value", "low", "high"]

    def field(n):
        rows = [
            ("count per frame", "Mo_W", "mean", "defects", n, n - 0.3, n + 0.3),
            ("density", "Mo_W", "mean", "1/nm^2", n / 60, (n - 0.3) / 60, (n + 0.3) / 60),
        ]
        return pd.DataFrame(rows, columns=columns)

    rng = np.random.default_rng(1)
    alike = [
        run_comparison.side_by_side({"a": field(float(n)), "b": field(float(m))}) for n, m in rng.poisson(20, (150, 2))
    ]
    p = np.array([t.loc[t["quantity"] == "density", "p"].iloc[0] for t in alike])
    assert (p < 0.05).mean() < 0.09
    assert run_comparison.side_by_side({"a": field(18.0), "b": field(60.0)})["p_corrected"].min() < 1e-3


def test_a_kind_that_is_counted_in_two_ways():
    columns = ["quantity", "subject", "method", "unit", "value", "low", "high"]
    rows = [
        ("count per frame", "V_S", "lattice model", "defects", 40.0, 39.0, 41.0),
        ("count per frame", "V_S", "mean", "defects", 10.0, 9.5, 10.5),
        ("density", "V_S", "mean", "1/nm^2", 1.0, 0.95, 1.05),
    ]
    table = pd.DataFrame(rows, columns=columns)
    told = run_comparison.side_by_side({"a": table, "b": table}).set_index("quantity").loc["density"]
    high = stats.gamma.ppf(0.975, 11) / 10 - 1  # Poisson for the ten that were seen, not for the other method's forty
    assert told["high_a"] == pytest.approx(1 + np.hypot(0.05, high))


def test_cautions():
    notes = run_comparison.cautions(
        {"a": {"model_id": "x", "source": "m.h5"}, "b": {"model_id": "y", "source": "m.h5"}}
    )
    assert "numbered from each movie" in run_comparison.cautions({}, ["rate Mo_W -> Mo_W+V_S@0"])[0]
    assert any("networks differ" in n for n in notes) and any("same source" in n for n in notes)


def test_names():
    assert analyze.several("latest") == ["latest"] and analyze.several("[a, b]") == ["a", "b"]
    for bad in ("[a]", "[a,,b]", "[a,a]"):
        with pytest.raises(UserError):
            analyze.several(bad)


def test_two_tables_end_to_end(tmp_path, capsys):
    from stemdefects import config
    from stemdefects.commands.results import configure

    cfg = configure(
        clustering={"max_classes": 2},
        transitions={"n_gibbs": 20, "n_burn": 5},
        diffusion={"n_bootstrap": 60, "gate_scan_lattice": []},
        table={"pixel_size_nm": 0.03, "frame_time_s": 2.0},
    )
    for name, D in (("slow", 2e-4), ("fast", 4e-3)):
        frame, yx, _ = synthetic.movie_points(np.random.default_rng(3), synthetic.Points(20, 30, 10.0, D=D))
        rows = synthetic.defect_rows(frame, yx, 0.03)
        pd.DataFrame({"frame": rows["frame"], "x": rows["x_px"], "y": rows["y_px"]}).to_csv(tmp_path / f"{name}.csv")
    cfg.table = f"[{tmp_path / 'slow.csv'},{tmp_path / 'fast.csv'}]"
    cfg.runs_dir = str(tmp_path / "runs")
    page = analyze.run(cfg)
    printed = capsys.readouterr().out
    assert page.name == "comparison.html" and "D of defect differs" in printed
    assert len(list((tmp_path / "runs").iterdir())) == 3 and config.to_yaml(cfg)
