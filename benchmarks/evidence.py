"""Is the evidence of sites what it says? On movies whose truth is known, of our simulator and of another one.

    python benchmarks/evidence.py [model=ws2_mo] [doses=4000,1200,400] [seeds=1,2] [files=<pattern>] [keep=<folder>]
        [page=<page>] [runs_dir=runs]

files: movies with a table `<name>_defects.csv` beside each, of the cases if empty; page: gets the table.
Prints a table: d' of one vacancy in one frame (by the area under the curve) and of two against one; how far the levels
are off, as the light expects them and as learned; the mean of exp(log-likelihood ratio) over ideal site frames, 1 where
the evidence is calibrated; persistent offset of a site and correlation from one frame to the next, in scatters; how
many times as many readings as of a normal are beyond three scatters, towards vacancies and away, where none is on a
site or next to it. `keep`
writes the evidence of each movie as npz with the true states in the same indexing (`state`: vacancies on each site).
"""

import copy
import sys
import tempfile
from collections.abc import Iterator
from glob import glob
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import script
from scipy.spatial import cKDTree
from scipy.stats import norm, rankdata

CASES = Path(__file__).parents[2] / "shared" / "cases" / "physics"
DEFAULTS = {
    "model": "ws2_mo",
    "doses": "4000,1200,400",
    "seeds": "1,2",
    "files": "",
    "keep": "",
    "page": "",
    "runs_dir": "runs",
}
MARKS = "<!-- evidence: made by benchmarks/evidence.py -->", "<!-- end of evidence -->"
SIZE_PX, N_FRAMES = 256, 60
SAME_NM = 0.1  # a true defect and its site
VACANCIES = {"V_S": 1, "V_S2": 2}


