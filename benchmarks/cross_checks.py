"""Are states over time contradicted where they are wrong, and only there? Writes what it found into docs/inference.md.

    python benchmarks/cross_checks.py [model=ws2_mo] [frames=20] [size_px=192] [output=docs]

Movies of the network's crystal at several doses and voltages, and of other crystals, simulated with truth; movies of
another simulator where ../shared/cases/physics is there; and, where ../shared/cases/artefacts is, two layers with the
check for second lattices switched off. Printed for each: F1 of the headline kind over time, calls of it over time and
in single frames, and what contradicts.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import script

ROOT = Path(__file__).parents[1]
CASES = ROOT.parent / "shared" / "cases"
DEFAULTS = {"model": "ws2_mo", "frames": "20", "size_px": "192", "output": str(ROOT / "docs")}
# material, group of settings, dose in e/px (None: the group's), kV (None: the group's), seed
SIMULATED = [
    ("ws2_mo", "typical", 130.0, None, 4),
    ("ws2_mo", "typical", None, None, 3),
    ("ws2_mo", "typical", None, None, 8),
    ("ws2_mo", "typical", 1200.0, None, 7),
    ("ws2_mo", "typical", 4000.0, 60.0, 4),
    ("ws2_mo", "typical", 4000.0, None, 10),
    ("ws2_mo", "demo_movie", None, None, 6),
    ("mos2", "typical", None, None, 3),
    ("mos2", "typical", 4000.0, None, 4),
    ("wse2", "typical", None, None, 3),
    ("wse2", "typical", 4000.0, None, 5),
    ("mose2", "typical", 1200.0, None, 5),
]
HEAD = ["| movie | V_S over time | in single frames | F1 over time | contradicted |", "|---|---|---|---|---|"]


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    warnings.simplefilter("ignore")
    lines = list(HEAD)
    print("\n".join(HEAD))
    with tempfile.TemporaryDirectory() as folder:
        for title, movie, truth, layers in movies(Path(folder), int(options["frames"]), int(options["size_px"])):
            lines.append(row(title, movie, truth, options["model"], layers))
            print(lines[-1], flush=True)
    shown = " ".join(a for a in sys.argv[1:] if not a.startswith("output="))
    text = "\n".join([f"`{f'python benchmarks/cross_checks.py {shown}'.strip()}`", "", *lines])
    script.fill(Path(options["output"]) / "inference.md", "<!-- cross checks -->", "<!-- end cross checks -->", text)


def movies(folder: Path, n_frames: int, size_px: int):
    """(title, movie, file with its truth or None, are these two layers)."""
    from stemdefects import config
    from stemdefects.crystal import material
    from stemdefects.io.movie import Movie
    from stemdefects.simulation.files import write_movie

    for name, group, dose, kv, seed in SIMULATED:
        cfg = config.load_group("simulation", group)
        cfg.view.size_px, cfg.movie.n_frames = [size_px, size_px], n_frames
        if dose:
            cfg.detector.dose_e_per_px = [dose, dose]
        if kv:
            cfg.view.voltage_kv = [kv, kv]
        path = folder / f"{name}_{group}_{dose}_{kv}_{seed}.h5"
        write_movie(path, material.load(name), cfg, seed, progress=False)
        about = [name, f"`{group}`", *([f"{dose:g} e/px"] if dose else []), *([f"{kv:g} kV"] if kv else [])]
        yield f"{', '.join(about)}, seed {seed}", path, path if name == "ws2_mo" else None, False
    for path in sorted((CASES / "physics").glob("*.npz")):
        held = np.load(path)
        movie = Movie(held["images"], pixel_size_nm=float(held["pixel_size_nm"]))
        yield f"another simulator, {path.stem}", movie, None, False
    moire = CASES / "artefacts" / "moire.tif"
    if moire.exists():
        yield "two layers, their check switched off", moire, None, True


def row(title: str, movie, truth: Path | None, model: str, layers: bool) -> str:
    from stemdefects.analysis.data import truth as truths
    from stemdefects.commands.detection import detect
    from stemdefects.crystal import second_lattice
    from stemdefects.io.tables import contradictions

    kept = second_lattice.find
    if layers:
        second_lattice.find = lambda *arguments, **named: None
    try:
        found = detect(movie, model, progress=False)
    finally:
        second_lattice.find = kept
    f1 = "-"
    if truth is not None:
        scores = {s.kind: s for s in truths.score(found.over_time, truths.read(truth).rows, 2.8)}
        f1 = f"{scores['V_S'].f1 or 0:.2f}" if "V_S" in scores else "-"
    over_time = int((found.over_time["kind"] == b"V_S").sum())
    told = contradictions.of_table(found.attrs)
    said = ", ".join(f"{one.kind} {one.code.name.lower()}" for one in told) or "no"
    return f"| {title} | {over_time} | {found.counts().get('V_S', 0)} | {f1} | {said} |"


if __name__ == "__main__":
    main()
