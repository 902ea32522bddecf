"""Images with exact truth: `make_simulator(material, cfg, size_px)` gives `key -> (image, Truth)` for jit and vmap."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material
from stemdefects.schema import SimulationConfig
from stemdefects.simulation import checks, detector, fields, population, probe, scan
from stemdefects.simulation.conditions import Conditions, draw_conditions

LATTICE, HOLE, AMORPHOUS, PHASE_1T = range(4)
PAD_PX = 12


class Truth(NamedTuple):
    """What an image shows: one entry per column, padded to N with `valid` False. Pixel 0 is the first pixel's centre."""

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


class Known(NamedTuple):
    """How the T frames of a clip were made, for an observer that is told all but the states."""

    conditions: Conditions
    crystal: "Crystal"
    states: jnp.ndarray  # (T, n) state of every column in every frame
    drift_px: jnp.ndarray  # (T, 2)
    keys: jnp.ndarray  # (T,) the key of each frame's `expose`
    index: jnp.ndarray  # (N,) column of each entry of the Truth, -1 none


class Stage(NamedTuple):
    """Constants of one simulator: columns, optics, sizes. Made once, closed over by the jitted function."""

    material: Material
    cfg: SimulationConfig
    size_px: tuple[int, int]
    slots: population.Slots
    twin: population.Slots | None
    rows: np.ndarray  # (n,) number of the close-packed row of each column, for the twin boundary
    split_nm: np.ndarray | None  # (n, 2) place of the other half of a 1T column
    table: probe.Optics
    upsampling: tuple[np.ndarray, np.ndarray]
    n_truth: int
    reach_nm: float


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
    """As `make_clip_simulator`, but the function gives `(frames, Truth, Known)`: also how the frames were made."""
    material, cfg = stage.material, stage.cfg
    middle = n_frames // 2
    mobile = mobile_state(material, cfg)

    def simulate(key, dose_e_per_px=None):
        keys = jax.random.split(key, 6)
        conditions = draw_conditions(keys[0], material, cfg)
        if dose_e_per_px is not None:
            conditions = conditions._replace(detector=conditions.detector._replace(dose_e_per_px=dose_e_per_px))
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


def mobile_state(material: Material, cfg: SimulationConfig) -> int:
    """State of the defect that hops: `movie.mobile_kind`, by default the material's first kind."""
    kind = 0 if cfg.movie.mobile_kind is None else material.kind_index(cfg.movie.mobile_kind)
    return material.kinds[kind].state


def _clip_states(key, stage, state, mobile, probability, n_frames, middle):
    """(T, n) states of the frames: hops forwards and backwards from the middle one."""
    states = {middle: state}
    keys = jax.random.split(key, max(n_frames, 1))
    for t in [*range(middle + 1, n_frames), *range(middle - 1, -1, -1)]:
        before = states[t - 1] if t > middle else states[t + 1]
        states[t] = population.hop(keys[t], stage.slots, before, mobile, probability)
    return jnp.stack([states[t] for t in range(n_frames)])


