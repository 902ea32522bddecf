"""The simulator's figures: speed beside a training step, against a numpy loop, against multislice, statistics.

    python benchmarks/simulation.py [size_px=256] [batch=8] [step=true] [multislice=true] [memory=16,1000]

`memory` writes movies of 1024 x 1024 px with so many frames, each in its own process (1,000: some minutes and 2 GB).

CPU seconds count all threads, which other processes on the machine hardly change; wall seconds are the least of some.
On a GPU wall seconds are what counts.
"""

import sys
import time
from pathlib import Path

DEFAULTS = {"size_px": "256", "batch": "8", "step": "true", "multislice": "true", "memory": ""}
REFERENCE = Path(__file__).parents[2] / "shared" / "data" / "multislice" / "ws2_multislice.h5"


def cost(function, make_arguments, repeats: int = 5) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of one call, least of `repeats`; compiled before."""
    import jax

    jax.block_until_ready(function(*make_arguments(0)))
    best = (float("inf"), float("inf"))
    for n in range(repeats):
        arguments = jax.block_until_ready(make_arguments(n + 1))
        cpu, wall = time.process_time(), time.perf_counter()
        jax.block_until_ready(function(*arguments))
        best = min(best[0], time.process_time() - cpu), min(best[1], time.perf_counter() - wall)
    return best


def training_step(size_px: int, batch: int) -> tuple[float, float]:
    """Cost of forward, loss, backward and update of `unet_small` on images that are there already."""
    import jax
    import jax.numpy as jnp
    import optax

    from stemdefects import config, schema
    from stemdefects.training import losses, task

    names = {"material": "ws2_mo", "simulation": "train", "labels": "simulated", "model": "unet_small"}
    cfg = schema.TrainRoot(**{g: config.load_group(g, n) for g, n in {**names, "training": "default"}.items()})
    cfg.training.size_px, cfg.training.batch_size = size_px, batch
    job = task.from_config(cfg)
    params = jax.jit(job.init)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), batch)
    frames, targets, _ = jax.jit(jax.vmap(job.example))(keys)
    tx = optax.adam(1e-3)
    total = jax.tree.map(lambda d: jnp.maximum(d, 1.0), losses.denominators(targets))
    weight = jnp.asarray(job.class_weight, jnp.float32)

    @jax.jit
    def step(params, state):
        def loss(params):
            parts = losses.sums(job.model.apply(params, frames), targets, job.mask, weight)
            return sum(jax.tree.leaves(jax.tree.map(lambda part, n: part / n, parts, total)))

        value, gradient = jax.value_and_grad(loss)(params)
        update, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, update), state, value

    return cost(lambda p, s: step(p, s), lambda n: (params, tx.init(params)), repeats=3)


def numpy_loop(known, conditions, stage, rng) -> float:
    """Seconds for one image of the same physics column by column in numpy: crystal and probe given, no loop fused."""
    import numpy as np

    from stemdefects.simulation.optics import probe

    crystal = known
    start = time.perf_counter()
    height, width = stage.size_px
    size = float(conditions.pixel_size_nm)
    signal = np.asarray(conditions.signals_nm2)[crystal.state] * crystal.texture * crystal.present
    half, fine = 32, 4
    point = np.fft.fftshift(np.asarray(probe.psf(conditions.probe, 2 * half * fine, size / fine))) * fine**2
    image = np.zeros((height + 2 * half, width + 2 * half))
    for y, x, weight in zip(crystal.y_px, crystal.x_px, signal, strict=True):
        if weight > 0 and -half < y < height + half - 1 and -half < x < width + half - 1:
            row, column = int(np.floor(y)), int(np.floor(x))
            sub_y, sub_x = int((y - row) * fine), int((x - column) * fine)
            patch = np.roll(point, (sub_y, sub_x), (0, 1))[::fine, ::fine]
            top, left = row, column
            bottom, right = min(top + 2 * half, image.shape[0]), min(left + 2 * half, image.shape[1])
            cut_y, cut_x = max(-top, 0), max(-left, 0)
            image[top + cut_y : bottom, left + cut_x : right] += (
                weight * patch[cut_y : bottom - top, cut_x : right - left]
            )
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    image = gaussian_filter(image[half:-half, half:-half] / size**2, float(conditions.probe.blur_sigma_nm) / size)
    grid = np.arange(width)
    for row in range(height):
        image[row] = np.interp(grid - 0.4 * rng.standard_normal(), grid, image[row])
    counts = rng.poisson(float(conditions.detector.dose_e_per_px) * np.maximum(image + 1e-3, 0)).astype(float)
    counts += np.sqrt(counts) * float(conditions.detector.pulse_spread) * rng.standard_normal(counts.shape)
    gaussian_filter1d(counts, 0.5, axis=1)
    return time.perf_counter() - start


def speed(size_px: int, batch: int, step: bool) -> None:
    """Print the cost of a batch of training images beside the step that uses it, and images per second."""
    import jax
    import numpy as np

    from stemdefects import config
    from stemdefects.crystal import material
    from stemdefects.simulation import images

    stuff, cfg = material.load("ws2_mo"), config.load_group("simulation", "train")
    stage = images.make_stage(stuff, cfg, (size_px, size_px))
    simulate = jax.jit(jax.vmap(images.make_simulator(stuff, cfg, (size_px, size_px))))
    cpu, wall = cost(simulate, lambda n: (jax.random.split(jax.random.key(n), batch),), repeats=10)
    print(f"{batch} x {size_px} x {size_px} on {jax.devices()[0].device_kind}")
    print(f"  simulation            {cpu:8.4f} CPU s {wall:8.4f} wall s {batch / wall:8.1f} images/s")
    if step:
        step_cpu, step_wall = training_step(size_px, batch)
        print(f"  step of unet_small    {step_cpu:8.4f} CPU s {step_wall:8.4f} wall s")
        print(
            f"  simulation / step     {100 * cpu / step_cpu:7.1f}% of CPU {100 * wall / step_wall:7.1f}% of wall (15%)"
        )
    known = jax.jit(images.make_known_simulator(stage, 1))
    _, _, made = jax.device_get(known(jax.random.key(0)))
    loop = min(numpy_loop(made.crystal, made.conditions, stage, np.random.default_rng(n)) for n in range(2))
    print(f"  numpy loop, one image {loop:8.4f} wall s: {loop * batch / wall:.0f} times slower")


def statistics() -> None:
    """Print the figures of `typical` beside those reported for the reference movie's first frame."""
    import jax

    from stemdefects import config
    from stemdefects.crystal import material
    from stemdefects.simulation import images
    from stemdefects.simulation.statistics import frame_statistics

    stuff, cfg = material.load("ws2_mo"), config.load_group("simulation", "typical")
    simulate = jax.jit(images.make_simulator(stuff, cfg, (512, 512)))
    print("typical: lattice/noise variance (reported .48), (110)/(100) power (reported about .05)")
    for seed in range(4):
        image, truth = simulate(jax.random.key(seed))
        found = frame_statistics(image, float(truth.pixel_size_nm), stuff.a_nm, float(truth.angle_rad))
        print(f"  {found['lattice_over_noise']:.3f} {found['ratio_110_100']:.3f}")


