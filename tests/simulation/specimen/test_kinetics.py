"""Kinetic Monte Carlo against the theory of continuous-time Markov chains."""

import numpy as np
import pytest
from scipy import stats

from stemdefects.crystal import lattice, material
from stemdefects.simulation.specimen.center_chain import generator, state_labels, stationary
from stemdefects.simulation.specimen.kinetics import LOST, Kinetics
from stemdefects.simulation.specimen.processes import Rates, Roles

WS2 = material.load("ws2_mo")
V_S, V_S2, MO = WS2.state_index("S"), WS2.state_index("V_chalcogen"), WS2.state_index("Mo")
ROLES = Roles(mobile=V_S, emptied=V_S2, center=MO)


def _ideal(crystal):
    return WS2.ideal_states[crystal.site].copy()


def _start(crystal, n_centers):
    """Mo far apart on an otherwise perfect crystal."""
    state, chosen = _ideal(crystal), []
    order = np.argsort(np.linalg.norm(crystal.position_nm, axis=1))
    for slot in order[crystal.site[order] == 0]:
        near = [np.linalg.norm(crystal.position_nm[slot] - crystal.position_nm[c]) for c in chosen]
        if len(chosen) < n_centers and min(near, default=9.0) > 1.0:
            chosen.append(slot)
    state[chosen] = MO
    return state


def test_diffusion_of_an_isolated_vacancy_is_a_squared_gamma_over_four():
    """100 movies of 40 frames of one vacancy: D from the true trajectory, and the number of hops, fit the rate."""
    crystal = lattice.disc(WS2, 5.0)
    center = int(np.argmin(np.linalg.norm(crystal.position_nm, axis=1) + 9 * (crystal.site != 1)))
    rate, frame_s, n_frames = 0.02, 2.25, 40
    diffusion, hops = [], 0
    for seed in range(100):
        state = _ideal(crystal)
        state[center] = V_S
        walk = Kinetics(WS2, crystal, state, ROLES, Rates(hop=rate), seed)
        places = [crystal.position_nm[center]]
        for _ in range(n_frames):
            hops += len(walk.advance(frame_s)) // 2
            (slot,) = np.flatnonzero(walk.state == V_S)
            assert walk.identity[slot] == 0
            places.append(crystal.position_nm[slot])
        steps = np.diff(places, axis=0)
        diffusion.append((steps**2).sum(1).mean() / (4 * frame_s))
    true = WS2.a_nm**2 * 6 * rate / 4
    low, high = stats.t.interval(0.99, 99, np.mean(diffusion), stats.sem(diffusion))
    assert low < true < high
    assert (high - low) / true < 0.2  # the interval is narrow enough to say something
    expected = 6 * rate * frame_s * n_frames * 100
    assert abs(hops - expected) < 3.5 * np.sqrt(expected)


def test_hops_reach_each_of_the_six_neighbours_alike():
    crystal = lattice.disc(WS2, 4.0)
    state = _ideal(crystal)
    inner = np.flatnonzero((crystal.site == 1) & (np.linalg.norm(crystal.position_nm, axis=1) < 2.0))
    state[inner[::9]] = V_S
    walk = Kinetics(WS2, crystal, state, ROLES, Rates(hop=1.0), 3)
    events = walk.advance(20.0)
    ways = np.zeros(6)
    for gone, came in zip(events[::2], events[1::2], strict=True):
        assert came.identity == gone.identity or gone.identity == -1
        ways[np.flatnonzero(crystal.hops[gone.slot] == came.slot)[0]] += 1
    assert ways.sum() > 500
    assert stats.chisquare(ways).pvalue > 1e-3


