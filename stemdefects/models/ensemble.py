"""Several networks as one: their mean answer, and how far they differ.

Lakshminarayanan, Pritzel, Blundell, "Deep ensembles", NeurIPS 2017: members differ by their random first weights only;
probabilities are averaged, and what they disagree about joins the uncertainty.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.models.probability.states import IMPOSSIBLE
from stemdefects.models.unet import Outputs

AnyArray = TypeVar("AnyArray", jax.Array, np.ndarray)

SMALL = 1e-7  # least probability, so that its logarithm exists


def apply_members(apply: Callable, site_mask: np.ndarray) -> Callable:
    """(params with a leading axis of members, frames) -> the `Outputs` of the ensemble, for one network's `apply`."""
    return lambda params, frames: combine(jax.vmap(apply, in_axes=(0, None))(params, frames), site_mask)


def combine(members: Outputs, site_mask: np.ndarray) -> Outputs:
    """Mean of the members' probabilities as logits; members: `Outputs` with a leading axis of K.

    site_mask: (G, S) from `states.site_mask`. `log_sigma` is that of the mixture: mean variance plus the variance of
    the members' positions. `spread` (B, h, w, S) is the standard deviation of the members' state probabilities.
    """
    presence = jnp.clip(jax.nn.sigmoid(members.presence).mean(0), SMALL, 1 - SMALL)
    state = jnp.zeros_like(members.state)
    for own in np.asarray(site_mask):
        state += jnp.where(own, jax.nn.softmax(jnp.where(own, members.state, IMPOSSIBLE), -1), 0.0)
    region = jax.nn.softmax(members.region, -1).mean(0)
    variance = jnp.exp(2 * members.log_sigma).mean(0) + members.offset.var(0).mean(-1)
    return Outputs(
        presence=jnp.log(presence) - jnp.log1p(-presence),
        state=jnp.log(jnp.maximum(state.mean(0), SMALL)),
        offset=members.offset.mean(0),
        log_sigma=0.5 * jnp.log(variance),
        region=jnp.log(jnp.maximum(region, SMALL)),
        spread=state.std(0),
    )


def carried(spread: AnyArray, before: AnyArray, after: AnyArray, share: AnyArray | float = 1.0) -> AnyArray:
    """Standard deviation of the probability `after`, made from `before` (of standard deviation `spread`) by a change of
    its log-odds in which `before` counts `share` (a prior, a temperature, a pool of opinions); to first order.

    Any shape. At most sqrt(p (1 - p)), which members that say either 0 or 1 have.
    """
    slope = after * (1 - after) / (before * (1 - before) + SMALL)
    return (share * spread * slope).clip(0, (after * (1 - after)).clip(0) ** 0.5)


def init_members(init: Callable, n_members: int) -> Callable[[jax.Array], Any]:
    """key -> params of `n_members` networks, stacked along a new first axis."""
    return lambda key: jax.vmap(init)(jax.random.split(key, n_members))
