"""Put a trained network into the package, under a name that `model=<name>` finds.

    python benchmarks/ship.py run=<id> name=ws2_mo [runs_dir=runs] [command="python train.py experiment=ws2_mo"]
                              [into=stemdefects/models/pretrained]
    python benchmarks/ship.py calls=ws2_mo [images=24] [seed=0]

command: what makes it again, where the one on record names places of this machine. calls: count what infer.py says of
the columns of each true state, with a network that ships; its confusion.json and card are replaced.
"""

import sys

import script

DEFAULTS = {
    "run": "",
    "name": "",
    "runs_dir": "runs",
    "command": "",
    "into": "",
    "calls": "",
    "images": "24",
    "seed": "0",
}


def main() -> None:
    from stemdefects import devices
    from stemdefects.errors import UserError
    from stemdefects.io import runs
    from stemdefects.training.outcome.shipping import ship

    options = script.options(sys.argv[1:], DEFAULTS)
    if options["calls"]:
        return count(options["calls"], int(options["images"]), int(options["seed"]))
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


def count(name: str, n_images: int, seed: int) -> None:
    """The calls of the network `name`, into its folder."""
    from stemdefects import devices
    from stemdefects.limit import calls
    from stemdefects.models import shipped
    from stemdefects.training.outcome.shipping import recount

    devices.use_compilation_cache()
    folder = shipped.locate(name, "runs", key="calls")
    recount(folder, calls.confusion(folder, n_images, seed), n_images)
    print(f"{name}: confusion of {n_images} images per dose")


if __name__ == "__main__":
    main()
