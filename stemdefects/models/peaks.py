"""From the network's maps to columns with sub-pixel positions: fixed shapes, for validation and inference alike."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from stemdefects.models.ensemble import carried
from stemdefects.models.probability.states import floating_log_posterior, log_posterior
from stemdefects.models.unet import Outputs


class Peaks(NamedTuple):
    """Columns found in one frame; P = max_peaks, strongest first, S states. Rows beyond the last are not `valid`."""

    y_px: Float[jax.Array, "*frames peaks"]  # 0 is the centre of the first pixel
    x_px: Float[jax.Array, "*frames peaks"]
    sigma_px: Float[jax.Array, "*frames peaks"]  # position uncertainty per axis, 1 sigma
    site: Int[jax.Array, "*frames peaks"]  # index of the sublattice
    state_prob: Float[jax.Array, "*frames peaks states"]  # posterior of the site's states; 0 for those of other sites
    presence: Float[jax.Array, "*frames peaks"]  # 0..1: a column of this sublattice is here
    valid: Bool[jax.Array, "*frames peaks"]
    region: Int[jax.Array, "*frames peaks"]  # most probable region
    # of an ensemble: standard deviation of its members' `state_prob`
    state_spread: Float[jax.Array, "*frames peaks states"] | None = None


def local_maxima(score: Float[jax.Array, "height width sites"]) -> Bool[jax.Array, "height width sites"]:
    """(h, w, G) bool: cells above their eight neighbours; of equal neighbours the last one in reading order counts."""
    height, width, _ = score.shape
    padded = jnp.pad(score, ((1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    result = jnp.ones(score.shape, bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if (dy, dx) == (0, 0):
                continue
            neighbour = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            earlier = (dy, dx) < (0, 0)
            result &= (score >= neighbour) if earlier else (score > neighbour)
    return result


class MapsOf(NamedTuple):
    """What a model's maps mean.

    stride: image pixels per cell; site_mask: (G, S) from `states.site_mask`; heat_sigma_px: width of the training heat
    map, which tells what height a column between two cells has; log_prior_shift, temperature: of the calibration;
    nothing: (G,) state of floating sites that means "nothing is here", else -1 (`Material.nothing_states`): there the
    presence is the evidence, so it becomes part of the posterior.
    """

    stride: int
    site_mask: np.ndarray
    heat_sigma_px: float = 2.0
    log_prior_shift: jax.Array | float = 0.0
    temperature: jax.Array | float = 1.0
    nothing: np.ndarray | None = None


def find_peaks(outputs: Outputs, model: MapsOf, max_peaks: int, threshold: float = 0.5) -> Peaks:
    """Columns in the maps of one frame (`Outputs` without the batch axis; vmap for more).

    max_peaks: columns returned at most (a 15 nm field of WS2 holds 5,500); threshold: least presence; on floating sites
    half of it keeps weak candidates. Returns `Peaks` in pixels of the input frame.
    """
    stride, site_mask, nothing = model.stride, model.site_mask, model.nothing
    score = jax.nn.sigmoid(outputs.presence)
    _, width, n_sites = score.shape
    candidates = jnp.where(local_maxima(score), score, -1.0).ravel()
    max_peaks = min(max_peaks, candidates.size)
    value, index = jax.lax.top_k(candidates, max_peaks)
    cell, site = index // n_sites, (index % n_sites).astype(jnp.int32)
    row, column = cell // width, cell % width
    offset = outputs.offset[row, column, site]
    centre = jnp.stack([row, column], -1) * stride + (stride - 1) / 2
    position = centre + offset
    # half a cell off the centre the heat map is lower though the column is as certain
    within = jnp.clip(offset, -stride / 2, stride / 2)
    presence = jnp.minimum(value * jnp.exp((within**2).sum(-1) / (2 * model.heat_sigma_px**2)), 1.0)
    logits, least = outputs.state[row, column], threshold
    if nothing is not None and (np.asarray(nothing) >= 0).any():
        says = jnp.asarray(nothing)[site]
        logits = jnp.where(says[:, None] >= 0, floating_log_posterior(logits, site, site_mask, says, presence), logits)
        least = jnp.where(says >= 0, 0.5 * threshold, threshold)
    valid = (value > 0) & (presence >= least)
    prob = jnp.exp(log_posterior(logits, site, site_mask, model.log_prior_shift, model.temperature))
    spread = None
    if outputs.spread is not None:
        trained = jnp.exp(log_posterior(outputs.state[row, column], site, site_mask))
        spread = carried(outputs.spread[row, column], trained, prob, 1.0 / model.temperature)
    return Peaks(
        y_px=position[:, 0],
        x_px=position[:, 1],
        sigma_px=jnp.exp(outputs.log_sigma[row, column, site]),
        site=site,
        state_prob=prob,
        presence=jnp.where(valid, presence, 0.0),
        valid=valid,
        region=jnp.argmax(outputs.region[row, column], -1).astype(jnp.int32),
        state_spread=spread,
    )
