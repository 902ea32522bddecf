"""What all frames together say of the candidates of a movie: shape, places and prevalence learned from them."""

from types import SimpleNamespace

import numpy as np
import pytest

from stemdefects.inference.columns.site_columns import column_dtype
from stemdefects.inference.evidence.floating import calls, mixture, patch_light
from stemdefects.inference.tables.partial_results import Block
from stemdefects.io.tables import table

VECTORS = np.array([[1.2, 12.0], [10.9, 4.6]])  # px
PIXEL_NM, PATCH_NM, SIZE = 0.02, 0.96, 256
SIDE = table.PATCH_PX
STEP = PATCH_NM / SIDE / PIXEL_NM * np.linalg.inv(VECTORS)


def crystal(cells):
    """Intensity (...,) at places (..., 2) in lattice vectors: two columns in a cell, 2 counts at the least."""
    waves = 2 * np.pi * (cells @ np.array([[1, 0, 1], [0, 1, 1]]))
    return 6.0 + 1.3 * np.cos(waves).sum(-1)


def patches_at(cells, height, rng, width_px=2.3):
    """Patches around `cells` (n, 2) with a Gaussian of `height` (n,) noise units in the middle; counts are Poisson."""
    offsets = patch_light.grid(SIDE)
    mean = crystal(cells[:, None, None] + offsets @ STEP)
    bump = np.exp(-0.5 * (offsets**2).sum(-1) / width_px**2)
    size = np.sqrt((bump**2 / mean).sum((1, 2)))
    return rng.poisson(mean + (height / size)[:, None, None] * bump).astype(float)


def test_what_a_patch_has_of_the_shape_is_in_units_of_noise():
    rng = np.random.default_rng(0)
    cells, height = rng.uniform(0, 1, (400, 2)), np.where(np.arange(400) < 100, 8.0, 0.0)
    patches = patches_at(cells, height, rng)
    cell = patch_light.cell_of(patches, cells, STEP)
    rest, intact = patch_light.beyond(patches, cells, STEP, cell)
    truth = crystal(cells[:, None, None] + patch_light.grid(SIDE) @ STEP)
    assert np.abs(intact - truth).mean() < 0.05 and np.abs(intact - truth).max() < 0.3
    noise = patch_light.variance(intact, cell)
    assert np.median(np.abs(noise / truth - 1)) < 0.05  # counts scatter by their root
    shape = patch_light.shape_of(rest, noise, (height > 0).astype(float))
    shown = patch_light.strength(rest, noise, shape)
    assert abs(shown[100:].mean()) < 0.2 and 0.85 < shown[100:].std() < 1.15
    assert 7.3 < shown[:100].mean() < 9.2


def test_uneven_light_is_no_defect():
    rng = np.random.default_rng(1)
    cells, height = rng.uniform(0, 1, (300, 2)), np.where(np.arange(300) < 60, 10.0, 0.0)
    lit = np.linspace(0.7, 1.3, 300)[rng.permutation(300), None, None]
    patches = lit * patches_at(cells, height, rng)
    cell = patch_light.cell_of(patches, cells, STEP)
    rest, intact = patch_light.beyond(patches, cells, STEP, cell)
    shape = patch_light.shape_of(rest, patch_light.variance(intact, cell), (height > 0).astype(float))
    shown = patch_light.strength(rest, patch_light.variance(intact, cell), shape)
    assert np.abs(np.corrcoef(lit[60:, 0, 0], shown[60:])[0, 1]) < 0.2
    assert shown[60:].std() < 1.5


PLACES = np.array([[1 / 3, 1 / 3], [2 / 3, 2 / 3]])
CELL = mixture.Cell(2, float(abs(np.linalg.det(VECTORS)) / (VECTORS**2).sum(1).min()))


