"""From state logits to posteriors over the states of a site.

The states of one site exclude each other, so the softmax runs within the site. Training enriches rare defects; the
posterior is brought back to a realistic prevalence by Bayes' rule, posterior' ~ posterior * prior' / prior (Saerens,
Latinne, Decaestecker, Neural Comput. 14, 21 (2002)).
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy.special import log_softmax

IMPOSSIBLE = -1e9  # logit of a state of another site: its softmax is 0, its gradient finite
Sites = Sequence[int] | np.ndarray  # (S,) site of each state


def site_mask(site_of_state: Sites, n_sites: int) -> Bool[np.ndarray, "sites states"]:
    """(n_sites, n_states) bool: which states belong to which site."""
    return np.arange(n_sites)[:, None] == np.asarray(site_of_state)[None, :]


Array = TypeVar("Array", jax.Array, np.ndarray)


def log_posterior(
    logits: Array, site: Array, mask: np.ndarray, log_prior_shift: Array | float = 0.0, temperature: Any = 1.0
) -> Array:
    """Log posterior of the state of columns whose site is known, by JAX or numpy as the logits are.

    logits: (..., S); site: (...) int; mask: from `site_mask`; log_prior_shift: (S,) log(realistic prior / trained
    prior); temperature: scalar or (S,), from calibration. Returns (..., S): log probabilities, about -1e9 for states of
    other sites.
    """
    if not isinstance(logits, jax.Array):
        own = np.where(np.asarray(mask)[site], logits / temperature + log_prior_shift, IMPOSSIBLE)
        return log_softmax(own, axis=-1) if own.size else own
    own = jnp.asarray(mask)[site]
    return jax.nn.log_softmax(jnp.where(own, logits / temperature + log_prior_shift, IMPOSSIBLE), axis=-1)


def floating_log_posterior(
    logits: Float[jax.Array, "*columns states"],
    site: Int[jax.Array, "*columns"],
    mask: Bool[np.ndarray, "sites states"],
    nothing: Int[jax.Array, "*columns"],
    presence: Float[jax.Array, "*columns"],
) -> Float[jax.Array, "*columns states"]:
    """(..., S) log posterior where a column need not be: `nothing` (...) int is the state that says so.

    It has probability 1 - presence; the other states of the site share `presence` (...) as their softmax says.
    """
    is_nothing = jax.nn.one_hot(nothing, logits.shape[-1], dtype=bool)
    share = jax.nn.log_softmax(jnp.where(jnp.asarray(mask)[site] & ~is_nothing, logits, IMPOSSIBLE), axis=-1)
    there = jnp.clip(presence, 1e-4, 1 - 1e-4)[..., None]
    return jnp.where(is_nothing, jnp.log1p(-there), share + jnp.log(there))


def normalize_by_site(weights: Real[np.ndarray, " states"], site_of_state: Sites) -> Float[np.ndarray, " states"]:
    """(S,) non-negative weights, scaled so that the states of each site add up to 1 (uniform where all are 0)."""
    site = np.asarray(site_of_state)
    result = np.asarray(weights, float).copy()
    for g in np.unique(site):
        total = result[site == g].sum()
        result[site == g] = result[site == g] / total if total > 0 else 1.0 / (site == g).sum()
    return result


RAREST = 1e-3  # share of a site's columns: a handful must not rule the gradient


def balance_weights(
    frequency: Real[np.ndarray, " states"], site_of_state: Sites, power: float
) -> Float[np.ndarray, " states"]:
    """Weights of the states in the cross entropy: frequency ** -power within each site, mean 1 over the columns.

    frequency: (S,) how often training shows each state. power 0: as they come; 1: every state of a site weighs the
    same. States rarer than 1e-3 weigh as if they were that common: a handful of columns must not rule the gradient.
    """
    frequency = np.maximum(normalize_by_site(frequency, site_of_state), RAREST)
    weights = frequency**-power
    site = np.asarray(site_of_state)
    for g in np.unique(site):
        weights[site == g] /= (weights * frequency)[site == g].sum()
    return weights


def prior_shift(
    counts: Real[np.ndarray, " states"],
    weights: Real[np.ndarray, " states"],
    prior: Real[np.ndarray, " states"],
    site_of_state: Sites,
) -> Float[np.ndarray, " states"]:
    """(S,) log(prior / trained prior) for a network trained on `counts` columns per state with `weights` in its loss.

    Zero for states that training never showed: nothing is known of them.
    """
    trained = normalize_by_site(np.asarray(counts) * np.asarray(weights), site_of_state)
    wanted = normalize_by_site(prior, site_of_state)
    seen = np.asarray(counts) > 0
    return np.where(seen, np.log(np.maximum(wanted, 1e-9)) - np.log(np.maximum(trained, 1e-9)), 0.0)
