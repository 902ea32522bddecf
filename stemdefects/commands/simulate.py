"""What `simulate.py` does: a movie with its truth, or a contact sheet, into a file."""

from stemdefects import devices
from stemdefects.crystal import material
from stemdefects.schema import SimulateRoot
from stemdefects.simulation import checks, files, preview


def run(cfg: SimulateRoot) -> None:
    """Check everything that can be checked before JAX starts, then write `cfg.output`.

    Raises UserError for settings that cannot be simulated and for an output that cannot be written.
    """
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
        files.write_movie(path, crystal, cfg.simulation, cfg.seed)
    print(f"wrote {path}")
