"""Simulate a movie with known truth, or a contact sheet:   python simulate.py output=movie.h5"""

from stemdefects.entry import hydra_main
from stemdefects.schema import SimulateRoot


def run(cfg: SimulateRoot) -> None:
    from stemdefects.crystal import material
    from stemdefects.simulation import checks, files, preview

    crystal = material.from_config(cfg.material)
    checks.check(crystal, cfg.simulation, cfg.simulation.view.size_px)
    checks.check_movie(crystal, cfg.simulation)
    check_output = preview.check_output if cfg.preview else files.check_output
    path = check_output(cfg.output, cfg.overwrite)
    from stemdefects import devices

    devices.use_compilation_cache()
    devices.check()
    if cfg.preview:
        preview.write_preview(path, crystal, cfg.simulation, cfg.seed)
    else:
        files.write_movie(path, crystal, cfg.simulation, cfg.seed)
    print(f"wrote {path}")


if __name__ == "__main__":
    hydra_main("simulate", SimulateRoot, run)
