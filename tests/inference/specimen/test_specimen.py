"""What the frames teach, against populations whose levels, shares and places are known."""

import dataclasses

import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import bragg, elements, formula
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.inference import undistorted
from stemdefects.inference.columns.lattice import bent_lattice, promised
from stemdefects.inference.columns.lattice.sites import view
from stemdefects.inference.network import calibration
from stemdefects.inference.network.engine import Columns, FrameOutput
from stemdefects.inference.specimen import composition, learned, light_levels, phases, prevalence
from stemdefects.models import other_crystal
from stemdefects.schema import InferenceConfig, LabelsConfig

WS2 = crystal.load("ws2_mo")
PIXEL_NM = 0.03


def stated(material):
    from stemdefects.models.probability.prevalence import state_prior

    return state_prior(LabelsConfig(name="test"), material)


def test_a_dopant_twice_as_bright_as_its_file_says_is_found_and_counted():
    wse2 = crystal.load("wse2_ti")
    rng = np.random.default_rng(1)
    dopant = rng.random(3000) < 0.035
    light = np.where(dopant, 0.34, 1.0) + 0.1 * rng.standard_normal(3000)
    both = np.concatenate([light, 0.68 + 0.09 * rng.standard_normal(3000)])
    site = np.repeat([0, 1], 3000)
    found = light_levels.learn(both, site, wse2, stated(wse2))
    ti = wse2.state_index("Ti")
    assert not found.alloyed.any() and wse2.intensities()[ti] < 0.2
    assert found.level[ti] == pytest.approx(0.34, abs=0.03) and found.share[ti] == pytest.approx(0.035, abs=0.008)
    assert found.level[wse2.state_index("Se2")] == pytest.approx(0.68, abs=0.01)
    called = light_levels.posterior(both, site, found, wse2)[:3000, ti] > 0.5
    assert (called & dopant).sum() / dopant.sum() > 0.97 and (called & ~dopant).sum() <= 3


def test_two_kinds_of_columns_are_an_alloy_and_no_vacancies():
    rng = np.random.default_rng(2)
    kind = rng.random(400) < 0.4
    metal = 1 + 0.07 * rng.standard_normal(400)
    light = np.where(kind, 0.42, 0.15) + 0.05 * rng.standard_normal(400)
    light[:3] = -0.06  # nothing there
    both, site = np.concatenate([metal, light]), np.repeat([0, 1], 400)
    found = light_levels.learn(both, site, WS2, stated(WS2))
    assert found.alloyed.tolist() == [False, True]
    order = np.argsort(found.bulk[1, :2, 0])
    np.testing.assert_allclose(found.bulk[1, order, 0], [0.15, 0.42], atol=0.02)
    np.testing.assert_allclose(found.bulk[1, order, 1], [0.6, 0.4], atol=0.06)
    prob = light_levels.posterior(both, site, found, WS2)[400:]
    vacant = prob[:, [WS2.state_index(s) for s in ("S", "V_chalcogen")]].sum(1) > 0.5
    assert vacant[:3].all() and vacant[3:].sum() <= 2
    assert light_levels.brighter(both, site, found) == pytest.approx(kind.mean(), abs=0.02)
    own = light_levels.relative(both, site, found, WS2)[403:]
    assert np.median(own) == pytest.approx(1, abs=0.05), "each beside its own kind"
    # as much of a dopant that the material names is no alloy
    mixed = np.concatenate([np.where(rng.random(400) < 0.25, 0.43, 1) + 0.07 * rng.standard_normal(400), light])
    assert not light_levels.learn(mixed, site, WS2, stated(WS2)).alloyed[0]


def chalcogens(rng, material, faint_share, n=850):
    """Light and sublattice of n columns of each, a share of the second half as bright as the rest of it."""
    faint = rng.random(n) < faint_share
    own = material.intensities()[material.sites[1].ideal]
    light = own * np.where(faint, 0.5, 1.0) + 0.07 * rng.standard_normal(n)
    return np.concatenate([1 + 0.07 * rng.standard_normal(n), light]), np.repeat([0, 1], n)


