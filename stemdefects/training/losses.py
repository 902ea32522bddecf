"""The training loss: sums over cells and columns with their denominators, so that devices can share the mean."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stemdefects import extensions
from stemdefects.labels.simulated import Targets
from stemdefects.models.probability.states import log_posterior
from stemdefects.models.unet import Outputs

OWN = "default"
HUBER_PX = 0.5  # offsets beyond half a pixel are outliers: from there on their loss grows linearly


class Parts(NamedTuple):
    """One number per part of the loss (sums or denominators)."""

    presence: jax.Array
    state: jax.Array
    offset: jax.Array
    sigma: jax.Array
    region: jax.Array


def denominators(targets: Targets) -> Parts:
    """What each part's sum is divided by: cells for maps, total column weight for the rest. Batch axis first."""
    cells = jnp.asarray(np.prod(targets.presence.shape[:3]), jnp.float32)
    columns = targets.weight.sum()
    return Parts(cells, columns, columns, columns, cells)


class Loss(Protocol):
    """What `training.loss.name` chooses: as `sums`, whose docstring says what it is given and gives."""

    def __call__(self, outputs: Outputs, targets: Targets, mask: np.ndarray, class_weight: jax.Array) -> Parts: ...


def named(name: str) -> Loss:
    """Our own loss for "default", else the one that another package adds. Raises UserError when there is none."""
    return sums if name == OWN else extensions.load(extensions.LOSSES, name, "training.loss.name", [OWN])


def sums(outputs: Outputs, targets: Targets, mask: np.ndarray, class_weight: jax.Array) -> Parts:
    """Summed loss parts of a batch.

    outputs: `Outputs` (B, h, w, ...); targets: `Targets` with a batch axis; mask: (G, S) from `states.site_mask`;
    class_weight: (S,) from `states.balance_weights`. Presence: cross entropy against the soft heat map above its least
    value, so that the score is a calibrated height. State: cross entropy at the four cells around each column. Offset:
    Huber. Sigma: negative log-likelihood of a Gaussian, with the error held fixed so that it cannot trade accuracy for
    modesty.
    """
    presence = optax.sigmoid_binary_cross_entropy(outputs.presence, targets.presence)
    presence += jax.scipy.special.xlogy(targets.presence, targets.presence)  # its entropies: least is 0
    presence += jax.scipy.special.xlogy(1 - targets.presence, 1 - targets.presence)
    known = targets.region.sum(-1, keepdims=True)  # cells of no region (-1 in the truth) teach nothing
    presence = (presence * known).sum()
    region = optax.softmax_cross_entropy(outputs.region, targets.region).sum()

    batch, h, w, n_sites = outputs.presence.shape
    n_states = outputs.state.shape[-1]
    site, state = targets.site[:, :, None], targets.state

    def gather(values):  # (B, h, w, C) -> (B, N, 4, C)
        flat = values.reshape(batch, h * w, -1)
        return jax.vmap(lambda v, i: v[i])(flat, targets.cell)

    def of_site(values):  # (B, N, 4, G, ...) -> (B, N, 4, ...)
        pick = jax.nn.one_hot(jnp.broadcast_to(site, targets.cell.shape), n_sites)
        return (values * pick.reshape(*pick.shape, *([1] * (values.ndim - 4)))).sum(3)

    logits = gather(outputs.state)
    log_p = log_posterior(logits, jnp.broadcast_to(site, targets.cell.shape), mask)
    truth = jax.nn.one_hot(state, n_states)[:, :, None, :]
    cross_entropy = -jnp.where(truth > 0, log_p, 0.0).sum(-1)
    state_sum = (cross_entropy * class_weight[state][:, :, None] * targets.weight).sum()

    offset = of_site(gather(outputs.offset).reshape(*targets.cell.shape, n_sites, 2))
    error = offset - targets.offset
    offset_sum = (optax.huber_loss(error, delta=HUBER_PX).sum(-1) * targets.weight).sum()
    log_sigma = of_site(gather(outputs.log_sigma))
    squared = jnp.minimum(jax.lax.stop_gradient(error) ** 2, 9.0).sum(-1)
    sigma_sum = ((0.5 * squared * jnp.exp(-2 * log_sigma) + 2 * log_sigma) * targets.weight).sum()
    return Parts(presence, state_sum, offset_sum, sigma_sum, region)