@pytest.mark.parametrize("second", [0.0, 0.3])
def test_centres_follow_their_generator(second):
    """Transitions counted in the event log are Poisson around rate times dwell time; occupation is stationary."""
    rates = Rates(attach=0.2, detach=0.5, switch=0.4, attach_second=second, detach_second=second, switch_second=second)
    matrix, states = generator(rates)
    crystal = lattice.disc(WS2, 4.5)
    walk = Kinetics(WS2, crystal, _start(crystal, 12), ROLES, rates, 11)
    assert len(walk.centers) >= 10
    assert len(states) == (4 if second == 0 else 7)
    n = len(states)
    counts, dwell = np.zeros((n, n)), np.zeros(n)
    owner = {int(s): c for c, row in enumerate(crystal.bonds[walk.centers]) for s in row}
    bonds = crystal.bonds[walk.centers]
    now, since = walk.chain.copy(), np.zeros(len(walk.centers))
    held = [set(states[s]) for s in now]
    events = walk.advance(400.0)
    for number, event in enumerate(events):
        c = owner[event.slot]
        bond = int(np.flatnonzero(bonds[c] == event.slot)[0])
        held[c] = held[c] | {bond} if event.state == V_S else held[c] - {bond}
        if number + 1 < len(events) and events[number + 1].time_s == event.time_s:
            continue  # the other half of a switch
        after = states.index(tuple(sorted(held[c])))
        counts[now[c], after] += 1
        dwell[now[c]] += event.time_s - since[c]
        now[c], since[c] = after, event.time_s
    np.add.at(dwell, now, 400.0 - since)
    off = ~np.eye(n, dtype=bool)
    expected = (matrix * dwell[:, None])[off]
    assert counts[off][expected == 0].sum() == 0
    keep = expected > 0
    statistic = ((counts[off][keep] - expected[keep]) ** 2 / expected[keep]).sum()
    assert stats.chi2.sf(statistic, keep.sum()) > 1e-3
    assert np.abs(dwell / dwell.sum() - stationary(matrix)).max() < 0.05
    assert counts.sum() > 1000


def test_labels_name_the_bond_with_the_vacancy_or_the_one_without():
    _, states = generator(Rates(attach=1, detach=1, switch=1, attach_second=1, detach_second=1))
    labels = state_labels(WS2, states, MO, V_S)
    assert labels[:4] == ["Mo_W", "Mo_W+V_S@0", "Mo_W+V_S@1", "Mo_W+V_S@2"]
    assert labels[4:] == ["Mo_W+2V_S@2", "Mo_W+2V_S@1", "Mo_W+2V_S@0"]


def test_vacancies_and_identities_are_conserved_by_hops_and_mobile_ones_keep_off_centres():
    crystal = lattice.disc(WS2, 4.0)
    state = _start(crystal, 6)
    rng = np.random.default_rng(0)
    free = rng.choice(np.flatnonzero(crystal.site == 1), 30, replace=False)
    state[free] = V_S
    walk = Kinetics(WS2, crystal, state, ROLES, Rates(hop=0.5, attach=0.1, detach=0.1), 5)
    bonded = crystal.bonds[walk.centers].ravel()
    before = np.sort(walk.identity[(walk.state == V_S) & ~np.isin(np.arange(len(state)), bonded)])
    walk.advance(30.0)
    outside = (walk.state == V_S) & ~np.isin(np.arange(len(state)), bonded)
    assert np.array_equal(np.sort(walk.identity[outside]), before)
    assert ((walk.identity >= 0) == (walk.state != walk.ideal)).all()


def test_pairs_last_longer_when_leaving_them_is_slow():
    crystal = lattice.disc(WS2, 3.5)
    together = {}
    for factor in (1.0, 0.1):
        state = _ideal(crystal)
        state[np.random.default_rng(1).choice(np.flatnonzero(crystal.site == 1), 25, replace=False)] = V_S
        walk = Kinetics(WS2, crystal, state, ROLES, Rates(hop=0.2, pair_factor=factor, line_factor=factor), 2)
        paired = []
        for _ in range(40):
            walk.advance(5.0)
            vacant = np.append(walk.state == V_S, False)
            paired.append(vacant[crystal.hops].any(1)[vacant[:-1]].mean())
        together[factor] = np.mean(paired[10:])
    assert together[0.1] > together[1.0] + 0.15


