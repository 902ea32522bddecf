"""Intensity normalisation of one frame: the same function in training and in inference.

Never per stack (a stack's extremes change with its length, and F1 falls from .92 to 0 with them), always by robust
statistics of the frame itself.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float32, Real

BLOCK_PX = 4  # means of 4 x 4 pixels have a quarter of their noise
TAIL = 0.05  # share of blocks at each end that is clipped: defects, holes, dirt
LIMIT = 30.0  # in units of the spread: brighter pixels are artefacts


def normalize(
    image: Real[jax.Array, "height width"], counted: Bool[jax.Array, "height width"] | None = None
) -> Float32[jax.Array, "height width"]:
    """Bring one frame to zero mean and unit contrast, whatever the detector's gain and offset.

    image: (H, W) float, any units; H and W at least 4. Pixels that are not finite become 0 (the mean). counted: (H, W)
    bool, the pixels that mean and contrast are taken from, None: all that are finite.
    Returns (H, W) float32. Mean and standard deviation are those of 4 x 4 px block means clipped at their 5% and 95%
    quantiles: blocks keep the lattice but are not ruled by shot noise (at half an electron per pixel the median is 0
    and useless), the clipping keeps dust and hot pixels out. A constant frame becomes 0. Values beyond 30 standard
    deviations are clipped. Invariant under image -> gain * image + offset for gain > 0.
    """
    image = jnp.asarray(image, jnp.float32)
    finite = jnp.isfinite(image)
    whole = counted is None  # as in training
    counted = finite if whole else finite & counted
    height, width = (n // BLOCK_PX * BLOCK_PX for n in image.shape)
    shape = (height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    # a pixel of the frame as origin: sums of large offsets would cost the contrast its digits
    origin = jnp.where(counted, image, 0.0).sum() / jnp.maximum(counted.sum(), 1)
    centred = jnp.where(finite, image - origin, 0.0)
    count = counted[:height, :width].reshape(shape).sum((1, 3))
    blocks = jnp.where(counted, centred, 0.0)[:height, :width].reshape(shape).sum((1, 3)) / jnp.maximum(count, 1)
    if whole:
        blocks = jnp.where(count > 0, blocks, 0.0)
        blocks = jnp.clip(blocks, *_quantiles(blocks, blocks.size, (TAIL, 1 - TAIL)))
        mean, std = blocks.mean(), blocks.std()
    else:
        use = count > 0
        n = jnp.maximum(use.sum(), 1)
        low, high = _quantiles(jnp.where(use, blocks, jnp.inf), n, (TAIL, 1 - TAIL))
        blocks = jnp.where(use, jnp.clip(blocks, low, high), 0.0)
        mean = blocks.sum() / n
        std = jnp.sqrt(jnp.where(use, (blocks - mean) ** 2, 0.0).sum() / n)
    smallest = 1e-6 * (jnp.abs(origin) + jnp.abs(mean)) + 1e-30
    scaled = jnp.where(std > smallest, (centred - mean) / jnp.maximum(std, smallest), 0.0)
    return jnp.where(finite, jnp.clip(scaled, -LIMIT, LIMIT), 0.0)


def _quantiles(values: jax.Array, n: jax.Array | int, shares: tuple[float, ...]) -> jax.Array:
    """`shares` quantiles, (k,), of the `n` smallest of `values`, as `jnp.quantile` has them.

    Their ranks are found by bisection on the values' bits, in 32 sweeps: a fifth of the time of sorting on a CPU.
    """
    at = jnp.asarray(shares) * (n - 1)
    low = jnp.floor(at).astype(jnp.int32)
    ranks = jnp.concatenate([low, jnp.minimum(low + 1, n - 1)])
    keys = _ordered(jax.lax.bitcast_convert_type(values.ravel(), jnp.int32))

    def halve(_, ends):
        first, last = ends
        middle = (first & last) + ((first ^ last) >> 1)  # their mean, without overflow
        enough = (keys <= middle[:, None]).sum(1) > ranks
        return jnp.where(enough, first, middle + 1), jnp.where(enough, middle, last)

    limits = jnp.iinfo(jnp.int32)
    # from `ranks`, so that both vary over devices as these do
    start = tuple(jnp.full_like(ranks, end) for end in (limits.min, limits.max))
    found = jax.lax.fori_loop(0, 32, halve, start)[0]
    below, above = jnp.split(jax.lax.bitcast_convert_type(_ordered(found), jnp.float32), 2)
    part = at - low
    return below * (1 - part) + above * part


def _ordered(bits: jax.Array) -> jax.Array:
    """Bits of floats as integers of the same order; its own inverse."""
    return jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)


def normalize_frames(
    frames: Real[jax.Array, "*frames height width"], counted: Bool[jax.Array, "*frames height width"] | None = None
) -> Float32[jax.Array, "*frames height width"]:
    """`normalize` each frame of (..., H, W) on its own, with the pixels `counted` of the same shape (bool); returns the
    same shape, float32."""
    flat = frames.reshape((-1, *frames.shape[-2:]))
    if counted is None:
        return jax.vmap(normalize)(flat).reshape(frames.shape)
    return jax.vmap(normalize)(flat, counted.reshape(flat.shape)).reshape(frames.shape)
