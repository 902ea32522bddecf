"""Rates by window, place and orientation, from histories that a few lines of Gillespie made with known rates."""

from types import SimpleNamespace

import numpy as np
import pytest

from stemdefects.analysis.kinetics import quantities, sampling
from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.lattice import BOND, FREE, sites
from stemdefects.analysis.kinetics.posterior import convergence, counted, orientations, tracks, windows
from stemdefects.analysis.kinetics.priors import priors

SIDE, FRAMES, STEP_S = 9, 60, 2.0
STEPS = ((0, 1), (1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1))
TIMES = STEP_S * np.arange(FRAMES)


def lattice(centre=True):
    cells = np.array([(i, j) for i in range(SIDE) for j in range(SIDE)])
    number = {tuple(c): k for k, c in enumerate(cells)}
    near = np.array([[number.get((i + a, j + b), -1) for a, b in STEPS] for i, j in cells])
    bonds = np.full((len(cells), 3), -1)
    for cell in ((4, 4), (4, 5), (5, 4)):
        bonds[number[cell], 0] = 0
    yx = cells @ np.array([[0.3 * np.sqrt(0.75), 0.15], [0, 0.3]])
    hole = np.zeros((FRAMES, len(cells)), bool)
    hole[40:, 0] = True
    seen = np.zeros((FRAMES, len(cells)))
    level = np.array([-3.0, -6.0])
    return Evidence(
        yx,
        near,
        bonds,
        np.array([float(centre)]),
        seen,
        np.float64(1.0),
        level,
        0.8,
        1.25,
        TIMES,
        np.ones(seen.shape, bool),
        (near < 0).any(1),
        hole,
    )


EVIDENCE = lattice()
PLACE = sites(EVIDENCE)
PRIOR = priors(EVIDENCE, len(PLACE.kind))


def walkers(rng, rate, n=12):
    """A history of single vacancies in the open lattice; rate (1/s per way): a function of (site, time)."""
    free = np.flatnonzero(PLACE.kind == FREE)
    layer = np.zeros(len(PLACE.kind), np.int8)
    layer[rng.choice(free, n, replace=False)] = 1
    start, now, time, events = layer.copy(), 0.0, [], []
    most = max(rate(x, t) for x in range(len(layer)) for t in TIMES)
    while True:
        now += rng.exponential(1 / (6 * n * most))
        if now >= TIMES[-1]:
            return start, np.array(time), np.array(events, int).reshape(-1, 3)
        a = rng.choice(np.flatnonzero(layer))
        b = PLACE.near[a, rng.integers(6)]
        open_way = b >= 0 and layer[b] == 0 and PLACE.kind[b] == FREE
        if open_way and rng.random() < rate(a, now) / most:
            layer[a], layer[b] = 0, 1
            time.append(now)
            events.append((a, b, 1))


def answer(histories):
    # ways over the border are for the sampler; here nothing leaves
    return SimpleNamespace(histories=histories, sites=PLACE._replace(missing=0 * PLACE.missing), times_s=TIMES)


def test_windows_are_of_twenty_frames_and_places_of_three_kinds():
    np.testing.assert_allclose(windows.edges(TIMES), [0, 118 / 3, 236 / 3, 118])
    assert len(windows.edges(TIMES[:30])) == 2
    place = windows.places(EVIDENCE, PLACE)
    cell = {tuple(c): k for k, c in enumerate(np.stack(np.divmod(PLACE.original, SIDE), 1).tolist())}
    assert place[cell[4, 3]] == 1 and place[cell[3, 5]] == 1 and place[cell[7, 2]] == 0
    assert place[cell[0, 1]] == 2 and place[cell[1, 0]] == 2 and place[cell[2, 1]] == 0


def test_exposure_counts_every_open_way():
    a, b = (int(np.flatnonzero(PLACE.original == SIDE * i + j)[0]) for i, j in ((2, 2), (2, 3)))
    start = np.zeros(len(PLACE.kind), np.int8)
    start[[a, b]] = 1
    c = int(PLACE.near[b][np.isin(PLACE.near[b], np.append(PLACE.near[a], a), invert=True)][0])
    found = windows.parts(
        answer([(start, np.array([30.0]), np.array([[b, c, 1]]))]), 0 * PLACE.kind, windows.edges(TIMES)
    )
    ways = lambda x, without: sum(y != without and PLACE.kind[y] == FREE for y in PLACE.near[x])  # noqa: E731
    before, after = ways(a, b) + ways(b, a), ways(a, None) + ways(c, None)
    np.testing.assert_allclose(
        found.exposure_s[0, :, 0], [30 * before + 28 / 3 * after, 118 / 3 * after, 118 / 3 * after]
    )
    assert found.hops.ravel().tolist() == [1, 0, 0]


