"""Intensity normalisation of one frame: the same function in training and in inference.

Never per stack (a stack's extremes change with its length, and F1 falls from .92 to 0 with them), always by robust
statistics of the frame itself.
"""

import jax
import jax.numpy as jnp

BLOCK_PX = 4
TAIL = 0.05
LIMIT = 30.0


def normalize(image: jax.Array, counted: jax.Array | None = None) -> jax.Array:
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
        low, high = jnp.quantile(jnp.where(count > 0, blocks, 0.0).ravel(), jnp.array([TAIL, 1 - TAIL]))
        blocks = jnp.clip(blocks, low, high)
        mean, std = blocks.mean(), blocks.std()
    else:
        use = count > 0
        low, high = jnp.nanquantile(jnp.where(use, blocks, jnp.nan).ravel(), jnp.array([TAIL, 1 - TAIL]))
        blocks, n = jnp.where(use, jnp.clip(blocks, low, high), 0.0), jnp.maximum(use.sum(), 1)
        mean = blocks.sum() / n
        std = jnp.sqrt(jnp.where(use, (blocks - mean) ** 2, 0.0).sum() / n)
    smallest = 1e-6 * (jnp.abs(origin) + jnp.abs(mean)) + 1e-30
    scaled = jnp.where(std > smallest, (centred - mean) / jnp.maximum(std, smallest), 0.0)
    return jnp.where(finite, jnp.clip(scaled, -LIMIT, LIMIT), 0.0)


def normalize_frames(frames: jax.Array, counted: jax.Array | None = None) -> jax.Array:
    """`normalize` each frame of (..., H, W) on its own, with the pixels `counted` of the same shape (bool); returns the
    same shape, float32."""
    flat = frames.reshape((-1, *frames.shape[-2:]))
    if counted is None:
        return jax.vmap(normalize)(flat).reshape(frames.shape)
    return jax.vmap(normalize)(flat, counted.reshape(flat.shape)).reshape(frames.shape)
