"""What training carries from step to step, and the optimiser."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stemdefects.schema import TrainingConfig


@flax.struct.dataclass
class TrainState:
    """Everything that must survive a kill, as arrays. The random stream is `fold_in(key, step)`."""

    step: jax.Array  # () int32, updates made
    params: Any
    ema: Any  # moving average of params: the weights that are validated and kept
    opt_state: Any
    state_counts: jax.Array  # (S,) float32, columns of each state seen so far
    skipped: jax.Array  # () int32, updates left out because the gradient was not finite


def schedule(cfg: TrainingConfig) -> optax.Schedule:
    """Learning rate against step: linear warm-up, then a cosine down to `final_rate` of the peak."""
    warmup = min(cfg.warmup_steps, max(cfg.steps // 2, 1))
    return optax.warmup_cosine_decay_schedule(
        0.1 * cfg.learning_rate,
        cfg.learning_rate,
        warmup,
        max(cfg.steps, warmup + 1),
        cfg.final_rate * cfg.learning_rate,
    )


def optimizer(cfg: TrainingConfig) -> optax.GradientTransformation:
    """AdamW with clipping by global norm; biases are not decayed. Members of an ensemble do not feel each other."""
    single = optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.adamw(
            schedule(cfg),
            b2=0.99,
            weight_decay=cfg.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        ),
    )
    if cfg.ensemble == 1:
        return single

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None):
        return jax.vmap(single.update)(updates, state, params)

    return optax.GradientTransformation(jax.vmap(single.init), update)


def create(
    init: Callable[[jax.Array], Any], tx: optax.GradientTransformation, n_states: int, key: jax.Array
) -> TrainState:
    """A fresh state, replicated over the local devices without a device axis.

    init: key -> params. Made inside one jit with its final sharding: `pmap` then takes it as it is, so the step
    compiles once and the buffers can be donated.
    """
    return jax.jit(lambda k: blank(init(k), tx, n_states), out_shardings=replicated())(key)


def blank(params: Any, tx: optax.GradientTransformation, n_states: int) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=tx.init(params),
        state_counts=jnp.zeros(n_states, jnp.float32),
        skipped=jnp.zeros((), jnp.int32),
    )


def replicated() -> NamedSharding:
    """Sharding of the state: the same copy on every local device."""
    return NamedSharding(Mesh(np.array(jax.local_devices()), ("device",)), PartitionSpec())
