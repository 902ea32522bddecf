"""Turning, breaking and dimming of image pieces: pure JAX, fixed shapes. Lengths in pixels, positions (y, x)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

N_WAVES = 24  # of a random field
N_WAVES_SPECKLE = 48  # of a patch's speckle: enough that no single wave shows
MOST_SKEWED = 2.0  # of a pixel's noise: an electron in four pixels


class Cuts(NamedTuple):
    """Parts of an image that are no crystal; (s, s) bool each."""

    hole: jax.Array
    patch: jax.Array


def turn(key: jax.Array, zoom: float, exact: bool | jax.Array) -> tuple[Float[jax.Array, "2 2"], Float[jax.Array, ""]]:
    """Random rotation or reflection (2, 2) and a factor on the size; quarter turns of size 1 where `exact`."""
    angle_key, mirror_key, zoom_key = jax.random.split(key, 3)
    angle = jax.random.uniform(angle_key, (), maxval=2 * np.pi)
    angle = jnp.where(exact, jnp.floor(angle / (np.pi / 2)) * (np.pi / 2), angle)
    c, s = jnp.cos(angle), jnp.sin(angle)
    mirror = jnp.where(jax.random.bernoulli(mirror_key), -1.0, 1.0)
    matrix = jnp.array([[c, -s], [s, c]]) * jnp.array([1.0, mirror])
    factor = jnp.exp(jax.random.uniform(zoom_key, (), minval=-zoom, maxval=zoom))
    return matrix, jnp.where(exact, 1.0, factor)


def _mirrored(index: jax.Array, n: int) -> jax.Array:
    if n == 1:
        return jnp.zeros_like(index)
    index = jnp.abs(index) % (2 * n - 2)
    return jnp.minimum(index, 2 * n - 2 - index)


def linear(
    image: Float[jax.Array, "height width"], place: Float[jax.Array, "*places 2"]
) -> tuple[Float[jax.Array, "*places"], Float[jax.Array, "*places"]]:
    """`image` (H, W) at `place` (..., 2), mirrored at its borders; and the share of white noise's variance kept."""
    low = jnp.floor(place)
    fy, fx = jnp.moveaxis(place - low, -1, 0)
    y, x = jnp.moveaxis(low.astype(jnp.int32), -1, 0)
    height, width = image.shape
    rows, columns = [_mirrored(y + i, height) for i in (0, 1)], [_mirrored(x + i, width) for i in (0, 1)]
    wy, wx = (1 - fy, fy), (1 - fx, fx)
    a, b, c, d = (wy[i] * wx[j] * image[rows[i], columns[j]] for i in (0, 1) for j in (0, 1))
    return a + b + c + d, (wy[0] ** 2 + wy[1] ** 2) * (wx[0] ** 2 + wx[1] ** 2)


def nearest(
    image: Shaped[jax.Array, "height width"], place: Float[jax.Array, "*places 2"], outside: float | None = None
) -> Shaped[jax.Array, "*places"]:
    """`image` (H, W) at the pixels nearest to `place` (..., 2); `outside` of it, or mirrored when None."""
    y, x = jnp.moveaxis(jnp.round(place).astype(jnp.int32), -1, 0)
    height, width = image.shape
    value = image[_mirrored(y, height), _mirrored(x, width)]
    if outside is None:
        return value
    return jnp.where((y >= 0) & (y < height) & (x >= 0) & (x < width), value, outside)


def field(
    key: jax.Array, size: int, shortest: float, longest: float, n_waves: int = N_WAVES
) -> Float[jax.Array, "size size"]:
    """(size, size) random smooth field of unit variance; wavelengths between `shortest` and `longest` px.

    A sum of plane waves is a product of two thin matrices: cos(a + b) = cos a cos b - sin a sin b.
    """
    length_key, angle_key, phase_key = jax.random.split(key, 3)
    length = jnp.exp(jax.random.uniform(length_key, (n_waves,), minval=np.log(shortest), maxval=np.log(longest)))
    angle = jax.random.uniform(angle_key, (n_waves,), maxval=2 * np.pi)
    phase = jax.random.uniform(phase_key, (n_waves,), maxval=2 * np.pi)
    index = jnp.arange(size)[:, None]
    rows = index * (2 * np.pi * jnp.sin(angle) / length) + phase
    columns = index * (2 * np.pi * jnp.cos(angle) / length)
    waves = jnp.cos(rows) @ jnp.cos(columns).T - jnp.sin(rows) @ jnp.sin(columns).T
    return waves * np.sqrt(2 / n_waves)


