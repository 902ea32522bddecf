"""D and switching rates from pixels: simulated movies through a network, inference and the whole analysis.

Called by benchmarks/coverage.py (parts=pixels). The nominal D is that of a vacancy alone; in a small field others and
the bonds of centres block some hops, so D is also compared with the hops that really happened, of all movies together.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES, SIZE_PX, DT = 40, 256, 2.25


def scene(dose: float):
    """Simulation config of a small, dilute hopping movie at `dose` electrons per pixel."""
    from stemdefects import config

    cfg = config.load_group("simulation", "demo_movie")
    cfg.view.size_px = [SIZE_PX, SIZE_PX]
    cfg.view.rotation_deg = [0.0, 360.0]
    cfg.detector.dose_e_per_px = [dose, dose]
    cfg.defects.density = {"V_S": [0.015, 0.015], "V_S2": [0.003, 0.003], "Mo_W": [0.025, 0.025], "V_W": [0.003, 0.003]}
    cfg.movie.n_frames, cfg.movie.frame_time_s = FRAMES, DT
    cfg.movie.hop_rate_per_s = 0.006
    return cfg


def realised(path: Path) -> tuple[float, float]:
    """Hops of lone mobile defects and the time they were watched (s), from the movie's truth."""
    from stemdefects.analysis.data import truth as truths

    truth = truths.read(path)
    rows = truth.rows[(truth.rows["kind"] == b"V_S") & (truth.rows["complex"] < 0)]
    rows = rows[np.lexsort((rows["frame"], rows["track"]))]
    same = (np.diff(rows["track"]) == 0) & (np.diff(rows["frame"]) == 1)
    drift = truth.drift_px[rows["frame"]] * truth.pixel_size_nm
    place = np.column_stack([rows["y_px"], rows["x_px"]]) * truth.pixel_size_nm - drift
    step = np.hypot(*np.diff(place, axis=0)[same].T)
    return float(np.rint((step / 0.3153) ** 2).sum()), float(same.sum() * DT)  # squared lengths: D = a^2 n / 4 T


def make_movies(folder: Path, n_movies: int, seed: int, dose: float) -> list[Path]:
    """Paths of the movies; those that are there already are taken as they are.

    One microscope and one stage path (compiled once), a new sample, new kinetics and new noise in every movie.
    """
    from stemdefects.crystal import material
    from stemdefects.simulation import files, movies

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"movie_{dose:g}_{1000 * seed + k}.h5" for k in range(n_movies)]
    if all(path.exists() for path in paths):
        return paths
    view = movies.Scene(material.load("ws2_mo"), scene(dose), 1000 * seed)
    for k, path in enumerate(paths):
        if not path.exists():
            _new_sample(view, 1000 * seed + k)
            part = path.with_suffix(".part")
            writer = files._Hdf5(part, path, view)
            try:
                for block in view.blocks():
                    writer.append(block)
            finally:
                writer.close()
    return paths


def _new_sample(view, seed: int) -> None:
    """Other defects, moves and noise under the same microscope."""
    import jax

    from stemdefects.simulation.specimen import processes
    from stemdefects.simulation.specimen.kinetics import Kinetics

    rng = np.random.default_rng([seed, 3])
    lattice, crystal = view.lattice, view.material
    state = np.asarray(crystal.ideal_states[lattice.site]).copy()
    for name, (share, _) in view.cfg.defects.density.items():
        kind = crystal.kinds[crystal.kind_index(name)]
        here = lattice.site == crystal.states[kind.state].site
        state[here & (rng.random(len(state)) < share)] = kind.state
    view.kinetics = Kinetics(crystal, lattice, state, processes.roles(crystal, view.cfg), view.rates, seed)
    view.initial_state, view._first_events = view.kinetics.state.copy(), []
    view.centers = view.kinetics.centers.copy()
    view.center_identities = view.kinetics.identity[view.centers].copy()
    view.seed, view._frame_key = seed, jax.random.key(seed)


