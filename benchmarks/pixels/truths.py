"""What is true of a simulated movie, of either simulator, in one form."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Truth:
    """rates, realised: 1/s by name (`hop` per neighbour, `attach` and `turn` per bond, `detach`, `create` per column;
    of the independent simulator `knock` and `fill` per single vacancy): what the simulation had, and events over
    exposure in this movie. events: how many of each were seen. D_nominal, D_realised: nm^2/s of free vacancies; None
    without any. mean_counts: per frame and kind. defects: DataFrame of frame, kind, y_px, x_px."""

    simulator: str
    variant: str
    dose_e_per_px: float
    frame_time_s: float
    pixel_size_nm: float
    size_px: int
    rates: dict[str, float]
    realised: dict[str, float | None]
    events: dict[str, int]
    D_nominal: float
    D_realised: float | None
    mean_counts: dict[str, float]
    defects: "pandas.DataFrame"  # noqa: F821
    info: dict


def read(movie: Path) -> Truth:
    """The truth beside `movie` (independent, or one truth.json for a folder of npz movies), or in it (simulate.py)."""
    if movie.suffix == ".npz":
        return _of_folder(movie)
    return _independent(movie) if movie.with_name(movie.stem + "_truth.json").exists() else _own(movie)


def _of_folder(movie: Path) -> Truth:
    """`truth.json` by the movies' names, `<movie>_defects.csv` beside each."""
    import pandas as pd

    name = movie.stem.removeprefix("movie_")
    t = json.loads(movie.with_name("truth.json").read_text())[name]
    table = pd.read_csv(movie.with_name(movie.stem + "_defects.csv"))
    with np.load(movie) as file:
        n_frames, size = file["images"].shape[:2]
        dt, pixel = float(file["frame_time_s"]), float(file["pixel_size_nm"])
    rates = {
        "hop": t["hop_rate_per_neighbour_1_per_s"],
        "attach": t["attach_1_per_s_per_bond"],
        "detach": t["detach_1_per_s"],
        "turn": t["turn_1_per_s_per_bond"],
        "create": 0.0,
    }
    return Truth(
        "physics",
        name,
        t["dose_e_per_px"],
        dt,
        pixel,
        size,
        rates,
        {},
        {"hop": t["free_vacancy_hops"]},
        t["D_nominal_nm2_per_s"],
        t["D_of_realised_hops_nm2_per_s"],
        {str(k): float(v) / n_frames for k, v in table["kind"].value_counts().items()},
        table,
        {},
    )


def _independent(movie: Path) -> Truth:
    import pandas as pd

    t = json.loads(movie.with_name(movie.stem + "_truth.json").read_text())
    scene, e = t["scene"], t["exposure_s"]
    knocked = e.get("n_knock", 0.0) / e["single"] if e["single"] else None
    return Truth(
        "independent",
        t["variant"],
        t["dose_e_per_px"],
        scene["frame_time_s"],
        scene["pixel_size_nm"],
        scene["field_px"],
        {k: scene["rates"][k] for k in ("hop", "attach", "detach", "turn", "create", "knock", "fill")},
        t["realised_rates_1_per_s"] | {"knock": knocked},
        {k[2:]: int(v) for k, v in e.items() if k.startswith("n_")},
        t["D_nominal_of_all_free_nm2_per_s"],
        _of_all_free(t["D_of_realised_hops_nm2_per_s"], e),
        t["mean_counts"],
        pd.read_csv(movie.with_name(movie.stem + "_defects.csv")),
        {"d_prime": t["d_prime_V_S_one_frame"], "probe": scene["probe"]},
    )


def _of_all_free(mobile: float | None, exposure: dict) -> float | None:
    """D of the hops that happened, of mobile vacancies off the centres, as a mean over those that never move too."""
    off = exposure["single"] - exposure["caught"]
    return None if mobile is None or off <= 0 else mobile * exposure["free"] / off


