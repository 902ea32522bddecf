"""What `simulate.py` does: a movie with its truth, or a contact sheet, into a file. `simulate` is the library's."""

from pathlib import Path
from typing import Any

from stemdefects import config, devices
from stemdefects.crystal import material
from stemdefects.io.movie import Movie
from stemdefects.io.opening import read
from stemdefects.schema import SimulateRoot
from stemdefects.simulation import checks, files, preview


def run(cfg: SimulateRoot) -> None:
    """Check everything that can be checked before JAX starts, then write `cfg.output`.

    Raises UserError for settings that cannot be simulated and for an output that cannot be written.
    """
    print(f"wrote {_write(cfg)}")


def _write(cfg: SimulateRoot, progress: bool = True) -> Path:
    """See `run`; the path that was written."""
    crystal = material.from_config(cfg.material)
    checks.check(crystal, cfg.simulation, cfg.simulation.view.size_px)
    checks.check_movie(crystal, cfg.simulation)
    check_output = preview.check_output if cfg.preview else files.check_output
    path = check_output(cfg.output, cfg.overwrite)
    devices.use_compilation_cache()
    devices.check()
    if cfg.preview:
        preview.write_preview(path, crystal, cfg.simulation, cfg.seed)
    else:
        files.write_movie(path, crystal, cfg.simulation, cfg.seed, progress)
    return path


def simulate(
    path: str | Path,
    simulation: str = "demo_movie",
    material: str | Path = "ws2_mo",
    seed: int = 0,
    *,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Movie:
    """Simulate a movie, write it with its truth, and open it.

    Args:
        path: where it goes: `.h5` with the truth inside, so that `sd.analyze` says what is true beside what was found;
            `.tif` with the truth in files beside it.
        simulation: name of a file of configs/simulation/, e.g. `typical`, `demo_movie`, `low_dose`.
        material: name of a material, or a YAML file of yours.
        seed: another one is another movie.
        overwrite: write over a file that is there.
        progress: show a progress bar.
        settings: groups of that file, e.g. `view={"size_px": [160, 160]}`, `movie={"n_frames": 12}`,
            `detector={"dose_e_per_px": [4000.0, 4000.0]}`.

    Raises UserError for settings that cannot be simulated, a setting that does not exist and a file that is there.
    """
    cfg = SimulateRoot(
        material=config.load_group("material", str(material)),
        simulation=config.named_with("simulation", simulation, settings),
        output=str(path),
        overwrite=overwrite,
        seed=seed,
    )
    _write(cfg, progress)
    return read(path)
