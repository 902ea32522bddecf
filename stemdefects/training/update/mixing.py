"""Batches and validation sets of two kinds: simulated images and those of a movie."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

DOSES = 1.5  # simulated images have the movie's dose within this factor


def either(simulated: Callable, movie: Callable) -> Callable:
    """(key, dose) -> example: of the movie where the dose is 0, else simulated at that dose."""
    length = _longest(simulated, movie)

    def one(make):
        def filled(key, dose):
            frames, targets, truth = make(key, dose)
            return frames, filled_up(targets, length), filled_up(truth, length)

        return filled

    return lambda key, dose: jax.lax.cond(dose > 0, one(simulated), one(movie), key, dose)


def at_dose(simulated: Callable, dose_e_per_px: float) -> Callable:
    """`simulated` (key, dose) as a function of the key alone, at doses around one."""

    def example(key):
        spread = jax.random.uniform(jax.random.fold_in(key, 0xD05E), minval=-1.0, maxval=1.0)
        return simulated(key, dose_e_per_px * DOSES**spread)

    return example


def mixed_draw(simulated: Callable, movie: Callable, share: float) -> Callable:
    """(step_key, keys) -> a batch, simulated with probability `share`, else from the movie: one kind per step.

    Both are `(key) -> (frames, Targets, Truth)`; their lists of columns are filled up to one length.
    """
    length = _longest(simulated, movie)

    def one(make):
        def filled(key):
            frames, targets, truth = make(key)
            return frames, filled_up(targets, length), filled_up(truth, length)

        return jax.vmap(filled)

    def draw(step_key, keys):
        pick = jax.random.uniform(jax.random.fold_in(step_key, 0x313)) < share
        return jax.lax.cond(pick, one(simulated), one(movie), keys)

    return draw


def _longest(*makers: Callable) -> int:
    return max(jax.eval_shape(make, jax.random.key(0))[2].site.shape[0] for make in makers)


def filled_up(columns: Any, length: int) -> Any:
    """`Targets` or `Truth` of one image, its lists of columns (N, ...) filled up with zeros: no weight, not valid."""
    names = ("cell", "weight", "offset", "y_px", "x_px", "site", "state", "valid", "complex", "complex_kind")
    names = [name for name in (*names, "orientation") if hasattr(columns, name)]

    def fill(value):
        return jnp.pad(value, [(0, length - value.shape[0])] + [(0, 0)] * (value.ndim - 1))

    return columns._replace(**{name: fill(getattr(columns, name)) for name in names})
