"""Child process of test_step.py: a few updates on fake devices.

Arguments: devices, config file, output file, frames of a clip, updates.
"""

import sys

import jax

jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))

import numpy as np  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from stemdefects import config, schema  # noqa: E402
from stemdefects.models.weights import flatten  # noqa: E402
from stemdefects.training import state, step, task  # noqa: E402

cfg = config.to_object(OmegaConf.load(sys.argv[2]), schema.TrainRoot)
cfg.model.frames = int(sys.argv[4])
assert jax.local_device_count() == int(sys.argv[1])
the_task = task.from_config(cfg)
tx = state.optimizer(cfg.training)
current = state.create(the_task.init, tx, the_task.material.n_states, jax.random.key(1))
update = step.make_step(
    the_task.example, the_task.model.apply, tx, cfg.training,
    mask=the_task.mask, class_weight=the_task.class_weight, key=jax.random.key(2),
)  # fmt: skip
indices = step.sample_indices(cfg.training.batch_size)
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, _duration, **_: compiled.append(name) if name.endswith("backend_compile_duration") else None
)
losses, first = [], None
for n in range(int(sys.argv[5])):
    before = current
    current, metrics = update(current, indices)
    losses.append(float(metrics["loss"]))
    if n == 0:
        at_first = len(compiled)
        first = flatten(jax.device_get(current.params))
donated = all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))
flat = {f"params/{k}": v for k, v in flatten(jax.device_get(current.params)).items()}
flat |= {f"first/{k}": v for k, v in first.items()}
np.savez(
    sys.argv[3], losses=losses, counts=np.asarray(current.state_counts), compilations=[at_first, len(compiled)],
    donated=donated, **flat,
)  # fmt: skip