def test_beam_damage_makes_vacancies_at_its_rate_and_holes_grow():
    crystal = lattice.disc(WS2, 4.0)
    n = int((crystal.site == 1).sum())
    walk = Kinetics(WS2, crystal, _ideal(crystal), ROLES, Rates(damage=1e-3), 0)
    walk.advance(100.0)
    lost = (walk.state == V_S).sum() + 2 * (walk.state == V_S2).sum()
    assert abs(lost - 0.1 * n) < 4 * np.sqrt(0.1 * n)

    walk = Kinetics(WS2, crystal, _ideal(crystal), ROLES, Rates(hole=0.05), 0)
    assert not walk.advance(50.0)  # no hole, no edge
    walk.open_hole(np.flatnonzero(np.linalg.norm(crystal.position_nm, axis=1) < 0.5))
    sizes = []
    for _ in range(4):
        sizes.append(int(walk.lost.sum()))
        walk.advance(20.0)
    assert (np.diff(sizes) > 0).all()
    assert (walk.state[walk.lost[:-1]] == LOST).all()

    walk = Kinetics(WS2, crystal, _ideal(crystal), ROLES, Rates(nucleation=1e-4, hole_radius_nm=0.4), 1)
    walk.advance(100.0)
    assert walk.lost.sum() > 5


def test_each_atom_is_lost_filled_and_lost_beside_vacancies_at_its_own_rate():
    """Events are Poisson around rate times the time that columns spent in the state that the process begins from."""
    crystal = lattice.disc(WS2, 4.0)
    roles = Roles(V_S, V_S2, -1, (WS2.state_index("V_metal"), -1))
    rates = Rates(damage=1e-3, damage_second=4e-3, damage_beside=2.5, fill=3e-3, other=5e-4)
    walk = Kinetics(WS2, crystal, _ideal(crystal), roles, rates, 4)
    chalcogen = crystal.site == 1
    before, since = walk.state.copy(), 0.0
    n, expected = np.zeros(6), np.zeros(6)
    for event in walk.advance(250.0):
        short = np.append(np.isin(before, [V_S, V_S2]), False)
        beside = short[crystal.hops].any(1)
        whole, single = chalcogen & (before == walk.ideal), before == V_S
        parts = [
            whole & ~beside,
            whole & beside,
            single & ~beside,
            single & beside,
            chalcogen & short[:-1],
            ~chalcogen & (before == walk.ideal),
        ]
        each = np.array([1e-3, 2.5e-3, 4e-3, 1e-2, 3e-3, 5e-4])
        expected += each * [p.sum() for p in parts] * (event.time_s - since)
        now = before[event.slot]
        lost = event.state == V_S2 or (event.state == V_S and now != V_S2)
        process = 5 if not chalcogen[event.slot] else (2 * (now == V_S) + beside[event.slot] if lost else 4)
        n[process] += 1
        before[event.slot], since = event.state, event.time_s
    assert n.min() >= 10
    assert (np.abs(n - expected) < 4 * np.sqrt(expected)).all(), (n, expected)


def test_exchange_moves_a_lone_centre_and_keeps_its_identity():
    crystal = lattice.disc(WS2, 3.0)
    state = _start(crystal, 2)
    walk = Kinetics(WS2, crystal, state, ROLES, Rates(exchange=0.5), 0)
    before = np.sort(walk.identity[walk.state == MO])
    moved = walk.advance(5.0)
    assert moved
    assert np.array_equal(np.sort(walk.identity[walk.state == MO]), before)
    assert (crystal.site[walk.state == MO] == 0).all()


def test_the_same_seed_gives_the_same_history():
    crystal = lattice.disc(WS2, 3.0)
    state = _start(crystal, 4)
    rates = Rates(hop=0.3, attach=0.3, detach=0.2, switch=0.1, damage=1e-4)
    one, two, other = (Kinetics(WS2, crystal, state, ROLES, rates, seed).advance(50.0) for seed in (7, 7, 8))
    assert one == two
    assert one != other
