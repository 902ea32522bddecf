"""`train.py labels=corrections`: what a person said becomes labels, and what cannot is refused in one line.

The movie is drawn here, column by column, so that what each column is does not come from our own simulator.
"""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import h5py
import jax
import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemdefects import config
from stemdefects.analysis import pipeline, synthetic
from stemdefects.commands import analyze
from stemdefects.config import load_group
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.io import opening, runs, sources
from stemdefects.io.tables import corrections as files
from stemdefects.io.tables.corrections import Correction
from stemdefects.io.tables.table import DefectTable, empty_frames
from stemdefects.labels import corrected as labels_corrected
from stemdefects.labels.fourier.points.certainty import UNKNOWN
from stemdefects.labels.fourier.sites import UNSTATED
from stemdefects.models import shipped
from stemdefects.schema import AnalyzeRoot
from stemdefects.training import corrections, loop
from stemdefects.training.outcome import corrected_frames
from tests.inference.small_network import save_model

SIZE, PIXEL_NM, N_FRAMES = 160, 0.03, 4
DRIFT_PX = np.array([[0.0, 0.0], [0.6, -0.4], [1.2, -0.8], [1.8, -1.2]])
WS2 = crystal.load("ws2_mo")
LEFT_OUT = [name for name in pipeline.STAGES if name not in ("counts", "corrections")]


def drawn(seed):
    """(places (L, 2) px in the first frame, state (L,), frames): WS2 turned by 0.2 rad with 24 defects well inside."""
    rng = np.random.default_rng(seed)
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    vectors = WS2.lattice_nm @ turn / PIXEL_NM
    cells = np.stack(np.meshgrid(np.arange(-40, 40), np.arange(-40, 40), indexing="ij"), -1).reshape(-1, 2)
    yx = ((cells[:, None] + WS2.basis[None]) @ vectors).reshape(-1, 2) + 30
    site = np.tile(np.arange(2), len(cells))
    near = ((yx > -10) & (yx < SIZE + 10)).all(1)
    yx, site = yx[near], site[near]
    state = WS2.ideal_states[site]
    inside = ((yx > 15) & (yx < SIZE - 15)).all(1)
    for name, n in (("Mo", 8), ("V_metal", 4), ("V_chalcogen", 6), ("S", 6)):
        number = WS2.state_names.index(name)
        free = np.flatnonzero(
            inside & (state == WS2.ideal_states[WS2.site_of_state[number]]) & (site == WS2.site_of_state[number])
        )
        state[rng.choice(free, n, replace=False)] = number
    height = 90 * WS2.intensities(80.0)[state]
    frames = []
    for moved in DRIFT_PX:
        rows, columns = (np.exp(-0.5 * ((np.arange(SIZE)[:, None] - (yx[:, k] + moved[k])) / 1.7) ** 2) for k in (0, 1))
        frames.append(rng.poisson((rows * height) @ columns.T + 6))
    return yx, state, np.stack(frames).astype(np.uint16)


