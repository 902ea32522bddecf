"""Images with exact truth: `make_simulator(material, cfg, size_px)` gives `key -> (image, Truth)` for jit and vmap."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stemdefects.crystal.material import Material
from stemdefects.schema import SimulationConfig
from stemdefects.simulation.conditions import Conditions, draw_conditions
from stemdefects.simulation.optics import detector, probe, scan
from stemdefects.simulation.optics.stage import Stage, make_stage, mobile_state
from stemdefects.simulation.specimen import population
from stemdefects.simulation.specimen.growth import HOLE, LATTICE, Crystal, grow, grow_states


class Truth(NamedTuple):
    """What an image shows: one entry per column, padded to N with `valid` False. 0 is the first pixel's centre."""

    y_px: jnp.ndarray  # (N,) float32, in the distorted image
    x_px: jnp.ndarray  # (N,) float32
    site: jnp.ndarray  # (N,) int32
    state: jnp.ndarray  # (N,) int32
    valid: jnp.ndarray  # (N,) bool: a column of the crystal, inside the image, not in a hole, patch or 1T
    complex: jnp.ndarray  # (N,) int32: same number, same complex; -1 none
    complex_kind: jnp.ndarray  # (N,) int32: index into material.complexes; -1 none
    orientation: jnp.ndarray  # (N,) int8: 0, 1, 2; -1 none
    regions: jnp.ndarray  # (H, W) int32: 0 lattice, 1 hole, 2 amorphous or contaminated, 3 1T
    pixel_size_nm: jnp.ndarray  # ()
    angle_rad: jnp.ndarray  # (), of a1 from the x axis towards y
    dose_e_per_px: jnp.ndarray  # (), incident
    told_signals: jnp.ndarray | None = None  # (n_species,), see `Conditions`; None where all images have the same
    counted: jnp.ndarray | None = None  # (H, W) bool, what mean and contrast are taken from; None: all of it


class Known(NamedTuple):
    """How the T frames of a clip were made, for an observer that is told all but the states."""

    conditions: Conditions
    crystal: Crystal
    states: jnp.ndarray  # (T, n) state of every column in every frame
    drift_px: jnp.ndarray  # (T, 2)
    keys: jnp.ndarray  # (T,) the key of each frame's `expose`
    column: jnp.ndarray  # (N,) that of each entry of the Truth, -1 none


def make_simulator(material: Material, cfg: SimulationConfig, size_px: tuple[int, int]) -> Callable:
    """A function `key -> (image (H, W) float32 counts, Truth)`, pure, of fixed shapes, for jit and vmap.

    It takes the dose as an optional second argument, in place of the one drawn (traced: no new compilation).
    `size_px` is (height, width). Raises `UserError` naming the config key when the settings cannot be simulated.
    """
    clip = make_clip_simulator(material, cfg, size_px, n_frames=1)

    def simulate(key, dose_e_per_px=None):
        frames, truth = clip(key, dose_e_per_px)
        return frames[0], truth

    return simulate


def make_clip_simulator(material: Material, cfg: SimulationConfig, size_px: tuple[int, int], n_frames: int) -> Callable:
    """A function `key -> (frames (T, H, W), Truth of frame T // 2)`: one place, seen T times.

    Between frames the field drifts by what alignment leaves (`clip.drift_px`), rows jitter anew, mobile vacancies hop.
    """
    simulate = make_known_simulator(make_stage(material, cfg, size_px), n_frames)
    return lambda key, dose_e_per_px=None: simulate(key, dose_e_per_px)[:2]


def make_known_simulator(stage: Stage, n_frames: int) -> Callable:
    """As `make_clip_simulator`, but the function gives `(frames, Truth, Known)`: also how the frames were made.

    It takes `conditions` too, to be used instead of those drawn.
    """
    material, cfg = stage.material, stage.cfg
    middle = n_frames // 2
    mobile = mobile_state(material, cfg)

    def simulate(key, dose_e_per_px=None, conditions=None):
        keys = jax.random.split(key, 6)
        conditions = draw_conditions(keys[0], material, cfg) if conditions is None else conditions
        if dose_e_per_px is not None:
            conditions = conditions._replace(detector=conditions.detector._replace(dose_e_per_px=dose_e_per_px))
        conditions = jax.lax.optimization_barrier(conditions)  # else drawn again for every use
        _, state, columns = grow_states(keys[1], stage, conditions)
        crystal = jax.lax.optimization_barrier(grow(keys[2], stage, conditions, state, columns))
        frame_keys = jax.random.split(keys[3], n_frames)
        steps = conditions.clip_drift_px * jax.random.normal(keys[4], (n_frames, 2))
        drift = jnp.cumsum(steps, 0)
        drift = drift - drift[middle]
        states = _clip_states(keys[5], stage, crystal.state, mobile, conditions.clip_hop, n_frames, middle)

        def frame(key, state, offset):
            image, _, _ = expose(key, stage, conditions, crystal._replace(state=state), offset)
            return image

        image, y, x = expose(frame_keys[middle], stage, conditions, crystal, jnp.zeros(2))
        frames = image[None]
        if n_frames > 1:
            others = np.array([t for t in range(n_frames) if t != middle])
            frames = jax.vmap(frame)(frame_keys[others], states[others], drift[others])
            frames = jnp.concatenate([frames[:middle], image[None], frames[middle:]])
        index = _listed(stage, crystal, y, x)
        known = Known(conditions, crystal, states, drift, frame_keys, index)
        return frames, _truth(stage, conditions, crystal, y, x, index), known

    return simulate


