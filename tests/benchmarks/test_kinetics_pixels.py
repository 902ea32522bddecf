"""The harness: estimates find what they are compared with, and tables count bias and coverage as they should."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.pixels import compare, summary, truths

NO_FRAMES = pd.DataFrame({"frame": [0, 0], "kind": ["V_S", "V_S"], "y_px": [50.0, 90.0], "x_px": [50.0, 2.0]})


@pytest.fixture
def truth():
    return truths.Truth(
        "independent",
        "plain",
        400.0,
        2.0,
        0.03,
        256,
        {"hop": 0.01, "attach": 0.005, "detach": 0.02, "turn": 0.01, "create": 0.0},
        {"hop": 0.008, "detach": None},
        {"hop": 90},
        1.5e-3,
        1.2e-3,
        {"V_S": 10.0},
        NO_FRAMES,
        {},
    )


def table(*rows):
    columns = ["quantity", "value", "low", "high", "unit", "method", "subject", "headline"]
    return pd.DataFrame([dict(zip(columns, r, strict=True)) for r in rows])


def test_every_method_is_compared_with_its_own_truth(truth):
    rows = compare.rows(
        table(
            ("D", 1.4e-3, 1e-3, 2e-3, "nm^2/s", "lattice model", "V_S", True),
            ("D", 1e-4, 0.0, 2e-4, "nm^2/s", "cve", "V_S in a complex", False),
            ("D", 1e-7, 0.0, 2e-7, "nm^2/s", "cve", "Mo_W", False),
            ("hop rate", 0.0, 0.0, 1e-3, "1/s", "sites", "Mo_W", False),
            ("hop rate", 0.05, 0.04, 0.06, "1/s", "sites", "V_S", False),
            ("hop rate", 0.009, 0.008, 0.01, "1/s", "lattice model", "V_S", False),
            ("count per frame", 9.0, 8.0, 11.0, "1", "lattice model", "V_S", True),
            ("P(Mo_W -> Mo_W+V_S@0) per frame", 0.01, np.nan, np.nan, "1", "hmm", np.nan, False),
            ("rate Mo_W+V_S@0 -> Mo_W+V_S@2", 0.02, 0.01, 0.03, "1/s", "hmm", np.nan, False),
            ("density", 0.1, 0.1, 0.1, "1/nm^2", "mean", "V_S", False),
        ),
        truth,
    )
    found = {(r["quantity"], r["method"], r["against"]): r["true"] for r in rows}
    assert found[("D", "lattice model", "nominal")] == 1.5e-3
    assert found[("D", "lattice model", "happened")] == 1.2e-3
    assert found[("hop rate", "sites", "nominal")] == pytest.approx(0.06)  # to all six neighbours
    assert found[("hop rate", "lattice model", "happened")] == 0.008
    assert found[("V_S per frame", "lattice model", "happened")] == 10.0
    assert found[("V_S per frame", "lattice model", "happened off the border")] == 1.0
    assert found[("turn rate", "hmm", "nominal")] == 0.01
    assert (
        0.008 < found[("P(attach) per frame", "hmm", "nominal")] < 0.01
    )  # less than 2 s x 0.005 / s: some leave again
    assert not any(r["quantity"] == "density" for r in rows)
    assert not any(r["quantity"] == "D" and r["method"] == "cve" for r in rows)
    assert len([r for r in rows if r["quantity"] == "hop rate"]) == 4


def test_the_tables_count_what_holds(truth):
    who = {
        "simulator": "own",
        "variant": "plain",
        "dose": 400.0,
        "quantity": "D",
        "method": "m",
        "against": "nominal",
        "headline": True,
    }
    rows = pd.DataFrame(
        [
            who | {"true": 1.0, "found": 1.2, "low": 0.9, "high": 1.5},
            who | {"true": 2.0, "found": 1.6, "low": 1.0, "high": 1.9},
            who | {"true": 1.0, "found": None, "low": None, "high": None},
        ]
    )
    row = summary.estimates(rows).iloc[0]
    assert (row["movies"], row["given"], row["held"], row["intervals"]) == (3, 2, 1, 2)
    assert row["bias"] == pytest.approx(0.0)
    assert row["rmse"] == pytest.approx(0.2)


def test_detections_are_matched_by_kind_and_place_and_the_border_is_left_out(truth):
    found = pd.DataFrame({"frame": [0, 0, 1], "kind": ["V_S"] * 3, "y_px": [51.0, 70.0, 50.0], "x_px": [51.0] * 3})
    assert compare.scores(found, truth, ("V_S",)) == {"V_S": {"n_true": 1, "n_found": 3, "n_right": 1}}