def on_pixels(settings: dict, summary) -> list[dict]:
    """Rows of the table: D by method and switching probabilities per frame against the truth.

    settings: of the command line; `pixels` movies, `movies` folder to keep them in, `model`, `dose`, `seed`.
    """
    n_movies, seed, dose = int(settings["pixels"]), int(settings["seed"]), float(settings["dose"])
    with tempfile.TemporaryDirectory() as folder:
        return _measure(make_movies(Path(settings["movies"] or folder), n_movies, seed, dose), settings, summary)


def _measure(paths: list[Path], settings: dict, summary) -> list[dict]:
    import stemdefects
    from stemdefects.analysis import pipeline
    from stemdefects.analysis.data import detections
    from stemdefects.commands import analyze, results
    from stemdefects.commands.detection import load_model
    from stemdefects.crystal import material

    crystal = material.load("ws2_mo")
    network = load_model(settings["model"])
    cfg = results.configure(
        diffusion={"gate_scan_lattice": [], "n_bootstrap": 400, "kinds": ["V_S"]},
        crystal={"enabled": False},
        transitions={"n_gibbs": 300, "n_burn": 100},
    )
    found, scores, hops, watched = {}, {}, 0.0, 0.0
    start = time.process_time()
    for k, path in enumerate(paths):
        table = stemdefects.detect(path, network, progress=False)
        table.patches = None
        detected = detections.from_table(table, cfg.analysis.table)
        _, movie, truth = analyze.context(detected, cfg)
        result = pipeline.analyse(detected, cfg.analysis, crystal, movie, truth, seed=k)
        n, t = realised(path)
        hops, watched = hops + n, watched + t
        for row in result.of("truth").quantities:
            if row["found"] is not None and row["low"] is not None:
                values = row["true"], row["found"], row["low"], row["high"]
                found.setdefault(_group(row["quantity"]), []).append(values)
        for s in result.of("truth").scores:
            scores.setdefault(s.kind, []).append((s.n_true, s.n_found, s.n_right))
        f1 = {kind: _f1(scores[kind]) for kind in ("V_S", "Mo_W") if kind in scores}
        print(f"movie {k}: F1 so far {f1}, {time.process_time() - start:.0f} s", flush=True)
    seconds = time.process_time() - start
    effective = crystal.a_nm**2 * hops / watched / 4
    setting = f"{len(paths)} movies of {FRAMES} frames, {SIZE_PX} px, {settings['dose']} e/px, network {network.id}"
    rows = []
    for name, values in sorted(found.items()):
        true, value, low, high = np.array(values, float).T
        if name.startswith("D, "):
            print(f"nominal D {true[0]:.3e}, that of the hops that happened {effective:.3e} nm^2/s")
            for against, D in (("nominal D", true[0]), ("hops that happened", effective)):
                rows.append(summary("pixels", setting, f"{name}, against the {against}", D, value, low, high, seconds))
        else:
            row = summary("pixels", setting, name, 1.0, value / true, low / true, high / true, seconds)
            rows.append(row | {"sets": len(paths), "seconds_per_set": round(seconds / len(paths), 3)})
    for kind, values in scores.items():
        n_true, n_found, n_right = np.array(values, float).sum(0)
        if kind in ("V_S", "Mo_W"):
            rows.append(
                {
                    "part": "pixels",
                    "setting": setting,
                    "estimator": f"detection of {kind}",
                    "sets": len(paths),
                    "recall": round(n_right / max(n_true, 1), 3),
                    "precision": round(n_right / max(n_found, 1), 3),
                }
            )
            print(rows[-1], flush=True)
    return rows


def _group(quantity: str) -> str:
    """Name that entries alike by symmetry share."""
    if quantity.startswith("D of"):
        return "D, " + quantity.rsplit(", ", 1)[1]
    if "->" not in quantity:
        return quantity
    source, target = quantity.removeprefix("P(").split(") per")[0].split(" -> ")
    kinds = "alone" if "+" not in source else "complex", "alone" if "+" not in target else "complex"
    name = {("alone", "complex"): "attach", ("complex", "alone"): "detach", ("complex", "complex"): "turn"}
    return f"P({name.get(kinds, 'stay')}) per frame, hidden Markov model"


def _f1(values) -> float:
    n_true, n_found, n_right = np.array(values, float).sum(0)
    return round(float(2 * n_right / max(n_true + n_found, 1)), 3)
