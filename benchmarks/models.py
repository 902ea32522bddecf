"""Which network for the time there is? Cost of each variant, scores after a short training: writes docs/models.md.

    python benchmarks/models.py [steps=0] [simulation=demo_train] [size_px=128] [batch=8] [variants=all] [output=docs]

Cost is CPU seconds (all threads), which another process on the machine hardly changes; wall time on idle cores is CPU
seconds divided by the cores that are kept busy. steps=0 measures cost alone.
"""

import functools
import json
import sys
import time
from pathlib import Path

import script

DEFAULTS = {
    "steps": "0",
    "simulation": "demo_train",
    "size_px": "128",
    "batch": "8",
    "variants": "all",
    "output": "docs",
    "dose": "2500",
    "images": "16",
}
VARIANTS = {
    "unet_small": {},
    "stem 2 with 16 filters": {"stem": 2, "filters": [16, 32, 64]},
    "stem 2 with 32 filters": {"stem": 2, "filters": [32, 64, 128]},
    "stem 2 with 24 filters": {"stem": 2, "filters": [24, 48, 96]},
    "output cells of 4": {"stem": 4, "stride": 4},
    "2 blocks per level": {"depths": [2, 2, 2]},
    "4 levels": {"filters": [32, 64, 128, 128], "depths": [1, 1, 1, 1]},
    "group norm": {"norm": "group"},
    "5 frames": {"frames": 5},
    "unet": "unet",
}
KINDS = ("V_S", "V_S2", "V_W", "Mo_W", "defect")


def cost(function, *arguments, repeats: int = 5) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of one call, least of `repeats`; compiled before."""
    import jax

    jax.block_until_ready(function(*arguments))
    best = (float("inf"), float("inf"))
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        jax.block_until_ready(function(*arguments))
        best = min(best[0], time.process_time() - cpu), min(best[1], time.perf_counter() - wall)
    return best


def configured(options: dict, variant):
    """The `TrainRoot` of one variant."""
    from stemdefects import config, schema

    groups = {"material": "ws2_mo", "simulation": options["simulation"], "labels": "simulated"}
    groups |= {"model": variant if isinstance(variant, str) else "unet_small", "training": "quick"}
    cfg = schema.TrainRoot(**{group: config.load_group(group, name) for group, name in groups.items()})
    for key, value in {} if isinstance(variant, str) else variant.items():
        setattr(cfg.model, key, value)
    cfg.training.size_px, cfg.training.batch_size = int(options["size_px"]), int(options["batch"])
    cfg.training.steps = max(int(options["steps"]), 1)
    cfg.training.validation.images = int(options["images"])
    cfg.training.validation.doses_e_per_px = {"dose": float(options["dose"])}
    return cfg


def measure(options: dict, variant) -> dict:
    """Weights, costs and, with steps > 0, scores of one variant."""
    import jax
    import numpy as np

    from stemdefects.training import losses, task
    from stemdefects.training.outcome import results, validation
    from stemdefects.training.update import state, step

    cfg = configured(options, variant)
    the_task = task.from_config(cfg)
    key = jax.random.key(0)
    params = jax.jit(the_task.init)(jax.random.key(0, impl="rbg"))
    make = jax.jit(jax.vmap(lambda k: the_task.example(k)[:2]))
    keys = jax.random.split(key, cfg.training.batch_size)
    frames, targets = make(keys)
    weight = jax.numpy.asarray(the_task.class_weight, np.float32)

    def loss(params, frames, targets):
        parts = losses.sums(the_task.exact_apply(params, frames), targets, the_task.mask, weight)
        return sum(part / n for part, n in zip(parts, losses.denominators(targets), strict=True))

    row = {"weights": int(sum(a.size for a in jax.tree.leaves(params)))}
    row["simulation_cpu_s"], row["simulation_wall_s"] = cost(make, keys)
    row["forward_cpu_s"], row["forward_wall_s"] = cost(jax.jit(the_task.exact_apply), params, frames)
    row["gradient_cpu_s"], row["gradient_wall_s"] = cost(jax.jit(jax.grad(loss)), params, frames, targets)
    if int(options["steps"]) == 0:
        return row
    tx = state.optimizer(cfg.training)
    current = state.create(the_task.init, tx, the_task.material.n_states, jax.random.key(0, impl="rbg"))
    update = step.make_step(the_task, tx, cfg.training, jax.random.key(1))
    indices = step.sample_indices(cfg.training.batch_size)
    cpu = time.process_time()
    for n in range(cfg.training.steps):
        current, metrics = update(current, indices)
        if n == 0:
            jax.block_until_ready(metrics)
            cpu = time.process_time()  # without compilation
    jax.block_until_ready(metrics)
    row["training_cpu_s"] = time.process_time() - cpu
    validator = validation.Validator(cfg, the_task)
    found = validator.run(jax.device_get(current.ema))
    calibration = results.calibration_of(the_task, np.asarray(current.state_counts), found)
    figures = validation.figures(found, the_task, calibration)["dose"]
    row |= {f"ap_{kind}": figures["kinds"][kind]["ap"] for kind in KINDS}
    row |= {f"f1_{kind}": figures["kinds"][kind]["best_f1"] for kind in KINDS}
    return row | {"rmse_pm": 1000 * figures["rmse_nm"]}


def page(options: dict, rows: dict[str, dict]) -> str:
    """Markdown of the table between the marks of docs/models.md."""
    from stemdefects import devices

    side, batch = options["size_px"], options["batch"]
    lines = [
        f"Batch of {batch} images of {side} x {side} px, simulation={options['simulation']}, {devices.describe()}; "
        "CPU seconds over all threads, least of five calls.",
        "",
        "| variant | weights | simulation | forward | gradient |",
        "|---|---|---|---|---|",
    ]
    for name, r in rows.items():
        lines.append(
            f"| {name} | {r['weights'] / 1e6:.2f} M | {r['simulation_cpu_s']:.3f} | {r['forward_cpu_s']:.3f} | "
            f"{r['gradient_cpu_s']:.3f} |"
        )
    trained = {name: r for name, r in rows.items() if "training_cpu_s" in r}
    if trained:
        lines += [
            "",
            f"After {options['steps']} steps, at {options['dose']} e/px on {options['images']} images of 256 px: best "
            "F1 per kind at the prevalence of labels=simulated, and position RMSE per axis.",
            "",
            "| variant | " + " | ".join(KINDS) + " | RMSE (pm) | CPU s |",
            "|---" * (len(KINDS) + 3) + "|",
        ]
        for name, r in trained.items():
            cells = [f"{r[f'f1_{kind}']:.3f}" for kind in KINDS]
            lines.append(f"| {name} | {' | '.join(cells)} | {r['rmse_pm']:.1f} | {r['training_cpu_s']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    names = list(VARIANTS) if options["variants"] == "all" else options["variants"].split(",")
    path = Path(options["output"]) / "models.md"
    if not path.exists():
        path.write_text("# Models\n")
    rows = {}
    report = functools.partial(print, flush=True)
    for name in names:
        rows[name] = measure(options, VARIANTS[name])
        report(name, json.dumps({k: round(v, 4) for k, v in rows[name].items()}))
        # after every variant, so that a long run leaves something when it is stopped
        script.fill(path, "<!-- measured by benchmarks/models.py -->", "<!-- end -->", page(options, rows))
    report(f"wrote {path}")


if __name__ == "__main__":
    main()
