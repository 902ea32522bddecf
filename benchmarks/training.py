"""How fast training is, beside AtomAI's, and how soon it finds strong defects: writes its part of docs/models.md.

    python benchmarks/training.py [parts=speed,goal] [atomai=<python that has AtomAI>] [model=unet_small] [size_px=256]
        [batch=8] [simulation=train] [steps=6] [goal_minutes=10] [goal_simulation=demo_train] [goal_dose=2500]
        [docs=docs/models.md]

speed: images per second of a training step, simulation included, by pmap and by plain jit, the share of the device's
peak, and AtomAI's usual cycle (a training and a test batch; its own images cost it nothing here) on the same size where
`atomai=` names its python. goal: from random weights to an F1 of 0.95 on Mo_W and V_W, on images the network never saw.

CPU seconds (all threads) are what another process on the machine hardly changes; on idle cores wall time is CPU seconds
divided by the cores that are kept busy.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import script

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {
    "parts": "speed,goal",
    "atomai": "",
    "model": "unet_small",
    "size_px": "256",
    "batch": "8",
    "simulation": "train",
    "steps": "6",
    "goal_minutes": "10",
    "goal_simulation": "demo_train",
    "goal_dose": "2500",
    "docs": str(ROOT / "docs" / "models.md"),
}
GOAL, GOAL_KINDS = 0.95, ("Mo_W", "V_W")
ATOMAI = """
import json, sys, time
import numpy as np
import atomai as aoi
batch, size, steps = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
images = rng.random((batch, size, size), dtype=np.float32)
labels = (rng.random((batch, size, size)) < 0.1).astype(np.int64)
trainer = aoi.trainers.SegTrainer("Unet", nb_classes=1, seed=1)
trainer.compile_trainer((images, labels, images, labels), loss="ce", training_cycles=steps + 1, batch_size=batch)
costs = []
for cycle in range(steps + 1):
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.step(cycle)
    costs.append((time.process_time() - cpu, time.perf_counter() - wall))
weights = sum(p.numel() for p in trainer.net.parameters())
print(json.dumps({"cpu_s": min(c for c, _ in costs[1:]), "wall_s": min(w for _, w in costs[1:]), "weights": weights,
                  "version": aoi.__version__}))
"""


def configured(options: dict, simulation: str, size_px: int):
    """The `TrainRoot` of a part."""
    from stemdefects import config, schema

    groups = {"material": "ws2_mo", "simulation": simulation, "labels": "simulated", "model": options["model"]}
    groups |= {"training": "quick"}
    cfg = schema.TrainRoot(**{group: config.load_group(group, name) for group, name in groups.items()})
    cfg.training.size_px, cfg.training.batch_size = size_px, int(options["batch"])
    return cfg


def built(cfg, parallel: bool = True):
    """(task, fresh state, step function, indices) of a training."""
    import jax

    from stemdefects.training import task
    from stemdefects.training.update import state, step

    the_task = task.from_config(cfg)
    tx = state.optimizer(cfg.training)
    current = state.create(the_task.init, tx, the_task.material.n_states, jax.random.key(0, impl="rbg"))
    update = step.make_step(the_task, tx, cfg.training, jax.random.key(1), parallel)
    return the_task, current, update, step.sample_indices(cfg.training.batch_size)


def speed(options: dict) -> dict:
    """Costs of a step by pmap and by jit, taken in turn, and of AtomAI's cycle; least of the calls."""
    import jax

    cfg = configured(options, options["simulation"], int(options["size_px"]))
    runs, out = {}, {}
    for name in ("pmap", "jit"):
        _, current, update, indices = built(cfg, name == "pmap")
        current, metrics = update(current, indices)
        jax.block_until_ready(metrics)
        runs[name] = [current, update, indices, []]
    out["weights"] = int(sum(a.size for a in jax.tree.leaves(current.params)))
    for _ in range(int(options["steps"])):
        for run in runs.values():
            wall, cpu = time.perf_counter(), time.process_time()
            run[0], metrics = run[1](run[0], run[2])
            jax.block_until_ready(metrics)
            run[3].append((time.process_time() - cpu, time.perf_counter() - wall))
    for name, run in runs.items():
        out[name] = {"cpu_s": min(c for c, _ in run[3]), "wall_s": min(w for _, w in run[3])}
    analysis = runs["jit"][1].lower(runs["jit"][0], runs["jit"][2]).compile().cost_analysis()
    out["gflop"] = float(analysis.get("flops", float("nan"))) / 1e9
    out["gb"] = float(analysis.get("bytes accessed", float("nan"))) / 1e9
    out["peak_gflops"], out["peak_gb_s"] = peaks()
    if options["atomai"]:
        command = [options["atomai"], "-c", ATOMAI, options["batch"], options["size_px"], options["steps"]]
        # threads that wait must not count as work when other processes hold the cores
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"error: AtomAI: {done.stderr.strip().splitlines()[-1]}")
        out["atomai"] = json.loads(done.stdout.strip().splitlines()[-1])
    return out


