"""Does learning from the frames cost or gain? Single frames judged with and without it. Writes into docs/inference.md.

    python benchmarks/specimen.py [model=ws2_mo] [doses=550,4000] [movies=3] [frames=8] [output=docs]

Fresh movies of 192 x 192 px (`simulation=movie`): each frame is judged by the material file's word alone, and by what
four of the movie's frames taught. F1 per kind away from the border, and how common each kind is: true, learned, and in
how many movies the interval holds the truth.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import script

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DEFAULTS = {"model": "ws2_mo", "doses": "550,4000", "movies": "3", "frames": "8", "output": str(ROOT / "docs")}
SIZE_PX, MARGIN_PX, RADIUS_PX = 192, 8.0, 3.0


def main() -> None:
    from stemdefects import devices
    from stemdefects.commands.detection import load_model

    devices.use_compilation_cache()
    options = script.options(sys.argv[1:], DEFAULTS)
    model = load_model(options["model"])
    lines = [
        f"`{' '.join(['python benchmarks/specimen.py', *sys.argv[1:]]).strip()}`",
        "",
        "| e/px | kind | defects | F1 by the file's word | F1 by what the frames taught | true share | learned, mean | "
        "interval holds it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dose in options["doses"].split(","):
        lines += at_dose(model, float(dose), int(options["movies"]), int(options["frames"]))
    print("\n".join(lines))
    page = Path(options["output"]) / "inference.md"
    script.fill(page, "<!-- specimen: made by benchmarks/specimen.py -->", "<!-- end of specimen -->", "\n".join(lines))


def at_dose(model: Any, dose: float, movies: int, frames: int) -> list[str]:
    """Rows of the table."""
    from stemdefects import config
    from stemdefects.simulation import files

    counts: dict = {}
    shares: dict = {}
    cfg = config.load_group("simulation", "movie")
    cfg.movie.n_frames, cfg.view.size_px = frames, [SIZE_PX, SIZE_PX]
    cfg.detector.dose_e_per_px = [dose, dose]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(movies):
            path = Path(folder) / f"{seed}.h5"
            files.write_movie(path, model.material, cfg, 100 + seed)
            judge(path, model, counts, shares)
    rows = []
    for kind, (true, *both) in counts.items():
        if not true:
            continue
        f1 = [2 * right / max(found + true, 1) for found, right in both]
        real, learned, held = np.array(shares[kind], float).T
        told = np.isfinite(held)
        said = f"{learned.mean():.4f} | {int(held[told].sum())} of {told.sum()}" if told.any() else "not learned | "
        rows.append(f"| {dose:g} | {kind} | {true} | {f1[0]:.3f} | {f1[1]:.3f} | {real.mean():.4f} | {said} |")
    return rows


def judge(path: Path, model: Any, counts: dict, shares: dict) -> None:
    """Add a movie's (true, (found, right) before, after) to `counts`, its (true, learned, held) shares to `shares`."""
    from stemdefects.analysis.data import truth as truths
    from stemdefects.commands.detection import configure
    from stemdefects.inference.columns.defects import find_defects
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.teaching import teach
    from stemdefects.io import opening

    movie, material = opening.read(str(path), None), model.material
    setup = prepare(movie, model, configure())
    before = setup.rules
    teach(movie, setup)
    true = truths.read(path).rows
    outputs = [setup.engine(movie.frame(i)[None, None])[0] for i in range(len(movie))]
    taught, sites = setup.rules.specimen, np.bincount(outputs[0].columns.site, minlength=material.n_sites)
    for way, rules in enumerate((before, setup.rules)):
        found = []
        for i, output in enumerate(outputs):
            pixel_nm = setup.calibration.pixel_size_nm / output.scale
            rows = find_defects(output, material, rules, setup.reference_px, pixel_nm, told_apart=True).rows
            rows["frame"] = i
            found.append(rows)
        for s in truths.score(inner(np.concatenate(found)), inner(true), RADIUS_PX):
            if s.kind in material.kind_names:
                mine = counts.setdefault(s.kind, [0, [0, 0], [0, 0]])
                mine[0] += s.n_true if way else 0
                mine[1 + way] = [mine[1 + way][0] + s.n_found, mine[1 + way][1] + s.n_right]
    for kind in material.kinds:
        low, high = taught.low[kind.state], taught.high[kind.state]
        real = (true["kind"] == kind.name.encode()).sum() / len(movie) / sites[material.states[kind.state].site]
        held = low <= real <= high if np.isfinite(high) else np.nan
        shares.setdefault(kind.name, []).append((real, taught.prior[kind.state], held))


def inner(rows: np.ndarray) -> np.ndarray:
    place = np.stack([rows["y_px"], rows["x_px"]], 1)
    return rows[((place > MARGIN_PX) & (place < SIZE_PX - 1 - MARGIN_PX)).all(1)]


if __name__ == "__main__":
    main()
