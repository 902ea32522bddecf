"""One training step: simulate, label, differentiate, update; compiled once for all local devices."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stemdefects.errors import UserError
from stemdefects.models.frames.normalization import normalize_frames
from stemdefects.models.unet import N_REGIONS, with_signals
from stemdefects.schema import TrainingConfig
from stemdefects.training import losses
from stemdefects.training.update import state

Simulator = Callable[..., tuple[jax.Array, Any]]


def make_example(
    simulator: Simulator, *, n_sites: int, stride: int, heat_sigma_px: float, targets: Callable, told: bool = False
) -> Callable:
    """(key, dose or None) -> (network input (H, W, T), `Targets`, truth) of one simulated image or clip.

    told: the network is told the truth's `told_signals`, as `unet.with_signals` has it.
    """

    def example(key, dose_e_per_px=None):
        image, truth = simulator(key, dose_e_per_px)
        frames = image if image.ndim == 3 else image[None]
        wanted = targets(truth, n_sites=n_sites, n_regions=N_REGIONS, stride=stride, heat_sigma_px=heat_sigma_px)
        counted = None if truth.counted is None else jnp.broadcast_to(truth.counted, frames.shape)
        shown = jnp.moveaxis(normalize_frames(frames, counted), 0, -1)
        return with_signals(shown, truth.told_signals) if told else shown, wanted, truth

    return example


def sample_indices(batch_size: int) -> np.ndarray:
    """(local devices, images per device) int32: which images of the global batch each local device makes.

    Raises UserError when the batch does not divide by the devices of all processes.
    """
    n_devices, n_local = jax.device_count(), jax.local_device_count()
    if batch_size % n_devices:
        fitting = [n for n in (batch_size // n_devices * n_devices, (batch_size // n_devices + 1) * n_devices) if n]
        raise UserError(
            f"training.batch_size={batch_size} does not divide by the {n_devices} devices; "
            f"take {' or '.join(map(str, fitting))}"
        )
    per_device = batch_size // n_devices
    first = jax.process_index() * n_local * per_device
    return (first + np.arange(n_local * per_device)).reshape(n_local, per_device).astype(np.int32)


class Lesson(Protocol):
    """What a step learns, and from which images: `task.Task`."""

    @property
    def model(self) -> Any: ...  # its `apply`: (params, frames (B, H, W, T)) -> `Outputs` of one network
    @property
    def example(self) -> Callable: ...  # from `make_example`
    @property
    def draw(self) -> Callable | None: ...  # (step key, keys) -> a batch, instead of one `example` per key
    @property
    def mask(self) -> np.ndarray: ...  # (G, S)
    @property
    def class_weight(self) -> np.ndarray: ...  # (S,)


def make_step(
    lesson: Lesson, tx: optax.GradientTransformation, training: TrainingConfig, key: jax.Array, parallel: bool = True
) -> Callable:
    """The jitted step `(state, indices) -> (state, metrics)`; the state is donated.

    key: base of the random stream; parallel: False for plain `jit` on one device, to measure what `pmap` costs.
    indices: from `sample_indices`.
    Image i of step n is always made from `fold_in(fold_in(key, n), i)`, and the loss is normalised over the whole
    batch, so that the update does not depend on how the batch is spread over devices or processes. A gradient that is
    not finite changes nothing but `skipped`.
    """
    key_data = jax.random.key_data(key)
    weights = losses.Parts(**{name: getattr(training.loss, name) for name in losses.Parts._fields})
    example, apply, draw, mask = lesson.example, lesson.model.apply, lesson.draw, lesson.mask
    balance = jnp.asarray(lesson.class_weight, jnp.float32)
    parts_of = losses.named(training.loss.name)

    def over_devices(values):
        return jax.lax.psum(values, "device") if parallel else values

    def one_step(current: state.TrainState, indices: jax.Array):
        step_key = jax.random.fold_in(jax.random.wrap_key_data(key_data), current.step)
        keys = jax.vmap(lambda i: jax.random.fold_in(step_key, i))(indices)
        frames, targets, truth = jax.vmap(example)(keys) if draw is None else draw(step_key, keys)
        seen = jax.nn.one_hot(truth.state, len(balance)) * truth.valid[..., None]
        total = jax.tree.map(lambda d: jnp.maximum(d, 1.0), over_devices(losses.denominators(targets)))

        def loss_of(params):
            parts = parts_of(apply(params, frames), targets, mask, balance)
            parts = jax.tree.map(lambda part, n: part / n, parts, total)
            return sum(w * p for w, p in zip(weights, parts, strict=True)), parts

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        if training.ensemble == 1:
            (loss, parts), grads = gradient(current.params)
        else:  # all members learn from the same images: simulation is paid once
            (loss, parts), grads = jax.vmap(gradient)(current.params)
            loss, parts = jax.tree.map(jnp.mean, (loss, parts))
        loss, parts, grads, counts = over_devices((loss, parts, grads, seen.sum((0, 1))))
        norm = optax.tree.norm(grads)
        updates, opt_state = tx.update(grads, current.opt_state, current.params)
        params = optax.apply_updates(current.params, updates)
        # a short memory at first, else the average starts from the random weights
        decay = jnp.minimum(training.ema, (1.0 + current.step) / (10.0 + current.step))
        ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, current.ema, params)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)

        def keep(new, old):
            return jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)

        following = state.TrainState(
            step=current.step + 1,
            params=keep(params, current.params),
            ema=keep(ema, current.ema),
            opt_state=keep(opt_state, current.opt_state),
            state_counts=current.state_counts + counts,
            skipped=jnp.where(good, 0, current.skipped + 1),
        )
        metrics = {"loss": loss, "grad_norm": norm} | {f"loss_{k}": v for k, v in parts._asdict().items()}
        return following, metrics

    if not parallel:
        return jax.jit(lambda current, indices: one_step(current, indices.reshape(-1)), donate_argnums=0)
    return jax.pmap(one_step, axis_name="device", in_axes=(None, 0), out_axes=(None, None), donate_argnums=0)
