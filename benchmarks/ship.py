"""Put a trained network into the package, under a name that `model=<name>` finds.

    python benchmarks/ship.py run=<id> name=ws2_mo [runs_dir=runs] [command="python train.py experiment=ws2_mo"]
                              [into=stemdefects/models/pretrained]

command: what makes it again, where the one on record names places of this machine.
"""

import sys

import script

DEFAULTS = {"run": "", "name": "", "runs_dir": "runs", "command": "", "into": ""}


def main() -> None:
    from stemdefects import devices
    from stemdefects.errors import UserError
    from stemdefects.io import runs
    from stemdefects.training.shipping import ship

    options = script.options(sys.argv[1:], DEFAULTS)
    try:
        if not options["run"] or not options["name"]:
            raise UserError("say run=<id> and name=<name>")
        devices.use_compilation_cache()
        run = runs.resolve(options["runs_dir"], options["run"], having="model")
        done = ship(run, options["name"], options["command"] or None, options["into"] or None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{options['name']} (model {done.id}): {runs.short(done.path)}, {done.size_mb:.2f} MB as {done.dtype}")
    print(f"largest change of a score by float16: {done.f1_change:.4f}; all networks together {done.total_mb:.2f} MB")


if __name__ == "__main__":
    main()
