"""Kinetics from pixels against the truth: movies of either simulator through infer.py and analyze.py.

    python benchmarks/kinetics_pixels.py simulator=independent [movies=4] [dose=4000,1200,400] [field=256] [frames=60]
        [variant=plain] [seed=0] [probe=any] [model=ws2_mo] [folder=benchmark_results/kinetics] [page=] [methods=]
    python benchmarks/kinetics_pixels.py simulator=files input='folder/*.h5'

Every movie's figures are saved when they are there: Ctrl-C and the same command go on. redo: `compare` compares again
what is there, `analyze` analyses again (new code) from the tables of inference, `infer` starts from the movies.
page: file that gets the tables, between `<!-- part -->` and `<!-- end part -->`. methods: those shown, e.g.
'lattice model,cve'; quantities: those shown, or `damage`;
empty: all methods, and what the page on kinetics shows. detection=false: without the tables of detection and time.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import script

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
DEFAULTS = {
    "simulator": "independent",
    "movies": "4",
    "dose": "4000,1200,400",
    "field": "256",
    "frames": "60",
    "variant": "plain",
    "seed": "0",
    "probe": "any",
    "model": "ws2_mo",
    "folder": "benchmark_results/kinetics",
    "input": "",
    "redo": "no",
    "page": "",
    "methods": "",
    "quantities": "",
    "part": "pixels",
    "all": "false",
    "detection": "true",
    "python": sys.executable,
    "infer": "inference.pictures.animation=false inference.pictures.contact_sheet=false",
    "analyze": "",
}
WANTED = (
    "D",
    "D of the hops that happened",
    "hop rate",
    "V_S per frame",
    "V_S2 per frame",
    "Mo_W per frame",
    "attach rate",
    "detach rate",
    "turn rate",
    "P(attach) per frame",
    "P(detach) per frame",
    "P(turn) per frame",
    "appear rate",
)


DAMAGE = ("damage: first S atom", "damage: second S atom", "damage: filling", "appear rate", "hop rate")


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    folder = Path(options["folder"]).resolve()
    try:
        for movie in movies(options, folder):
            measure(movie, folder, options)
    except KeyboardInterrupt:
        print("stopped: the same command goes on", file=sys.stderr)
    text = report(folder, options)
    print(text)
    if options["page"]:
        shown = " ".join(
            a
            for a in sys.argv[1:]
            if not a.startswith(("page=", "folder=", "python=", "part=", "analyze=analysis.kinetics.threads"))
        )
        command = f"`python benchmarks/kinetics_pixels.py {shown}`".replace(" `", "`")
        part = options["part"]
        script.fill(Path(options["page"]), f"<!-- {part} -->", f"<!-- end {part} -->", f"{command}\n\n{text}")


def movies(options: dict, folder: Path):
    """Paths of the movies, each made when its turn comes."""
    if options["simulator"] == "files":
        start = Path("/") if Path(options["input"]).is_absolute() else Path()
        yield from sorted(start.glob(options["input"].lstrip("/")))
        return
    (folder / "movies").mkdir(parents=True, exist_ok=True)
    for k in range(int(options["movies"])):
        for dose in options["dose"].split(","):
            for variant in options["variant"].split(","):
                yield made(options, folder / "movies", dose, variant, 1000 * int(options["seed"]) + k)


def made(options: dict, folder: Path, dose: str, variant: str, seed: int) -> Path:
    """One movie, made if it is not there."""
    if options["simulator"] == "own":
        path = folder / f"own_{dose}_{options['field']}x{options['frames']}_{seed}.h5"
        if not path.exists():
            run([options["python"], "simulate.py", f"output={path}", *own_settings(options, dose, seed)])
        return path
    from benchmarks.independent import files, probe, scene

    names = probe.names() if probe.TEMPLATES.exists() else []
    choice = {"plain": ["plain"], "multislice": names, "any": ["plain", *names]}.get(options["probe"])
    path = folder / f"{variant}_{options['probe']}_{dose}_{options['field']}x{options['frames']}_{seed}.h5"
    if not path.exists():
        own = scene.number(variant, seed, float(dose))
        files.write(path, scene.draw(variant, own, float(dose), int(options["field"]), int(options["frames"]), choice))
    return path


def own_settings(options: dict, dose: str, seed: int) -> list[str]:
    """Settings of simulate.py in the same ranges as the independent movies."""
    import numpy as np

    u = np.random.default_rng([seed, int(float(dose)), 5]).uniform
    size, share = options["field"], u(0.008, 0.035)
    values = {
        "view.size_px": f"[{size},{size}]",
        "view.rotation_deg": "[0,360]",
        "detector.dose_e_per_px": f"[{dose},{dose}]",
        "movie.n_frames": options["frames"],
        "movie.frame_time_s": 2.25,
        "movie.hop_rate_per_s": f"{np.exp(u(np.log(0.003), np.log(0.02))):.5f}",
        "movie.attach_rate_per_s": f"{u(0.002, 0.006):.5f}",
        "movie.detach_rate_per_s": f"{u(0.01, 0.03):.5f}",
        "movie.switch_rate_per_s": f"{u(0.008, 0.02):.5f}",
        "movie.drift_px_per_frame": "[0.04,-0.03]",
        "defects.density": f"{{V_S:[{share:.4f},{share:.4f}],V_S2:[0.003,0.003],Mo_W:[0.022,0.022],V_W:[0.003,0.003]}}",
    }
    return ["simulation=demo_movie", f"seed={seed}", *(f"simulation.{k}={v}" for k, v in values.items())]


def measure(movie: Path, folder: Path, options: dict) -> None:
    """Infer, analyse and compare one movie; its figures go to `rows/<movie>.json`."""
    import pandas as pd

    from benchmarks.pixels import compare, truths

    saved, runs = folder / "rows" / f"{movie.stem}.json", folder / "runs" / movie.stem
    if saved.exists() and options["redo"] == "no":
        return
    saved.parent.mkdir(parents=True, exist_ok=True)
    seconds, common = {}, [f"runs_dir={runs}", "logging=disabled"]
    tables = sorted(runs.glob("*/defects.h5"))
    if not tables or options["redo"] == "infer":
        command = [options["python"], "infer.py", f"model={options['model']}", f"input={movie.resolve()}", *common]
        seconds |= run([*command, *options["infer"].split()], "infer_")
        tables = sorted(runs.glob("*/defects.h5"))
    place = tables[-1].parent
    if saved.exists():
        seconds = json.loads(saved.read_text())["seconds"][0] | seconds
    if not (place / "analysis" / "estimates.csv").exists() or options["redo"] in ("analyze", "infer"):
        command = [options["python"], "analyze.py", f"run={place.name}", "overwrite=true", *common]
        seconds |= run([*command, *options["analyze"].split()], "analyze_")
    truth = truths.read(movie)
    who = {"movie": movie.stem, "simulator": truth.simulator, "variant": truth.variant, "dose": truth.dose_e_per_px}
    rows = compare.rows(pd.read_csv(place / "analysis" / "estimates.csv"), truth)
    scores = [
        {"way": way, "kind": kind} | n
        for way, table in compare.tables(place).items()
        for kind, n in compare.scores(table, truth).items()
    ]
    result = {"rows": [who | r for r in rows], "scores": [who | s for s in scores], "seconds": [seconds | who]}
    saved.write_text(json.dumps(result | {"info": truth.info, "events": truth.events}))
    heads = [f"{r['quantity']} ({r['against']}) {r['found']} for {r['true']:.3g}" for r in rows if r["headline"]]
    print(f"{movie.stem}: {'; '.join(heads)}", flush=True)


def run(command: list[str], prefix: str = "") -> dict[str, float]:
    """Run one of our scripts; seconds it took, of the clock and of processors. A failure ends the benchmark."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {f"{prefix}s": time.monotonic() - start, f"{prefix}cpu_s": cpu}


def report(folder: Path, options: dict) -> str:
    """The tables of all movies measured so far; CSV copies beside them."""
    import pandas as pd

    from benchmarks.pixels import summary

    read = [json.loads(path.read_text()) for path in sorted((folder / "rows").glob("*.json"))]
    if not read:
        return "nothing measured"
    parts = {name: pd.DataFrame([r for one in read for r in one[name]]) for name in ("rows", "scores", "seconds")}
    parts["seconds"] = parts["seconds"].reindex(
        columns=[*summary.GROUP, "movie", "infer_s", "infer_cpu_s", "analyze_s", "analyze_cpu_s"]
    )
    for name, table in parts.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    summary.estimates(parts["rows"]).to_csv(folder / "summary.csv", index=False)
    if options["methods"]:
        parts["rows"] = parts["rows"][parts["rows"]["method"].isin(options["methods"].split(","))]
    asked = options["quantities"]
    wanted = DAMAGE if asked == "damage" else asked.split(",") if asked else WANTED
    tables = summary.markdown(*parts.values(), None if options["all"] == "true" else wanted)
    return tables if options["detection"] == "true" else tables.partition(summary.DETECTION)[0].rstrip()


if __name__ == "__main__":
    main()
