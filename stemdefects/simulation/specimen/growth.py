"""A crystal with its defects in a field of view: states, relaxation, strain, holes, patches, twins (JAX)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from stemdefects.simulation.conditions import Conditions
from stemdefects.simulation.optics.stage import Stage
from stemdefects.simulation.specimen import fields, population

LATTICE, HOLE, AMORPHOUS, PHASE_1T = range(4)


class Crystal(NamedTuple):
    """A grown crystal in the undistorted image frame: positions in pixels, signals in nm2."""

    y_px: jnp.ndarray  # (n,)
    x_px: jnp.ndarray
    state: jnp.ndarray
    present: jnp.ndarray  # (n,) bool: not lost in a hole or at a boundary
    region: jnp.ndarray  # (n,) int32
    texture: jnp.ndarray  # (n,) factor on the signal, 1 in the crystal
    extra_y_px: jnp.ndarray  # (m,) columns that are no lattice sites
    extra_x_px: jnp.ndarray
    extra_state: jnp.ndarray
    extra_present: jnp.ndarray
    groups: population.Groups
    masks: jnp.ndarray  # (H, W) int32
    contamination: jnp.ndarray  # (H, W) in units of the crystal's mean signal


# slots and places of the columns; bool: above a twin boundary, there at all
Columns = tuple[
    population.Slots, Float[jax.Array, "columns 2"], Bool[jax.Array, " columns"], Bool[jax.Array, " columns"]
]


def grow_states(
    key: jax.Array, stage: Stage, conditions: Conditions
) -> tuple[Float[jax.Array, "columns 2"], Int[jax.Array, " columns"], Columns]:
    """Random states of all columns (n,) and their ideal places; returns (position_nm, state, columns)."""
    material, cfg = stage.material, stage.cfg
    keys = jax.random.split(key, 6)
    slots, none = stage.slots, jnp.zeros(len(stage.slots.site), bool)
    upper, present = none, ~none
    position = jnp.asarray(slots.position_nm)
    if stage.twin is not None:
        slots, position, upper, present = _twin(keys[0], stage, conditions)
    place = position / (2 * stage.reach_nm) + 0.5
    length = conditions.clustering_length_nm / (2 * stage.reach_nm)
    gather = fields.sample(fields.control_points(keys[1], length), place[:, 0], place[:, 1])
    modulation = jnp.exp(conditions.clustering * gather - 0.5 * conditions.clustering**2)
    state = population.point_defects(keys[2], slots, material, conditions.density, modulation)
    if cfg.defects.line_probability > 0:
        kind = 0 if cfg.defects.line_kind is None else material.kind_index(cfg.defects.line_kind)
        lines = population.Lines(material.kinds[kind].state, 2, cfg.defects.line_length_sites, 0.6 * stage.reach_nm)
        with_lines = population.vacancy_lines(keys[3], stage.slots, material, state, lines)
        state = jnp.where(jax.random.bernoulli(keys[4], cfg.defects.line_probability), with_lines, state)
    state = population.plant_complexes(keys[5], slots, material, state, conditions.complexes)
    return position, jax.lax.optimization_barrier(state), (slots, position, upper, present)


def _twin(key, stage: Stage, conditions: Conditions):
    """A 4|4P mirror-twin boundary along a1: rows above it are mirrored in the chalcogen row they share.

    Zhou et al., Nano Lett. 13, 2615 (2013). Rows beyond the boundary are moved by half a1 along it and by a third of
    the row distance towards it, which makes the mirror image of a hexagonal crystal with one atom on the mirror.
    """
    twin, split = stage.twin, stage.material.phase_1T
    assert twin is not None and split is not None  # boundaries are asked for
    lattice = stage.material.lattice_nm
    along = lattice[0] / np.linalg.norm(lattice[0])
    across = np.array([along[1], -along[0]])
    height = float(lattice[1] @ across)
    across, height = across * np.sign(height), abs(height)
    reach = int(0.4 * stage.reach_nm / height)
    boundary = jax.random.randint(key, (), -reach, reach + 1)
    upper = jnp.asarray(stage.rows > boundary) & conditions.has_twin
    step = (0.5 * lattice[0] - across * height / 3.0).astype(np.float32)
    position = jnp.where(upper[:, None], twin.position_nm + step, stage.slots.position_nm)
    double = upper & (stage.rows == boundary + 1) & (stage.slots.site == split[0])
    slots = stage.slots._replace(
        position_nm=position,
        bonds=jnp.where(upper[:, None], twin.bonds, stage.slots.bonds),
        reverse=jnp.where(upper[:, None], twin.reverse, stage.slots.reverse),
    )
    return slots, position, upper, ~double


def grow(
    key: jax.Array, stage: Stage, conditions: Conditions, state: Int[jax.Array, " columns"], columns: Columns
) -> Crystal:
    """Place the columns in the field: relaxation, static displacements, rotation, strain, holes and patches."""
    material, cfg = stage.material, stage.cfg
    slots, position, _, present = columns
    key_static, key_regions, key_rough, key_patch, key_texture = jax.random.split(key, 5)
    height, width = stage.size_px
    groups = population.find_complexes(slots, material, state)
    moved = position + population.relax(slots, material, state, conditions.relaxation)
    moved = moved + conditions.displacement_nm * jax.random.normal(key_static, moved.shape)
    y, x = to_px(stage, conditions, moved)
    field_keys = jax.random.split(key_regions, 3)
    rough = cfg.regions.roughness * jax.random.normal(key_rough, state.shape)
    masks = jnp.zeros(stage.size_px, jnp.int32)
    region = jnp.zeros(state.shape, jnp.int32)
    contamination = jnp.zeros(stage.size_px)
    choices = (
        (PHASE_1T, conditions.fraction_1T, stage.split_nm is not None),
        (AMORPHOUS, conditions.fraction_amorphous, cfg.regions.amorphous_probability > 0),
        (HOLE, conditions.fraction_hole, cfg.regions.hole_probability > 0),
    )
    for (label, fraction, possible), field_key in zip(choices, field_keys, strict=True):
        if not possible:
            continue
        points = fields.control_points(field_key, conditions.region_length_nm / (height * conditions.pixel_size_nm))
        level = jnp.where(fraction > 0, fields.threshold(fraction), jnp.inf)
        over = stage.upsampling[0] @ points @ stage.upsampling[1].T
        masks = jnp.where(over > level, label, masks)
        here = fields.sample(points, (y + 0.5) / height, (x + 0.5) / width) + rough > level
        region = jnp.where(here, label, region)
        if label == AMORPHOUS:
            contamination = conditions.patch_signal * jnp.clip((over - level) / 0.5, 0.0, 1.0)
    disordered = region == AMORPHOUS
    scatter = conditions.patch_disorder_nm / conditions.pixel_size_nm * jax.random.normal(key_patch, (2, *y.shape))
    y = y + jnp.where(disordered, scatter[0], 0.0)
    x = x + jnp.where(disordered, scatter[1], 0.0)
    texture = jnp.where(disordered, jnp.exp(0.5 * jax.random.normal(key_texture, y.shape)), 1.0)
    extra = jnp.zeros((2, 0)), jnp.zeros(0, jnp.int32), jnp.zeros(0, bool)
    if stage.split_nm is not None and material.phase_1T is not None:
        site, half = material.phase_1T
        of_site = np.flatnonzero(stage.slots.site == site)
        split_here = (region[of_site] == PHASE_1T) & present[of_site]
        state = state.at[of_site].set(jnp.where(split_here, half, state[of_site]))
        extra = jnp.stack(to_px(stage, conditions, stage.split_nm)), jnp.full(len(of_site), half), split_here
    return Crystal(
        y_px=y,
        x_px=x,
        state=state,
        present=present & (region != HOLE),
        region=region,
        texture=texture,
        extra_y_px=extra[0][0],
        extra_x_px=extra[0][1],
        extra_state=extra[1],
        extra_present=extra[2],
        groups=groups,
        masks=masks,
        contamination=contamination,
    )


def to_px(
    stage: Stage, conditions: Conditions, position_nm: Float[jax.Array, "columns 2"] | Float[np.ndarray, "columns 2"]
) -> tuple[Float[jax.Array, " columns"], Float[jax.Array, " columns"]]:
    """Crystal frame (n, 2) nm to undistorted image pixels, y and x."""
    moved = position_nm + conditions.offset_nm
    turn = conditions.affine / conditions.pixel_size_nm
    # written out: batched products of such thin matrices are slow on CPUs
    y, x = (turn[axis, 0] * moved[:, 0] + turn[axis, 1] * moved[:, 1] for axis in (0, 1))
    return y + 0.5 * (stage.size_px[0] - 1), x + 0.5 * (stage.size_px[1] - 1)
