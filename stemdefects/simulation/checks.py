"""Refuse impossible settings, with the key's name, before any work is done."""

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.schema import SimulationConfig


def check(material: Material, cfg: SimulationConfig, size_px) -> None:
    """Raise `UserError` naming the config key of the first setting that cannot be simulated."""
    for kind in cfg.defects.density:
        material.kind_index(kind)
    del size_px
    if len(cfg.view.size_px) != 2:
        raise UserError("simulation.view.size_px: needs [height, width]")


def check_movie(material: Material, cfg: SimulationConfig) -> None:
    """The same for the settings that only movies use."""
    if cfg.movie.n_frames < 1:
        raise UserError(f"simulation.movie.n_frames: needs at least 1, got {cfg.movie.n_frames}")