def made(runs_dir, folder, seed):
    """A run of which the table misses the first Mo in frame 1, has one V_S too many in frame 2 and calls one V_W an
    Mo_W in frame 3."""
    yx, state, frames = drawn(seed)
    path = folder / f"movie_{seed}.h5"
    with h5py.File(path, "w") as out:
        out["frames"] = frames
        out.attrs["pixel_size_nm"] = PIXEL_NM
    kind = np.array([WS2.kind_names[k] if k >= 0 else "" for k in WS2.kind_of_state[state]])
    shown = np.flatnonzero(kind != "")
    missed = shown[kind[shown] == "Mo_W"][0]
    wrong = shown[kind[shown] == "V_W"][0]
    well_inside = ((yx > 30) & (yx < SIZE - 30)).all(1)
    too_many = np.flatnonzero((state == WS2.state_names.index("S2")) & well_inside)[5]
    rows = []
    for t in range(N_FRAMES):
        for i in [*shown, *([too_many] if t == 2 else [])]:
            if t == 1 and i == missed:
                continue
            name = "Mo_W" if t == 3 and i == wrong else kind[i] or "V_S"
            rows.append((t, *(yx[i] + DRIFT_PX[t]) * PIXEL_NM, name))
    table = synthetic.defect_rows([r[0] for r in rows], [r[1:3] for r in rows], PIXEL_NM, [r[3] for r in rows])
    table["y_nm"], table["x_nm"] = table["y_px"] * PIXEL_NM, table["x_px"] * PIXEL_NM
    about = empty_frames(N_FRAMES)
    about["drift_y_px"], about["drift_x_px"] = DRIFT_PX.T
    about["fraction_lattice"] = 1
    movie = opening.read(path)
    attrs = sources.record(movie) | {
        "pixel_size_nm": PIXEL_NM,
        "frame_time_s": 2.0,
        "source": str(path),
        "source_shape": [N_FRAMES, SIZE, SIZE],
        "source_sha256": sources.Hashing(movie).result(),
        "material": "ws2_mo",
        "model_id": json.loads((shipped.folder() / "ws2_mo" / "model.json").read_text())["id"],
    }
    run = runs.create(runs_dir)
    DefectTable(table, about, attrs=attrs).write(run.defects_path)
    place = SimpleNamespace(
        missed=yx[missed] + DRIFT_PX[1], too_many=yx[too_many] + DRIFT_PX[2], wrong=yx[wrong] + DRIFT_PX[3]
    )
    return SimpleNamespace(run=run, rows=table, yx=yx, state=state, kind=kind, place=place, movie=path)


def correct(one, *items, overwrite=False):
    """`analyze.py run= corrections=` with these corrections."""
    path = one.movie.with_suffix(".csv")
    files.write(path, files.Corrections(items, files.digest(one.rows)))
    settings = config.load_group("analysis", "default")
    settings.leave_out = LEFT_OUT
    groups = {name: config.load_group(name, c) for name, c in (("logging", "disabled"), ("material", "ws2_mo"))}
    analyze.run(
        AnalyzeRoot(
            run=one.run.id,
            runs_dir=str(one.run.path.parent),
            corrections=str(path),
            analysis=settings,
            overwrite=overwrite,
            **groups,
        )
    )


def all_three(one):
    """What a person who knows the truth would say: one added, one deleted, one of another kind; frame 3 is looked at as
    a whole, and in frame 2 a rectangle does not count."""
    place = one.place
    return (
        Correction("add", 1, *map(float, place.missed), "Mo_W"),
        Correction("delete", 2, *map(float, place.too_many)),
        Correction("relabel", 3, *map(float, place.wrong), "V_W"),
        Correction("checked", 3),
        Correction("exclude", 3, 100, 20, y_to_px=130, x_to_px=60),
    )


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Two corrected runs of two movies and one that nobody corrected."""
    folder = tmp_path_factory.mktemp("corrected")
    ones = [made(folder / "runs", folder, seed) for seed in (1, 2, 3)]
    for one in ones[:2]:
        correct(one, *all_three(one))
    return ones


@pytest.fixture
def asked(given, tiny_root):
    """`asked(run=..., ...)`: the config of `train.py labels=corrections run=...`."""

    def make(run, **changes):
        cfg = tiny_root(given[0].run.path.parent, **changes)
        return dataclasses.replace(cfg, labels=load_group("labels", "corrections"), run=run)

    return make


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A small network with random weights."""
    return save_model(tmp_path_factory.mktemp("model") / "model")


def copied(one, tmp_path):
    """The run of `one` where it may be spoilt."""
    folder = tmp_path / "runs" / one.run.id
    shutil.copytree(one.run.path, folder)
    return SimpleNamespace(**vars(one) | {"run": runs.Run(folder)})


def states_of(part, t):
    """{index of a true column in the first frame of the drawing: labelled state} helper: tree of the labelled columns
    of labelled frame `t`."""
    return cKDTree(part.columns.yx[t]), part.columns.state[t], part.columns.sure[t]


def labelled(part, t, yx_px):
    """State of the labelled column nearest to a place; -2 where it is not sure."""
    tree, state, sure = states_of(part, t)
    away, i = tree.query(yx_px)
    assert away < 1.5, "the lattice of the labels is not that of the movie"
    return int(state[i]) if sure[i] else -2


