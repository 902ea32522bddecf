"""Bias, RMSE and coverage of every estimator on simulated tracks, chains and movies. Writes docs/coverage.csv.

    python benchmarks/coverage.py [parts=tracks,times,chains,centres,points,linking,drift] [sets=200] [output=docs]
    python benchmarks/coverage.py pixels=20 [model=ws2_mo] [dose=4000] [movies=<folder to keep them>]

tracks: diffusion estimators on tracks given without error; times: the same under uneven clocks;
chains: transition probabilities; centres: those of centres
whose vacancies are often missed; points: D end to end from detections with drift, misses and false ones, through our
drift correction and linking; linking: recall, precision and time at 1,000 frames x 1,000 particles; drift: movies with
sudden steps; pixels: simulated movies through a network.
docs/statistics.md explains the table.
"""

import csv
import sys
import time
from pathlib import Path

import coverage_chains
import numpy as np
import script

DEFAULTS = {
    "parts": "tracks,times,chains,centres,points,linking,drift",
    "sets": "200",
    "output": "docs",
    "seed": "0",
    "pixels": "",
    "model": "ws2_mo",
    "dose": "4000",
    "movies": "",
}
D, DT = 5e-4, 2.25


def summary(part, setting, name, truth, values, low, high, seconds) -> dict:
    """One row of the table: bias and RMSE relative to the truth, coverage and its binomial error."""
    values, low, high = (np.asarray(v, float) for v in (values, low, high))
    covered = (low <= truth) & (high >= truth)
    share = covered.mean()
    row = {
        "part": part,
        "setting": setting,
        "estimator": name,
        "sets": len(values),
        "bias_percent": round(100 * (values.mean() / truth - 1), 1),
        "rmse_percent": round(100 * float(np.sqrt(((values / truth - 1) ** 2).mean())), 1),
        "coverage_percent": round(100 * share, 1),
        "coverage_error_percent": round(100 * float(np.sqrt(max(share * (1 - share), 1e-4) / len(values))), 1),
        "seconds_per_set": round(seconds / len(values), 3),
    }
    print(row, flush=True)
    return row


def on_tracks(n_sets: int, seed: int) -> list[dict]:
    """30 tracks of 5-40 frames of rare hops of one lattice constant, and Brownian motion."""
    from stemdefects.analysis import synthetic
    from stemdefects.analysis.motion import diffusion, hop_counts, hopping, msd

    vectors = synthetic.hexagonal(angle=0.3)
    estimators = {
        "cve (default)": lambda t, rng: diffusion.cve(t, 500, rng),
        "msd, optimal lags": lambda t, rng: msd.msd(t, 20, 300, rng),
        "sites (hidden Markov)": lambda t, rng: hopping.site_model(t, vectors, rng=rng, n_bootstrap=100),
        "hop counting": lambda t, rng: hop_counts.count_hops(t, vectors),
        "published formula": lambda t, rng: diffusion.paper(t),
    }
    rows = []
    cases = [(sigma, missed, False) for sigma in (0.02, 0.06) for missed in (0.0, 0.15)] + [(0.02, 0.0, True)]
    for sigma, missed, brownian in cases:
        results = {name: [] for name in estimators}
        spent = dict.fromkeys(estimators, 0.0)
        for s in range(n_sets):
            rng = np.random.default_rng([seed, s])
            if brownian:
                some = synthetic.brownian_tracks(rng, 30, D, DT, sigma, 22)
            else:
                some = synthetic.hopping_tracks(rng, synthetic.Hoppers(30, D, DT, sigma, missed))
            for name, estimator in estimators.items():
                start = time.process_time()
                d = estimator(some, rng)
                spent[name] += time.process_time() - start
                results[name].append((d.D, d.low, d.high))
        setting = f"{'Brownian, ' if brownian else ''}sigma {sigma} nm, {100 * missed:.0f}% missed"
        for name, found in results.items():
            rows.append(summary("tracks", setting, name, D, *np.array(found).T, spent[name]))
    return rows


def on_times(n_sets: int, seed: int) -> list[dict]:
    """Tracks as in `on_tracks` under uneven clocks: jitter, a pause of 900 s, pauses, a rate that changes."""
    from stemdefects.analysis import synthetic
    from stemdefects.analysis.motion import diffusion, hop_counts, hopping, msd

    a, vectors = synthetic.A_NM, synthetic.hexagonal(angle=0.3)
    estimators = {
        "cve (default)": lambda t, rng: diffusion.cve(t, 500, rng, a),
        "msd, optimal lags": lambda t, rng: msd.msd(t, 20, 300, rng),
        "sites (hidden Markov)": lambda t, rng: hopping.site_model(t, vectors, rng=rng, n_bootstrap=100),
        "hop counting": lambda t, rng: hop_counts.count_hops(t, vectors),
    }
    rows = []
    for how in ("jitter", "pause", "pauses", "rate"):
        results, spent = {name: [] for name in estimators}, dict.fromkeys(estimators, 0.0)
        for s in range(n_sets):
            rng = np.random.default_rng([seed, s])
            times = synthetic.recorded_times(rng, 60, DT, how)
            some = synthetic.hopping_tracks(rng, synthetic.Hoppers(30, D, DT, 0.02, 0.1), times=times)
            for name, estimator in estimators.items():
                start = time.process_time()
                d = estimator(some, rng)
                spent[name] += time.process_time() - start
                results[name].append((d.D, d.low, d.high))
        for name, found in results.items():
            rows.append(summary("times", f"{how}, 10% missed", name, D, *np.array(found).T, spent[name]))
    return rows