def against_multislice() -> None:
    """Print the comparison with the multislice images."""
    from stemdefects.simulation.optics import multislice

    for thermal in (False, True):
        print("multislice,", "with each column's mean thermal displacement" if thermal else "stated columns")
        for row in multislice.compare(REFERENCE, thermal=thermal):
            print("  " + "  ".join(f"{name} {value:.4g}" for name, value in row.items()))
    print("multislice, the best that stated columns can give: two free 49 x 49 kernels fitted to each image")
    for row in multislice.limit(REFERENCE):
        print("  " + "  ".join(f"{name} {value:.4g}" for name, value in row.items()))


def memory(n_frames: list[int]) -> None:
    """Print time, file size and peak memory of `simulate.py` for movies of 1024 x 1024 px."""
    import subprocess
    import tempfile

    script = """import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""
    print("movies of 1024 x 1024 px: frames, seconds, file (MB), peak memory (MB)")
    for number in n_frames:
        with tempfile.TemporaryDirectory() as folder:
            movie = Path(folder) / "movie.h5"
            command = [sys.executable, "-c", script, str(Path(__file__).parents[1] / "simulate.py"), "simulation=movie"]
            command += [f"simulation.movie.n_frames={number}", "simulation.view.size_px=[1024,1024]", f"output={movie}"]
            start = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peak = int(done.stdout.split()[-1]) / 1024
            print(
                f"  {number:5d} {time.perf_counter() - start:6.0f} {movie.stat().st_size / 1e6:6.0f} {peak:6.0f}",
                flush=True,
            )


def main() -> None:
    """Run what the command line asks for."""
    options = {**DEFAULTS, **dict(argument.split("=", 1) for argument in sys.argv[1:])}
    from stemdefects import devices

    devices.use_compilation_cache()
    if options["memory"]:
        memory([int(n) for n in options["memory"].split(",")])
    speed(int(options["size_px"]), int(options["batch"]), options["step"] == "true")
    statistics()
    if options["multislice"] == "true" and REFERENCE.exists():
        against_multislice()


if __name__ == "__main__":
    main()