def test_added_deleted_relabelled_and_left_out_become_labels(given, asked):
    one = given[0]
    cfg, source, params = corrections.prepare(asked(one.run.id))
    assert cfg.training.init == "ws2_mo" and params is not None  # the network that made the table, by its id
    assert cfg.labels.corrected.keys() == {one.run.id} and cfg.run is None
    (part,) = source.parts
    assert part.labels.indices.tolist() == [1, 2, 3] and part.whole.tolist() == [False, False, True]
    names = WS2.state_names
    assert labelled(part, 0, one.place.missed) == names.index("Mo")
    assert labelled(part, 1, one.place.too_many) == names.index("S2")
    assert labelled(part, 2, one.place.wrong) == names.index("V_metal")
    # where not all was looked at, nothing is said of any other column
    for t in (0, 1):
        assert (part.columns.state[t] != UNSTATED).sum() == 1
    # of the frame that was looked at as a whole every column is what it is
    away, nearest = cKDTree(one.yx + DRIFT_PX[3]).query(part.columns.yx[2])
    near = (away < 1.5) & part.columns.sure[2]
    assert near.sum() > 350 and (part.columns.state[2][near] == one.state[nearest[near]]).all()
    assert (part.columns.state[2] != UNSTATED).all()
    # but where nothing counts
    y, x = part.columns.yx[2].T
    inside = (y > 101) & (y < 129) & (x > 21) & (x < 59)
    assert inside.sum() > 10 and not part.columns.sure[2][inside].any()
    assert (part.labels.regions[2][101:129, 21:59] == UNKNOWN).all()
    assert not (part.labels.regions[1][101:129, 21:59] == UNKNOWN).all()
    assert not (part.train & part.test).any() or "optimistic" in " ".join(part.notes)


def test_several_runs_are_learned_from_together(given, asked, tmp_path):
    a, b = given[:2]
    cfg, source, _ = corrections.prepare(asked(f"[{a.run.id},{b.run.id}]"))
    assert [part.name for part in source.parts] == [a.run.id, b.run.id]
    assert set(cfg.labels.corrected) == {a.run.id, b.run.id}
    example = source.simulator(cfg, 32, held_out=False)
    image, truth = jax.eval_shape(example, jax.random.key(0))
    assert image.shape[:2] == (32, 32) and truth.site.shape == truth.state.shape
    run, told = runs.create(tmp_path), {}
    source.report(run, SimpleNamespace(summary=told.update))
    lines = (run.path / "labels.csv").read_text().splitlines()
    assert lines[0] == "run,frame,y_px,x_px,state" and {line.split(",")[0] for line in lines[1:]} == {
        a.run.id,
        b.run.id,
    }
    assert told == {"labels_defects": len(lines) - 1, "labels_frames": 6}
    # gone on with, it takes the same again, and nothing else
    _, again, params = corrections.prepare(cfg, resumed=True)
    assert params is None and [part.name for part in again.parts] == [a.run.id, b.run.id]


def refused(cfg, **changes):
    with pytest.raises(UserError) as error:
        corrections.prepare(dataclasses.replace(cfg, **changes))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_asked_for_wrongly(given, asked):
    a, _, bare = given
    assert "has no corrections; correct them on its page and apply them" in refused(asked(bare.run.id))
    assert "say whose: run=<id>" in refused(asked(None))
    assert "the same run twice" in refused(asked(f"[{a.run.id},{a.run.id}]"))
    assert "no such run" in refused(asked("nothing"))
    assert "takes the movie of the corrected run" in refused(asked(a.run.id), input="m.h5")
    assert "sees 5 at once" in refused(asked(a.run.id, training__init="ws2_mo_movie"))
    assert "does not know" in refused(asked(a.run.id, training__init="mos2"))
    # one that is not there costs the other nothing, and nothing is begun
    assert "has no corrections" in refused(asked(f"[{a.run.id},{bare.run.id}]"))


