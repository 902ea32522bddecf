"""Child process of test_step.py: a few updates on fake devices.

Arguments: devices, config file, output folder, then for each training its name, frames of a clip and updates.
"""

import sys

import jax

jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))

import numpy as np  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from stemdefects import config, schema  # noqa: E402
from stemdefects.models.artifact.weights import flatten  # noqa: E402
from stemdefects.training import task  # noqa: E402
from stemdefects.training.update import state, step  # noqa: E402

cfg = config.to_object(OmegaConf.load(sys.argv[2]), schema.TrainRoot)
assert jax.local_device_count() == int(sys.argv[1])
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, _duration, **_: compiled.append(name) if name.endswith("backend_compile_duration") else None
)


def train(n_updates: int) -> dict:
    """What is seen of `n_updates` updates."""
    the_task = task.from_config(cfg)
    tx = state.optimizer(cfg.training)
    current = state.create(the_task.init, tx, the_task.material.n_states, jax.random.key(1))
    update = step.make_step(the_task, tx, cfg.training, jax.random.fold_in(jax.random.key(cfg.seed), 2))
    indices = step.sample_indices(cfg.training.batch_size)
    compiled.clear()
    losses, first = [], None
    for n in range(n_updates):
        before = current
        current, metrics = update(current, indices)
        losses.append(float(metrics["loss"]))
        if n == 0:
            at_first = len(compiled)
            first = flatten(jax.device_get(current.params))
    flat = {f"params/{k}": v for k, v in flatten(jax.device_get(current.params)).items()}
    return (
        flat
        | {f"first/{k}": v for k, v in first.items()}
        | {
            "losses": losses,
            "counts": np.asarray(current.state_counts),
            "compilations": [at_first, len(compiled)],
            "donated": all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params)),
        }
    )


for name, frames, updates in zip(*(iter(sys.argv[4:]),) * 3, strict=True):
    cfg.model.frames, cfg.training.steps = int(frames), max(cfg.training.steps, int(updates))
    np.savez(f"{sys.argv[3]}/{name}.npz", **train(int(updates)))