@pytest.mark.parametrize("share", [0.2, 0.33, 0.5])
def test_more_half_bright_columns_than_a_crystal_has_vacancies_are_an_alloy_and_doubted(share):
    wse2 = crystal.load("wse2")
    light, site = chalcogens(np.random.default_rng(5), wse2, share)
    found = light_levels.learn(light, site, wse2, stated(wse2))
    assert found.alloyed.tolist() == [False, True]
    prob = light_levels.posterior(light, site, found, wse2)[site == 1]
    vacant = prob[:, [wse2.state_index(s) for s in ("Se", "V_chalcogen")]].sum(1) > 0.5
    assert vacant.mean() < 0.01
    ((kind, level, of),) = composition.doubtful(found, wse2)
    assert kind == "V_Se" and level == pytest.approx(0.3, abs=0.03) and of == pytest.approx(share, abs=0.05)
    # where the file says that a crystal has so many, they are vacancies
    states = [dataclasses.replace(k, density=(0.0, 0.6)) if k.name == "V_Se" else k for k in wse2.kinds]
    damaged = dataclasses.replace(wse2, kinds=tuple(states))
    allowed = light_levels.learn(light, site, damaged, stated(wse2))
    assert not allowed.alloyed.any() and not composition.doubtful(allowed, damaged)


def test_what_the_beam_made_during_the_movie_is_no_alloy():
    wse2 = crystal.load("wse2")
    rng = np.random.default_rng(6)
    frames = [chalcogens(rng, wse2, share) for share in (0.02, 0.15, 0.3, 0.45)]
    light, site = (np.concatenate(part) for part in zip(*frames, strict=True))
    first = np.arange(len(light)) < len(frames[0][0])
    assert light_levels.learn(light, site, wse2, stated(wse2)).alloyed[1]
    found = light_levels.learn(light, site, wse2, stated(wse2), first)
    assert not found.alloyed.any() and not composition.doubtful(found, wse2)
    half = wse2.state_index("Se")
    assert found.share[half] == pytest.approx(0.23, abs=0.03)
    called = light_levels.posterior(light, site, found, wse2)[:, half] > 0.5
    assert called[~first & (site == 1)].mean() == pytest.approx(0.3, abs=0.03)


def test_how_common_a_defect_is_lies_in_its_interval():
    said = np.array([0.978, 0.02, 0.002])
    held, n = 0, 20
    for seed in range(n):
        rng = np.random.default_rng(seed)
        true = 0.05
        value = 4.0 * (rng.random(1500) < true) + rng.standard_normal(1500)
        odds = np.stack([np.zeros(1500), 4 * value - 8, -50 * np.ones(1500)], 1)
        share, low, high = prevalence.learn(odds, said)
        held += low[1] <= true <= high[1]
        assert share.sum() == pytest.approx(1)
    assert held >= 16  # the file's word, 200 columns of .02, pulls a little
    none = np.stack([np.zeros(1500), -8 * np.ones(1500)], 1)
    share, low, high = prevalence.learn(none, np.array([0.999, 0.001]))
    assert low[1] == 0 and high[1] < 4 / 1500
    kept, low, _ = prevalence.learn(odds, said, np.array([False, True, False]))
    assert kept[1] == said[1] and np.isnan(low[1])


@pytest.mark.parametrize("true", [0.001, 0.05])
def test_many_columns_say_how_common_a_kind_is_that_none_of_them_tells(true):
    """Light 1.5 scatters apart, and likelihoods that are a twentieth off in it: 300 columns say nothing, 3,000 do."""
    apart, said, ideal = 1.5, np.array([0.985, 0.015]), np.array([True, False])
    held, shares = 0, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        value = apart * (rng.random(3000) < true) + rng.standard_normal(3000)
        odds = np.stack([np.zeros(3000), 0.95 * apart * (value - 0.475 * apart)], 1)
        share, low, high = prevalence.learn(odds, said, untold=~ideal)
        held += low[1] <= true <= high[1]
        shares.append(share[1])
    assert held >= 19
    assert abs(np.median(shares) - true) < 0.7 * abs(0.015 - true), "nearer to the truth than the file is"
    sigma = 1 / np.sqrt(np.array([300, 3000]) * (np.exp(apart**2) - 1))  # of the share, of Gaussians
    level = np.array([0.0, apart])
    for n, kept in zip(sigma, (True, False), strict=True):
        assert learned._untold(level, ideal, said, np.array([np.nan, n]))[1] == kept
    assert learned._untold(level, ideal, said)[1] and not learned._untold(3 * level, ideal, said)[1]


