"""Movies of a simulator that shares no code with stemdefects/simulation, with everything that is true beside them.

    python benchmarks/independent_movies.py output=benchmark_results/independent [movies=3] [dose=1200] [field=256]
        [frames=60] [variant=plain] [seed=0] [probe=any]

variant: see benchmarks/independent/scene.py (`all`: one of each). probe: `multislice` (abTEM's templates), `plain` (two
Gaussians with a tail), `any` of both. Movies that are there already stay.
"""

import sys
from pathlib import Path

import script

sys.path.insert(0, str(Path(__file__).parents[1]))
DEFAULTS = {
    "output": "benchmark_results/independent",
    "movies": "3",
    "dose": "1200",
    "field": "256",
    "frames": "60",
    "variant": "plain",
    "seed": "0",
    "probe": "any",
    "suffix": "h5",
}


def main() -> None:
    from benchmarks.independent import files, scene
    from benchmarks.independent.probe import TEMPLATES, names

    options = script.options(sys.argv[1:], DEFAULTS)
    variants = list(scene.VARIANTS) if options["variant"] == "all" else options["variant"].split(",")
    if unknown := set(variants) - set(scene.VARIANTS):
        sys.exit(f"error: variant={','.join(unknown)}: there are {', '.join(scene.VARIANTS)}")
    there = names() if TEMPLATES.exists() else []
    probes = {"plain": ["plain"], "multislice": there, "any": ["plain", *there]}.get(options["probe"])
    if not probes:
        sys.exit(f"error: probe={options['probe']}: plain, multislice or any; multislice needs {TEMPLATES.name}")
    folder = Path(options["output"])
    folder.mkdir(parents=True, exist_ok=True)
    for dose in options["dose"].split(","):
        for variant in variants:
            for k in range(int(options["movies"])):
                seed = 1000 * int(options["seed"]) + k
                path = folder / f"{variant}_{dose}_{options['field']}_{seed}.{options['suffix']}"
                if not path.exists():
                    own = scene.number(variant, seed, float(dose))
                    setting = scene.draw(
                        variant, own, float(dose), int(options["field"]), int(options["frames"]), probes
                    )
                    files.write(path, setting)
                print(path, flush=True)


if __name__ == "__main__":
    main()
