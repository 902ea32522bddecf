"""Refuse impossible settings, with the key's name, before any work is done (no JAX here)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stemdefects import config
from stemdefects.config import check_range
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.schema import SimulationConfig

MIN_SIZE_PX = 16  # fewer hold no unit cell at any sampling


def check(material: Material, cfg: SimulationConfig, size_px: Sequence[int]) -> None:
    """Raise `UserError` naming the config key of the first setting that cannot be simulated."""
    config.check(cfg)
    _check_defects(material, cfg)
    check_size(material, cfg, size_px)


def check_size(material: Material, cfg: SimulationConfig, size_px: Sequence[int]) -> None:
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


def output_path(output: str, name: str, suffixes: Sequence[str], overwrite: bool) -> Path:
    """The path of a file to write; `UserError` for a folder, another suffix, a missing folder, a file already there.
    name: of such a file, as an example."""
    path = Path(output)
    if path.is_dir():
        raise UserError(f"output={output}: is a folder; name the file to write in it, e.g. output={path / name}")
    if path.suffix.lower() not in suffixes:
        raise UserError(f"output={output}: unknown suffix; use one of {', '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise UserError(f"output={output}: exists already; add overwrite=true or choose another name")
    if not path.parent.is_dir():
        raise UserError(f"output={output}: folder {path.parent} does not exist")
    return path


def _check_defects(material: Material, cfg: SimulationConfig) -> None:
    defects = cfg.defects
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
    config.check(movie, "simulation.movie.")
    if len(movie.drift_px_per_frame) != 2 or not np.all(np.isfinite(movie.drift_px_per_frame)):
        raise UserError(f"simulation.movie.drift_px_per_frame: needs [y, x], got {list(movie.drift_px_per_frame)}")
    _check_kind(material, "movie.mobile_kind", movie.mobile_kind)
    _check_kind(material, "movie.center_kind", movie.center_kind)
    for name, count in (("attach_second_rate_per_s", "detach_second_rate_per_s"),):
        if getattr(movie, name) > 0 and not getattr(movie, count) > 0:
            raise UserError(f"simulation.movie.{count}: must be positive where {name} is, or complexes never end")