def changed(one, old, new):
    file = one.run.corrected_dir / "corrections.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    "what, old, new",
    [
        ("schema_version 2", "\n1,", "\n2,"),
        ("action 'paint'", "add", "paint"),
        ("different tables", "digest", "0" * 64),
        ("was changed after it was applied", "add,1", "add,77"),  # a frame that is not there
        ("was changed after it was applied", "V_W", "V_X"),  # an unknown kind
        ("was changed after it was applied", "relabel,3,", "relabel,3,9"),  # outside the frame
    ],
)
def test_corrections_that_were_changed_since(given, asked, tmp_path, what, old, new):
    one = copied(given[0], tmp_path)
    changed(one, files.digest(one.rows) if old == "digest" else old, new)
    assert what in refused(asked(one.run.id), runs_dir=str(one.run.path.parent))


def test_corrections_of_another_table(given, asked, tmp_path):
    one, other = (copied(run, tmp_path) for run in given[:2])
    there = {"runs_dir": str(one.run.path.parent)}
    shutil.copyfile(other.run.corrected_dir / "corrections.csv", one.run.corrected_dir / "corrections.csv")
    assert "was changed after it was applied" in refused(asked(one.run.id), **there)
    table = DefectTable.read(other.run.defects_path)
    table.rows["x_px"][0] += 1  # the same movie, found by another network
    table.write(other.run.defects_path)
    assert "has been made again since it was corrected" in refused(asked(other.run.id), **there)
    other.run.defects_path.unlink()
    assert "has no defects.h5 of its own" in refused(asked(other.run.id), **there)


def test_a_movie_that_is_gone_or_another(asked, tmp_path):
    one = made(tmp_path / "runs", tmp_path, 4)
    correct(one, Correction("add", 1, *map(float, one.place.missed), "Mo_W"))
    there = {"runs_dir": str(tmp_path / "runs")}
    with h5py.File(one.movie, "r+") as file:
        file["frames"][0] = 0
    assert "its movie is needed" in refused(asked(one.run.id), **there)
    one.movie.unlink()
    said = refused(asked(one.run.id), **there)
    assert "its movie is needed" in said and f"{one.movie.name} is not there" in said


def test_corrections_that_teach_nothing(given, asked, tmp_path):
    one = copied(given[2], tmp_path)
    correct(one, Correction("exclude", None, 10, 10, y_to_px=20, x_to_px=20))
    there = {"runs_dir": str(one.run.path.parent)}
    assert "name no defect of any frame" in refused(asked(one.run.id), **there)
    correct(one, Correction("delete", 2, *map(float, one.place.too_many)), overwrite=True)
    assert "no corrected frame holds a defect" in refused(asked(one.run.id), **there)


def test_a_training_that_is_gone_on_with_sees_the_same_corrections(given, asked, tmp_path):
    one = copied(given[0], tmp_path)
    cfg = dataclasses.replace(asked(one.run.id), runs_dir=str(one.run.path.parent))
    cfg, _, _ = corrections.prepare(cfg)
    correct(one, *all_three(one)[:3], overwrite=True)
    with pytest.raises(UserError, match="have changed since this training began"):
        corrections.prepare(cfg, resumed=True)


def test_what_a_state_adds_is_measured_where_it_was_named(given, asked):
    (part,) = corrections.prepare(asked(given[0].run.id))[1].parts
    factor = part.crystal.factor
    assert factor.shape == (WS2.n_states,) and (factor >= 0.3).all() and (factor <= 3).all()
    assert factor[WS2.ideal_states].tolist() == [1, 1]
    # the drawing has the very signals of the file
    assert factor[WS2.state_names.index("Mo")] == pytest.approx(1, abs=0.2)
    assert factor[WS2.state_names.index("V_metal")] == pytest.approx(1, abs=0.2)
    # of a movie in which Mo takes half as much away
    half = np.where(part.columns.state == WS2.state_names.index("Mo"), 0.5, 1.0)
    assert (half < 1).sum() >= 8
    residuals = part.labels.residuals.copy()
    for r, yx, h in zip(residuals, part.columns.yx, half, strict=True):
        for y, x in np.rint(yx[h < 1]).astype(int):
            r[max(y - 6, 0) : y + 7, max(x - 6, 0) : x + 7] *= 0.5
    dimmer = dataclasses.replace(part.labels, residuals=residuals)
    assert labels_corrected.light(dimmer, part.columns, part.crystal)[WS2.state_names.index("Mo")] < 0.75


