"""Frames of other fields and frames with a second lattice: nothing is followed into them, and the page says so."""

import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis import pipeline
from stemdefects.analysis.data import detections, fields
from stemdefects.analysis.notes import Code, codes
from stemdefects.analysis.tracking import lattice_drift
from stemdefects.crystal import material
from stemdefects.io.tables import quality_flags, table
from stemdefects.schema import TableConfig

PLACES = np.stack(np.meshgrid(np.arange(40, 480, 40.0), np.arange(40, 480, 40.0)), -1).reshape(-1, 2)
ATTRS = {"pixel_size_nm": 0.03, "frame_time_s": 1.0}


def still(n_frames=12, doubts=None, **attrs):
    """Vacancies that stay in place, with 20 more where a frame is in doubt."""
    doubts = np.zeros(n_frames, int) if doubts is None else np.asarray(doubts)
    frames, rows = table.empty_frames(n_frames), []
    frames["frame"], frames["n_sites"], frames["fraction_lattice"] = np.arange(n_frames), 100, 1.0
    frames["doubt"] = doubts
    rng = np.random.default_rng(0)
    for t in range(n_frames):
        places = np.concatenate([PLACES, rng.uniform(20, 480, (20, 2))]) if doubts[t] else PLACES
        here = table.empty(len(places))
        here["frame"], here["kind"], here["sigma_nm"], here["kind_prob"], here["score"] = t, b"V_S", 0.01, 1, 1
        here["y_px"], here["x_px"] = (places + rng.normal(0, 0.3, places.shape)).T
        rows.append(here)
    rows = np.concatenate(rows)
    over_time = rows.copy()
    made = table.DefectTable(rows, frames, attrs=ATTRS | attrs, over_time=over_time)
    return detections.from_table(made, TableConfig())


@pytest.fixture
def cfg():
    cfg = config.load_group("analysis", "default")
    cfg.diffusion.n_bootstrap = 50
    cfg.diffusion.gate_scan_lattice = []
    return cfg


@pytest.mark.parametrize("flag", [quality_flags.SECOND_LATTICE, quality_flags.OTHER_FIELD])
def test_frames_apart_are_not_looked_at(flag):
    doubts = np.zeros(12, int)
    doubts[8:11] = flag | quality_flags.MANY
    found = still(doubts=doubts)
    assert found.followed and found.observed.sum() == 9 and not found.observed[8:11].any()
    assert not np.isin(found.rows["frame"], [8, 9, 10]).any()
    assert not np.isin(found.over_time["frame"], [8, 9, 10]).any() and len(found.over_time) == 9 * len(PLACES)
    assert any(Code.NOT_FOLLOWED in codes(note) and "3 frames" in note for note in found.notes)
    whole = still(doubts=np.full(12, quality_flags.MANY))
    assert whole.observed.all() and not any(Code.NOT_FOLLOWED in codes(note) for note in whole.notes)


@pytest.mark.parametrize("how", ["unrelated", "moire"])
def test_without_a_common_field_only_counts_are_given(cfg, how):
    if how == "unrelated":
        found = still(doubts=np.full(12, quality_flags.OTHER_FIELD), fields=fields.UNRELATED)
    else:
        found = still(doubts=[quality_flags.SECOND_LATTICE] * 9 + [0] * 3)
    assert not found.followed and found.observed.all() and not len(found.over_time)
    result = pipeline.analyse(found, cfg, material.load("ws2_mo"))
    assert sum(Code.NOT_FOLLOWED in codes(note) for note in result.notes) == 1
    assert result.of("transitions") is None and not result.of("diffusion").motion.results
    assert result.inputs.drift.method == "none"
    assert not (result.inputs.tracks.lengths > 1).any() and not len(result.inputs.events)
    said = {e.quantity for e in result.estimates}
    assert "count per frame" in said and not said & {"D", "change of the count", "births of tracks"}
    followed = pipeline.analyse(still(), cfg, material.load("ws2_mo"))
    assert (followed.inputs.tracks.lengths == 12).any(), "the same places without a doubt are tracks"


@pytest.mark.parametrize(("largest", "n_defects", "guess"), [(0.5, 1, True), (0.2, 1, False), (0.5, 3, False)])
def test_the_drift_of_an_unknown_crystal_is_a_guess_where_a_camera_follows_one_atom(largest, n_defects, guess):
    rng = np.random.default_rng(0)
    frames = table.empty_frames(40)
    frames["frame"], frames["n_defects"] = np.arange(40), n_defects
    frames["a1_y_px"], frames["a1_x_px"], frames["a2_y_px"], frames["a2_x_px"] = 0.0, 10.0, 10.0, 0.0
    frames["drift_y_px"], frames["drift_x_px"] = np.cumsum(rng.uniform(-10 * largest, 10 * largest, (2, 40)), 1)
    rows = table.empty(40)
    rows["frame"], rows["y_px"], rows["x_px"] = np.arange(40), 50.0, 50.0
    rows["score"], rows["kind"] = 0.9, b"bright"
    made = table.DefectTable(rows, frames, attrs=ATTRS | {"places": [[0.0, 0.0]]})
    note = lattice_drift.guessed(detections.from_table(made, TableConfig()))
    assert (note is not None) == guess
    known = table.DefectTable(rows, frames, attrs=ATTRS)  # columns say where the lattice is
    assert lattice_drift.guessed(detections.from_table(known, TableConfig())) is None
