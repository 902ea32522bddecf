"""Does a network see another simulator's images as it sees ours? Writes its table into docs/simulation.md.

    python benchmarks/other_simulator.py [run=ws2_mo] [draws=40] [symmetries=1] [light=true] [output=docs]

The multislice images of the reference file and our own images of the very same columns, probes and fields get the
same background and noise (detector and blur of simulation=typical, dose per nm2 as there); F1 per kind at the best
threshold, over `draws` noise realisations of each of the six images. 95% intervals by bootstrap over images and draws.
"""

import sys
from pathlib import Path

import numpy as np
import sample
import script

ROOT = Path(__file__).parents[1]
DEFAULTS = {"run": "ws2_mo", "draws": "40", "symmetries": "1", "light": "true", "output": str(ROOT / "docs")}
REFERENCE = ROOT.parent / "shared" / "data" / "multislice" / "ws2_multislice.h5"
BLUR_NM = 0.05  # 0.117 nm FWHM, as simulation=typical
STATES = ("W", "Mo", "S2", "S", "V_metal", "V_chalcogen")  # kinds 0-5 of the file's columns
KINDS = ("V_S", "V_S2", "Mo_W", "V_W")


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    if not REFERENCE.exists():
        print(f"skipped: {REFERENCE.name} is not here")
        return
    rows = run(options)
    shown = " ".join(a for a in sys.argv[1:] if not a.startswith("output="))
    text = "\n".join([f"`{' '.join(['python benchmarks/other_simulator.py', shown]).strip()}`", "", *rows])
    script.fill(
        Path(options["output"]) / "simulation.md", "<!-- other simulator -->", "<!-- end other simulator -->", text
    )
    print("\n".join(rows))


def run(options: dict) -> list[str]:
    """Lines of the table."""
    import jax
    from scipy.ndimage import gaussian_filter

    from stemdefects import config, devices
    from stemdefects.crystal import material as crystal
    from stemdefects.limit import study
    from stemdefects.limit.networks import Network
    from stemdefects.models import shipped
    from stemdefects.scoring import detection
    from stemdefects.simulation.optics import multislice

    devices.use_compilation_cache()
    material = crystal.load("ws2_mo")
    typical = config.load_group("simulation", "typical")
    prior = study.state_prior(material, sample.PREVALENCE)
    folder = shipped.locate(options["run"], "runs", key="run")
    network = Network(folder, material, prior, (288, 288), int(options["symmetries"]), options["light"] == "true")
    cases = multislice.read(REFERENCE)
    pictures = [multislice.layers(case, 0.009) for case in cases]
    ratios, scales = multislice.fit(cases, pictures)
    for n, (case, picture, scale) in enumerate(zip(cases, pictures, scales, strict=True)):
        truth = true_columns(material, case, n)
        for source, image in (("multislice", case.image), ("ours", scale * np.tensordot(ratios, picture, 1))):
            fraction = gaussian_filter(np.asarray(image, float), BLUR_NM / case.pixel_size_nm, mode="nearest")
            for draw in range(int(options["draws"])):
                counts = exposed(jax.random.key(1000 * n + draw), fraction, typical, case.pixel_size_nm)
                network.look(source, 1000 * n + draw, counts[None], truth, study.MARGIN_PX)
    scored = {source: network.columns(source, material) for source in ("ours", "multislice")}
    lines = [
        f"Network `{options['run']}` on 6 images x {options['draws']} noise draws, {study.MARGIN_PX:g} px border left "
        "out:",
        "",
        "| kind | defects | F1 on ours | F1 on multislice | fall (95% interval) |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        (a, b) = (scored[s] for s in ("ours", "multislice"))
        f1 = [detection.best_f1(*x[1][kind])[0] for x in (a, b)]
        rng, falls = np.random.default_rng(0), []
        images = np.unique(a[0].image)
        for _ in range(200):
            chosen = rng.choice(images, len(images))
            f = []
            for matched, columns in (a, b):
                times = np.bincount(np.searchsorted(images, chosen), minlength=len(images))
                rows = np.repeat(np.arange(len(matched.image)), times[np.searchsorted(images, matched.image)])
                f.append(detection.best_f1(columns[kind][0][rows], columns[kind][1][rows])[0])
            falls.append(f[0] - f[1])
        low, high = np.quantile(falls, [0.025, 0.975])
        n = int(a[1][kind][1].sum())
        lines.append(f"| {kind} | {n} | {f1[0]:.3f} | {f1[1]:.3f} | {f1[0] - f1[1]:+.3f} ({low:+.3f} to {high:+.3f}) |")
    return lines


def exposed(key, fraction: np.ndarray, cfg, pixel_size_nm: float) -> np.ndarray:
    """Counts (H, W) from the fraction of the beam: background and detector of `cfg`, at its dose per nm2."""
    import jax.numpy as jnp

    from stemdefects.simulation.optics import detector

    det = cfg.detector
    dose = det.dose_e_per_px[0] * (pixel_size_nm / cfg.view.pixel_size_nm[0]) ** 2
    values = {
        "dose_e_per_px": dose,
        "pulse_spread": det.pulse_spread[0],
        "afterglow_px": det.afterglow_px[0],
        "line_gain": det.line_gain[0],
        "read_noise_e": det.read_noise_e[0],
        "gain": det.gain[0],
        "offset": det.offset[0],
    }
    settings = detector.Detector(**{k: jnp.float32(v) for k, v in values.items()})
    whole = jnp.asarray(fraction + det.background[0] * fraction.mean(), jnp.float32)
    return np.asarray(detector.detect(key, whole, settings, True, det.integer, det.saturation))


def true_columns(material, case, number: int):
    """`Truth` of the image `number`: all its columns, the missing ones too."""
    import h5py

    from stemdefects.simulation.images import Truth

    with h5py.File(REFERENCE, "r") as file:
        columns = file[f"columns_{number:03d}"][:]
    state = np.array([material.state_index(name) for name in STATES])[columns[:, 2].astype(int)]
    y, x = columns[:, 1] / case.pixel_size_nm, columns[:, 0] / case.pixel_size_nm
    n, shape = len(state), case.image.shape
    inside = (y > -0.5) & (y < shape[0] - 0.5) & (x > -0.5) & (x < shape[1] - 0.5)
    none = np.full(n, -1)
    return Truth(
        y_px=y,
        x_px=x,
        site=material.site_of_state[state],
        state=state,
        valid=inside,
        complex=none,
        complex_kind=none,
        orientation=none,
        regions=np.zeros(shape, np.int32),
        pixel_size_nm=np.float32(case.pixel_size_nm),
        angle_rad=np.float32(0),
        dose_e_per_px=np.float32(0),
    )


if __name__ == "__main__":
    main()