def peaks() -> tuple[float, float]:
    """Greatest rates of this device, in this process: GFLOP/s of a matrix product, GB/s of adding two arrays."""
    import jax
    import jax.numpy as jnp

    half = jax.default_backend() == "gpu"
    n, m = (8192, 1 << 28) if half else (2048, 1 << 25)
    a = jnp.ones((n, n), jnp.bfloat16 if half else jnp.float32)
    b = jnp.ones(m, jnp.float32)
    product, add = jax.jit(lambda x: x @ x), jax.jit(lambda x: x + 1)
    best = []
    for function, value in ((product, a), (add, b)):
        jax.block_until_ready(function(value))
        seconds = []
        for _ in range(8):
            start = time.perf_counter()
            jax.block_until_ready(function(value))
            seconds.append(time.perf_counter() - start)
        best.append(min(seconds))
    return 2 * n**3 / best[0] / 1e9, 8 * m / best[1] / 1e9


def goal(options: dict) -> dict:
    """Steps, CPU seconds and wall seconds from random weights, compilation included, until both kinds reach the goal.

    Thresholds come from one set of images, the F1 from another; making and scoring them is not counted.
    """
    import jax
    import numpy as np

    from stemdefects.training.outcome import results, validation

    wall, cpu = time.perf_counter(), time.process_time()
    cfg = configured(options, options["goal_simulation"], 128)
    cfg.training.steps = 2000
    cfg.training.validation.images = 32
    cfg.training.validation.doses_e_per_px = {"high_dose": float(options["goal_dose"])}
    the_task, current, update, indices = built(cfg)
    spent = [time.process_time() - cpu, time.perf_counter() - wall]
    validator = validation.Validator(cfg, the_task)
    test = validation.Validator(cfg, the_task, seed_offset=1, like=validator)
    history = []
    for done in range(100, cfg.training.steps + 1, 100):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(100):
            current, metrics = update(current, indices)
        jax.block_until_ready(metrics)
        spent = [spent[0] + time.process_time() - cpu, spent[1] + time.perf_counter() - wall]
        params = jax.device_get(current.ema)
        calibration = results.calibration_of(the_task, np.asarray(current.state_counts), validator.run(params))
        kinds = validation.figures(test.run(params), the_task, calibration)["high_dose"]["kinds"]
        f1 = {kind: kinds[kind]["f1"] for kind in GOAL_KINDS}
        history.append({"steps": done, "cpu_s": spent[0], "wall_s": spent[1]} | f1)
        print(json.dumps({k: round(v, 4) for k, v in history[-1].items()}), flush=True)
        if min(f1.values()) >= GOAL or spent[0] > 120 * float(options["goal_minutes"]):  # two cores
            break
    prior = {kind: cfg.labels.prior[kind] for kind in GOAL_KINDS}
    counts = {kind: kinds[kind]["n"] for kind in GOAL_KINDS}
    return history[-1] | {"reached": min(f1.values()) >= GOAL, "prior": prior, "n": counts}


