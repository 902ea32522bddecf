"""A network's answers averaged over the eight ways to turn and mirror an image.

Nothing in an image says how the microscope's axes lie, so the answers should turn with it; a convolutional network
keeps to that only as far as it was taught. The mean over the square's symmetries does, and its errors are smaller
(Cohen & Welling, ICML 2016, on why; Simonyan & Zisserman, ICLR 2015, for averaging at test time). It costs as many
passes as symmetries.

Sublattices with equal columns (graphene) differ by the direction of their bonds alone. A network that is to name them
is trained on the half of all directions that tells them apart, and of a frame outside it is shown the transposed image.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.crystal.bragg import equivalent_cells
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.models.unet import Outputs

COUNTS = (1, 2, 4, 8)  # as it is; mirrored in y; in x and in both; these transposed
AS_IT_IS, TRANSPOSED = 0, 4  # views by number
UNTOLD_DEG = 60.0  # turned by this, a honeycomb is the same with its sublattices exchanged


def averaged(apply: Callable, symmetries: int) -> Callable:
    """`frames (B, H, W, T) -> Outputs`, the mean of `apply` over the first `symmetries` of: as it is, mirrored in y, in
    x, in both, and these four transposed.

    Logits are averaged (the geometric mean of posteriors), offsets turned back with the image. The stated position
    uncertainty is the mean of the single ones, which is larger than the error of the mean. Raises UserError for numbers
    other than 1, 2, 4, 8.
    """
    if symmetries not in COUNTS:
        raise UserError(f"symmetries={symmetries}: must be 1, 2, 4 or 8, the number of turned and mirrored views")
    return over(apply, range(symmetries))


def over(apply: Callable, views: Sequence[int]) -> Callable:
    """`averaged` over the views of these numbers."""
    if tuple(views) == (AS_IT_IS,):
        return apply

    def mean(frames: jax.Array) -> Outputs:
        seen = [_turned_back(apply(_turned(frames, which)), which) for which in views]
        return jax.tree.map(lambda *parts: sum(parts) / len(parts), *seen)

    return mean


def views(model: Any, symmetries: int, vectors_px: np.ndarray | None = None) -> tuple[int, ...]:
    """Numbers of the views that `model` (`LoadedModel`) is shown of frames with the lattice `vectors_px` (2, 2).

    All of the first `symmetries`; of sublattices that are alike the one whose lattice lies deeper inside the directions
    of the training. Raises UserError where `symmetries` asks for views in which these change names.
    """
    material = model.material
    if not alike(material):
        return tuple(range(symmetries))
    if symmetries > 1:
        raise UserError(
            f"inference.symmetries={symmetries}: the sublattices of {material.name} are alike, and mirrored views "
            "exchange them; leave it at 1"
        )
    low, high = min(model.turns_deg), max(model.turns_deg)
    if vectors_px is None or high - low >= 360:
        return (AS_IT_IS,)
    seen, middle = np.asarray(vectors_px, float).reshape(-1, 2, 2)[0], (low + high) / 2

    def off_deg(vectors: np.ndarray) -> float:
        """Least angle between the middle of these directions and one that the lattice can be said to have."""
        cells = equivalent_cells(vectors, material.lattice_nm)
        turns = [_direction_deg(cell[0]) - _direction_deg(material.lattice_nm[0]) for cell in cells]
        return min(abs((turn - middle + 180) % 360 - 180) for turn in turns)

    return (TRANSPOSED,) if off_deg(seen[:, ::-1]) < off_deg(seen) else (AS_IT_IS,)


def _direction_deg(vector: np.ndarray) -> float:
    """Angle of a vector (y, x) from the x axis towards y."""
    return float(np.degrees(np.arctan2(*vector)))


def alike(material: Material) -> bool:
    """Are the ideal columns of its sublattices all the same, so that nothing but direction tells them apart?"""
    ideal = [state for state, site in zip(material.ideal_states, material.sites, strict=True) if not site.floating]
    return len(ideal) > 1 and bool(np.ptp(material.intensities()[ideal]) == 0)


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
