"""A network's answers averaged over the eight ways to turn and mirror an image.

Nothing in an image says how the microscope's axes lie, so the answers should turn with it; a convolutional network
keeps to that only as far as it was taught. The mean over the square's symmetries does, and its errors are smaller
(Cohen & Welling, ICML 2016, on why; Simonyan & Zisserman, ICLR 2015, for averaging at test time). It costs as many
passes as symmetries.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from stemdefects.errors import UserError
from stemdefects.models.unet import Outputs

COUNTS = (1, 2, 4, 8)  # as it is; mirrored in y; in x and in both; these transposed


def averaged(apply: Callable, symmetries: int) -> Callable:
    """`frames (B, H, W, T) -> Outputs`, the mean of `apply` over the first `symmetries` of: as it is, mirrored in y, in
    x, in both, and these four transposed.

    Logits are averaged (the geometric mean of posteriors), offsets turned back with the image. The stated position
    uncertainty is the mean of the single ones, which is larger than the error of the mean. Raises UserError for numbers
    other than 1, 2, 4, 8.
    """
    if symmetries not in COUNTS:
        raise UserError(f"symmetries={symmetries}: must be 1, 2, 4 or 8, the number of turned and mirrored views")
    if symmetries == 1:
        return apply

    def mean(frames: jax.Array) -> Outputs:
        seen = [_turned_back(apply(_turned(frames, which)), which) for which in range(symmetries)]
        return jax.tree.map(lambda *parts: sum(parts) / len(parts), *seen)

    return mean


def _turned(values: jax.Array, which: int) -> jax.Array:
    """Axes 1 and 2 (y, x) transposed, then mirrored in y and x, as the bits of `which` say."""
    values = jnp.swapaxes(values, 1, 2) if which & 4 else values
    values = values[:, ::-1] if which & 1 else values
    return values[:, :, ::-1] if which & 2 else values


def _turned_back(outputs: Outputs, which: int) -> Outputs:
    def back(values):
        values = values[:, :, ::-1] if which & 2 else values
        values = values[:, ::-1] if which & 1 else values
        return jnp.swapaxes(values, 1, 2) if which & 4 else values

    maps = jax.tree.map(back, outputs)
    offset = maps.offset * jnp.array([-1.0 if which & 1 else 1.0, -1.0 if which & 2 else 1.0])
    return maps._replace(offset=offset[..., ::-1] if which & 4 else offset)
