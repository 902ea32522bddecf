"""U-Net on half-resolution cells with heads for presence, state, offset, position uncertainty and region.

After Ronneberger et al., MICCAI 2015, with a space-to-depth stem: atoms are six or more pixels apart, so layers at full
resolution cost three quarters of the time and buy nothing; sub-pixel positions come from the offset head
(Zhou et al., "Objects as points", arXiv:1904.07850).
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

N_REGIONS = 4  # lattice, hole, amorphous or contaminated, 1T
N_TOLD = 32  # units of what is made of the crystal's signals
LOG_SIGMA_RANGE = (-5.0, 2.0)  # logarithm of a position's error in px


class Outputs(NamedTuple):
    """What the network says of each cell; (h, w) = (H, W) / stride, G sites, S states."""

    presence: jax.Array  # (B, h, w, G) logits: a column of sublattice g sits here
    state: jax.Array  # (B, h, w, S) logits, softmax within the states of one site
    offset: jax.Array  # (B, h, w, G, 2) from the cell's centre to the column, image px (y, x)
    log_sigma: jax.Array  # (B, h, w, G) log of the position uncertainty per axis, px
    region: jax.Array  # (B, h, w, N_REGIONS) logits
    spread: jax.Array | None = None  # (B, h, w, S) of an ensemble: standard deviation of its state probabilities


def with_signals(frames: jax.Array, signals: jax.Array) -> jax.Array:
    """Frames (H, W, T) followed by a constant channel for each of `signals` (K,): what the network is told of the
    crystal that this image shows (`UNet.signals`)."""
    return jnp.concatenate([frames, jnp.broadcast_to(signals, (*frames.shape[:2], len(signals)))], -1)


def space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """(B, H, W, C) -> (B, H/block, W/block, block * block * C)."""
    b, height, width, c = x.shape
    x = x.reshape(b, height // block, block, width // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, height // block, width // block, block * block * c)


def depth_to_space(x: jax.Array, block: int) -> jax.Array:
    """Inverse of `space_to_depth`."""
    b, height, width, c = x.shape
    x = x.reshape(b, height, width, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, height * block, width * block, c // block**2)


def pointwise(frames: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """(B, H, W, C) by a kernel (1, 1, C, D), as the product of matrices that it is: XLA's own gradient of such a kernel
    takes three times as long on a CPU (benchmarks/convolutions.py)."""
    flat = frames.reshape(-1, frames.shape[-1]) @ kernel[0, 0]  # of two axes, else the gradient is as slow
    return flat.reshape(*frames.shape[:-1], -1)


class Block(nn.Module):
    """Two 3 x 3 convolutions, added to the input when `residual`."""

    features: int
    norm: str
    residual: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def norm(y):
            return nn.GroupNorm(num_groups=4, dtype=self.dtype)(y) if self.norm == "group" else y

        y = nn.Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=nn.initializers.he_uniform())(x)
        y = nn.relu(norm(y))
        # a small second kernel starts each residual block near the identity, which is why no norm is needed
        gain = 0.3 if self.residual else 2.0
        init = nn.initializers.variance_scaling(gain, "fan_in", "uniform")
        y = norm(nn.Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=init)(y))
        return nn.relu(x + y) if self.residual else nn.relu(y)


class Told(nn.Module):
    """Scales and shifts channels by what the network is told (FiLM: Perez et al., arXiv:1709.07871); at first not at
    all, so that the network begins as one that is told nothing."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, hidden: jax.Array) -> jax.Array:
        change = nn.Dense(2 * x.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.zeros)(hidden)
        scale, shift = jnp.split(change[:, None, None], 2, -1)
        return x * (1 + scale) + shift


class UNet(nn.Module):
    """(B, H, W, T) normalised frames -> `Outputs`. H and W are multiples of `divisor`.

    filters: channels per level, finest first; depths: blocks per level; stem: image pixels per cell of the finest
    level; stride: image pixels per output cell, at most `stem` (the heads unfold the difference). `n_sites` and
    `n_states` come from the material. signals: logarithms of the signals of the crystal's species, which the network
    is told; empty: it is told nothing. Where crystals differ from image to image, they come as channels behind the
    first `n_frames` (`with_signals`) instead.
    """

    n_sites: int
    n_states: int
    filters: tuple[int, ...] = (24, 48, 96)
    depths: tuple[int, ...] = (1, 1, 1)
    stem: int = 2
    stride: int = 2
    norm: str = "none"
    residual: bool = True
    dtype: jnp.dtype = jnp.float32
    n_frames: int = 1
    signals: tuple[float, ...] = ()

    @property
    def divisor(self) -> int:
        """Height and width of the input are multiples of this."""
        return self.stem * 2 ** (len(self.filters) - 1)

    @nn.compact
    def __call__(self, frames: jax.Array) -> Outputs:
        height, width = frames.shape[1:3]
        if height % self.divisor or width % self.divisor:
            raise ValueError(f"image {height} x {width} px: both sides must be multiples of {self.divisor}")

        def dense(features, kernel=1, gain=1.0):
            init = nn.initializers.variance_scaling(gain, "fan_in", "uniform")
            how = pointwise if kernel == 1 else None
            return nn.Conv(features, (kernel, kernel), dtype=self.dtype, kernel_init=init, conv_general_dilated=how)

        hidden = None
        if self.signals:
            told = jnp.broadcast_to(jnp.array(self.signals), (len(frames), len(self.signals)))
            if frames.shape[-1] > self.n_frames:
                frames, told = frames[..., : self.n_frames], frames[:, 0, 0, self.n_frames :]
            for number in range(2):
                told = nn.relu(nn.Dense(N_TOLD, dtype=self.dtype, name=f"signals_{number}")(told.astype(self.dtype)))
            hidden = told

        def blocks(x, level):
            if hidden is not None:
                x = Told(self.dtype)(x, hidden)
            for _ in range(self.depths[level]):
                x = Block(self.filters[level], self.norm, self.residual, self.dtype)(x)
            return x

        x = space_to_depth(frames.astype(self.dtype), self.stem)
        x = nn.relu(dense(self.filters[0], 3)(x))
        skips = []
        for level in range(len(self.filters)):
            if level:
                x = dense(self.filters[level])(space_to_depth(x, 2))
            x = blocks(x, level)
            skips.append(x)
        for level in reversed(range(len(self.filters) - 1)):
            up = depth_to_space(dense(4 * self.filters[level])(x), 2)
            # adding instead of concatenating halves the cost of the next convolution
            x = blocks(nn.relu(dense(self.filters[level])(skips[level]) + up), level)

        sites, states = self.n_sites, self.n_states
        unfold = self.stem // self.stride
        head = nn.Conv(
            (4 * sites + states + N_REGIONS) * unfold**2,
            (1, 1),
            dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(0.1, "fan_in", "uniform"),
            conv_general_dilated=pointwise,
            name="heads",
        )(x).astype(jnp.float32)
        head = depth_to_space(head, unfold)
        presence, state, offset, log_sigma, region = jnp.split(
            head, (sites, sites + states, 3 * sites + states, 4 * sites + states), axis=-1
        )
        return Outputs(
            presence=presence - 2.0,  # most cells hold no column: start there
            state=state,
            offset=self.stride * offset.reshape(*offset.shape[:-1], sites, 2),
            log_sigma=jnp.clip(log_sigma, *LOG_SIGMA_RANGE),
            region=region,
        )
