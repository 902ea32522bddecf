"""A network of two convolutions. It gives what `stemdefects.models.unet.Outputs` holds."""

import flax.linen as nn
import jax.numpy as jnp

from stemdefects.models.unet import N_REGIONS, Outputs, space_to_depth


class Plain(nn.Module):
    n_sites: int
    n_states: int
    stride: int
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, frames):
        x = space_to_depth(frames.astype(self.dtype), self.stride)
        x = nn.relu(nn.Conv(self.width, (3, 3), dtype=self.dtype)(x))
        sites, states = self.n_sites, self.n_states
        x = nn.Conv(4 * sites + states + N_REGIONS, (1, 1), dtype=self.dtype)(x).astype(jnp.float32)
        presence, state, offset, log_sigma, region = jnp.split(
            x, (sites, sites + states, 3 * sites + states, 4 * sites + states), axis=-1
        )
        return Outputs(presence, state, offset.reshape(*offset.shape[:-1], sites, 2), log_sigma, region)


def plain(cfg, material, dtype):
    """cfg: `stemdefects.schema.ModelConfig`; its `options` are ours."""
    return Plain(material.n_sites, material.n_states, cfg.stride, int(cfg.options.get("width", 8)), dtype)