def on_points(n_sets: int, seed: int) -> list[dict]:
    """Movies of 60 frames as detections: 60 vacancies in 14 nm, 10% missed, 5% false, drift of a wandering stage."""
    from stemdefects import config
    from stemdefects.analysis import pipeline, synthetic
    from stemdefects.analysis.data import detections
    from stemdefects.crystal import material

    cfg = config.load_group("analysis", "default")
    cfg.diffusion.n_bootstrap, cfg.diffusion.gate_scan_lattice = 400, []
    crystal = material.load("ws2_mo")
    rows = []
    for sigma in (0.02, 0.06):
        results = {}
        start = time.process_time()
        for s in range(n_sets):
            rng = np.random.default_rng([seed, s])
            path = np.cumsum(0.02 * rng.standard_normal((60, 2)), 0)
            frame, yx, _ = synthetic.movie_points(
                rng, synthetic.Points(60, 60, 14.0, D, DT, sigma, exclusive=False), drift=path
            )
            table = synthetic.defect_rows(frame, yx, 0.03)
            table["sigma_nm"] = sigma
            found = detections.Detections(table, 60, np.arange(60) * DT, 0.03, 0.0, DT, "simulated")
            motion = pipeline.analyse(found, cfg, crystal, seed=s).of("diffusion").motion
            for name, d in motion.results["V_S"].items():
                results.setdefault(name, []).append((d.D, d.low, d.high))
        seconds = time.process_time() - start
        setting = f"sigma {sigma} nm, 10% missed, 5% false, our drift and links"
        for name, found in results.items():
            rows.append(summary("points", setting, name, D, *np.array(found).T, seconds))
    return rows


def on_linking(n_sets: int, seed: int) -> list[dict]:
    """1,000 frames x 1,000 particles, 10% missed, 5% false, two kinds with 10% wrong labels."""
    from stemdefects.analysis import synthetic
    from stemdefects.analysis.tracking import linking

    rng = np.random.default_rng(seed)
    rows = []
    for field, with_kinds in ((60.0, True), (60.0, False), (40.0, True)):
        frame, yx, who = synthetic.movie_points(rng, synthetic.Points(1000, 1000, field, D, DT, 0.02, exclusive=False))
        kind = np.where(rng.random(len(who)) < 0.1, rng.integers(0, 3, len(who)), who % 3)
        start = time.process_time()
        links = linking.link(
            linking.Points(frame, yx, kind=kind if with_kinds else None), linking.Rules(1.5 * synthetic.A_NM)
        )
        seconds = time.process_time() - start
        recall, precision = synthetic.link_scores(who, frame, links.track)
        name = "kind-aware" if with_kinds else "without kinds"
        rows.append(
            {
                "part": "linking",
                "setting": f"1,000 x 1,000 in {field:.0f} nm",
                "estimator": name,
                "sets": 1,
                "recall": round(recall, 4),
                "precision": round(precision, 4),
                "seconds_per_set": round(seconds, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def on_drift(n_sets: int, seed: int) -> list[dict]:
    """Movies of 100 frames with a wandering stage and sudden steps of up to 1.5 nm, from the point pattern alone."""
    from stemdefects.analysis import synthetic
    from stemdefects.analysis.tracking import drift

    n_movies = min(n_sets, 50)
    start = time.process_time()
    rms, worst = [], []
    for s in range(n_movies):
        rng = np.random.default_rng([seed, s])
        steps = 0.02 * rng.standard_normal((100, 2))
        jumps = rng.random(100) < 0.03
        steps[jumps] += rng.uniform(-1, 1, (int(jumps.sum()), 2))
        path = np.cumsum(steps, 0)
        frame, yx, _ = synthetic.movie_points(rng, synthetic.Points(100, 80, 15.0, D, DT, 0.02), drift=path)
        error = drift.from_points(frame, yx, 100, drift.Rules(0.09, 2.0)).yx - path
        error = np.hypot(*(error - np.median(error, 0)).T)
        rms.append(np.sqrt((error**2).mean()))
        worst.append(error.max())
    row = {
        "part": "drift",
        "setting": "80 defects in 15 nm, sigma 0.02 nm, steps up to 1.4 nm",
        "estimator": "point pattern",
        "sets": n_movies,
        "rms_nm": round(float(np.sqrt(np.mean(np.square(rms)))), 4),
        "largest_nm": round(max(worst), 4),
        "movies_off_by_a_lattice_vector": int((np.array(worst) > 0.15).sum()),
        "seconds_per_set": round((time.process_time() - start) / n_movies, 2),
    }
    print(row, flush=True)
    return [row]


PARTS = {
    "tracks": on_tracks,
    "times": on_times,
    "chains": lambda n_sets, seed: coverage_chains.on_chains(n_sets, seed, summary),
    "centres": lambda n_sets, seed: coverage_chains.on_centres(n_sets, seed, summary),
    "points": on_points,
    "linking": on_linking,
    "drift": on_drift,
}


def parts_of(settings: dict):
    """(name, function of nothing) of each part asked for."""
    n_sets, seed = int(settings["sets"]), int(settings["seed"])
    if settings["pixels"]:
        import coverage_pixels

        yield "pixels", lambda: coverage_pixels.on_pixels(settings, summary)
        return
    parts = settings["parts"].split(",")
    for part in parts:
        if part not in PARTS:
            print(f"error: parts={part}: there are {', '.join(PARTS)}", file=sys.stderr)
            sys.exit(2)
    for part in parts:
        yield part, lambda part=part: PARTS[part](n_sets, seed)


def main() -> None:
    """Run the parts asked for; rows of other parts in docs/coverage.csv stay."""
    settings = script.options(sys.argv[1:], DEFAULTS)
    path = Path(settings["output"]) / "coverage.csv"
    rows = []
    if path.exists():
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    for part, make in parts_of(settings):
        new = make()
        rows = [row for row in rows if row["part"] != part] + new
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