def drawn(rng, n, where, scatter=0.04):
    """Distance of `n` points from the nearest place: of each of the `PLACES` in turn, or anywhere in the cell."""
    cells = rng.uniform(0, 1, (n, 2))
    if where == "places":
        cells = PLACES[np.arange(n) % 2] + rng.normal(0, scatter, (n, 2))
    return mixture.distance(cells, PLACES, VECTORS)


@pytest.mark.parametrize("defects_at", ["places", "anywhere"])
@pytest.mark.parametrize("noise_at", ["places", "anywhere"])
def test_spots_of_noise_that_the_network_calls_are_told_from_defects(defects_at, noise_at):
    rng = np.random.default_rng(2)
    defect = np.arange(300) < 90
    shown = np.where(defect, rng.normal(7.5, 1.3, 300), rng.gamma(25, 0.13, 300))
    logit = np.where(defect, rng.normal(2.5, 1.5, 300), rng.normal(-1.8, 1.0, 300))
    away = np.where(defect, drawn(rng, 300, defects_at), drawn(rng, 300, noise_at))
    called = logit > 0
    assert (called & ~defect).sum() >= 5  # else there is nothing to mend
    found = mixture.fit(mixture.features(logit, shown), away, called, CELL)
    assert found.sensible and (found.anywhere > 0.5) == (defects_at == "anywhere")
    call = found.probability > 0.5
    assert (call & ~defect).sum() <= 2 and (call & defect).sum() >= max((called & defect).sum(), 86)
    assert found.probability.sum() == pytest.approx(90, abs=5)  # they are what they say


def test_weak_and_strong_defects_of_one_kind_are_both_kept():
    rng = np.random.default_rng(3)
    weak, strong = np.arange(400) < 60, (np.arange(400) >= 60) & (np.arange(400) < 120)
    shown = np.where(weak, rng.normal(7, 1, 400), np.where(strong, rng.normal(60, 5, 400), rng.gamma(25, 0.13, 400)))
    logit = np.where(weak, rng.normal(2, 1, 400), np.where(strong, rng.normal(8, 1, 400), rng.normal(-1.8, 0.8, 400)))
    away = np.where(weak | strong, drawn(rng, 400, "places"), drawn(rng, 400, "anywhere"))
    call = mixture.fit(mixture.features(logit, shown), away, logit > 0, CELL).probability > 0.5
    assert call[weak].mean() > 0.95 and call[strong].all() and call[~weak & ~strong].sum() <= 2


def movie(n_frames, rng, false_each=0.3, weak_each=3.0, height=9.0):
    """A block of frames with one defect in each, hopping over the places, spots of noise that are called and ones that
    are not; and which of its candidates are defects."""
    rows, columns, patches, true, lattices = [], [], [], [], []
    frames = table.empty_frames(n_frames)
    frames["frame"] = np.arange(n_frames)
    for t in range(n_frames):
        origin = np.array([128.0, 128.0]) + rng.normal(0, 1, 2)
        lattices.append(np.concatenate([VECTORS, origin[None]]))
        n_false, n_weak = rng.poisson(false_each), rng.poisson(weak_each)
        cells = np.concatenate(
            [
                rng.integers(-5, 6, (1, 2)) + PLACES[rng.integers(2)] + rng.normal(0, 0.03, (1, 2)),
                rng.integers(-5, 6, (n_false + n_weak, 2)) + rng.uniform(0, 1, (n_false + n_weak, 2)),
            ]
        )
        shown = np.concatenate([[height], rng.uniform(2.5, 3.2, n_false + n_weak)])
        logit = np.concatenate([[max(rng.normal(2, 1.2), -2.5)], rng.uniform(0.1, 1, n_false)])
        logit = np.concatenate([logit, rng.uniform(-2.5, -0.2, n_weak)])
        here, mine = table.empty(len(cells)), np.zeros(len(cells), column_dtype(2))
        here["frame"], here["kind"] = t, b"bright"
        here["y_px"], here["x_px"] = (cells @ VECTORS + origin).T
        here["score"] = here["kind_prob"] = 1 / (1 + np.exp(-logit))
        for name in ("frame", "y_px", "x_px"):
            mine[name] = here[name]
        mine["score"][:, 1] = logit
        rows.append(here)
        columns.append(mine)
        patches.append(patches_at(cells, shown, rng))
        true.append(np.arange(len(cells)) == 0)
    rows, columns, patches, true = (np.concatenate(part) for part in (rows, columns, patches, true))
    called = rows["score"] > 0.5
    frames["n_defects"] = np.bincount(rows["frame"][called], minlength=n_frames)
    patches = patches.astype(np.float16)
    nothing = np.zeros(0)
    return (
        Block(
            0,
            rows[called],
            frames,
            patches[called],
            columns,
            np.array(lattices),
            nothing,
            nothing,
            rows[~called],
            patches[~called],
        ),
        np.concatenate([rows[called], rows[~called]]),
        np.concatenate([true[called], true[~called]]),
    )