def make_stage(material: Material, cfg: SimulationConfig, size_px: tuple[int, int], lattice=None) -> Stage:
    """Everything about a simulator that does not change from image to image (numpy, host).

    `lattice`: the columns to draw, for a view that is known; by default enough of them for every view of the config.
    """
    checks.check(material, cfg, size_px)
    view = cfg.view
    largest = view.pixel_size_nm[1]
    stretch = 1.0 + max(map(abs, view.strain)) + max(map(abs, view.shear))
    padded = np.array(size_px) + 2 * PAD_PX
    reach_nm = 0.5 * float(np.hypot(*padded)) * largest * stretch + 1.2 * material.a_nm
    if lattice is None:
        lattice = geometry.disc(material, reach_nm)
    else:
        reach_nm = float(np.linalg.norm(lattice.position_nm, axis=1).max())
    slots = population.slots(material, lattice)
    twin = None
    if cfg.regions.twin_probability > 0 and material.phase_1T is not None:
        twin = population.slots(material, geometry.build(material, lattice.cell[:: material.n_sites], mirrored=True))
    split = None
    if cfg.regions.phase_1T_probability > 0 and material.phase_1T is not None:
        rows = np.flatnonzero(lattice.site == material.phase_1T[0])
        basis = geometry.site_positions_nm(material)[material.phase_1T[0]]
        split = np.where((lattice.site == material.phase_1T[0])[:, None], lattice.position_nm - 2 * basis, np.nan)
        split = split[rows].astype(np.float32)
    fine = 2.0 * 1e-3 * cfg.probe.semi_angle_mrad[1] / float(probe.wavelength_nm(view.voltage_kv[1]))  # cut-off
    # above half the sampling rate the probe's transfer folds back; up to 0.65 it is below 1% there before blur
    oversampling = 1 if largest * fine < 0.65 else 2
    window = probe.fast_length(int(np.ceil(2.2 * oversampling / view.pixel_size_nm[0])))
    window = min(window, *(probe.fast_length(n + 2 * PAD_PX) * oversampling for n in size_px))
    table = probe.optics(tuple(size_px), PAD_PX, window, oversampling)
    area = float(np.prod(np.array(size_px) * largest * (1 + 2 * (stretch - 1))))
    edge = float(np.sum(np.array(size_px) * largest)) * 2
    n_truth = material.n_sites * int(np.ceil(area / material.cell_area_nm2 + 0.6 * edge / material.a_nm))
    n_truth = min(n_truth, len(lattice.site))
    return Stage(
        material, cfg, tuple(size_px), slots, twin, lattice.cell[:, 1], split, table,
        (fields.upsampling(size_px[0]), fields.upsampling(size_px[1])), n_truth, reach_nm,
    )  # fmt: skip


def grow_states(key, stage: Stage, conditions: Conditions):
    """Random states of all columns (n,) and their ideal places; returns (position_nm, state, columns)."""
    material, cfg = stage.material, stage.cfg
    keys = jax.random.split(key, 6)
    slots, upper = stage.slots, jnp.zeros(len(stage.slots.site), bool)
    present = jnp.ones(len(slots.site), bool)
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
        with_lines = population.vacancy_lines(
            keys[3], stage.slots, material, state, material.kinds[kind].state, cfg.defects.line_length_sites, 2,
            0.6 * stage.reach_nm,
        )  # fmt: skip
        state = jnp.where(jax.random.bernoulli(keys[4], cfg.defects.line_probability), with_lines, state)
    state = population.plant_complexes(keys[5], slots, material, state, conditions.complexes)
    return position, jax.lax.optimization_barrier(state), (slots, position, upper, present)


def _twin(key, stage: Stage, conditions: Conditions):
    """A 4|4P mirror-twin boundary along a1: rows above it are mirrored in the chalcogen row they share.

    Zhou et al., Nano Lett. 13, 2615 (2013). Rows beyond the boundary are moved by half a1 along it and by a third of
    the row distance towards it, which makes the mirror image of a hexagonal crystal with one atom on the mirror.
    """
    lattice = stage.material.lattice_nm
    along = lattice[0] / np.linalg.norm(lattice[0])
    across = np.array([along[1], -along[0]])
    height = float(lattice[1] @ across)
    across, height = across * np.sign(height), abs(height)
    reach = int(0.4 * stage.reach_nm / height)
    boundary = jax.random.randint(key, (), -reach, reach + 1)
    upper = (stage.rows > boundary) & conditions.has_twin
    step = (0.5 * lattice[0] - across * height / 3.0).astype(np.float32)
    position = jnp.where(upper[:, None], stage.twin.position_nm + step, stage.slots.position_nm)
    double = upper & (stage.rows == boundary + 1) & (stage.slots.site == stage.material.phase_1T[0])
    slots = stage.slots._replace(
        position_nm=position,
        bonds=jnp.where(upper[:, None], stage.twin.bonds, stage.slots.bonds),
        reverse=jnp.where(upper[:, None], stage.twin.reverse, stage.slots.reverse),
    )
    return slots, position, upper, ~double


