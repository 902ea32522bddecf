"""A sublattice under the beam, simulated exactly and independently of the package, with its evidence."""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics import Evidence

CONSTANT_NM = 0.3153  # the reference crystal's
MARGIN_NM = 1.2  # simulated around what is seen: vacancies come and go over the border


class Rates(NamedTuple):
    """1/s: per atom for `first` and `second`, per site that lacks an atom for `fill`, per open way for `hop`."""

    first: float
    second: float
    beside: float  # factor on both where a neighbour lacks an atom
    fill: float
    hop: float


class Truth(NamedTuple):
    """What happened inside the seen field: `events`, `exposure_s` by process, what the rates let expect."""

    rates: Rates
    events: dict[str, float]
    exposure_s: dict[str, float]  # atom-seconds, as the processes are counted
    expected: dict[str, float]  # rate x exposure, summed over what changes it
    shown: np.ndarray  # (T, n) atoms that are missing
    evidence: Evidence


PROCESSES = (
    "first atom",
    "first atom, isolated",
    "first atom, beside a vacancy",
    "second atom",
    "filling",
    "arrival by hopping",
)


def hexagonal(side_nm: float, angle: float = 0.2):
    """Sites (n, 2) nm of one sublattice in a square field, their six neighbours (n, 6), and the three sites (n, 3)
    around the place of the other sublattice that bears a site's number; -1: none."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    basis = CONSTANT_NM * np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]]) @ turn
    m = int(2.5 * side_nm / CONSTANT_NM)
    k = np.stack(np.meshgrid(np.arange(-m, m), np.arange(-m, m)), -1).reshape(-1, 2)
    yx = k @ basis
    keep = (np.abs(yx) <= side_nm / 2).all(1)
    number = {tuple(c): i for i, c in enumerate(k[keep].tolist())}
    ways = [(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)]
    near = np.array([[number.get((a + u, b + v), -1) for u, v in ways] for a, b in k[keep].tolist()])
    # the place in the middle of the triangle (c, c + a1, c + a2) is named by c
    bonds = np.array(
        [[number.get((a - u, b - v), -1) for u, v in [(0, 0), (1, 0), (0, 1)]] for a, b in k[keep].tolist()]
    )
    return yx[keep], near, bonds


def rates(rng: np.random.Generator, variant: str) -> Rates:
    """Rates of one set: a dozen or two of each kind in a movie; `none`: the beam does nothing."""
    log = lambda low, high: float(np.exp(rng.uniform(np.log(low), np.log(high))))  # noqa: E731
    if variant == "none":
        return Rates(0.0, 0.0, 1.0, 0.0, log(0.003, 0.02))
    return Rates(log(2e-4, 8e-4), log(5e-3, 1.5e-2), log(1.0, 3.0), log(3e-4, 2e-3), log(0.003, 0.02))


def draw(rng, variant: str, detect: float, n_frames: int, frame_s: float, side_nm: float) -> Truth:
    """One set: 2% of the sites lack an atom at the start."""
    r = rates(rng, variant)
    yx, near, _ = hexagonal(side_nm + 2 * MARGIN_NM)
    inside = (np.abs(yx) <= side_nm / 2).all(1)
    inner = inside & (near >= 0).all(1) & np.append(inside, False)[near].all(1)  # those that the analysis counts on
    lacking = (rng.random(len(yx)) < 0.02).astype(int)
    times = np.arange(n_frames) * frame_s
    shown = np.zeros((n_frames, len(yx)), np.int8)
    events, exposure, expected = (dict.fromkeys(PROCESSES, 0.0) for _ in range(3))
    now, f = 0.0, 0
    while f < n_frames:
        padded = np.append(lacking, 0)
        beside = (padded[near] > 0).any(1)
        factor = np.where(beside, r.beside, 1.0)
        lose = np.select([lacking == 0, lacking == 1], [2 * r.first * factor, r.second * factor], 0.0)
        back = r.fill * (lacking > 0)
        movers = np.flatnonzero(lacking == 1)
        open_ = (near[movers] >= 0) & (padded[near[movers]] == 0)
        totals = np.array([lose.sum(), back.sum(), r.hop * open_.sum()])
        wait = rng.exponential(1 / totals.sum()) if totals.sum() > 0 else np.inf
        held = min(now + wait, times[-1]) - now
        whole, one = inner & (lacking == 0), inner & (lacking == 1)
        onto = near[movers][open_]
        for name, rate in (
            ("first atom", lose[whole]),
            ("first atom, isolated", lose[whole & ~beside]),
            ("first atom, beside a vacancy", lose[whole & beside]),
            ("second atom", lose[one]),
            ("filling", back[inner]),
            ("arrival by hopping", r.hop * inner[onto]),
        ):
            expected[name] += rate.sum() * held
        for name, n in (
            ("first atom", 2 * whole.sum()),
            ("first atom, isolated", 2 * (whole & ~beside).sum()),
            ("first atom, beside a vacancy", 2 * (whole & beside).sum()),
            ("second atom", one.sum()),
            ("filling", (inner & (lacking > 0)).sum()),
            ("arrival by hopping", whole.sum()),
        ):
            exposure[name] += n * held
        while f < n_frames and times[f] <= now + wait:
            shown[f] = lacking
            f += 1
        now += wait
        if f == n_frames:
            break
        kind = rng.choice(3, p=totals / totals.sum())
        if kind == 2:
            i, j = np.argwhere(open_)[rng.integers(open_.sum())]
            lacking[movers[i]], lacking[near[movers[i], j]] = 0, 1
            events["arrival by hopping"] += inner[near[movers[i], j]]
            continue
        each = (lose, back)[kind]
        site = rng.choice(len(each), p=each / each.sum())
        names = ["filling"] if kind else ["first atom" if lacking[site] == 0 else "second atom"]
        if names == ["first atom"]:
            names.append("first atom, beside a vacancy" if beside[site] else "first atom, isolated")
        for name in names:
            events[name] += inner[site]
        lacking[site] += -1 if kind else 1
    seen = shown[:, inside]
    return Truth(r, events, exposure, expected, seen, evidence(rng, seen, yx, near, inside, detect, times))


def evidence(rng, shown, yx, near, inside, detect: float, times, offset: float = 0.2, shift: float = 0.06) -> Evidence:
    """Normal about 0, -d', -2 d'; a persistent error of each site and neighbours' shifts as measured (FACTS)."""
    new = np.full(len(yx) + 1, -1)
    new[:-1][inside] = np.arange(inside.sum())
    near = new[near[inside]]
    around = np.where(near >= 0, shown[:, near], 0).sum(-1)
    line = -detect * shown + shift * detect * around + offset * rng.normal(size=shown.shape[1])
    line = line + rng.normal(size=line.shape)
    return Evidence(
        yx[inside],
        near,
        np.full((len(near), 3), -1),
        np.zeros(1),
        line,
        np.float64(1.0),
        np.array([-detect, -2.0 * detect]),
        0.8,
        1.15,
        times,
        np.ones(line.shape, bool),
        np.zeros(line.shape[1], bool),
    )
