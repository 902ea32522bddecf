"""Refuse impossible settings, with the key's name, before any work is done (no JAX here)."""

from dataclasses import fields

import numpy as np

from stemdefects.crystal.material import Material, check_range
from stemdefects.errors import UserError
from stemdefects.schema import SimulationConfig

MIN_SIZE_PX = 16
PIXEL_SIZES_NM = (0.005, 0.06)

# lowest and highest value of every range in the config; everything not named here may take any value
_LIMITS = {
    "view.pixel_size_nm": PIXEL_SIZES_NM,
    "view.voltage_kv": (20.0, 1000.0),
    "view.strain": (-0.2, 0.2),
    "view.shear": (-0.2, 0.2),
    "view.displacement_nm": (0.0, 0.1),
    "defects.clustering": (0.0, 3.0),
    "defects.clustering_length_nm": (0.1, np.inf),
    "defects.line_length_sites": (1.0, np.inf),
    "defects.relaxation": (-10.0, 10.0),
    "regions.hole_fraction": (0.0, 1.0),
    "regions.amorphous_fraction": (0.0, 1.0),
    "regions.phase_1T_fraction": (0.0, 1.0),
    "regions.length_nm": (0.1, np.inf),
    "regions.patch_signal": (0.0, np.inf),
    "regions.patch_disorder_nm": (0.0, 1.0),
    "probe.semi_angle_mrad": (5.0, 60.0),
    "probe.C12_nm": (0.0, np.inf),
    "probe.C21_nm": (0.0, np.inf),
    "probe.C23_nm": (0.0, np.inf),
    "probe.source_fwhm_nm": (0.0, 1.0),
    "scan.row_jitter_px": (0.0, 10.0),
    "scan.slow_jitter_px": (0.0, 10.0),
    "scan.slow_jitter_rows": (1.0, np.inf),
    "scan.row_jitter_y_px": (0.0, 3.0),
    "scan.drift_px": (0.0, np.inf),
    "scan.flyback_px": (-10.0, 10.0),
    "scan.flyback_length_px": (0.1, np.inf),
    "detector.dose_e_per_px": (1e-3, 1e9),
    "detector.signal_scale": (1e-3, 1e3),
    "detector.background": (0.0, np.inf),
    "detector.blotches": (0.0, np.inf),
    "detector.blotch_length_nm": (0.05, np.inf),
    "detector.pulse_spread": (0.0, np.inf),
    "detector.afterglow_px": (0.0, 4.0),
    "detector.line_gain": (0.0, 1.0),
    "detector.read_noise_e": (0.0, np.inf),
    "detector.gain": (1e-9, np.inf),
    "clip.drift_px": (0.0, np.inf),
    "clip.hop_probability": (0.0, 1.0),
}
_PROBABILITIES = (
    ("defects", "line_probability"), ("regions", "hole_probability"), ("regions", "amorphous_probability"),
    ("regions", "phase_1T_probability"), ("regions", "twin_probability"), ("movie", "drift_step_probability"),
)  # fmt: skip


def check(material: Material, cfg: SimulationConfig, size_px) -> None:
    """Raise `UserError` naming the config key of the first setting that cannot be simulated."""
    for group in ("view", "defects", "regions", "probe", "scan", "detector", "clip"):
        settings = getattr(cfg, group)
        for item in fields(settings):
            value, key = getattr(settings, item.name), f"{group}.{item.name}"
            if item.name != "size_px" and isinstance(value, (list, tuple)):
                check_range(f"simulation.{key}", value, *_LIMITS.get(key, (-np.inf, np.inf)))
    for group, name in _PROBABILITIES:
        value = getattr(getattr(cfg, group), name)
        if not 0 <= value <= 1:
            raise UserError(f"simulation.{group}.{name}: a probability lies in 0..1, got {value}")
    _check_defects(material, cfg)
    if cfg.regions.roughness < 0:
        raise UserError(f"simulation.regions.roughness: must not be negative, got {cfg.regions.roughness}")
    if cfg.probe.thermal_nm < 0:
        raise UserError(f"simulation.probe.thermal_nm: must not be negative, got {cfg.probe.thermal_nm}")
    if cfg.detector.saturation is not None and cfg.detector.saturation <= 0:
        raise UserError(f"simulation.detector.saturation: must be positive or null, got {cfg.detector.saturation}")
    check_size(material, cfg, size_px)