class Case(NamedTuple):
    """A movie with its truth. places: per frame (n, 2) y, x in px and the names of the kinds (n,)."""

    name: str
    movie: object
    places: list[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    from stemdefects import devices
    from stemdefects.commands.detection import detect, load_model

    options = script.options(sys.argv[1:], DEFAULTS)
    devices.use_compilation_cache()
    model = load_model(options["model"], options["runs_dir"])
    lines = [
        "| movie | d' 0/1 | 1/2 | level, expected | level, learned | two, expected | two, learned | mean exp(LLR) | "
        "offset | lag 1 | unseen | V_S a frame | beyond 3, towards | away |",
        "|---" * 14 + "|",
    ]
    print("\n".join(lines))
    for case in chain(other_movies(options["files"]), own_movies(options)):
        table = detect(case.movie, model, progress=False)
        found, state = with_truth(table, case)
        lines.append(row(case.name, table, found, state))
        print(lines[-1], flush=True)
        if options["keep"]:
            Path(options["keep"]).mkdir(parents=True, exist_ok=True)
            np.savez_compressed(Path(options["keep"]) / f"{case.name}.npz", **found._asdict(), state=state)
    if options["page"]:
        shown = " ".join(a for a in sys.argv[1:] if not a.startswith(("page=", "files=", "keep=")))
        script.fill(Path(options["page"]), *MARKS, "\n".join([f"`python benchmarks/evidence.py {shown}`", "", *lines]))


def other_movies(pattern: str) -> Iterator[Case]:
    """Movies of another simulator, where they are here."""
    import pandas as pd

    from stemdefects.io import opening
    from stemdefects.io.movie import Movie

    for path in map(Path, sorted(glob(pattern or str(CASES / "*.npz")))):
        if path.suffix == ".npz":
            data = np.load(path)
            movie = Movie(data["images"])
            movie.pixel_size_nm, movie.frame_time_s = float(data["pixel_size_nm"]), float(data["frame_time_s"])
        else:
            movie = opening.read(str(path))
        truth = pd.read_csv(path.with_name(f"{path.stem}_defects.csv"))
        by_frame = dict(list(truth.groupby("frame")))
        none = truth.iloc[:0]
        parts = [by_frame.get(t, none) for t in range(len(movie))]
        yield Case(path.stem, movie, [(p[["y_px", "x_px"]].to_numpy(float), p["kind"].to_numpy()) for p in parts])


def own_movies(options: dict) -> Iterator[Case]:
    """Fresh movies of our simulator."""
    from stemdefects import config
    from stemdefects.analysis.data import truth as truths
    from stemdefects.crystal import material as crystal
    from stemdefects.io.opening import read
    from stemdefects.simulation import files

    material, base = crystal.load("ws2_mo"), config.load_group("simulation", "movie")
    base.view.size_px, base.movie.n_frames = [SIZE_PX, SIZE_PX], N_FRAMES
    with tempfile.TemporaryDirectory() as folder:
        for dose in map(float, filter(None, options["doses"].split(","))):
            for seed in map(int, options["seeds"].split(",")):
                cfg = copy.deepcopy(base)
                cfg.detector.dose_e_per_px = [dose, dose]
                path = Path(folder) / f"own_{dose:g}_{seed}.h5"
                files.write_movie(path, material, cfg, seed, progress=False)
                rows = truths.read(path).rows
                frames = [rows[rows["frame"] == t] for t in range(N_FRAMES)]
                places = [(np.stack([r["y_px"], r["x_px"]], 1).astype(float), r["kind"].astype(str)) for r in frames]
                yield Case(path.stem, read(str(path)), places)


def with_truth(table, case: Case):
    """The input of the lattice model, and (T, N) how many vacancies are on each of its sites."""
    from stemdefects.analysis.kinetics.evidence import Evidence
    from stemdefects.analysis.kinetics.reading import read

    found = read(table)
    if not isinstance(found, Evidence):
        raise SystemExit(f"{case.name}: {found}")
    pixel = np.array(table.attrs["pixel_size_yx_nm"])
    drift = np.stack([table.frames["drift_y_px"], table.frames["drift_x_px"]], 1)
    sites, state = cKDTree(found.yx_nm), np.zeros(found.line.shape, np.int8)
    for t, (places, kinds) in enumerate(case.places):
        use = np.isin(kinds, list(VACANCIES))
        if use.any():
            distance, site = sites.query((places[use] - drift[t]) * pixel)
            count = np.array([VACANCIES[k] for k in kinds[use]])
            state[t, site[distance < SAME_NM]] = count[distance < SAME_NM]
    return found, state


def row(name: str, table, found, state: np.ndarray) -> str:
    """One line of the table."""
    line, seen = found.line.astype(float), np.isfinite(found.line)
    none, one, two = (line[seen & (state == k)] for k in (0, 1, 2))
    scatter = float(np.median(found.scatter))
    middle = float(np.median(none))
    true = [np.mean(part) - middle if len(part) else np.nan for part in (one, two)]
    description = table.evidence.description
    kinds = {s["kind"]: s for g in description["sublattices"] for s in g["states"]}
    expected = [kinds[k]["expected_level"] for k in VACANCIES]
    off = [v / t - 1 for v, t in zip([*expected, *found.level], [*true, *true], strict=True)]
    # true level, the frame's own scatter; the tail is cut where a frame cannot say more (over_time.py)
    spread = np.broadcast_to(found.scatter[:, None], line.shape)[seen & (state == 0)]
    ratio = np.exp(np.minimum(true[0] * (none - middle - true[0] / 2) / spread**2, 12))
    error = ratio.std() / np.sqrt(len(ratio))
    still = (state == 0).all(0) & (seen.sum(0) > 0.7 * len(line))
    values = np.where(seen, line, np.nan)[:, still] / scatter
    mean, count = np.nanmean(values, 0), np.isfinite(values).sum(0)
    offset = np.sqrt(max(np.var(mean) - np.mean(np.nanvar(values, 0) / count), 0))
    rest = values - mean
    lag = np.nanmean(rest[1:] * rest[:-1]) / np.nanmean(rest**2)
    return (
        f"| {name} | {separation(none, one):.2f} | {separation(one, two):.2f} | {off[0]:+.0%} | {off[2]:+.0%} | "
        f"{off[1]:+.0%} | {off[3]:+.0%} | {ratio.mean():.2f} ± {error:.2f} | {offset:.2f} | {lag:+.2f} | "
        f"{1 - seen.mean():.0%} | {(state == 1).sum() / len(line):.1f} | {tails(found, state)} |"
    )


def tails(found, state: np.ndarray) -> str:
    """How many times as many readings as of a normal lie beyond three standard deviations, towards vacancies and away,
    of sites off centres where no vacancy is or is next to."""
    near = np.where(found.neighbours >= 0, state[:, found.neighbours] > 0, False).any(-1)
    of_centre = np.where(found.bonds >= 0, np.atleast_2d(found.centre).max(0)[found.bonds] > 0.5, False).any(-1)
    z = np.where((state == 0) & ~near & ~of_centre, found.line / found.scatter[:, None], np.nan)
    z = (z - np.nanmean(z)) / np.nanstd(z)
    z = z[np.isfinite(z)] * np.sign(found.level[0])
    return " | ".join(f"{side.mean() / norm.sf(3):.1f}" for side in (z > 3, z < -3))


def separation(low: np.ndarray, high: np.ndarray) -> float:
    """d' of two samples by the area under their curve; NaN where one is empty."""
    if not len(low) or not len(high):
        return np.nan
    rank = rankdata(np.concatenate([low, high]))[len(low) :].sum()
    area = (rank - len(high) * (len(high) + 1) / 2) / len(low) / len(high)
    return float(np.sqrt(2) * norm.ppf(np.clip(area, 1e-6, 1 - 1e-6)))


if __name__ == "__main__":
    main()