def _own(movie: Path) -> Truth:
    """`/truth` of simulate.py: hops and switches are read off its events."""
    import h5py
    import pandas as pd

    with h5py.File(movie) as file:
        group, frames = file["truth"], file["frames"]
        attrs = dict(group.attrs)
        rows, events, initial = group["defects"][:], group["events"][:], group["initial_states"][:]
        pixel, dt = float(frames.attrs["pixel_size_nm"]), float(frames.attrs["frame_time_s"])
        dose, size, n_frames = float(frames.attrs["dose_e_per_px"]), frames.shape[1], len(frames)
        sites, drift = group["sites_px"][:], group["drift_px"][:]
        metals = group["centers"][:]
    mobile, names = attrs["mobile_kind"], json.loads(attrs["state_names"])
    single = names.index(next(n for n in ("S", "Se") if n in names))
    length = float(attrs["hop_length_nm"]) / pixel
    bonded = np.zeros(len(sites), bool)
    for metal in metals:
        near = np.hypot(*(sites - sites[metal]).T)
        bonded |= (near > 0.1 * length) & (near < 0.8 * length)
    seen = _in_field(sites, drift, size)
    realised, counts = _replay(events, initial, single, bonded, seen, dt, n_frames)
    rates = {k: 0.0 if v is None else float(v) for k, v in json.loads(attrs["rates_per_s"]).items()}
    D = float(attrs["hop_length_nm"]) ** 2 / 4
    kinds = np.char.decode(rows["kind"]) if rows["kind"].dtype.kind == "S" else rows["kind"]
    table = pd.DataFrame({"frame": rows["frame"], "kind": kinds, "y_px": rows["y_px"], "x_px": rows["x_px"]})
    return Truth(
        "own",
        "plain",
        dose,
        dt,
        pixel,
        size,
        {
            "hop": rates["hop"],
            "attach": rates["attach"],
            "detach": rates["detach"],
            "turn": rates["switch"],
            "create": rates["damage"],
        },
        realised,
        counts,
        float(attrs["D_nm2_per_s"]),
        D * counts["hop"] / counts["free_s"] if counts["free_s"] else None,
        {str(k): float(v) / n_frames for k, v in table["kind"].value_counts().items()},
        table,
        {"mobile": mobile},
    )


def _in_field(sites_px, drift_px, size: int) -> np.ndarray:
    """(frames, n) bool."""
    place = sites_px[None] + drift_px[:, None]
    return ((place > -0.5) & (place < size - 0.5)).all(-1)


def _replay(events, initial, single: int, bonded, seen, dt: float, n_frames: int) -> tuple[dict, dict]:
    """Realised rates of detaching and turning, and counts: moves of one identity between free sites (hop), at centres
    (turn), from nothing onto a bond (attach), from a bond to nothing (detach); `free_s`, `caught_s` vacancy time."""
    state = initial.copy()
    n = dict.fromkeys(("hop", "turn", "attach", "detach"), 0) | {"free_s": 0.0, "caught_s": 0.0}
    k, order = 0, events[np.argsort(events["time_s"], kind="stable")]
    for frame in range(n_frames):
        here = seen[frame] & (state == single)
        n["free_s"] += dt * float((here & ~bonded).sum())
        n["caught_s"] += dt * float((here & bonded).sum())
        while k < len(order) and order["time_s"][k] < (frame + 1) * dt:
            together = [order[k]]
            while k + 1 < len(order) and order["time_s"][k + 1] == together[0]["time_s"]:
                k += 1
                together.append(order[k])
            k += 1
            gone = [int(e["site"]) for e in together if state[e["site"]] == single and e["state"] != single]
            came = [int(e["site"]) for e in together if e["state"] == single]
            for e in together:
                state[e["site"]] = e["state"]
            place = (gone or came or [0])[0]
            if not seen[frame, place]:
                continue
            if gone and came:
                n["turn" if bonded[place] else "hop"] += 1
            elif came and bonded[place]:
                n["attach"] += 1
            elif gone and bonded[place]:
                n["detach"] += 1
    caught = n["caught_s"]
    realised = {"detach": n["detach"] / caught, "turn": n["turn"] / (2 * caught)} if caught else {}
    return realised, n