def test_each_window_and_place_has_an_interval_that_holds_its_own_rate():
    place = windows.places(EVIDENCE, PLACE)
    rate = lambda x, t: 0.02 if t < 118 / 3 else 0.06 if t < 236 / 3 else 0.04  # noqa: E731
    held, rng = [], np.random.default_rng(3)
    for _ in range(40):
        rows = windows.table(windows.parts(answer([walkers(rng, rate)]), place, windows.edges(TIMES)), PRIOR, PLACE)
        true = 1.5 * PLACE.hop_nm**2 * np.array([0.02, 0.06, 0.04])
        held.append((rows["low"][:3] < true) & (true < rows["high"][:3]))
    assert 0.88 <= np.mean(held) <= 0.995  # 120 intervals of 95%
    rows = rows.set_index("place")
    assert rows.loc["free", "vacancy_s"] > rows.loc["beside centres", "vacancy_s"] > 0


@pytest.mark.parametrize(("second", "changes"), [(0.03, False), (0.09, True)])
def test_a_change_is_told_from_none(second, changes):
    rng = np.random.default_rng(5)
    histories = [walkers(rng, lambda x, t: 0.03 if t < 59 else second)]
    found = windows.parts(answer(histories), windows.places(EVIDENCE, PLACE), windows.edges(TIMES))
    assert (windows.probability_of_change(found, PRIOR, 1) > 0.95) == changes
    assert windows.probability_of_change(found, PRIOR, 2) < 0.9


def turner(rng, detach, turn, attach=0.02, span=118.0):
    """A history of one centre; detach: (3,) 1/s of each bond; turn: 1/s per bond."""
    bonds, now, at, time, events = PLACE.bonds[0], 0.0, None, [], []
    while True:
        rates = [attach] * 3 if at is None else [turn if k != at else detach[at] for k in range(3)]
        now += rng.exponential(1 / sum(rates))
        if now >= span:
            return np.zeros(len(PLACE.kind), np.int8), np.array(time), np.array(events, int).reshape(-1, 3)
        k = rng.choice(3, p=np.array(rates) / sum(rates))
        to = k if at is None or k != at else None
        events.append((-1 if at is None else bonds[at], -1 if to is None else bonds[to], 1))
        time.append(now)
        at = to


@pytest.mark.parametrize(("detach", "differ"), [([0.1, 0.1, 0.1], False), ([0.5, 0.05, 0.05], True)])
def test_orientations_alike_or_not(detach, differ):
    rng = np.random.default_rng(8)
    assert (PLACE.kind[PLACE.bonds] == BOND).all()
    one = orientations.count(answer([turner(rng, detach, 0.1, attach=0.1) for _ in range(20)]))
    # twenty histories of one centre stand for twenty centres of one history
    found = orientations.Counted(one.events.sum(0, keepdims=True), one.exposure_s.sum(0, keepdims=True))
    rows = orientations.table(found, PRIOR, {None: "D", 0: "a", 1: "b", 2: "c"})
    leave = rows[rows["to"] == "D"]
    assert ((leave["low"] < detach) & (detach < leave["high"])).all()
    chance = orientations.probability_of_difference(found, PRIOR)
    assert chance > 0.99 if differ else chance < 0.5


def test_counts_that_differ_by_nothing_that_matters_agree_and_rates_need_more():
    """Two chains at 4.00 and two at 4.04, each hardly wandering: R-hat is huge, and the count is known to 1%."""
    rng = np.random.default_rng(0)
    draws = np.array([4.0, 4.0, 4.04, 4.04])[:, None] + 1e-3 * rng.normal(size=(4, 100))
    assert convergence.r_hat(draws) > 1.5
    assert convergence.check(draws, 1.0).agrees(1.1, 50)
    assert not convergence.check(draws).agrees(1.1, 50)  # of a rate
    apart = draws + np.array([0, 0, 0.4, 0.4])[:, None]
    assert not convergence.check(apart, 1.0).agrees(1.1, 50)
    assert convergence.check(rng.normal(size=(4, 100))).agrees(1.1, 50)
    rare = 0.05 * (rng.random((4, 100)) < 0.3) + np.array([0, 0, 0.01, 0.01])[:, None]
    assert convergence.check(rare, 1.0).agrees(1.1, 50)  # of counts below one, by difference in defects


