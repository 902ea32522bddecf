"""Movie and truth on disk: `<name>.h5` (or .tif) for the software, and everything true beside it, which it never sees.

`<name>_truth.npz`: arrays; `<name>_truth.json`: rates, settings, exposures; `<name>_defects.csv`: one row per defective
column in the field and frame; `<name>_drift.csv`; `<name>_events.csv`: every change of a chalcogen with its time.
"""

import csv
import json
from pathlib import Path

import numpy as np

from benchmarks.independent.kinetics import exposure
from benchmarks.independent.probe import A_NM
from benchmarks.independent.render import Camera
from benchmarks.independent.scene import VARIANTS, Scene
from benchmarks.independent.specimen import Specimen

KINDS = {1: "V_S", 2: "V_S2", "Mo": "Mo_W", "V_metal": "V_W"}
_PER_FRAME = 4  # times at which exposures look at the states


def write(path: str | Path, scene: Scene) -> Path:
    """Make the movie of `scene` at `path` (.h5, .tif) with its truth beside it; returns the path.

    Files appear under their names when they are whole.
    """
    import h5py
    import tifffile

    path = Path(path)
    specimen = Specimen(scene)
    camera = Camera(specimen)
    frames, seen = zip(*(camera.frame(k) for k in range(scene.n_frames)), strict=True)
    frames = np.stack(frames)
    write_truth(path.with_suffix(""), specimen, camera, seen)
    part = path.with_name(path.name + ".part")
    if path.suffix == ".tif":
        tifffile.imwrite(
            part,
            frames,
            imagej=True,
            resolution=(1 / scene.pixel_size_nm,) * 2,
            metadata={"axes": "TYX", "unit": "nm", "finterval": scene.frame_time_s},
        )
    else:
        with h5py.File(part, "w") as file:
            data = file.create_dataset("frames", data=frames, chunks=(1, *frames.shape[1:]), compression="lzf")
            data.attrs["pixel_size_nm"], data.attrs["dose_e_per_px"] = scene.pixel_size_nm, scene.dose_e_per_px
            if scene.variant == "gaps":
                file["time_s"] = specimen.starts_s
            else:
                data.attrs["frame_time_s"] = scene.frame_time_s
    part.replace(path)
    return path


