"""The tables of `corrections.py`: F1 of each network, and gains with their intervals."""

import numpy as np

BEFORE, CONTROL, AFTER, ABLE = "before", "without corrections", "with corrections", "trained for such movies"
N_RESAMPLES = 2000


def f1(counts: np.ndarray) -> float:
    """F1 of summed (right, called, true)."""
    right, called, true = counts.sum(0)
    return 2 * right / max(called + true, 1)


def gain(before: np.ndarray, after: np.ndarray, rng) -> tuple[float, float]:
    """95% interval of the gain in F1, parts of the field drawn again."""
    draws = rng.integers(0, len(before), (N_RESAMPLES, len(before)))
    values = [f1(after[d]) - f1(before[d]) for d in draws]
    return tuple(np.quantile(values, [0.025, 0.975]))


def pooled(results: list[dict], first: str, then: str, rng) -> str:
    """Gain in F1 from one network to another over all movies, parts of all fields drawn again, as a cell."""
    both = [np.concatenate([one["counts"][name] for one in results]) for name in (first, then)]
    low, high = gain(*both, rng)
    return f"{f1(both[1]) - f1(both[0]):+.3f} ({low:+.3f} to {high:+.3f})"


def page(results: list[dict], steps: int) -> str:
    """The table of all movies: gains with their intervals, each movie and all together."""
    rng = np.random.default_rng(0)
    lines = [
        "| movie | corrections | F1 before | control | with them | gain (95%, parts of the field) | "
        "against the control | trained for such movies |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for chosen in [[one] for one in results] + ([results] if len(results) > 1 else []):
        said = {
            name: f1(np.concatenate([one["counts"][name] for one in chosen]))
            for name in chosen[0]["counts"]
            if all(name in one["counts"] for one in chosen)
        }
        cell = {name: f"{value:.3f}" for name, value in said.items()}
        n = {name: sum(one["corrections"][name] for one in chosen) for name in chosen[0]["corrections"]}
        told = f"{n['add']} added, {n['delete']} deleted, {n['relabel']} relabelled; {n['checked']} frames checked"
        against = pooled(chosen, CONTROL, AFTER, rng) if CONTROL in said else "-"
        name = chosen[0]["seed"] if len(chosen) == 1 else "all"
        lines.append(
            f"| {name} | {told} | {cell[BEFORE]} | {cell.get(CONTROL, '-')} | {cell[AFTER]} | "
            f"{pooled(chosen, BEFORE, AFTER, rng)} | {against} | {cell.get(ABLE, '-')} |"
        )
    lines.append("")
    for one in results:
        shares = ", ".join(f"{name}: {share:g}" for name, share in one["share"].items())
        lines.append(f"Movie {one['seed']}, {steps} steps; share of the trained weights that was kept: {shares}.")
        own = one["own"] or {}
        told = [
            f"{name} {when}: {v[0]:.2f} ({v[1]:.2f} to {v[2]:.2f})"
            for when, shares in own.items()
            for name, v in shares.items()
            if v
        ]
        if told:
            lines.append(f"Held-out part of its checked frames as `train.py` reports it: {', '.join(told)}.")
        lines.append("")
    return "\n".join(lines).rstrip()


def by_kind(one: dict) -> str:
    """Precision and recall of each kind and network, to see where a gain comes from."""
    lines = []
    for network, kinds in one["kinds"].items():
        told = [
            f"{kind} {right / max(called, 1):.2f}/{right / max(true, 1):.2f} of {true:.0f}"
            for kind, (right, called, true) in kinds.items()
        ]
        lines.append(f"movie {one['seed']}, {network}: precision/recall {', '.join(told)}")
    return "\n".join(lines)