def test_below_the_limit_of_detection_chance_does_as_well():
    """The likelihood of a share, over many fields: at the limit most say more than none, far below hardly any."""
    rng, n, apart, tail = np.random.default_rng(3), 800, 2.2, 0.1
    known = light_levels.learn(np.zeros(0), np.zeros(0, int), WS2, stated(WS2))
    state, ideal = (WS2.state_index(s) for s in ("S", "S2"))
    level = known.level.copy()
    level[ideal], level[state] = 1.0, 1.0 - 0.1 * apart
    made = known._replace(level=level, scatter=np.array([np.nan, 0.1]), tail=np.array([0.02, tail]), n=np.array([0, n]))
    limit = learned._limit(learned._share_sigma(made, WS2), made, WS2, 1)
    assert np.isnan(limit[ideal]) and 0.01 < limit[state] < 0.2
    no_tail = made._replace(tail=np.array([0.02, 0.0]))
    even = learned._limit(learned._share_sigma(no_tail, WS2), no_tail, WS2, 1)
    assert even[state] < limit[state], "tails hide defects"

    def light(share):
        wide = np.where(rng.random(n) < tail, light_levels.WIDE, 1.0)
        return -apart * (rng.random(n) < share) + wide * rng.standard_normal(n)

    def score(x):  # of the most powerful test of a small share against none
        f, g = (light_levels.bell(x, d, (1.0, tail)) for d in (0.0, -apart))
        return (g / f - 1).sum()

    none = np.quantile([score(light(0.0)) for _ in range(300)], 0.95)
    assert np.mean([score(light(limit[state])) > none for _ in range(300)]) == pytest.approx(0.95, abs=0.05)
    assert np.mean([score(light(limit[state] / 6)) > none for _ in range(300)]) < 0.35


def bent_crystal(shape=(260, 260)):
    """Image of all places of a bent WS2 lattice but one metal; places (n, 2), cell and sublattice of each, the hole."""
    vectors = WS2.lattice_nm / PIXEL_NM @ bragg.rotation(0.2)
    cells = np.stack(np.meshgrid(*[np.arange(-60, 60)] * 2, indexing="ij"), -1).reshape(-1, 2)
    even = ((cells[:, None] + WS2.basis) @ vectors).reshape(-1, 2) + 130
    place = even + 3.0 * np.stack([np.sin(even[:, 1] / 60), np.cos(even[:, 0] / 50)], 1)
    inside = ((place > 3) & (place < np.array(shape) - 4)).all(1)
    site, cell = np.tile([0, 1], len(cells))[inside], np.repeat(cells, 2, 0)[inside]
    place = place[inside]
    gone = np.flatnonzero((site == 0) & (np.abs(place - (140, 120)).max(1) < 8))[0]
    image, y, x = np.zeros(shape), *np.mgrid[: shape[0], : shape[1]]
    for n, ((a, b), g) in enumerate(zip(place, site, strict=True)):
        low, left = max(int(a) - 8, 0), max(int(b) - 8, 0)
        part = np.s_[low : int(a) + 9, left : int(b) + 9]
        light = 0.0 if n == gone else (1.0, 0.17)[g]
        image[part] += light * np.exp(-((y[part] - a) ** 2 + (x[part] - b) ** 2) / (2 * 1.7**2))
    rng = np.random.default_rng(0)
    return rng.poisson(40 * image + 3).astype(np.float32), place, cell, site, gone, vectors


