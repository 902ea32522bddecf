"""The settings of one image, drawn from the ranges of the config."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.schema import SimulationConfig
from stemdefects.simulation.optics.detector import Detector
from stemdefects.simulation.optics.probe import FWHM_TO_SIGMA, Probe
from stemdefects.simulation.optics.scan import Scan
from stemdefects.simulation.specimen import fields


class Conditions(NamedTuple):
    """Everything that is one number per image (or a small array): view, crystal, probe, scan and detector."""

    pixel_size_nm: jnp.ndarray
    affine: jnp.ndarray  # (2, 2), acts on (y, x): strain, then rotation
    offset_nm: jnp.ndarray  # (2,), within one cell
    displacement_nm: jnp.ndarray
    density: jnp.ndarray  # (n_kinds,)
    complexes: jnp.ndarray  # (n_complexes,)
    clustering: jnp.ndarray
    clustering_length_nm: jnp.ndarray
    relaxation: jnp.ndarray
    fraction_hole: jnp.ndarray
    fraction_amorphous: jnp.ndarray
    fraction_1T: jnp.ndarray
    has_twin: jnp.ndarray
    region_length_nm: jnp.ndarray
    patch_signal: jnp.ndarray
    patch_disorder_nm: jnp.ndarray
    signals_nm2: jnp.ndarray  # (n_states,) HAADF cross-section of a column in each state
    told_signals: jnp.ndarray  # (n_species,) logarithm of what is believed of each species' signal, before any spread
    mean_fraction: jnp.ndarray  # of the beam, that the perfect crystal scatters onto the detector
    background: jnp.ndarray
    blotches: jnp.ndarray  # (CONTROL, CONTROL)
    clip_drift_px: jnp.ndarray
    clip_hop: jnp.ndarray
    probe: Probe
    scan: Scan
    detector: Detector


class _Draws:
    """Uniform numbers handed out one by one: one random draw for all scalars of an image."""

    def __init__(self, key, n: int):
        self._numbers = jax.random.uniform(key, (n,))
        self._next = 0

    def unit(self):
        self._next += 1
        return self._numbers[self._next - 1]

    def between(self, low_high):
        low, high = low_high
        return low + (high - low) * self.unit()

    def log_between(self, low_high):
        low, high = low_high
        if low <= 0:
            return self.between(low_high)
        return low * (high / low) ** self.unit()

    def angle(self):
        return 2 * np.pi * self.unit()


def kind_ranges(material: Material, cfg: SimulationConfig) -> list[tuple[float, float]]:
    """Density range of each kind: the config's where it names the kind, else the material's; chosen place, scaled."""
    ranges = []
    for kind in material.kinds:
        low, high = cfg.defects.density.get(kind.name, kind.density)
        if kind.name not in cfg.defects.density:
            if low <= 0 and not cfg.defects.rare_kinds:
                low, high = 0.0, 0.0
            elif cfg.defects.density_at is not None:
                at = cfg.defects.density_at
                low = high = low * (high / low) ** at if low > 0 else high * at
        ranges.append((low * cfg.defects.density_scale, high * cfg.defects.density_scale))
    return ranges


def draw_conditions(key: jax.Array, material: Material, cfg: SimulationConfig) -> Conditions:
    """Draw one image's settings; every range is inclusive, dose and densities are log-uniform."""
    key_scalars, key_blotches = jax.random.split(key)
    d = _Draws(key_scalars, 80 + len(material.kinds) + len(material.complexes) + 2 * material.n_states)
    view, defects, regions, det = cfg.view, cfg.defects, cfg.regions, cfg.detector
    pixel_size_nm = d.between(view.pixel_size_nm)
    angle = jnp.deg2rad(d.between(view.rotation_deg))
    strain_y, strain_x, shear = d.between(view.strain), d.between(view.strain), d.between(view.shear)
    turn = jnp.array([[jnp.cos(angle), jnp.sin(angle)], [-jnp.sin(angle), jnp.cos(angle)]])
    affine = turn @ jnp.array([[1 + strain_y, 0.5 * shear], [0.5 * shear, 1 + strain_x]])
    offset = jnp.stack([d.unit() - 0.5, d.unit() - 0.5]) @ material.lattice_nm
    voltage = d.between(view.voltage_kv)
    signals, told = _signals(d, material, voltage)
    signals = signals * d.between(det.signal_scale)
    ideal = signals[material.ideal_states].sum()
    mean_fraction = ideal / material.cell_area_nm2
    probe = Probe(
        voltage_kv=voltage,
        semi_angle_mrad=d.between(cfg.probe.semi_angle_mrad),
        C10_nm=d.between(cfg.probe.C10_nm),
        C12_nm=d.between(cfg.probe.C12_nm),
        phi12_rad=d.angle(),
        C21_nm=d.between(cfg.probe.C21_nm),
        phi21_rad=d.angle(),
        C23_nm=d.between(cfg.probe.C23_nm),
        phi23_rad=d.angle(),
        C30_nm=1e3 * d.between(cfg.probe.C30_um),
        blur_sigma_nm=jnp.hypot(FWHM_TO_SIGMA * d.between(cfg.probe.source_fwhm_nm), cfg.probe.thermal_nm),
    )
    way, speed = d.angle(), d.between(cfg.scan.drift_px)
    scan = Scan(
        row_jitter_px=d.between(cfg.scan.row_jitter_px),
        slow_jitter_px=d.between(cfg.scan.slow_jitter_px),
        slow_jitter_rows=d.between(cfg.scan.slow_jitter_rows),
        row_jitter_y_px=d.between(cfg.scan.row_jitter_y_px),
        drift_y_px=speed * jnp.sin(way),
        drift_x_px=speed * jnp.cos(way),
        flyback_px=d.between(cfg.scan.flyback_px),
        flyback_length_px=d.between(cfg.scan.flyback_length_px),
    )
    detector = Detector(
        dose_e_per_px=d.log_between(det.dose_e_per_px),
        pulse_spread=d.between(det.pulse_spread),
        afterglow_px=d.between(det.afterglow_px),
        line_gain=d.between(det.line_gain),
        read_noise_e=d.between(det.read_noise_e),
        gain=d.log_between(det.gain),
        offset=d.between(det.offset),
    )
    extent = pixel_size_nm * 256.0
    blotch_length = d.between(det.blotch_length_nm) / extent
    blotches = d.between(det.blotches) * fields.control_points(key_blotches, blotch_length)

    def sometimes(probability, fraction):
        return jnp.where(d.unit() < probability, d.between(fraction), 0.0)

    return Conditions(
        pixel_size_nm=pixel_size_nm,
        affine=affine,
        offset_nm=offset,
        displacement_nm=d.between(view.displacement_nm),
        density=jnp.stack([d.log_between(r) for r in kind_ranges(material, cfg)]),
        complexes=jnp.stack(
            [d.between(defects.complexes.get(c.name, c.probability)) for c in material.complexes] or [jnp.zeros(())]
        ),
        clustering=d.between(defects.clustering),
        clustering_length_nm=d.between(defects.clustering_length_nm),
        relaxation=d.between(defects.relaxation),
        fraction_hole=sometimes(regions.hole_probability, regions.hole_fraction),
        fraction_amorphous=sometimes(regions.amorphous_probability, regions.amorphous_fraction),
        fraction_1T=sometimes(regions.phase_1T_probability, regions.phase_1T_fraction),
        has_twin=d.unit() < regions.twin_probability,
        region_length_nm=d.between(regions.length_nm),
        patch_signal=d.between(regions.patch_signal),
        patch_disorder_nm=d.between(regions.patch_disorder_nm),
        signals_nm2=signals,
        told_signals=told,
        mean_fraction=mean_fraction,
        background=d.between(det.background),
        blotches=blotches,
        clip_drift_px=d.between(cfg.clip.drift_px),
        clip_hop=d.between(cfg.clip.hop_probability),
        probe=probe,
        scan=scan,
        detector=detector,
    )


