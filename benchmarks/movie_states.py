"""Single vacancies in hopping movies at typical dose: frame by frame, all frames together, and the ideal observer's.

Part `movies` of benchmarks/inference.py. The ideal observer knows the lattice, every column's place, the probe, the
noise, the prevalence and how often columns change (not where to): its d' in one frame is measured under the movie's
own conditions (limit/study.py; S may have 30% more or less signal), its log-likelihoods along the true states of
the same movie are drawn with it, and the same forward-backward smoother turns them into posteriors. For comparison,
`frames=9` of a crystal at rest.
"""

import copy
import tempfile
from pathlib import Path

import numpy as np
import sample

KINDS = ("V_S", "V_S2", "Mo_W", "V_W")
N_FRAMES, SIZE_PX = 40, 192
SEEDS = {550.0: tuple(range(51, 63)), 4000.0: (71, 72, 73)}  # of the movies at each dose (e/px)
MARGIN_PX = 8.0
RADIUS_PX = 2.8  # 0.09 nm


def run(options: dict) -> list[str]:
    """Lines of the page's block."""
    from stemdefects import config, devices
    from stemdefects.commands.detection import load_model
    from stemdefects.crystal import material as crystal

    devices.use_compilation_cache()
    material = crystal.load("ws2_mo")
    model = load_model(options["model"], options["runs_dir"])
    cfg = copy.deepcopy(config.load_group("simulation", "movie"))
    cfg.view.size_px, cfg.movie.n_frames = [SIZE_PX, SIZE_PX], N_FRAMES
    watch = observer(material)
    lines = [
        f"Fresh movies of {N_FRAMES} frames of {SIZE_PX} x {SIZE_PX} px, `simulation=movie` (conditions of `typical`), "
        f"vacancies hop; the model is `{options['model']}`. F1 per column and frame, away from the border.",
        "",
        "| e/px | movies | kind | d' of one frame | frame by frame | all frames together | ideal observer, same movie "
        "| of ideal | ideal, 9 frames at rest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    fitted = {}
    for dose, seeds in SEEDS.items():
        cfg.detector.dose_e_per_px = [dose, dose]
        totals, separations, fitted[dose] = at_dose(model, material, cfg, watch, dose, seeds)
        static = at_rest(watch, dose)
        for kind in KINDS:
            if kind not in totals:
                continue
            f1 = {way: 2 * r / max(t + f, 1) for way, (t, f, r) in totals[kind].items()}
            together, best = f1.get("all frames together", 0.0), f1.get("ideal", np.nan)
            lines.append(
                f"| {dose:g} | {len(seeds)} | {kind} | {np.mean([s[kind] for s in separations]):.2f} | "
                f"{f1.get('frame by frame', 0.0):.2f} | {together:.2f} | {best:.2f} | {together / best:.2f} | "
                f"{static[kind]:.2f} |"
            )
    said = ", ".join(f"{value:.4f} at {dose:g} e/px" for dose, value in fitted.items())
    return [*lines, "", f"Fitted chance of change of an S2 column's state per frame: {said}."]


def at_dose(model, material, cfg, watch, dose: float, seeds) -> tuple[dict, list[dict], float]:
    """Counts per kind and way, the observer's separations, and the mean fitted change of chalcogen columns."""
    from stemdefects.analysis.data import truth as truths
    from stemdefects.commands.detection import detect
    from stemdefects.simulation import files

    totals: dict = {}
    separations, fitted = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            path = Path(folder) / f"{seed}.h5"
            files.write_movie(path, material, cfg, seed)
            true = truths.read(path)
            found = detect(path, model)
            fitted.append(found.attrs.get("over_time_change_per_frame", {}).get("chalcogen", np.nan))
            for way, rows in (("frame by frame", found.rows), ("all frames together", found.over_time)):
                scored = truths.score(_inner(rows), _inner(true.rows), RADIUS_PX)
                for s in scored:
                    add(totals, s.kind, way, s.n_true, s.n_found, s.n_right)
            separations.append(separation(watch, material, cfg, seed, dose))
            for kind, counts in ideal(path, material, separations[-1], seed).items():
                add(totals, kind, "ideal", *counts)
    return totals, separations, float(np.mean(fitted))


def add(totals: dict, kind: str, way: str, *counts: int) -> None:
    """Add (true, found, right) up over movies."""
    before = totals.setdefault(kind, {}).get(way, (0, 0, 0))
    totals[kind][way] = tuple(a + b for a, b in zip(before, counts, strict=True))


def _inner(rows: np.ndarray) -> np.ndarray:
    place = np.stack([rows["y_px"], rows["x_px"]], 1)
    return rows[((place > MARGIN_PX) & (place < SIZE_PX - 1 - MARGIN_PX)).all(1)]


def observer(material):
    """The ideal observer of one frame and of nine, small field."""
    from stemdefects import config
    from stemdefects.limit import study

    return study.Study(material, config.load_group("simulation", "typical"), sample.PREVALENCE, (1, 9), (128, 128))


def at_rest(watch, dose: float) -> dict[str, float]:
    """F1 per kind with nine frames of a crystal at rest."""
    from stemdefects.limit import study

    seen = [one for _, one in watch.run([dose], 4, 3, progress="ideal observer")]
    return {k: study.summary(watch.material, seen, 9)[k]["f1"] for k in KINDS}


def separation(watch, material, cfg, seed: int, dose: float) -> dict[str, float]:
    """d' per kind in one frame, under the conditions of the movie `seed`."""
    import jax

    from stemdefects.simulation.movies import Scene

    one = watch.look(jax.random.key(seed), dose, Scene(material, cfg, seed).conditions)
    states = {k: material.kinds[material.kind_index(k)].state for k in KINDS}
    sites = {k: material.states[state].site for k, state in states.items()}
    return {k: float(np.median(one.d_prime[one.site == sites[k], states[k]])) for k in KINDS}


def ideal(path: Path, material, separation: dict, seed: int) -> dict[str, tuple[int, int, int]]:
    """(true, found, right) per kind of the ideal observer on the true states of a movie."""
    import h5py

    from stemdefects.inference.evidence import over_time

    with h5py.File(path, "r") as file:
        group = file["truth"]
        states, site, places = group["states"][()].astype(int), group["site"][()], group["sites_px"][()]
    inside = ((places > MARGIN_PX) & (places < SIZE_PX - 1 - MARGIN_PX)).all(1)
    rng = np.random.default_rng(seed)
    out = {}
    for g, crystal_site in enumerate(material.sites):
        mine = np.flatnonzero((site == g) & inside)
        kinds = [k for k in KINDS if material.states[material.kinds[material.kind_index(k)].state].site == g]
        all_states = [crystal_site.ideal, *(material.kinds[material.kind_index(k)].state for k in kinds)]
        true = states[:, mine]
        keep = np.isin(true, all_states).all(0)  # other kinds are rare; their sites are left out
        true = np.searchsorted(np.sort(all_states), true[:, keep])
        order = np.argsort(all_states)
        level = np.array([0.0, *(separation[k] for k in kinds)])[order]
        value = level[true] + rng.normal(size=true.shape)
        log_likelihood = -0.5 * (value[..., None] - level) ** 2
        prevalence = np.bincount(true.ravel(), minlength=len(level)) / true.size
        change = (np.diff(true, axis=0) != 0).mean() / max(1 - (prevalence**2).sum(), 1e-9)
        seen = np.exp(log_likelihood - log_likelihood.max(-1, keepdims=True))
        posterior = over_time.forward_backward(seen, prevalence, change).posterior
        for k in kinds:
            index = int(np.flatnonzero(order == 1 + kinds.index(k))[0])
            called = posterior[..., index] >= 0.5
            is_one = true == index
            out[k] = (int(is_one.sum()), int(called.sum()), int((called & is_one).sum()))
    return out