def grow(key, stage: Stage, conditions: Conditions, state, columns) -> Crystal:
    """Place the columns in the field: relaxation, static displacements, rotation, strain, holes and patches."""
    material, cfg = stage.material, stage.cfg
    slots, position, _, present = columns
    key_static, key_regions, key_rough, key_patch, key_texture = jax.random.split(key, 5)
    height, width = stage.size_px
    groups = population.find_complexes(slots, material, state)
    moved = position + population.relax(slots, material, state, conditions.relaxation)
    moved = moved + conditions.displacement_nm * jax.random.normal(key_static, moved.shape)
    y, x = _to_px(stage, conditions, moved)
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
    if stage.split_nm is not None:
        site, half = material.phase_1T
        of_site = np.flatnonzero(stage.slots.site == site)
        split_here = (region[of_site] == PHASE_1T) & present[of_site]
        state = state.at[of_site].set(jnp.where(split_here, half, state[of_site]))
        extra = jnp.stack(_to_px(stage, conditions, stage.split_nm)), jnp.full(len(of_site), half), split_here
    return Crystal(
        y, x, state, present & (region != HOLE), region, texture, extra[0][0], extra[0][1], extra[1], extra[2],
        groups, masks, contamination,
    )  # fmt: skip


def _to_px(stage: Stage, conditions: Conditions, position_nm):
    """Crystal frame (n, 2) nm to undistorted image pixels, y and x."""
    turned = (position_nm + conditions.offset_nm) @ conditions.affine.T / conditions.pixel_size_nm
    return turned[:, 0] + 0.5 * (stage.size_px[0] - 1), turned[:, 1] + 0.5 * (stage.size_px[1] - 1)


def project(key, stage: Stage, conditions: Conditions, crystal: Crystal, drift_px):
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
    spectrum = probe.spread(y, x, jnp.concatenate([signal, extra]), stage.table)
    spectrum = spectrum * probe.transfer(conditions.probe, stage.table, conditions.pixel_size_nm)
    lines = jnp.fft.ifft(spectrum, axis=0)
    lines = scan.shift_rows(lines, jitter, stage.table.frequency_x, stage.table.pad_px, height)
    image = jnp.fft.irfft(lines, stage.table.padded_px[1], axis=1)
    image = image[:, stage.table.pad_px : stage.table.pad_px + width] / conditions.pixel_size_nm**2
    blotches = stage.upsampling[0] @ conditions.blotches @ stage.upsampling[1].T
    film = (conditions.background + blotches) * (crystal.masks != HOLE) + crystal.contamination
    return jnp.maximum(image + conditions.mean_fraction * jnp.maximum(film, 0.0), 0.0), y, x, jitter


def expose(key, stage: Stage, conditions: Conditions, crystal: Crystal, drift_px):
    """One frame of a crystal displaced by `drift_px` (2,): counts (H, W), and (y, x) of its columns in the image."""
    key_rows, key_noise = jax.random.split(key)
    image, y, x, jitter = project(key_rows, stage, conditions, crystal, drift_px)
    noise = stage.cfg.detector
    image = jax.lax.optimization_barrier(image)  # XLA on CPUs computes it again for every use otherwise
    image = detector.detect(key_noise, image, conditions.detector, noise.poisson, noise.integer, noise.saturation)
    n = len(crystal.y_px)
    blur_px = jnp.maximum(0.05 / conditions.pixel_size_nm, 0.8)  # the probe's sigma, about
    move_y, move_x = scan.at_columns(jitter, y[:n], blur_px, stage.size_px[0])
    return image, y[:n] + move_y, x[:n] + move_x


def _listed(stage: Stage, crystal: Crystal, y, x):
    """(N,) columns inside the image, -1 beyond the last."""
    height, width = stage.size_px
    inside = (y >= -0.5) & (y < height - 0.5) & (x >= -0.5) & (x < width - 0.5)
    return jnp.nonzero(inside & crystal.present, size=stage.n_truth, fill_value=-1)[0]


def _truth(stage: Stage, conditions: Conditions, crystal: Crystal, y, x, index) -> Truth:
    filled = index >= 0
    groups = crystal.groups
    valid = filled & (crystal.region[index] == LATTICE)

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
    )