def _signals(d: _Draws, material: Material, voltage_kv):
    """(n_states,) cross-sections in nm2 at a voltage, with the spreads of species and states drawn, and (n_species,)
    the logarithm of the species' signals without their spread."""
    voltages = jnp.array(material.voltages_kv)
    nominal = [
        _anywhere(d.unit(), s.ranges) if s.ranges else jnp.interp(voltage_kv, voltages, jnp.array(s.intensity))
        for s in material.species
    ]
    species = jnp.stack(
        [one * (1 + s.spread * (2 * d.unit() - 1)) for one, s in zip(nominal, material.species, strict=True)]
    )
    state = jnp.stack([1 + s.spread * (2 * d.unit() - 1) for s in material.states])
    reference = jnp.interp(voltage_kv, voltages, jnp.array(material.haadf_cross_section_nm2))
    return (jnp.asarray(material.species_counts()) @ species) * state * reference, jnp.log(jnp.stack(nominal))


def _anywhere(unit, ranges):
    """A number from `ranges`, log-uniform, by one between 0 and 1."""
    lengths = np.log([high / low for low, high in ranges])
    ends = np.cumsum(lengths)
    before = unit * ends[-1] - np.append(0.0, ends[:-1])  # of each range, what is left when it is reached
    values = jnp.array([low for low, _ in ranges]) * jnp.exp(before)
    return values[jnp.minimum(jnp.searchsorted(jnp.array(ends), unit * ends[-1], side="right"), len(ranges) - 1)]