def cuts(key: jax.Array, cell: Float[jax.Array, "size size 2"], spacing: float, broken: jax.Array | float) -> Cuts:
    """Holes and patches of whole unit cells. cell: (s, s, 2) centre, in px of the piece, of each pixel's cell."""
    keys = jax.random.split(key, 4)
    size = len(cell)
    fraction = jax.random.uniform(keys[0], (2,), minval=0.03, maxval=0.35)
    level = jax.scipy.stats.norm.ppf(1 - fraction)
    which = jax.random.bernoulli(keys[1], jnp.array([0.75, 0.5])) & broken
    outlines = jnp.stack([field(k, size, 4 * spacing, 16 * spacing) for k in keys[2:]])
    y, x = jnp.moveaxis(jnp.clip(jnp.round(cell).astype(jnp.int32), 0, size - 1), -1, 0)
    hole, patch = (_opened(outlines > level[:, None, None], 0.6 * spacing)[:, y, x]) & which[:, None, None]
    return Cuts(hole, patch & ~hole)


def _opened(masks: jax.Array, sigma: float) -> jax.Array:
    """(n, s, s) bool masks without their small parts: a hole of one cell would be what a vacancy is."""

    inside = smooth(jnp.ones(masks.shape[1:]), sigma)

    def one(mask):
        core = smooth(mask.astype(jnp.float32), sigma) > 0.9 * inside  # what lies outside may well be hole too
        return (smooth(core.astype(jnp.float32), sigma) > 0.04) & mask

    return jax.vmap(one)(masks)


def smooth(image: jax.Array, sigma: float) -> jax.Array:
    """Gaussian filter of (s, s); zero outside. Two products with a band matrix: XLA's convolutions are slow on CPUs."""
    reach = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    apart_px = np.abs(np.subtract.outer(np.arange(len(image)), np.arange(len(image))))
    band = np.where(apart_px <= reach, np.exp(-0.5 * (apart_px / max(sigma, 1e-3)) ** 2) / kernel.sum(), 0.0)
    band = jnp.asarray(band, jnp.float32)
    return band @ image @ band


def emptied(
    key: jax.Array,
    image: Float[jax.Array, "size size"],
    cut: Cuts,
    vacuum: float,
    contrast: float,
    sigma: float,
    first_ring: float,
) -> Float[jax.Array, "size size"]:
    """`image` with vacuum in the holes and speckle as large as the lattice's in the patches."""
    keys = jax.random.split(key, 4)
    level = image.mean()
    rest = vacuum + jax.random.uniform(keys[0], (), maxval=0.25) * (level - vacuum)
    speckle = field(keys[1], len(image), 0.75 / first_ring, 1.6 / first_ring, N_WAVES_SPECKLE)
    size = jax.random.uniform(keys[2], (2,), minval=jnp.array([0.4, -0.3]), maxval=jnp.array([1.0, 1.0]))
    patch = jnp.maximum(level + contrast * (size[0] * speckle + size[1]), vacuum)
    in_hole, in_patch = smooth(cut.hole.astype(jnp.float32), sigma), smooth(cut.patch.astype(jnp.float32), sigma)
    return image * (1 - in_hole - in_patch) + in_hole * rest + in_patch * patch


def discs(yx: jax.Array, which: jax.Array, shape: tuple[int, int], radius: float) -> jax.Array:
    """(s, s) bool: within `radius` of a point of `yx` (L, 2) where `which` (L,); where discs meet a bit more."""

    def profile(position, n):
        return jnp.exp(-0.5 * ((jnp.arange(n)[None] - position[:, None]) / radius) ** 2)

    rows = profile(yx[:, 0], shape[0]) * which[:, None]
    return rows.T @ profile(yx[:, 1], shape[1]) > np.exp(-0.5)


def apart(yx: jax.Array, others: jax.Array, distance: float) -> jax.Array:
    """(L,) bool: no point of `others` (M, 2) within `distance` of each of `yx` (L, 2)."""
    squared = ((yx[:, None] - others[None]) ** 2).sum(-1)
    return (squared > distance**2).all(1)


def counting_noise(
    key: jax.Array, variance: Float[jax.Array, "height width"], skewness: Float[jax.Array, "height width"]
) -> Float[jax.Array, "height width"]:
    """White noise of `variance` with the `skewness` (third standardised moment) that few counted electrons have.

    A bright spot of noise is more common than a dark one: at half an electron per pixel ten times so beyond 4.5
    standard deviations of what a column covers. A normal variate n and c (n^2 - 1) have the moments that are asked for.
    """
    wanted = jnp.clip(skewness, 0.0, MOST_SKEWED)
    c = wanted / 6
    for _ in range(4):
        c = c + (wanted - (6 * c + 8 * c**3) / (1 + 2 * c**2) ** 1.5) / 6
    normal = jax.random.normal(key, variance.shape)
    return jnp.sqrt(variance / (1 + 2 * c**2)) * (normal + c * (normal**2 - 1))
