"""Bias and coverage of the estimators of switching. Called by benchmarks/coverage.py (parts=chains, centres)."""

import time

import numpy as np

P = np.array([[0.90, 0.06, 0.04], [0.05, 0.90, 0.05], [0.08, 0.04, 0.88]])


def on_chains(n_sets: int, seed: int, summary) -> list[dict]:
    """40 traces of 60 frames of three states; bias and coverage over all nine probabilities."""
    from stemdefects.analysis import synthetic
    from stemdefects.analysis.switching import markov, sampling, transitions
    from stemdefects.analysis.switching.states import Chain

    off = ~np.eye(3, dtype=bool)
    rows = []
    for error, missed in ((0.1, 0.0), (0.1, 0.15), (0.0, 0.0)):
        setting = f"{100 * error:.0f}% misclassified, {100 * missed:.0f}% missed"
        sets = np.stack(
            [synthetic.chains(np.random.default_rng([seed, s]), P, error=error, missed=missed) for s in range(n_sets)]
        )
        found = {}
        known = markov.guess_confusion(3, 1 - error)
        models = {
            "hmm, confusion known, Gibbs": np.maximum(known, 1e-6),
            "hmm, confusion joint, Gibbs (default)": None,
            "hmm, confusion wrong (15% for 10%), Gibbs": markov.guess_confusion(3, 0.85),
        }
        for name, confusion in models.items():
            if error == 0 or (missed > 0 and "wrong" in name):
                continue
            start = time.process_time()
            samples = np.concatenate(
                [
                    sampling.gibbs(block, confusion, sampling.Sampling(400, 100), np.random.default_rng([seed, k])).P
                    for k, block in enumerate(np.array_split(sets, max(1, n_sets // 25)))
                ]
            )
            found[name] = (
                np.median(samples, 1),
                *sampling.interval(samples, axis=1),
                time.process_time() - start,
            )
        for name, method in (
            ("pooled counts, Dirichlet", transitions.pooled),
            ("published formula", transitions.paper),
        ):
            start = time.process_time()
            results = []
            for labels in sets:
                track, frame = np.nonzero(labels >= 0)
                t = method(Chain(["a", "b", "c"], track, frame, labels[track, frame], ""))
                results.append((t.P, t.low, t.high))
            found[name] = (*(np.array(v) for v in zip(*results, strict=True)), time.process_time() - start)
        for name, (value, low, high, seconds) in found.items():
            relative = value / P
            row = summary(
                "chains", setting, name, 1.0, relative[:, off].mean(1), np.zeros(n_sets), np.ones(n_sets), seconds
            )
            inside = (low <= P) & (high >= P)
            row |= {
                "rmse_percent": round(100 * float(np.sqrt(((relative[:, off] - 1) ** 2).mean())), 1),
                "coverage_percent": round(100 * inside.mean(), 1),
                "coverage_error_percent": round(100 * float(inside.mean((1, 2)).std() / np.sqrt(n_sets)), 1),
                "coverage_range_percent": f"{100 * inside.mean(0).min():.1f} to {100 * inside.mean(0).max():.1f}",
                "estimator": name,
            }
            print(row, flush=True)
            rows.append(row)
    return rows


def on_centres(n_sets: int, seed: int, summary) -> list[dict]:
    """60 centres of 60 frames that catch, turn and release vacancies, which a detector misses, more in some places."""
    from stemdefects.analysis import synthetic
    from stemdefects.analysis.switching import bonds, sampling

    names = ["Mo_W", *(f"Mo_W+V_S@{k}" for k in range(3))]
    bits = bonds.of_states(names, "Mo_W")
    truth = np.array([[0.88, 0.04, 0.04, 0.04], *[[0.08] * 4] * 3])
    truth[1:, 1:] += 0.68 * np.eye(3)
    turns = np.zeros((4, 4), bool)
    turns[1:, 1:] = ~np.eye(3, dtype=bool)
    groups = {
        "attach": (np.zeros(3, int), np.arange(1, 4)),
        "detach": (np.arange(1, 4), np.zeros(3, int)),
        "turn": np.nonzero(turns),
    }
    rows, how, plain = [], sampling.Sampling(300, 150), sampling.Sampling(300, 100)
    for recall, spread in ((0.9, 0.05), (0.62, 0.2), (0.47, 0.0)):
        sets = np.stack(
            [synthetic.centres(np.random.default_rng([seed, s]), truth, 60, 60, recall, spread) for s in range(n_sets)]
        )
        confusion = bonds.confusion(bits, np.full(3, recall), np.array(1e-4))
        methods = {
            "recall of each place estimated (default)": lambda block, rng: bonds.gibbs(block, bits, how, rng)[0],
            "one confusion, known": lambda block, rng, C=confusion: sampling.gibbs(block, C, plain, rng),
            "one confusion, joint": lambda block, rng: sampling.gibbs(block, None, plain, rng),
        }
        setting = f"vacancies seen in {100 * recall:.0f}% of frames, places differ by {100 * spread:.0f}%"
        for name, method in methods.items():
            start = time.process_time()
            samples = np.concatenate(
                [
                    method(block, np.random.default_rng([seed, k])).P
                    for k, block in enumerate(np.array_split(sets, max(1, n_sets // 25)))
                ]
            )
            spent = time.process_time() - start
            value, (low, high) = np.median(samples, 1), sampling.interval(samples, axis=1)
            for group, (i, j) in groups.items():
                relative = [(v[:, i, j] / truth[i, j]).ravel() for v in (value, low, high)]
                row = summary("centres", setting, f"{name}: {group}", 1.0, *relative, spent)
                rows.append(row | {"sets": n_sets, "seconds_per_set": round(spent / n_sets, 3)})
    return rows
