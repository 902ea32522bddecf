"""Movies of defects of an unknown crystal: drift, the places of the cell, the sites over time."""

from types import SimpleNamespace

import numpy as np
import pytest

from stemdefects.crystal.material.measured import card as measured_material
from stemdefects.inference.columns.defects import Rules
from stemdefects.inference.columns.lattice.floating import view
from stemdefects.inference.columns.site_columns import Frame, column_dtype
from stemdefects.inference.evidence.floating import sites as floating_sites
from stemdefects.inference.network import bragg_map
from stemdefects.io.tables import table
from stemdefects.models import artifact

VECTORS = np.array([[1.3, 11.9], [10.8, 5.1]])
PLACES = np.array([[0.17, 0.17], [0.83, 0.83]])
SIZE = 200.0


@pytest.fixture
def setup():
    from stemdefects.crystal import material

    stuff = material.from_config(measured_material(VECTORS * 0.02, ["bright"]))
    calibration = artifact.Calibration(np.zeros(2), 1.0, {})
    model = SimpleNamespace(material=stuff, calibration=calibration, confusion={})
    settings = SimpleNamespace(over_time=SimpleNamespace(max_step_nm=2.0, threshold=0.5))
    return SimpleNamespace(
        model=model,
        settings=settings,
        rules=Rules({"defect": 0.5}),
        reference_px=VECTORS,
        aspect=1.0,
        shape_px=(SIZE, SIZE),
        raw_places=lambda place: place,
        calibration=SimpleNamespace(pixel_size_nm=0.02),
    )


def called(columns):
    """The rows of a frame's table that all its columns are."""
    rows = table.empty(len(columns))
    for name in ("frame", "y_px", "x_px"):
        rows[name] = columns[name]
    rows["kind"], rows["score"], rows["kind_prob"] = b"bright", 0.982, 0.982  # as log-odds of 4 say
    return rows


def frames_of(yx, drift, rng):
    """Frames with detections at the points `yx` (T, n, 2) of the specimen, drifting; numbering of cells is each frame's
    own."""
    out = []
    for t, (points, moved) in enumerate(zip(yx, drift, strict=True)):
        row = table.empty_frames(1)[0]
        row["frame"] = t
        place = points + moved + rng.normal(0, 0.4, points.shape)
        columns = np.zeros(len(points), column_dtype(2))
        columns["frame"], columns["y_px"], columns["x_px"], columns["sigma_px"] = t, *place.T, 0.4
        columns["score"] = [0, 4]
        origin = np.array([101.0, 95.0]) + moved + rng.integers(-2, 3, 2) @ VECTORS
        out.append(
            Frame(columns, np.concatenate([VECTORS, origin[None]]), row, None, None, called(columns), table.empty(0))
        )
    return out


def looked(monkeypatch, setup, frames):
    rows = []
    monkeypatch.setattr(floating_sites, "frames", lambda *_: frames)
    found = floating_sites.analyse(None, 1, setup, rows.append)
    return found, np.concatenate(rows)


def test_a_hopping_atom_is_on_one_site_of_a_honeycomb_in_every_frame(monkeypatch, setup):
    rng = np.random.default_rng(1)
    path, cell, at = [], np.zeros(2), 0
    for t in range(40):  # to one of the three nearest places of the other kind, nine times of ten
        if t and rng.random() < 0.9:
            shift = np.array([(0, 0), (-1, 0), (0, -1)])[rng.integers(3)]
            cell, at = (cell + shift, 1) if at == 0 else (cell - shift, 0)
        path.append((cell + PLACES[at]) @ VECTORS + [101.0, 95.0])
    drift = np.cumsum(rng.normal(0, 0.8, (40, 2)), 0)
    drift -= drift[0]
    found, rows = looked(monkeypatch, setup, frames_of(np.array(path)[:, None], drift, rng))
    assert np.abs(found.drift_px - drift).max() < 1e-6
    off = found.places[:, None] - PLACES[None]
    assert np.linalg.norm(off - np.rint(off), axis=2).min(0).max() < 0.02 and len(found.places) == 2
    each = np.bincount(rows["frame"], minlength=40)
    assert (each >= 1).all() and each.sum() <= 42  # a frame between two visits of a site may have it there too
    true = (np.array(path) + drift)[rows["frame"]]
    off = np.linalg.norm(np.column_stack([rows["y_px"], rows["x_px"]]) - true, axis=1)
    assert (off < 2.0).sum() == 40