def test_counts_allow_for_what_the_scan_shows_twice_or_not_at_all():
    """A vacancy that hops in every frame of a movie: the count in a picture is off in 4% of them, either way."""
    assert counted.split_share(5.0, 0.315) == pytest.approx(2 / np.pi * 0.063)
    counts = np.zeros((4, 500, 60, 3), int)
    counts[..., 0] = 1
    data = SimpleNamespace(weight=np.ones((60, 7)))
    blur = counted.Blur(0.04, np.zeros(3))
    sure = quantities.count_quantities(counts, 0.0, data, True, blur, np.zeros((4, 500)))[2]
    assert sure.low == sure.high == 1
    wide = quantities.count_quantities(counts, 0.0, data, True, blur, np.full((4, 500), 60.0))
    assert wide[2].high - wide[2].low == pytest.approx(2 * 1.96 * np.sqrt(2.4) / 60, rel=0.1)
    assert wide[3].low == wide[3].high == 0  # nothing is known to split a double one


def test_counts_allow_for_sites_whose_side_of_the_border_is_not_known():
    """Sites about the line, each with a vacancy in half of the frames: how the count scatters when they are moved."""
    rng = np.random.default_rng(5)
    inside = rng.uniform(-0.05, 0.05, 400)
    seen = np.where(inside >= 0, 0.5, np.nan)
    occupancy = np.broadcast_to(np.stack([seen, 0 * seen], -1), (10, 400, 2))
    border = counted.at_the_border(occupancy, np.broadcast_to(inside, (10, 400)), np.zeros(400, bool))
    moved = inside + counted.POSITION_NM * rng.normal(size=(2000, 400))
    assert border[0] == pytest.approx((0.5 * (moved >= 0).sum(1)).std(), rel=0.15)
    assert border[1:].tolist() == [0, 0] and counted.at_the_border(occupancy, None, inside > 0).tolist() == [0, 0, 0]
    counts = np.full((4, 500, 10, 3), 20)
    data = SimpleNamespace(weight=np.ones((10, 7)))
    said = quantities.count_quantities(counts, 0.0, data, True, counted.Blur(0.0, border), np.zeros((4, 500)))
    assert said[2].high - said[2].low == pytest.approx(2 * 1.96 * border[0], rel=0.1)


def test_correlation_of_neighbours_is_measured_in_the_bulk():
    rng = np.random.default_rng(2)
    alone = rng.normal(size=(FRAMES, len(PLACE.kind)))
    near = [PLACE.near[g][PLACE.near[g] >= 0] for g in range(len(PLACE.kind))]
    against = alone - 0.25 * np.stack([alone[:, n].mean(1) for n in near], 1)
    against[:, 5] += 6  # a vacancy, all the time, and offsets: no part of it
    against += 0.3 * rng.normal(size=len(PLACE.kind))
    a = sampling.neighbours_correlate(alone, np.ones(alone.shape), PLACE)
    b = sampling.neighbours_correlate(against, np.ones(alone.shape), PLACE)
    assert abs(a) < 0.015 and -0.13 < b < -0.05


def test_links_that_are_not_sure_have_alternatives():
    """Four histories: the vacancy at site 1 came from 0 in three, appeared in one; that at 4 was always there."""
    before = [[0, -1, -1, -1, 1], [0, -1, -1, -1, 1], [0, -1, -1, -1, 1], [-1, -1, -1, -1, 1]]
    held = [np.array([b, [-1, 0, -1, -1, 1]]) for b in before]
    told = SimpleNamespace(histories=held, identities=lambda k: held[k])
    found = tracks.alternatives(told, np.array([0, 1, 1]), np.array([4, 1, 4]))
    assert found["row"].tolist() == [1, 1] and found["from_site"].tolist() == [0, -1]
    assert found["probability"].tolist() == [0.75, 0.25]


