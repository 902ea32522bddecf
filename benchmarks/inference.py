"""Speed and memory of inference: python benchmarks/inference.py <model folder or run id> [frames] [size]

Frames of a simulated-looking lattice, made here, go from array to table and from file to table; the time per stage is
measured on the same frames, and the peak memory for a short and a ten times longer movie, each in a process of its own.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def frames(n: int, size: int, pixel_nm: float = 0.03) -> np.ndarray:
    """(n, size, size) uint16 counts of a hexagonal lattice of WS2's constant at about movie dose."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] * pixel_nm
    waves = [np.cos(2 * np.pi / 0.27306 * (y * np.sin(a) + x * np.cos(a))) for a in np.radians([13, 73, 133])]
    return rng.poisson(0.5 * np.exp(np.sum(waves, 0)), (n, size, size)).astype(np.uint16)


def measure(model: str, n: int, size: int, from_file: bool, over_time: bool) -> dict:
    """Frames per second (compilation left out) and peak memory in MB, in this process."""
    sys.path.insert(0, str(ROOT))
    from stemdefects.inference.api import configure, detect, load_model
    from stemdefects.io.movie import Movie, read

    loaded = load_model(model)
    settings = {"over_time": {"enabled": over_time}, "pixel_size_nm": 0.03}
    block = configure().block_frames
    with tempfile.TemporaryDirectory() as folder:
        base = frames(min(n, block), size)
        detect(Movie(base[:4]), loaded, progress=False, **settings)  # compiles
        if from_file:
            import h5py

            path = Path(folder) / "movie.h5"
            with h5py.File(path, "w") as file:
                data = file.create_dataset("frames", (n, size, size), "u2", chunks=(1, size, size))
                for start in range(0, n, len(base)):
                    data[start : start + len(base)] = base[: n - start]
            movie = read(path)
        else:
            movie = Movie(np.resize(base, (n, size, size)))
        start = time.perf_counter()
        table = detect(movie, loaded, progress=False, **settings)
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"frames_per_s": n / seconds, "peak_mb": memory, "detections": len(table)}


def stages(model: str, n: int, size: int) -> dict[str, float]:
    """Seconds per frame of each stage, one after another."""
    sys.path.insert(0, str(ROOT))
    from stemdefects.inference.bragg import fit_lattice

    from stemdefects.inference import stream
    from stemdefects.inference.api import configure, load_model
    from stemdefects.io.movie import Movie

    movie = Movie(frames(n, size))
    setup = stream.prepare(movie, load_model(model), configure(pixel_size_nm=0.03))
    stacks = np.stack([movie.frame(i)[None] for i in range(n)])
    setup.engine(stacks[: setup.engine.batch_size])
    found = {}
    start = time.perf_counter()
    fit_lattice(stacks[0, 0], setup.model.material.lattice_nm)
    found["lattice of one frame (once per movie)"] = time.perf_counter() - start
    start = time.perf_counter()
    outputs = setup.engine(stacks)
    found["network and peaks"] = (time.perf_counter() - start) / n
    start = time.perf_counter()
    for output in outputs:
        stream._finish(output, setup)
    found["sites, defects, patches"] = (time.perf_counter() - start) / n
    return found


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(
            json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1", sys.argv[6] == "1"))
        )
        sys.exit()
    model, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 512
    print(f"{n} frames of {size} x {size}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for what, number, from_file, over_time in (
        ("array to table", n, 0, 0), ("file to table", n, 1, 0), ("file to table, ten times longer", 10 * n, 1, 0),
        ("file to table, states over time", n, 1, 1),
    ):  # fmt: skip
        command = [sys.executable, __file__, "--measure", model, str(number), str(size), str(from_file), str(over_time)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        print(
            f"{what}: {found['frames_per_s']:.2f} frames/s, peak {found['peak_mb']} MB, {found['detections']} defects"
        )
    for stage, seconds in stages(model, min(n, 8), size).items():
        print(f"{stage}: {1000 * seconds:.0f} ms")