def test_what_is_held_out(given, asked):
    (part,) = corrections.prepare(asked(given[0].run.id))[1].parts
    train, test, how = labels_corrected.split(part.labels, part.columns, WS2, 0.25)
    ideal = WS2.ideal_states[part.columns.site]
    defect = part.columns.sure & (part.columns.state >= 0) & (part.columns.state != ideal)
    x = part.columns.yx[..., 1][defect]
    assert how.startswith("the right 25%") == ((x > 0.78 * SIZE).sum() >= 5 and (x < 0.72 * SIZE).sum() >= 5)
    # everything in the last frame and one in the first: the last frame is held out
    state = np.broadcast_to(ideal, part.columns.state.shape).copy()
    left = np.argmin(np.abs(part.columns.yx[0] - [80, 40]).sum(1))
    site = part.columns.site[left]
    state[0, left] = state[2, left] = np.flatnonzero((WS2.site_of_state == site) & (WS2.kind_of_state >= 0))[0]
    columns = part.columns._replace(state=state, sure=np.ones_like(part.columns.sure))
    train, test, how = labels_corrected.split(part.labels, columns, WS2, 0.25)
    assert how == "the last 1 of 3 frames" and train[:2].all() and test[2].all() and not (train & test).any()
    # only one: nothing can be held out, and that is said
    state[2] = ideal
    columns = columns._replace(state=state)
    train, test, how = labels_corrected.split(part.labels, columns, WS2, 0.25)
    assert "optimistic" in how and train.all() and test.all()


def test_shares_of_right_calls():
    names = WS2.state_names
    mo, v, w, s2, lost = names.index("Mo"), names.index("V_metal"), names.index("W"), names.index("S2"), -1
    true, said = np.array([mo, mo, v, w, w, s2]), np.array([mo, w, mo, mo, w, lost])
    found = corrected_frames._shares([(true[:3], said[:3], np.arange(3)), (true[3:], said[3:], 10 + np.arange(3))], WS2)
    assert found["precision"][0] == pytest.approx(1 / 3) and found["precision"][3] == 3  # Mo, Mo, Mo called
    assert found["recall"][0] == pytest.approx(1 / 3) and found["recall"][3] == 3  # Mo, Mo, V there
    for value, low, high, _ in found.values():
        assert low < value < high
    assert corrected_frames._shares([], WS2) == {"precision": None, "recall": None}
    told = corrected_frames.sentences({"before": found, "after": {"precision": None, "recall": None}})
    assert "precision 0.333" in told[0] and "no frame was checked as a whole" in told[1]


def test_a_network_learns_from_them_and_says_how_well(given, asked, small_model, capsys):
    """The whole training, of a network with random weights: the seams, not how well it does."""
    one = given[0]
    run = loop.train_and_evaluate(asked(one.run.id, training__init=str(small_model), training__steps="4"))
    about = run.read_summary()["corrected_frames"]
    assert set(about) == {"before", "after"}
    recall = about["before"]["recall"]
    assert recall is not None and 0 <= recall[1] <= recall[0] <= recall[2] <= 1
    (part,) = corrections.prepare(asked(one.run.id, training__init=str(small_model)))[1].parts
    defect = part.columns.sure[2] & (part.columns.state[2] != WS2.ideal_states[part.columns.site])
    at = np.rint(part.columns.yx[2]).astype(int).clip(0, SIZE - 1)
    assert recall[3] == (defect & part.test[2][tuple(at.T)]).sum()  # the frame checked as a whole, where held out
    card = (run.model_dir / "README.md").read_text()
    assert "On the frames that a person corrected" in card and "the network before" in card
    assert (run.path / "labels.csv").read_text().startswith("run,frame,y_px,x_px,state")
    assert "with the corrections" in capsys.readouterr().out
