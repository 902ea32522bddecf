"""The lattice model on exact synthetic evidence: bias, error and coverage of D, of rates at centres, counts; speed.

Vacancies move by an exact Gillespie simulation of its own (numpy) in a wider field than is seen; evidence is normal.
`python benchmarks/kinetics.py --sets 8 --detectability 1.5 3 5`, `--speed`.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from stemdefects.analysis import kinetics
from stemdefects.analysis.kinetics import Evidence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.damage_sets.gillespie import CONSTANT_NM, hexagonal


class Truth:
    """One simulated movie: layers (T, n) of the seen field, what happened, and its evidence."""

    def __init__(
        self,
        rng,
        side_nm=7.7,
        n_frames=60,
        frame_s=2.25,
        density=0.02,
        centre_share=0.02,
        doubles=2,
        detect=3.0,
        hop=0.01,
        attach=0.005,
        detach=0.02,
        turn=0.015,
        gaps=False,
        appear=0.0,
        share_seen=1.0,
        offset=0.2,
        shift=-0.06,
        still=0.0,
    ):
        margin = 1.2
        yx, near, bonds = hexagonal(side_nm + 2 * margin)
        n = len(yx)
        inside = (np.abs(yx) <= side_nm / 2).all(1)
        times = np.arange(n_frames) * frame_s
        if gaps:
            times = times + np.cumsum(np.where(rng.random(n_frames) < 0.1, rng.uniform(2, 6, n_frames) * frame_s, 0))
        centres = self._centres(rng, n, near, bonds, centre_share)
        held = np.array([np.flatnonzero((bonds == c).any(1)) for c in centres], int).reshape(-1, 3)
        blocked = np.zeros(n, bool)
        blocked[held.ravel()] = True
        layer = np.zeros(n, np.int8)
        free = np.flatnonzero(~blocked)
        layer[rng.choice(free, rng.poisson(density * len(free)), replace=False)] = 1
        layer[rng.permutation(np.flatnonzero((layer == 0) & ~blocked & inside))[:doubles]] = 3
        fixed = rng.random(n) < still  # vacancies there never move
        at = np.where(
            rng.random(len(centres)) < 3 * attach / (3 * attach + detach + 1e-12), rng.integers(0, 3, len(centres)), -1
        )
        fixed &= layer == 1
        seen_centre = inside[held].all(1) if len(held) else np.zeros(0, bool)
        self.events = dict(hop=0, attach=0, detach=0, turn=0)
        self.time_free, now, f = 0.0, 0.0, 0
        shown = np.zeros((n_frames, n), np.int8)
        while f < n_frames:
            movers = np.flatnonzero((layer == 1) & ~fixed)
            ends = near[movers]
            open_ = (ends >= 0) & (layer[ends] == 0) & ~blocked[ends]
            empty_bonds = 3 * (at < 0).sum()
            held_now = (at >= 0).sum()
            rates = np.array(
                [
                    hop * open_.sum(),
                    attach * empty_bonds,
                    detach * held_now,
                    2 * turn * held_now,
                    appear * ((layer == 0) & ~blocked).sum(),
                ]
            )
            wait = rng.exponential(1 / rates.sum()) if rates.sum() > 0 else np.inf
            while f < n_frames and times[f] <= now + wait:
                shown[f] = layer
                for c, k in zip(held, at, strict=True):
                    if k >= 0:
                        shown[f, c[k]] = 1
                f += 1
            if f == n_frames:
                break
            self.time_free += wait * (inside & (layer == 1)).sum()
            now += wait
            kind = rng.choice(5, p=rates / rates.sum())
            if kind == 0:
                i, j = np.argwhere(open_)[rng.integers(open_.sum())]
                layer[movers[i]], layer[ends[i, j]] = 0, 1
                self.events["hop"] += int(inside[movers[i]])
            elif kind == 4:
                layer[rng.choice(np.flatnonzero((layer == 0) & ~blocked))] = 1
            else:
                c = rng.choice(np.flatnonzero(at < 0) if kind == 1 else np.flatnonzero(at >= 0))
                at[c] = {1: rng.integers(3), 2: -1, 3: (at[c] + 1 + rng.integers(2)) % 3}[kind]
                self.events[("", "attach", "detach", "turn")[kind]] += int(seen_centre[c])
        self.rates = dict(hop=hop, attach=attach, detach=detach, turn=turn)
        self.d = 1.5 * CONSTANT_NM**2 * hop * (1 - still)
        self.d_real = CONSTANT_NM**2 * self.events["hop"] / (4 * max(self.time_free, 1e-9))
        new = np.full(n + 1, -1)
        new[:-1][inside] = np.arange(inside.sum())
        self.shown, self.n_centres = shown[:, inside], int(seen_centre.sum())
        near, bonds = new[near[inside]], bonds[inside]
        weight = np.where(self.shown == 3, 2.0, (self.shown > 0).astype(float))
        beside = np.where(near >= 0, weight[:, near], 0.0).sum(-1)
        mean = np.select([self.shown == 3, self.shown == 1], [-2.0 * detect, -detect], 0.0) + shift * -detect * beside
        mean = mean + offset * rng.normal(size=inside.sum())
        line = mean + rng.normal(size=mean.shape)
        line[rng.random(line.shape) > share_seen] = np.nan
        likely = np.zeros(n + 1)
        likely[centres] = 1.0
        self.evidence = Evidence(
            yx[inside],
            near,
            np.where(bonds >= 0, bonds, -1),
            likely[:n],
            line,
            np.float64(1.0),
            np.array([-detect, -2.0 * detect]),
            0.8,
            1.15,
            times,
            np.ones(line.shape, bool),
            np.zeros(line.shape[1], bool),
        )

    @staticmethod
    def _centres(rng, n, near, bonds, share):
        """Metal sites with three sites each, none beside another."""
        counts = np.bincount(bonds[bonds >= 0], minlength=n)
        chosen: list[int] = []
        taken = np.zeros(n, bool)
        for c in rng.permutation(np.flatnonzero(counts == 3)):
            if len(chosen) >= share * n:
                break
            held = np.flatnonzero((bonds == c).any(1))
            if not taken[held].any() and not taken[near[held][near[held] >= 0]].any():
                chosen.append(int(c))
                taken[held] = True
        return np.array(chosen, int)


def row(truth: Truth, found) -> dict:
    """What one set's answer says about each quantity: relative error and whether the interval holds the truth."""
    out = {}
    shown = truth.shown
    true = {
        "D nominal": (truth.d, "D"),
        "D real": (truth.d_real, "D of the hops that happened"),
        "attach": (truth.rates["attach"], "attach rate"),
        "detach": (truth.rates["detach"], "detach rate"),
        "turn": (truth.rates["turn"], "turn rate"),
        "single": ((shown == 1).sum(1).mean(), "single per frame"),
        "double": ((shown == 3).sum(1).mean(), "double per frame"),
    }
    for name, (value, key) in true.items():
        q = found.estimate(key)
        out[name] = (value, q.value, q.low <= value <= q.high)
    called = found.occupancy[..., 0] > 0.5
    hit = (called & (shown == 1)).sum()
    out["F1"] = 2 * hit / max(called.sum() + (shown == 1).sum(), 1)
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--detectability", type=float, nargs="+", default=[1.5, 3.0, 5.0])
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    if args.speed:
        for side, frames in ((7.7, 60), (15.4, 100)):
            truth = Truth(np.random.default_rng(1), side, frames, detect=2.0, density=0.025)
            start = time.perf_counter()
            found = kinetics.infer(truth.evidence)
            print(
                f"{truth.evidence.line.shape}: {time.perf_counter() - start:.1f} s, {found.rates.shape[1]} sweeps, "
                f"{found.code.value}, worst R-hat {max(c.r_hat for c in found.checks.values()):.3f}"
            )
        return
    for detect in args.detectability:
        rows = []
        for number in range(args.first, args.first + args.sets):
            rng = np.random.default_rng([number, int(10 * detect)])
            hop = 10 ** rng.uniform(np.log10(0.003), np.log10(0.02))
            truth = Truth(rng, detect=detect, hop=hop)
            start = time.perf_counter()
            found = kinetics.infer(truth.evidence, key=number)
            rows.append(row(truth, found))
            worst = max(c.r_hat for c in found.checks.values())
            print(
                f"d' {detect} set {number} {found.code.value} {time.perf_counter() - start:.0f} s, "
                f"R-hat {worst:.3f}, {found.rates.shape[1]} sweeps:",
                ", ".join(
                    f"{k} {v[1]:.3g} ({v[0]:.3g}{'' if v[2] else ' MISSED'})" for k, v in rows[-1].items() if k != "F1"
                ),
                flush=True,
            )
        print(f"\nd' {detect}: F1 {np.mean([r['F1'] for r in rows]):.3f}")
        for name in rows[0]:
            if name == "F1":
                continue
            v = np.array([r[name] for r in rows if r[name][0] > 0], float)
            error = v[:, 1] / v[:, 0] - 1
            print(
                f"| {detect} | {name} | bias {100 * error.mean():+.0f}% | "
                f"RMSE {100 * np.sqrt((error**2).mean()):.0f}% | "
                f"held {int(v[:, 2].sum())}/{len(v)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