def test_places_that_a_network_lost_are_found_by_the_phases_of_the_image():
    image, place, cell, site, gone, vectors = bent_crystal()
    lost = np.hypot(*(place - (150, 150)).T) < 40  # some hundred columns, four cells deep
    lost[gone] = True
    seen = view(place[~lost], site[~lost], np.ones((~lost).sum()), vectors, WS2.basis, vectors, told_apart=True)
    found = promised.places(
        place[~lost],
        site[~lost],
        seen,
        promised.Crystal(WS2.basis, np.ones(2, bool), WS2.lattice_nm),
        promised.Picture(image, 1.0, image.shape),
        5.0,
    )
    shift = seen.cell[0] - cell[~lost][0]
    true = {(*c, g): p for c, g, p in zip((cell + shift).tolist(), site.tolist(), place.tolist(), strict=True)}
    off = [
        np.hypot(*(np.array(true[(*c, g)]) - p))
        for c, g, p in zip(found.cell.tolist(), found.site, found.place_px, strict=True)
    ]
    assert len(off) > 0.7 * lost.sum()
    assert np.median(off) < 0.5 and np.quantile(off, 0.9) < 1.0, "px; neighbours are 6 apart"
    plain = found.place_px - found.bent_px  # what an even lattice would say
    wrong = [
        np.hypot(*(np.array(true[(*c, g)]) - p)) for c, g, p in zip(found.cell.tolist(), found.site, plain, strict=True)
    ]
    assert np.median(wrong) > 2 * np.median(off)
    nothing = bent_lattice.Bent(plain[:0], plain[:0], plain[:0])
    moved = bent_lattice.displaced(image, nothing, nothing, vectors, WS2.lattice_nm)
    assert len(moved) == 0


def test_a_column_on_the_place_of_the_other_sublattice_is_that_ones():
    _, place, _, site, _, vectors = bent_crystal()
    said = site.copy()
    swapped = np.hypot(*(place - (70, 70)).T) < 32
    said[swapped] = 1 - said[swapped]
    seen = view(place, said, np.ones(len(site)), vectors, WS2.basis, vectors, told_apart=True)
    _, now = promised.seated(place, said, seen, WS2.basis, np.ones(2, bool))
    assert swapped.sum() > 50 and (now == site).mean() > 0.995


def test_a_sheared_lattice_is_straightened_and_places_come_back():
    from tests.inference.small_network import hexagonal_frames

    straight = hexagonal_frames(1, (300, 300), seed=None)[0]
    shear = np.array([[1.02, 0.05], [0.03, 0.96]])
    known = undistorted.Undistortion(np.linalg.inv(shear), np.array([8.0, -3.0]), (300, 300))
    image = undistorted.Undistortion(shear, -known.offset @ shear, (300, 300)).image(straight)
    found = calibration.calibrate(image[None], WS2.lattice_nm)
    way = undistorted.measured(found, WS2.lattice_nm, image.shape, 1.0)
    assert found.strain > 0.03 and way is not None
    again = calibration.calibrate(way.image(image)[None], WS2.lattice_nm)
    assert again.strain < 0.01
    some = np.random.default_rng(0).uniform(0, 299, (50, 2))
    np.testing.assert_allclose(way.raw(way.straight(some)), some, atol=1e-9)
    assert undistorted.measured(again, WS2.lattice_nm, image.shape, 1.0) is None, "straight is left alone"
    inside = ~way.invalid(None, image.shape)
    assert inside.mean() == pytest.approx(300**2 / np.prod(way.shape), rel=0.05)


@pytest.mark.parametrize("split", [True, False])
def test_1t_needs_the_light_of_both_halves(split):
    vectors = WS2.lattice_nm / PIXEL_NM
    cells = np.stack(np.meshgrid(*[np.arange(-2, 22)] * 2, indexing="ij"), -1).reshape(-1, 2)
    bond = (WS2.basis[1] - WS2.basis[0]) @ vectors
    metal = cells @ vectors + 12
    image, y, x = np.full((160, 160), 1.0, np.float32), *np.mgrid[:160, :160]
    parts = [(metal, 1.0), (metal + bond, 0.09 if split else 0.18), (metal - bond, 0.09 if split else 0.0)]
    for places, light in parts:
        for a, b in places[((places > -5) & (places < 165)).all(1)]:
            image += light * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 1.7**2))
    inside = ((metal > 4) & (metal < 155)).all(1)
    place = metal[inside]
    n, regions = len(place), np.full((20, 20), 3, np.uint8)
    columns = Columns(
        *place.astype(np.float32).T,
        np.full(n, 0.3),
        np.zeros(n, int),
        np.zeros((n, WS2.n_states)),
        np.ones(n),
        np.full(n, 3),
    )
    sites = view(place, np.zeros(n, int), np.ones(n), vectors, WS2.basis, vectors, told_apart=True)
    output = FrameOutput(columns, np.array([0, 0, 0, 1.0]), image, 1.0, regions=regions)
    new = phases.checked(output, columns, sites, np.zeros(n, bool), WS2, PIXEL_NM)
    assert new.region_fraction[3] == (1.0 if split else 0.0) and new.region_fraction.sum() == pytest.approx(1)
    nobody = phases.checked(output, columns, sites, np.ones(n, bool), WS2, PIXEL_NM)
    assert nobody.region_fraction[3] == 0, "where the network shows no column it knows no phase"


