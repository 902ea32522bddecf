"""How well can anyone detect, and how near does a network come? Writes docs/limit.md and docs/limit.png.

    python benchmarks/limit.py [run=ws2_mo,ws2_mo_movie] [simulation=limit,train] [images=24] [frames=1,5,9]
                               [dose=130,400,2500] [symmetries=1,8] [light=true] [average=9] [output=docs]
                               [runs_dir=runs] [seed=0]

run: networks that ship, run ids or model folders; scored on the same images, each at the number of frames it takes,
looking once or with its answers averaged over so many turned and mirrored images (`inference.symmetries`), and pooled
with the light of the columns (`inference.light`) or, light=false, alone. average: single-frame networks are also shown
the mean of so many frames (`inference.average_frames`).
"""

import itertools
import time
from pathlib import Path

import sample
import script

DEFAULTS = {
    "run": "",
    "symmetries": "1,8",
    "light": "true",
    "average": "9",
    "simulation": "limit,train",
    "images": "24",
    "frames": "1,5,9",
    "dose": "130,400,2500",
    "output": "docs",
    "runs_dir": "runs",
    "seed": "0",
}
HOPS = 0.05  # chance of a vacancy to hop between frames of the hopping clips


def run(options: dict) -> Path:
    """The whole benchmark; returns the page."""
    from stemdefects import config, devices
    from stemdefects.crystal import material as crystal
    from stemdefects.limit import page, study
    from stemdefects.limit.networks import Network
    from stemdefects.models import shipped

    devices.use_compilation_cache()
    material = crystal.load("ws2_mo")
    doses = [float(d) for d in options["dose"].split(",")]
    frames = sorted({int(n) for n in options["frames"].split(",")})
    n_images, size_px = int(options["images"]), (256, 256)
    symmetries = [int(n) for n in options["symmetries"].split(",")]
    prior, light = study.state_prior(material, sample.PREVALENCE), options["light"] == "true"
    about = material, prior, size_px
    averaged = [int(n) for n in filter(None, options["average"].split(",")) if int(n) in frames]
    folders = [shipped.locate(name, options["runs_dir"], key="run") for name in filter(None, options["run"].split(","))]
    start, sections, positions, hopping = time.time(), {}, {}, {}
    for name in options["simulation"].split(","):
        cfg = config.load_group("simulation", name)
        networks = {}
        for folder, number in itertools.product(folders, symmetries):
            network = Network(folder, *about, number, light)
            if network.frames in frames:
                networks[network.frames, number] = network
            for n in [n for n in averaged if network.frames == 1]:
                networks[n, number] = Network(folder, *about, number, light, average=n)
        seen = {dose: [] for dose in doses}
        watch = study.Study(material, cfg, sample.PREVALENCE, frames, size_px)
        clips = watch.run(doses, n_images, int(options["seed"]), progress=name)
        for dose, one in clips:
            for network in networks.values():
                network.look(dose, len(seen[dose]), one.frames, one.truth, study.MARGIN_PX)
            one.frames = None  # memory: the images have been looked at
            seen[dose].append(one)
        results = {(d, n): study.summary(material, seen[d], n) for d in doses for n in frames}
        scored = {
            (dose, *how): network.figures(dose, seen[dose], material, sample.KINDS)
            for dose, (how, network) in itertools.product(doses, networks.items())
        }
        sections[name] = (results, scored)
        for how, network in networks.items():
            if network.frames > 1:
                found = hop(network, material, cfg, doses, n_images, size_px)
                hopping.setdefault(name, {}).update({(dose, *how): scores for dose, scores in found.items()})
        positions[name] = {d: study.position_bounds_nm(material, seen[d]) for d in doses}
        # after every section, so that a long run leaves something when it is stopped
        made = facts(options, folders, time.time() - start)
        path = page.write(Path(options["output"]), sections, positions, made, sample.PREVALENCE, sample.STATES, hopping)
    return path


def hop(network, material, cfg, doses: list[float], n_images: int, size_px) -> dict:
    """{dose: scores} of a network of several frames where vacancies hop from frame to frame."""
    import jax

    from stemdefects.limit import study
    from stemdefects.simulation import images

    cfg = study.independent_columns(cfg, material, sample.PREVALENCE)
    cfg.clip.hop_probability = [HOPS, HOPS]
    frames = network.frames
    simulate = jax.jit(images.make_clip_simulator(material, cfg, size_px, frames))
    for dose in doses:
        for number in range(n_images):
            clip, truth = jax.device_get(simulate(jax.random.fold_in(jax.random.key(1), number), dose))
            network.look(("hop", dose), number, clip, truth, study.MARGIN_PX)
    return {dose: network.alone(("hop", dose), material, sample.KINDS) for dose in doses}


def facts(options: dict, folders: list[Path], seconds: float) -> dict:
    """What the page says of its own making."""
    own = {k: v for k, v in options.items() if v != DEFAULTS[k] and k not in ("output", "runs_dir", "run")}
    names = [f.parent.name if f.name == "model" else f.name for f in folders]
    shown = ([f"run={','.join(names)}"] if folders else []) + [f"{k}={v}" for k, v in own.items()]
    return {
        "images": options["images"],
        "seconds": round(seconds),
        "command": " ".join(["python benchmarks/limit.py", *shown]),
        "models": ", ".join(f"`{name}`" for name in names),
        "averaged": f"With {options['average']} frames the single-frame network is shown their mean "
        "(`inference.average_frames`)."
        if options["average"]
        else "",
        "light": "pooled with the light of the columns" if options["light"] == "true" else "without the columns' light",
    }


if __name__ == "__main__":
    script.write_page(run, DEFAULTS)
