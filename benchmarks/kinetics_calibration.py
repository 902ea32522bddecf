"""Simulation-based calibration of the lattice model's sampler: is the truth's rank among the draws uniform?

    python benchmarks/kinetics_calibration.py [sets=200] [seed=0] [page=docs/kinetics.md]

Talts, Betancourt, Simpson, Vehtari & Gelman, arXiv:1804.06788 (2018). Parameters are drawn from the prior, a history of
a lattice of five sites from its exact generator, readings from the light's model; then the sampler's draws of every
parameter are ranked against the truth. With prior and data together this is Geweke's joint test too.
"""

import sys
from pathlib import Path

import numpy as np
import script
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.exact_lattice import MISSING, Exact, evidence, run, scattered
from stemdefects.analysis.kinetics.lattice import N_PARAMETERS, Rate, sites
from stemdefects.analysis.kinetics.sampler.light.noise import KNEES
from stemdefects.analysis.kinetics.sampler.light.unknowns import LOOSE

DEFAULTS = {"sets": "200", "seed": "0", "page": ""}
TIMES = np.cumsum([0, 1.0, 0.5, 0.5, 1.5, 0.7, 0.3, 1.0, 1.0, 0.5, 0.5, 2.0])
SWEEPS, WARM, THIN = 3300, 300, 30  # 100 draws, of which successive ones hardly correlate
BINS = 10
LEVEL = np.array([-2.0, -4.0])
DEVIATION = 0.35 / LOOSE  # of the levels' scales about 1, between 0.8 and 1.15
SCALE = -0.2 / DEVIATION, 0.15 / DEVIATION
OTHERS = {
    "density": 16,
    "density of doubles": 17,
    "density at bonds": 18,
    "offsets": 19,
    "offsets beside a centre": 29,
    "level": 20,
    "level of two": 27,
    "shift": 21,
    "shift beside a centre": 28,
    "noise": 22,
    "base off centres": 24,
    "base at bonds": 25,
    "base at clusters": 26,
    "knee": 30,
}


def drawn(rng: np.random.Generator) -> np.ndarray:
    """(31,) parameters from the prior that `exact_lattice.run` gives the sampler."""
    p = np.zeros(N_PARAMETERS)
    p[:15] = rng.gamma(0.5, 1 / 2.0, 15)
    p[23] = float(rng.random() < 0.5)
    p[15] = rng.beta(2, 3) if p[23] else 0.0
    p[16], p[17], p[18] = rng.beta(2, 8), rng.beta(1, 9), rng.beta(2, 4)
    p[[19, 29]] = 0.2 / np.sqrt(rng.gamma(2.0, size=2))
    p[20], p[27] = stats.truncnorm.rvs(*SCALE, 1, DEVIATION, 2, random_state=rng)
    p[21], p[28] = 0.1 * rng.normal(size=2)
    p[22] = np.sqrt(10.0 / rng.gamma(10.0))
    p[24:27] = 0.1 * rng.normal(size=3)
    p[30] = np.exp(rng.uniform(*np.log(KNEES)))
    return p


def movie(rng: np.random.Generator, p: np.ndarray) -> np.ndarray:
    """(T, 5) readings of a history drawn event by event."""
    exact = Exact(evidence(np.zeros((len(TIMES), 5)), TIMES), p[:15], p[16], p[17], p[18], p[15], MISSING)
    now, t, shown = rng.choice(len(exact.start), p=exact.start / exact.start.sum()), 0.0, []
    for until in TIMES:
        while True:
            rates = np.maximum(exact.q[now], 0)
            step = rng.exponential(1 / rates.sum())
            if t + step > until:
                t = until
                break
            t += step
            now = rng.choice(len(rates), p=rates / rates.sum())
        shown.append(exact.configurations[now])
    layer = np.array(shown)
    mean = np.select([layer == 3, layer > 0], [p[27] * LEVEL[1], p[20] * LEVEL[0]], 0.0)
    weight = np.where(layer == 3, 2.0, (layer > 0).astype(float))
    for i, near in enumerate(exact.near):
        mean[:, i] += p[28 if i < 3 else 21] * weight[:, near[near >= 0]].sum(1)
    mean += p[24 + sites(evidence(np.zeros((2, 5)), TIMES[:2])).kind]
    offset = np.where(np.arange(5) < 3, p[29], p[19]) * rng.normal(size=5)
    return mean + offset - p[22] * scattered(rng, p[30], mean.shape)


def ranks(sets: int, seed: int) -> np.ndarray:
    """(sets, 31) rank of each parameter among 100 draws; ties (a share of exactly 0) broken at random."""
    out = np.zeros((sets, N_PARAMETERS), int)
    for k in range(sets):
        rng = np.random.default_rng([seed, k])
        truth = drawn(rng)
        kept, _, _ = run(movie(rng, truth), drawn(rng), np.ones(N_PARAMETERS, bool), SWEEPS, key=k, times=TIMES)
        found = kept[WARM::THIN]
        out[k] = (found < truth).sum(0) + np.round(rng.random(N_PARAMETERS) * (found == truth).sum(0))
        if sys.stderr.isatty():
            print(f"\r{k + 1} of {sets}", end="", file=sys.stderr)
    return out


def table(found: np.ndarray) -> str:
    """Markdown: each parameter's chi-square over ten bins and mean rank (50 is even)."""
    names = {r.name.lower().replace("_", " ") + " rate": int(r) for r in Rate} | OTHERS
    lines = ["| parameter | mean rank | chi-square (9) | p |", "|---|---|---|---|"]
    for name, k in names.items():
        counts = np.bincount(np.minimum(found[:, k] * BINS // 101, BINS - 1), minlength=BINS)
        chi, p = stats.chisquare(counts)
        lines.append(f"| {name} | {found[:, k].mean():.1f} | {chi:.1f} | {p:.3f} |")
    return "\n".join(lines)


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    text = table(ranks(int(options["sets"]), int(options["seed"])))
    print(text)
    if options["page"]:
        command = f"`python benchmarks/kinetics_calibration.py sets={options['sets']} seed={options['seed']}`"
        script.fill(Path(options["page"]), "<!-- calibration -->", "<!-- end calibration -->", f"{command}\n\n{text}")


if __name__ == "__main__":
    main()