def page(options: dict, found: dict) -> str:
    """Markdown of what was measured."""
    from stemdefects import devices

    lines = []
    if "speed" in found:
        s, batch = found["speed"], int(options["batch"])
        lines += [
            f"Batch of {batch} images of {options['size_px']} x {options['size_px']} px on {devices.describe()}, "
            f"simulation={options['simulation']} included; least of {options['steps']} calls, taken in turn. Other "
            "work ran on the same cores, so the CPU seconds are what to compare.",
            "",
            "| training step | weights | CPU s | wall s | images per CPU s |",
            "|---|---|---|---|---|",
        ]
        rows = {f"{options['model']}, pmap over {1} device": s["pmap"], f"{options['model']}, plain jit": s["jit"]}
        for name, row in rows.items():
            lines.append(
                f"| {name} | {s['weights'] / 1e6:.2f} M | {row['cpu_s']:.2f} | {row['wall_s']:.2f} | "
                f"{batch / row['cpu_s']:.1f} |"
            )
        if "atomai" in s:
            a = s["atomai"]
            lines.append(
                f"| AtomAI {a['version']} U-Net, its cycle | {a['weights'] / 1e6:.2f} M | {a['cpu_s']:.2f} | "
                f"{a['wall_s']:.2f} | {batch / a['cpu_s']:.1f} |"
            )
        rate = s["gflop"] / s["pmap"]["wall_s"]
        compute, memory = s["gflop"] / s["peak_gflops"], s["gb"] / s["peak_gb_s"]
        limit = "arithmetic" if compute > memory else "memory"
        ratio = ""
        if "atomai" in s:
            ratio = f" {s['atomai']['cpu_s'] / s['pmap']['cpu_s']:.1f} times AtomAI's images per CPU second."
        lines += [
            "",
            f"pmap over one device against plain jit: {s['pmap']['cpu_s'] / s['jit']['cpu_s']:.2f} of the CPU time."
            f"{ratio} By XLA's count a step is {s['gflop']:.1f} GFLOP and {s['gb']:.2f} GB.",
        ]
        if s["pmap"]["wall_s"] < 1.2 * s["pmap"]["cpu_s"]:  # rates of cores that others held would say nothing
            lines.append(
                f"That is {rate:.0f} GFLOP/s, {rate / s['peak_gflops']:.0%} of the {s['peak_gflops']:.0f} GFLOP/s that "
                f"a matrix product reaches here; at the rates measured here ({s['peak_gb_s']:.0f} GB/s) {limit} is the "
                "limiting term of the roofline."
            )
    if "goal" in found:
        g = found["goal"]
        reached = "reached" if g["reached"] else "not reached"
        f1 = ", ".join(
            f"{kind} {g[kind]:.3f} ({g['n'][kind]} columns, {g['prior'][kind]:.1%} of their site)"
            for kind in GOAL_KINDS
        )
        lines += [
            "",
            f"From random weights ({options['model']}, simulation={options['goal_simulation']}, 128 px, batches of "
            f"{options['batch']}, {options['goal_dose']} incident e/px): F1 of {GOAL} {reached} after {g['steps']} "
            f"steps, {g['cpu_s'] / 60:.1f} CPU minutes, compilation included ({g['wall_s'] / 60:.1f} minutes of wall "
            f"time beside other work). F1 on images that served for nothing else: {f1}.",
        ]
    return "\n".join(lines).strip()


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    from stemdefects import devices

    parts = options["parts"].split(",")
    found = {}
    if "goal" in parts:
        found["goal"] = goal(options)  # first: compilation counts, so nothing is taken from the cache
    devices.use_compilation_cache()
    devices.keep_memory()  # as train.py does
    if "speed" in parts:
        found["speed"] = speed(options)
        print(json.dumps(found["speed"]), flush=True)
    path = Path(options["docs"])
    for part in parts:
        start = f"<!-- {part} measured by benchmarks/training.py -->"
        script.fill(path, start, "<!-- end -->", page(options, {part: found[part]}))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