def write_truth(stem: Path, specimen: Specimen, camera: Camera, seen: tuple) -> None:
    """The files of the truth; see the module."""
    walk, n = specimen.walk, len(specimen.metal)
    missing = np.stack([s.missing for s in seen]).astype(np.int8)
    here = np.stack([s.chalcogen & s.intact[n:] for s in seen])
    metal_here = np.stack([s.metal & s.intact[:n] for s in seen])
    identity = np.stack([s.identity for s in seen]).astype(np.int32)
    ever, ever_metal = np.flatnonzero(here.any(0)), np.flatnonzero(metal_here.any(0))
    events = walk.events
    np.savez_compressed(
        f"{stem}_truth.npz",
        starts_s=specimen.starts_s,
        drift_nm=specimen.drift_nm,
        site_number=ever,
        site_nm=specimen.place_nm[n + ever],
        missing=missing[:, ever],
        seen=here[:, ever],
        identity=identity[:, ever],
        centre_of_site=np.array(walk.centre_of)[ever],
        metal_number=ever_metal,
        metal_nm=specimen.place_nm[ever_metal],
        metal=specimen.metal[ever_metal],
        metal_seen=metal_here[:, ever_metal],
        event_time_s=np.array(events.time_s),
        event_process=np.array(events.process, dtype="U8"),
        event_source=np.array(events.source, int),
        event_target=np.array(events.target, int),
        immobile_sites=np.array(sorted(walk.still), int),
    )
    Path(f"{stem}_truth.json").write_text(json.dumps(summary(specimen, camera, seen, missing, here), indent=1))
    with open(f"{stem}_defects.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["frame", "kind", "y_px", "x_px", "identity", "at_centre"])
        for k, s in enumerate(seen):
            for site in np.flatnonzero(missing[k] * here[k]):
                y, x = s.place_px[n + site]
                rows.writerow(
                    [k, KINDS[int(missing[k, site])], f"{y:.2f}", f"{x:.2f}", identity[k, site], walk.centre_of[site]]
                )
            for metal in np.flatnonzero((specimen.metal != "W") & metal_here[k]):
                y, x = s.place_px[metal]
                rows.writerow([k, KINDS[str(specimen.metal[metal])], f"{y:.2f}", f"{x:.2f}", -1, metal])
    for name, header, table in (
        (
            "drift",
            ["frame", "time_s", "drift_y_nm", "drift_x_nm"],
            [
                (k, f"{t:.3f}", f"{d[0]:.4f}", f"{d[1]:.4f}")
                for k, (t, d) in enumerate(zip(specimen.starts_s, specimen.drift_nm, strict=True))
            ],
        ),
        (
            "events",
            ["time_s", "process", "source", "target"],
            zip((f"{t:.4f}" for t in events.time_s), events.process, events.source, events.target, strict=True),
        ),
    ):
        with open(f"{stem}_{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *table])


def summary(specimen: Specimen, camera: Camera, seen: tuple, missing: np.ndarray, here: np.ndarray) -> dict:
    """Rates, what happened in the field, and counts; units in the names."""
    scene, rates = specimen.scene, specimen.scene.rates
    n, n_times = len(specimen.metal), _PER_FRAME * scene.n_frames
    times = (np.arange(n_times) + 0.5) / n_times * specimen.end_s
    frame = np.clip(np.searchsorted(specimen.starts_s, times, side="right") - 1, 0, None)
    e = exposure(specimen.walk, here[frame], times, specimen.end_s)
    ratio = {
        name: e.get(f"n_{name}", 0.0) / e[of] if e[of] else None
        for name, of in (
            ("hop", "hop_way"),
            ("attach", "attach_way"),
            ("detach", "caught"),
            ("turn", "turn_way"),
            ("create", "whole"),
            ("fill", "single"),
            ("pair", "pair_way"),
            ("split", "empty"),
        )
    }
    counts = {name: ((missing == k) & here).sum(1) for k, name in ((1, "V_S"), (2, "V_S2"))}
    for name in ("Mo", "V_metal"):
        counts[KINDS[name]] = np.array([(s.metal & s.intact[:n])[specimen.metal == name].sum() for s in seen])
    hops = e.get("n_hop", 0.0)
    mobile = 1 - scene.immobile_share
    return {
        "variant": scene.variant,
        "meaning": VARIANTS[scene.variant],
        "hop_rate_per_neighbour_1_per_s": rates.hop,
        "attach_1_per_s_per_bond": rates.attach,
        "attach_from": "reservoir" if scene.reservoir else "lattice",
        "detach_1_per_s": rates.detach,
        "turn_1_per_s_per_bond": rates.turn,
        "create_1_per_s_per_site": rates.create,
        "hop_length_nm": A_NM,
        "D_nominal_nm2_per_s": 1.5 * rates.hop * A_NM**2,
        "D_of_realised_hops_nm2_per_s": A_NM**2 * hops / (4 * e["free"]) if e["free"] else None,
        "D_nominal_of_all_free_nm2_per_s": 1.5 * rates.hop * A_NM**2 * mobile,
        "free_vacancy_hops": int(hops),
        "realised_rates_1_per_s": ratio,
        "exposure_s": e,
        "hops_per_frame_of_a_free_vacancy": 6 * rates.hop * scene.frame_time_s,
        "counts_per_frame": {k: v.tolist() for k, v in counts.items()},
        "mean_counts": {k: float(v.mean()) for k, v in counts.items()},
        "dose_e_per_px": scene.dose_e_per_px,
        "d_prime_V_S_one_frame": camera.detectability(),
        "scene": scene.to_dict(),
    }