def check_size(material: Material, cfg: SimulationConfig, size_px) -> None:
    """Refuse a field that is not (height, width) or smaller than a few cells of the crystal."""
    if len(size_px) != 2 or any(int(n) != n for n in size_px):
        raise UserError(f"simulation.view.size_px: needs two whole numbers [height, width], got {list(size_px)}")
    if min(size_px) < MIN_SIZE_PX:
        raise UserError(f"simulation.view.size_px: needs at least {MIN_SIZE_PX} pixels a side, got {list(size_px)}")
    shortest = min(size_px) * cfg.view.pixel_size_nm[0]
    if shortest < material.a_nm:
        raise UserError(
            f"simulation.view.size_px: {list(size_px)} px of {cfg.view.pixel_size_nm[0]:g} nm is smaller than one cell "
            f"of {material.name} ({material.a_nm:g} nm)"
        )


def _check_defects(material: Material, cfg: SimulationConfig) -> None:
    defects = cfg.defects
    if defects.density_scale < 0:
        raise UserError(f"simulation.defects.density_scale: must not be negative, got {defects.density_scale}")
    if defects.density_at is not None and not 0 <= defects.density_at <= 1:
        raise UserError(f"simulation.defects.density_at: must lie in 0..1 or be null, got {defects.density_at}")
    totals = np.zeros(material.n_sites)
    for name, value in defects.density.items():
        if name not in material.kind_names:
            known = ", ".join(material.kind_names)
            raise UserError(f"simulation.defects.density.{name}: {material.name} has no such kind; known: {known}")
        check_range(f"simulation.defects.density.{name}", value, 0.0, 1.0)
    for kind in material.kinds:
        high = defects.density.get(kind.name, kind.density)[1] * defects.density_scale
        totals[material.states[kind.state].site] += high
        if high > 1:
            key = "density_scale" if defects.density_scale > 1 else f"density.{kind.name}"
            raise UserError(f"simulation.defects.{key}: the density of {kind.name} reaches {high:g}, above 1")
    for site, total in zip(material.sites, totals, strict=True):
        if total > 1:
            raise UserError(
                f"simulation.defects.density: the densities on site {site.name} add up to {total:g}, above 1"
            )
    known = [group.name for group in material.complexes]
    for name, value in defects.complexes.items():
        if name not in known:
            raise UserError(
                f"simulation.defects.complexes.{name}: {material.name} has no such complex; known: {', '.join(known)}"
            )
        check_range(f"simulation.defects.complexes.{name}", value, 0.0, 1.0)
    _check_kind(material, "defects.line_kind", defects.line_kind)


def _check_kind(material: Material, key: str, name: str | None) -> None:
    if name is not None and name not in material.kind_names:
        known = ", ".join(material.kind_names)
        raise UserError(f"simulation.{key}: {material.name} has no kind {name!r}; known: {known}")


def check_movie(material: Material, cfg: SimulationConfig) -> None:
    """The same for the settings that only movies use."""
    movie = cfg.movie
    for name in ("n_frames", "block_frames"):
        if getattr(movie, name) < 1:
            raise UserError(f"simulation.movie.{name}: needs at least 1, got {getattr(movie, name)}")
    if not movie.frame_time_s > 0:
        raise UserError(f"simulation.movie.frame_time_s: must be positive, got {movie.frame_time_s}")
    if len(movie.drift_px_per_frame) != 2 or not np.all(np.isfinite(movie.drift_px_per_frame)):
        raise UserError(f"simulation.movie.drift_px_per_frame: needs [y, x], got {list(movie.drift_px_per_frame)}")
    for item in fields(movie):
        value = getattr(movie, item.name)
        if item.name.endswith(("_per_s", "_factor", "_nm2", "_nm", "_step_px", "wander_px")) and not value >= 0:
            raise UserError(f"simulation.movie.{item.name}: must not be negative, got {value}")
    _check_kind(material, "movie.mobile_kind", movie.mobile_kind)
    _check_kind(material, "movie.center_kind", movie.center_kind)
    for name, count in (("attach_second_rate_per_s", "detach_second_rate_per_s"),):
        if getattr(movie, name) > 0 and not getattr(movie, count) > 0:
            raise UserError(f"simulation.movie.{count}: must be positive where {name} is, or complexes never end")