def test_a_missed_defect_is_there_and_a_jump_of_the_drift_is_named_by_those_that_stay(monkeypatch, setup):
    rng = np.random.default_rng(2)
    cells = np.array([[2, 1], [-3, 2], [1, -4], [-2, -3]])
    points = (cells + PLACES[0]) @ VECTORS + [101.0, 95.0]
    drift = np.zeros((12, 2))
    drift[6:] = [0.9, 0.6] @ VECTORS  # nearer to a whole vector than to none
    frames = frames_of(np.repeat(points[None], 12, 0), drift, rng)
    frames[4] = frames[4]._replace(columns=frames[4].columns[1:], rows=frames[4].rows[1:])
    frames[8] = frames[8]._replace(lattice=np.full((3, 2), np.nan))
    found, rows = looked(monkeypatch, setup, frames)
    assert np.isnan(found.drift_px[8]).all() and len(found.places) == 1
    seen = np.arange(12) != 8
    assert np.abs((found.drift_px - drift)[seen]).max() < 1e-6
    assert np.bincount(rows["frame"], minlength=12).tolist() == [4] * 8 + [0] + [4] * 3


def test_what_is_too_faint_to_be_called_in_some_frames_is_there_all_the_same(monkeypatch, setup):
    rng = np.random.default_rng(5)
    points = np.repeat(((np.array([[2, 1]]) + PLACES[0]) @ VECTORS + [101.0, 95.0])[None], 24, 0)
    frames = frames_of(points, np.zeros((24, 2)), rng)
    model = np.array([[0.0, 0.0, 0.0], [0.0, 98.0, 2.0], [0.0, 0.0, 0.0]])  # it is hardly ever missed, it says
    table_of = {"doses": {"held_out": {"counts": model}}, "true": [], "said": []}
    setup.model.confusion = table_of
    setup.model.config = SimpleNamespace(
        training=SimpleNamespace(validation=SimpleNamespace(doses_e_per_px={"held_out": 0.0}))
    )
    for t in range(8, 14):  # six frames show it too faintly
        weak = frames[t].rows.copy()
        weak["score"] = weak["kind_prob"] = 0.3
        frames[t] = frames[t]._replace(rows=table.empty(0), weak=weak)
    rows = looked(monkeypatch, setup, frames)[1]
    assert np.bincount(rows["frame"], minlength=24).tolist() == [1] * 24
    for t in range(8, 14):
        frames[t] = frames[t]._replace(weak=table.empty(0))
    rows = looked(monkeypatch, setup, frames)[1]
    assert np.bincount(rows["frame"], minlength=24).tolist() == [1] * 8 + [0] * 6 + [1] * 10


def test_what_is_called_by_mistake_here_and_there_makes_no_place_of_the_cell(monkeypatch, setup):
    rng = np.random.default_rng(4)
    cells = np.array([[2, 1], [-3, 2]])
    points = np.repeat(((cells + PLACES[0]) @ VECTORS + [101.0, 95.0])[None], 40, 0)
    frames = frames_of(points, np.zeros((40, 2)), rng)
    for t in rng.choice(40, 12, replace=False):
        false = frames[t].columns[:1].copy()
        false["y_px"], false["x_px"] = rng.uniform(20, 180, 2)
        columns = np.concatenate([frames[t].columns, false])
        frames[t] = frames[t]._replace(columns=columns, rows=called(columns))
    found, rows = looked(monkeypatch, setup, frames)
    assert len(found.places) == 1 and len(rows) == 80
    found = []
    for _ in range(40):
        there = np.tile(PLACES[0], (80, 1)) + rng.normal(0, 0.02, (80, 2))
        found.append(len(floating_sites.places(np.concatenate([there, rng.uniform(0, 1, (12, 2))]), VECTORS)))
    assert sum(n > 1 for n in found) <= 2


def test_cells_come_from_the_bragg_components_of_the_frame():
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(200), np.arange(200), indexing="ij"), -1)
    shift = np.array([3.3, -2.1])
    waves = np.concatenate([np.linalg.inv(VECTORS).T, np.linalg.inv(VECTORS).T.sum(0, keepdims=True)])
    image = sum(np.cos(2 * np.pi * (grid - shift) @ g) for g in waves) + rng.normal(0, 1, (200, 200))
    made = bragg_map.windows((200, 200), VECTORS, VECTORS * 0.02)
    parts = np.asarray(bragg_map.components(image[None].astype(np.float32), made.rows, made.columns))[0]
    output = SimpleNamespace(lattice=bragg_map.read(parts, made), image=image.astype(np.float32), scale=1.0)
    points = shift + np.array([[4, 3], [6, 5]]) @ VECTORS + 0.3
    found = view(points, output, VECTORS)
    place = (found.cell @ found.vectors_px + found.origin_px) - points
    assert np.abs(place + 0.3).max() < 0.25
    assert found.n_sites == pytest.approx(200**2 / abs(np.linalg.det(VECTORS)), abs=1)
    # too small a field for windows: the whole frame's components say it, where they stand out
    alone = SimpleNamespace(lattice=None, image=image.astype(np.float32), scale=1.0)
    other = view(points, alone, VECTORS)
    assert np.abs((other.cell @ other.vectors_px + other.origin_px) - points + 0.3).max() < 0.25
    noise = SimpleNamespace(lattice=output.lattice._replace(clear=False), image=rng.normal(0, 1, (200, 200)), scale=1.0)
    assert view(points, noise, VECTORS) is None
