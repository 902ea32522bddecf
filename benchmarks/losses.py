"""What keeps a network from the limit on wide images? Writes docs/losses.md.

    python benchmarks/losses.py [run=ws2_mo] [simulation=train] [images=24] [dose=2500] [frames=1,9] [seed=0]
                                [output=docs] [runs_dir=runs]

The same crystals are simulated again and again, each time with one thing less: without film, without holes and
patches, with a sharp probe and so on (as simulation=limit has it). F1 of the network by itself and together with the
light of the columns; then what the wrong calls are. With several frames the single-frame network is shown their mean.
"""

from pathlib import Path

import numpy as np
import sample
import script

DEFAULTS = {
    "run": "ws2_mo",
    "simulation": "train",
    "images": "24",
    "dose": "2500",
    "frames": "1,9",
    "seed": "0",
    "output": "docs",
    "runs_dir": "runs",
}
KINDS = ("V_S", "V_S2", "Mo_W", "V_W")
SPLIT = ("V_S", "V_S2", "V_W")


def less(material, even) -> dict:
    """{name: conditions -> conditions without it}. even: `Conditions` of simulation=limit."""
    import jax
    import jax.numpy as jnp

    nothing, ideal = jnp.float32(0), material.ideal_states

    def scan(c):
        still = jax.tree.map(jnp.zeros_like, c.scan)
        return c._replace(
            scan=still._replace(slow_jitter_rows=c.scan.slow_jitter_rows, flyback_length_px=c.scan.flyback_length_px)
        )

    def signals(c):
        return c._replace(signals_nm2=even.signals_nm2 * c.signals_nm2[ideal].sum() / even.signals_nm2[ideal].sum())

    def regions(c):
        return c._replace(
            fraction_hole=nothing, fraction_amorphous=nothing, fraction_1T=nothing, has_twin=jnp.bool_(False)
        )

    return {
        "uneven film": lambda c: c._replace(blotches=0 * c.blotches),
        "holes, patches, 1T, twins": regions,
        "static displacements": lambda c: c._replace(displacement_nm=nothing),
        "relaxation around defects": lambda c: c._replace(relaxation=nothing),
        "distortions of the scan": scan,
        "drift from frame to frame": lambda c: c._replace(clip_drift_px=nothing),
        "other signals of S and Mo": signals,
        "afterglow, gain and read-out": lambda c: c._replace(
            detector=even.detector._replace(dose_e_per_px=c.detector.dose_e_per_px)
        ),
        "aberrations and blur (a sharp probe)": lambda c: c._replace(probe=even.probe),
    }


def run(options: dict) -> Path:
    """The whole benchmark; returns the page."""
    import jax
    import jax.numpy as jnp
    from tqdm import tqdm

    from stemdefects import config, devices
    from stemdefects.crystal import material as crystal
    from stemdefects.limit import page, study
    from stemdefects.limit.networks import Network
    from stemdefects.models import shipped
    from stemdefects.simulation import images
    from stemdefects.simulation.conditions import draw_conditions

    devices.use_compilation_cache()
    material, size_px = crystal.load("ws2_mo"), (256, 256)
    frames, n_images = [int(n) for n in options["frames"].split(",")], int(options["images"])
    prior = study.state_prior(material, sample.PREVALENCE)
    folder = shipped.locate(options["run"], options["runs_dir"], key="run")

    def conditions_of(name):
        return study.independent_columns(config.load_group("simulation", name), material, sample.PREVALENCE)

    cfg = conditions_of(options["simulation"])
    even = draw_conditions(jax.random.key(0), material, conditions_of("limit"))
    draw = jax.jit(lambda key: draw_conditions(key, material, cfg))
    simulate = jax.jit(images.make_known_simulator(images.make_stage(material, cfg, size_px), max(frames)))
    networks = {
        (n, light): Network(folder, material, prior, size_px, light=light, average=n)
        for n in frames
        for light in (False, True)
    }
    steps = less(material, even)
    cases = {"nothing": [], **{name: [step] for name, step in steps.items()}, "all of these": list(steps.values())}
    cases["all but uneven film"] = [step for name, step in steps.items() if name != "uneven film"]
    with tqdm(total=len(cases) * n_images, desc="losses", unit="clip") as bar:
        for name, changes in cases.items():
            for number in range(n_images):
                key = jax.random.fold_in(jax.random.key(int(options["seed"])), number)
                conditions = draw(jax.random.split(key, 6)[0])  # what the simulator would draw itself
                for change in changes:
                    conditions = change(conditions)
                clip, truth, _ = simulate(key, jnp.float32(options["dose"]), conditions)
                clip, truth = np.asarray(clip), jax.tree.map(np.asarray, truth)
                for network in networks.values():
                    network.look(name, number, clip, truth, study.MARGIN_PX)
                bar.update()
    rows = []
    for name in cases:
        for n in frames:
            alone, both = (networks[n, light].alone(name, material, KINDS) for light in (False, True))
            rows.append(
                [name, str(n)] + [f"{page.number(alone[k]['f1'])} / **{page.number(both[k]['f1'])}**" for k in KINDS]
            )
    wrong = [row for n in frames for row in errors(networks[n, True], n, material)]
    path = Path(options["output"]) / "losses.md"
    own = " ".join(f"{k}={v}" for k, v in options.items() if v != DEFAULTS[k] and k not in ("output", "runs_dir"))
    text = TEXT.format(
        command=f"python benchmarks/losses.py {own}".strip(),
        **options,
        table=page.table(["without", "frames", *KINDS], rows),
        errors=page.table(
            ["frames", "kind", "there", "missed", "false", "no column there", "other defect", "ideal column"], wrong
        ),
    )
    path.write_text(text)
    return path


def errors(network, n_frames: int, material) -> list[list[str]]:
    """What the wrong calls of `network` are where nothing was left out, each kind at its best threshold."""
    from stemdefects.scoring import detection

    matched, columns = network.columns("nothing", material)
    rows = []
    for kind in SPLIT:
        score, truth = columns[kind]
        called = score >= detection.best_f1(score, truth)[1]
        state = matched.state[called & ~truth]
        ideal = np.isin(state, material.ideal_states)
        counts = (
            truth.sum(),
            (truth & ~called).sum(),
            len(state),
            (state < 0).sum(),
            ((state >= 0) & ~ideal).sum(),
            ideal.sum(),
        )
        rows.append([str(n_frames), kind, *map(str, counts)])
    return rows


TEXT = """# What is lost on wide images, and to what

On the even crystals of [limit.md](limit.md) network and light come near the limit; on `simulation={simulation}` they
stay below it even where there is hardly any noise. The observer knows probe, film, scan and the place of every
column; network and light have to find them out. Made by `{command}`: {images} clips at {dose} e/px, all simulated again
with one thing less at a time. Best F1 of `{run}` by itself / **together with the light of the columns**:

{table}

What the wrong calls are where nothing is left out (network and light, best threshold per kind). "No column there": at
the ragged edge of a hole, a patch or a 1T region the truth has no column, and the observer is told so. "Other defect"
is mostly a half-empty column taken for an empty one or the other way round, where the two are told apart by how much
light an ideal column has, which these images hide:

{errors}
"""


if __name__ == "__main__":
    script.write_page(run, DEFAULTS)