def _clip_states(key, stage, state, mobile, probability, n_frames, middle):
    """(T, n) states of the frames: hops forwards and backwards from the middle one."""
    states = {middle: state}
    keys = jax.random.split(key, max(n_frames, 1))
    for t in [*range(middle + 1, n_frames), *range(middle - 1, -1, -1)]:
        before = states[t - 1] if t > middle else states[t + 1]
        states[t] = population.hop(keys[t], stage.slots, before, mobile, probability)
    return jnp.stack([states[t] for t in range(n_frames)])


def project(
    key: jax.Array, stage: Stage, conditions: Conditions, crystal: Crystal, drift_px: Float[jax.Array, "2"]
) -> tuple[
    Float[jax.Array, "height width"], Float[jax.Array, " all_columns"], Float[jax.Array, " all_columns"], scan.Rows
]:
    """What falls on the detector: fraction of the beam (H, W), places (y, x) of the columns before row jitter, `Rows`.

    Columns that are no lattice sites come last. `key` draws the row jitter.
    """
    height, width = stage.size_px
    signal = conditions.signals_nm2[crystal.state] * crystal.texture * crystal.present
    extra = conditions.signals_nm2[crystal.extra_state] * crystal.extra_present
    y = jnp.concatenate([crystal.y_px, crystal.extra_y_px]) + drift_px[0]
    x = jnp.concatenate([crystal.x_px, crystal.extra_x_px]) + drift_px[1]
    y, x = scan.distort(conditions.scan, y, x, height)
    jitter = scan.rows(key, conditions.scan, height)
    y, x, jitter = jax.lax.optimization_barrier((y, x, jitter))
    spectrum = probe.spread(y, x, jnp.concatenate([signal, extra]), stage.table)
    spectrum = spectrum * probe.transfer(conditions.probe, stage.table, conditions.pixel_size_nm)
    lines = jnp.fft.ifft(spectrum, axis=0)
    lines = jax.lax.optimization_barrier(lines)
    lines = scan.shift_rows(lines, jitter, stage.table.frequency_x, stage.table.pad_px, height)
    image = jnp.fft.irfft(lines, stage.table.padded_px[1], axis=1)
    image = image[:, stage.table.pad_px : stage.table.pad_px + width] / conditions.pixel_size_nm**2
    blotches = stage.upsampling[0] @ conditions.blotches @ stage.upsampling[1].T
    film = (conditions.background + blotches) * (crystal.masks != HOLE) + crystal.contamination
    return jnp.maximum(image + conditions.mean_fraction * jnp.maximum(film, 0.0), 0.0), y, x, jitter


def expose(
    key: jax.Array, stage: Stage, conditions: Conditions, crystal: Crystal, drift_px: Float[jax.Array, "2"]
) -> tuple[Float[jax.Array, "height width"], Float[jax.Array, " columns"], Float[jax.Array, " columns"]]:
    """One frame of a crystal displaced by `drift_px` (2,): counts (H, W), and (y, x) of its columns in the image."""
    key_rows, key_noise = jax.random.split(key)
    image, y, x, jitter = project(key_rows, stage, conditions, crystal, drift_px)
    noise = stage.cfg.detector
    image = jax.lax.optimization_barrier(image)  # XLA on CPUs computes it again for every use otherwise
    image = detector.detect(key_noise, image, conditions.detector, noise.poisson, noise.integer, noise.saturation)
    n = len(crystal.y_px)
    blur_px = jnp.maximum(0.05 / conditions.pixel_size_nm, 0.8)  # the probe's sigma, about
    move_y, move_x = scan.at_columns(jitter, y[:n], blur_px, stage.size_px[0])
    return image, y[:n] + move_y, x[:n] + move_x + detector.delay_px(conditions.detector.afterglow_px)


def _listed(stage: Stage, crystal: Crystal, y, x):
    """(N,) columns inside the image, -1 beyond the last."""
    height, width = stage.size_px
    inside = (y >= -0.5) & (y < height - 0.5) & (x >= -0.5) & (x < width - 0.5)
    return jnp.nonzero(inside & crystal.present, size=stage.n_truth, fill_value=-1)[0]


def _truth(stage: Stage, conditions: Conditions, crystal: Crystal, y, x, index) -> Truth:
    filled = index >= 0
    groups = crystal.groups
    row = jnp.clip(jnp.round(y[index]).astype(jnp.int32), 0, stage.size_px[0] - 1)
    column = jnp.clip(jnp.round(x[index]).astype(jnp.int32), 0, stage.size_px[1] - 1)
    labelled = crystal.masks[row, column] == LATTICE  # at ragged edges column and outline may differ
    valid = filled & (crystal.region[index] == LATTICE) & labelled

    def pick(values, missing):
        return jnp.where(filled, values[index], jnp.asarray(missing, values.dtype))

    return Truth(
        y_px=pick(y, -1e4).astype(jnp.float32),
        x_px=pick(x, -1e4).astype(jnp.float32),
        site=pick(jnp.asarray(stage.slots.site), 0),
        state=pick(crystal.state, 0),
        valid=valid,
        complex=jnp.where(valid, pick(groups.complex, -1), -1),
        complex_kind=jnp.where(valid, pick(groups.complex_kind, -1), -1),
        orientation=jnp.where(valid, pick(groups.orientation, -1), -1).astype(jnp.int8),
        regions=crystal.masks,
        pixel_size_nm=conditions.pixel_size_nm,
        angle_rad=jnp.arctan2(conditions.affine[0, 1], conditions.affine[1, 1]),
        dose_e_per_px=conditions.detector.dose_e_per_px,
        told_signals=conditions.told_signals if any(s.ranges for s in stage.material.species) else None,
    )