def test_an_interval_of_few_effective_samples_holds_as_often_as_it_says():
    """Chains of a known distribution that wander slowly (16 effective samples): own draws of it fall into the widened
    interval in 95% of the cases, and more rarely into that of the draws as they are."""
    rng, rho, plain, wide = np.random.default_rng(4), 0.95, [], []
    for _ in range(300):
        z = np.empty((4, 160))
        z[:, 0] = rng.normal(size=4)
        for k in range(1, 160):
            z[:, k] = rho * z[:, k - 1] + np.sqrt(1 - rho**2) * rng.normal(size=4)
        said = convergence.check(z)
        if said.roughly():
            low, value, high = np.exp(np.quantile(z, [0.025, 0.5, 0.975]))
            q = quantities.Quantity("rate", value, low, high, "1/s", quantities.Code.OK, 0.0, 10.0)
            wider, own = q.wider(said.wider()), np.exp(rng.normal(size=20))
            assert 0 < wider.low < low and wider.high > high
            plain.append(np.mean((q.low <= own) & (own <= q.high)))
            wide.append(np.mean((wider.low <= own) & (own <= wider.high)))
    assert len(wide) > 200
    assert np.mean(plain) < 0.93 < np.mean(wide) < 0.97, (np.mean(plain), np.mean(wide))


def test_ends_of_intervals_depend_little_on_which_rates_were_drawn():
    """Fifty histories that differ little: rates drawn anew from each give ends that vary less than by one rate each,
    about the exact quantiles of a mixture of Gammas."""
    ends, once, rng = [], [], np.random.default_rng(5)
    for _ in range(60):
        events, exposure = rng.integers(98, 103, (4, 12)).astype(float), np.full((4, 12), 1000.0)
        asked = quantities._Asked(events, exposure, 1.0, 1.0)
        ends.append(quantities._interval(asked.redrawn(2.0))[1:])
        once.append(quantities._interval(2.0 * rng.gamma(1 + events) / (1 + exposure))[1:])
    many = 2.0 * rng.gamma(1 + rng.integers(98, 103, 100000)) / 1001.0
    assert np.mean(ends, 0) == pytest.approx(np.quantile(many, [0.025, 0.975]), rel=0.02)
    assert np.all(np.std(ends, 0) < 0.6 * np.std(once, 0))


def test_the_limit_where_nothing_happens_is_that_of_the_histories_where_nothing_does():
    """Three hops over the exposure; histories whose one vacancy hops all the time, a tenth, say nothing of it."""
    events, exposure = np.zeros((4, 100)), np.full((4, 100), 1000.0)
    events[:, :10], exposure[:, :10] = 30, 60.0
    asked = quantities._Asked(events, exposure, 1.0, 5.0)
    assert asked.limit() == pytest.approx(3.0 / 1005, rel=0.05)
    assert quantities._Asked(events[:, :15], exposure[:, :15], 1.0, 5.0).limit() > 0.3  # most hop


def test_counts_of_faint_vacancies_allow_for_what_the_posterior_does_not_know():
    from stemdefects.analysis.kinetics.posterior import faint
    from stemdefects.analysis.kinetics.quantities import Code, Quantity

    names = ("single per frame", "double per frame", "D")
    said = [Quantity(n, 10.0, 8.0, 12.5, "1", Code.OK, 0.0, 9.0) for n in names]
    bright, middle, dim = (faint.of_faint(said, apart) for apart in (4.0, 2.0, 1.0))
    assert bright == said and dim[1:] == said[1:] == middle[1:], "only counts of single ones"
    # independent errors of logarithms: of log 1.25 = 0.223 and 1.96 x 0.25 = 0.49 together 0.538
    assert dim[0].low == pytest.approx(10 * np.exp(-0.538), rel=1e-3)
    assert dim[0].high == pytest.approx(10 * np.exp(0.538), rel=1e-3)
    assert 7.5 < middle[0].low < 8.0 and 12.5 < middle[0].high < 13
    assert "one stands 1.0 scatters" in faint.allows(dim[0], 1.0) and not faint.allows(middle[0], 2.0)
    none = Quantity("single per frame", 0.0, 0.0, 3.0, "1", Code.NONE, 0.9, 0.0)
    assert faint.of_faint([none], 1.0) == [none]
    part = none._replace(value=2.0, code=Code.OK)
    assert faint.of_faint([part], 1.0)[0].low == 0