def setup(**thresholds):
    kind = SimpleNamespace(name="bright", state=1)
    return SimpleNamespace(
        of_movie=True,
        keeps_columns=True,
        aspect=1.0,
        reference_px=VECTORS,
        model=SimpleNamespace(material=SimpleNamespace(kinds=[kind])),
        settings=SimpleNamespace(patch_nm=PATCH_NM, thresholds=thresholds),
        calibration=SimpleNamespace(pixel_size_nm=PIXEL_NM),
    )


def right(rows, every, true):
    """How many of `rows` are defects."""
    real = {(row["frame"], row["y_px"]) for row in every[true]}
    return sum((row["frame"], row["y_px"]) in real for row in rows)


def test_calls_are_judged_by_all_frames_together():
    block, every, true = movie(60, np.random.default_rng(4))
    before = right(block.rows, every, true)
    assert before < 60 and len(block.rows) - before >= 10  # some defects are not called, some noise is
    found = calls.judged([block].__getitem__, 1, setup())(0)
    assert right(found.rows, every, true) >= 59 and len(found.rows) <= 62
    assert (np.diff(found.rows["frame"]) >= 0).all() and len(found.patches) == len(found.rows)
    assert np.array_equal(found.frames["n_defects"], np.bincount(found.rows["frame"], minlength=60))
    assert found.rows["score"].sum() == pytest.approx(60, abs=2)
    strict = calls.judged([block].__getitem__, 1, setup(bright=1.0))(0)
    assert len(strict.rows) < len(found.rows)  # the user's own threshold counts


def test_the_network_stands_where_there_is_little_to_learn_from():
    block, _, _ = movie(12, np.random.default_rng(5))
    found = calls.judged([block].__getitem__, 1, setup())(0)
    assert found.rows.tobytes() == block.rows.tobytes() and np.array_equal(found.patches, block.patches)
    unseated = movie(60, np.random.default_rng(6))[0]
    unseated = unseated._replace(lattices=np.full((60, 3, 2), np.nan))  # no frame shows the lattice
    found = calls.judged([unseated].__getitem__, 1, setup())(0)
    assert found.rows.tobytes() == unseated.rows.tobytes()
    known = setup()
    known.of_movie = False
    assert calls.judged([block].__getitem__, 1, known)(0) is block


def test_the_network_stands_where_patches_do_not_show_what_it_has_learned():
    block, _, _ = movie(60, np.random.default_rng(8), height=2.0)
    found = calls.judged([block].__getitem__, 1, setup())(0)
    assert found.rows.tobytes() == block.rows.tobytes()


def test_a_movie_without_spots_of_noise_keeps_its_calls():
    block, _, _ = movie(60, np.random.default_rng(7), false_each=0.0, weak_each=0.0, height=25.0)
    found = calls.judged([block].__getitem__, 1, setup())(0)
    assert len(found.rows) == 60