def test_a_network_is_not_shown_a_crystal_whose_sublattices_it_would_swap():
    from stemdefects.config import load_group
    from stemdefects.models import artifact, shipped

    model = artifact.load(shipped.folder() / "mos2")
    assert other_crystal.shown(model, load_group("material", "mos2")) is model
    wse2 = other_crystal.shown(model, load_group("material", "wse2"))
    assert wse2.material.name == "wse2" and wse2.trained is model and wse2.signature != model.signature
    for name in ("mose2", "graphene_si"):  # its chalcogens outshine its metal; its sublattices are alike
        with pytest.raises(UserError, match="brightness"):
            other_crystal.shown(model, load_group("material", name))
    bn = load_group("material", "graphene_si")  # as far from alike as boron from nitrogen
    bn.name, bn.species["B"] = "bn", dataclasses.replace(bn.species["C"], intensity=[0.6, 0.6, 0.6])
    bn.states["C_B"] = dataclasses.replace(bn.states["C_B"], atoms={"B": 1})
    with pytest.raises(UserError, match=r"differ in light.*direction of the bonds alone"):
        other_crystal.shown(artifact.load(shipped.folder() / "graphene_si"), bn)


def test_the_network_nearest_to_a_crystal_is_chosen(monkeypatch):
    for name in ("wse2", "mose2", "mote2"):  # no network of their own
        assert other_crystal.chosen(InferenceConfig(name="test", material=name)) == "tmd"
    assert other_crystal.chosen(InferenceConfig(name="test", material="ws2_mo")) == "ws2_mo"
    assert other_crystal.chosen(InferenceConfig(name="test", material="graphene_si")) == "graphene_si"
    sheared = config.load_group("material", "mose2")
    sheared.name, sheared.lattice_vectors_a = "sheared", [[0.0, 1.0], [1.0, 0.3]]
    monkeypatch.setattr(config, "load_group", lambda group, name: sheared)
    with pytest.raises(UserError, match="a crystal like sheared"):  # no network knows its build
        other_crystal.chosen(InferenceConfig(name="test", material="mose2"))
    with pytest.raises(UserError, match="which crystal"):
        other_crystal.chosen(InferenceConfig(name="test"))
    with pytest.raises(UserError, match="no such material"):
        other_crystal.chosen(InferenceConfig(name="test", material="unobtainium"))


def test_a_formula_makes_a_material():
    ti = crystal.from_config(formula.material("W0.95Ti0.05Se2"))
    assert ti.a_nm == pytest.approx(0.3282) and "Mo_W" not in ti.kind_names, "what is not named is not there"
    kind = ti.kinds[ti.kind_index("Ti_W")]
    assert kind.prevalence == pytest.approx(0.05)
    assert ti.intensities()[kind.state] == pytest.approx((22 / 74) ** 1.55, rel=0.01)
    v = crystal.from_config(formula.material("Mo0.98V0.02S2"))
    assert {"V_Mo", "V_on_Mo"} <= set(v.kind_names), "vanadium is not the vacancy"
    mixed = crystal.from_config(formula.material("WS1.6Se0.4"))
    assert mixed.kinds[mixed.kind_index("Se_S")].prevalence == pytest.approx(2 * 0.2 * 0.8)
    for wrong, says in (("W0.9Xx0.1S2", "Xx"), ("W0.5S2", "no known material"), ("ws2", "cannot be read")):
        with pytest.raises(UserError, match=says):
            formula.material(wrong)


def test_elements_that_may_be_there_make_the_material():
    """The crystal's own stand first; the others go where their column of the periodic table is nearest."""
    ti = crystal.from_config(formula.of_species(["W", "Se", "Ti"]))
    assert ti.a_nm == crystal.load("wse2").a_nm and "Ti_W" in ti.kind_names
    assert not any("Mo" in name for name in ti.kind_names)
    mixed = formula.of_species(["Mo", "S", "Se", "W", "V", "Cl"])
    assert crystal.from_config(mixed).a_nm == crystal.load("mos2").a_nm
    on = {e: {s.site for s in mixed.states.values() if e in s.atoms} for e in ("Se", "W", "V", "Cl")}
    own = {mixed.states[site.ideal].site: set(mixed.states[site.ideal].atoms) for site in mixed.sites.values()}
    assert own[on["Se"].pop()] == own[on["Cl"].pop()] == {"S"} and own[on["W"].pop()] == own[on["V"].pop()] == {"Mo"}
    assert not any(on.values()), "each on one sublattice alone"
    assert crystal.from_config(formula.of_species(["W", "S", "Mo"])).a_nm == crystal.load("ws2_mo").a_nm
    assert [elements.group(e) for e in "H He Li C Al Ti W Re Se Te Cl La Lu Hf Rn U".split()] == [
        1, 18, 1, 14, 13, 4, 6, 7, 16, 16, 17, 3, 3, 4, 18, 3,
    ]  # fmt: skip
    for wrong in (["W", "Sx"], ["Fe", "O"], ["W"]):
        with pytest.raises(UserError, match="species="):
            formula.of_species(wrong)


def test_columns_that_a_network_of_other_crystals_took_for_the_other_sublattice_are_put_right():
    """And those that were put right before stay known."""
    from stemdefects.inference.columns import whole_frame

    _, place, _, site, _, vectors = bent_crystal()
    said = site.copy()
    swapped = np.hypot(*(place - (70, 70)).T) < 32
    said[swapped] = 1 - said[swapped]
    n = len(site)
    prob = np.where(WS2.site_of_state == said[:, None], np.random.default_rng(0).random((n, WS2.n_states)), 0)
    columns = Columns(*place.T, np.ones(n), said, prob, np.ones(n), np.zeros(n, int))
    seen = view(place, said, np.ones(n), vectors, WS2.basis, vectors, told_apart=True)
    now, _, moved = whole_frame._seated(columns, seen, WS2, np.arange(n) == 0)
    assert len(now.site) == n and (now.site == site).mean() > 0.995
    np.testing.assert_array_equal(now.state_prob, prob)
    np.testing.assert_array_equal(moved, (now.site != said) | (np.arange(n) == 0))


def test_single_frames_of_a_steady_movie_say_how_common_single_vacancies_are(tmp_path):
    """At 4,000 e/px two and a half scatters tell one: the network by itself claims less, and half as many were seen."""
    from stemdefects.analysis.data import truth
    from stemdefects.commands.detection import configure, load_model
    from stemdefects.config import load_group
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.teaching import teach
    from stemdefects.io import opening
    from stemdefects.simulation import files

    model, cfg = load_model("ws2_mo"), load_group("simulation", "movie")
    cfg.movie.n_frames, cfg.view.size_px, cfg.detector.dose_e_per_px = 4, [192, 192], [4000.0, 4000.0]
    true, said = [], []
    for seed in (100, 101):
        path = tmp_path / f"{seed}.h5"
        files.write_movie(path, model.material, cfg, seed)
        movie = opening.read(str(path), None)
        setup = prepare(movie, model, configure())
        teach(movie, setup)
        taught, state = setup.rules.specimen, WS2.state_index("S")
        assert np.isfinite(taught.claim[1]).all() and 0.045 < taught.width_nm < 0.07
        assert setup.rules.threshold("V_S") >= model.thresholds["V_S"]
        again = learned.Specimen.from_plain(taught.to_plain())
        np.testing.assert_array_equal(again.claim, taught.claim)
        rows = truth.read(path).rows
        columns = setup.engine(movie.frame(0)[None, None])[0].columns.site
        true.append((rows["kind"] == b"V_S").sum() / len(movie) / (columns == 1).sum())
        said.append(taught.prior[state])
        assert taught.low[state] <= true[-1] <= taught.high[state]
    assert np.mean(said) == pytest.approx(np.mean(true), rel=0.35)
