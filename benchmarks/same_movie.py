"""One movie written in many ways must give one table and one D. Writes what it found into docs/reliability.md.

    python benchmarks/same_movie.py [model=ws2_mo] [size_px=160] [frames=16] [only=way,way] [output=docs]

A movie with truth is simulated and analysed from its own HDF5 file. Then its frames, and its defects, are written as
others would write them (same_movie_files.py, same_movie_tables.py), read back through the same calls as `infer.py` and
`analyze.py` make, and compared: rows that the one has and the other has not, the largest distance of positions in nm,
the largest difference of times in s, the relative difference of the headline D, and the same of the rows in both alone:
the rest of the difference is the calls'.
"""

import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import script

ROOT = Path(__file__).parents[1]
DEFAULTS = {"model": "ws2_mo", "size_px": "160", "frames": "16", "only": "", "output": str(ROOT / "docs")}
SAME_NM = 0.05  # rows of one kind this near each other are the same defect; columns are .18 nm apart


@dataclasses.dataclass
class Seen:
    """What came out of one way. yx_nm: (n, 2); frame, kind: (n,); time_s: (n,); D: of the headline, by `method`."""

    frame: np.ndarray
    kind: np.ndarray
    yx_nm: np.ndarray
    time_s: np.ndarray
    D_nm2_per_s: float
    path: Path | None = None


@dataclasses.dataclass
class Difference:
    """Of one way against the reference: rows only in one of both, and the largest of each difference."""

    way: str
    n_rows: int
    n_other: int
    position_nm: float
    time_s: float
    D_relative: float
    D_common: float

    @property
    def line(self) -> str:
        cells = (
            self.way,
            self.n_rows,
            self.n_other,
            f"{self.position_nm:.4f}",
            f"{self.time_s:.3g}",
            f"{self.D_relative:+.2%}",
            f"{self.D_common:+.2%}",
        )
        return f"| {' | '.join(map(str, cells))} |"


HEAD = [
    "| way | rows | rows of one alone | largest distance (nm) | largest time difference (s) | D | D of the rows in "
    "both |",
    "|---|---|---|---|---|---|---|",
]


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    only = set(filter(None, options["only"].split(",")))
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), options["model"], int(options["size_px"]), int(options["frames"]), only, print)
    if only:
        return
    shown = " ".join(a for a in sys.argv[1:] if not a.startswith("output="))
    text = "\n".join([f"`{f'python benchmarks/same_movie.py {shown}'.strip()}`", "", *HEAD, *(d.line for d in found)])
    script.fill(Path(options["output"]) / "reliability.md", "<!-- same movie -->", "<!-- end same movie -->", text)


def run(
    folder: Path,
    model: str,
    size_px: int,
    n_frames: int,
    only: set[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Difference]:
    """Every way (or those named in `only`) against the reference; files go into `folder`."""
    import same_movie_files
    import same_movie_tables

    movie = simulated(folder, size_px, n_frames)
    reference_run = infer(folder, movie, model, {})
    reference = from_run(reference_run)
    say("\n".join(HEAD))
    found = []

    def add(way: str, expected: Seen, seen: Seen) -> None:
        found.append(compare(way, expected, seen))
        say(found[-1].line)

    add("infer.py on HDF5 with our attributes (reference)", reference, reference)
    for way in same_movie_files.WAYS:
        if not only or way.name in only:
            place = folder / f"way_{len(found)}"
            place.mkdir()
            source, settings, first = way.write(place, movie)
            seen = from_run(infer(place, source, model, settings))
            add(way.name, reference, shifted(seen, first))
    csv = reference_run.path / "defects.csv"
    for way in same_movie_tables.WAYS:
        if not only or way.name in only:
            place = folder / f"way_{len(found)}"
            place.mkdir()
            table, expected, settings = way.write(place, csv)
            same = expected == reference_run.defects_path and not settings
            add(way.name, reference if same else from_table(expected, settings), from_table(table, settings))
    return found


def simulated(folder: Path, size_px: int, n_frames: int) -> Path:
    """A well exposed movie with moving defects, its truth inside; the frames are taken from it by every way."""
    from stemdefects import config
    from stemdefects.crystal import material
    from stemdefects.simulation.files import write_movie

    cfg = config.load_group("simulation", "demo_movie")
    cfg.view.size_px = [size_px, size_px]
    cfg.movie.n_frames = n_frames
    cfg.movie.hop_rate_per_s = 0.03
    cfg.detector.saturation = 65535.0  # 16 bits, which every format can hold
    return write_movie(folder / "movie.h5", material.load("ws2_mo"), cfg, seed=5, progress=False)


def infer(folder: Path, source: object, model: str, settings: dict):
    """What `infer.py model= input=` does, without pictures; returns the run."""
    from stemdefects import config
    from stemdefects.commands import infer as flow
    from stemdefects.schema import InferRoot

    pictures = {"frames": False, "contact_sheet": False, "animation": False}
    inference = config.default_with("inference", {"model": model, "pictures": pictures, **settings})
    logging = config.load_group("logging", "disabled")
    root = InferRoot(input=str(source), inference=inference, logging=logging, runs_dir=str(folder / "runs"))
    return flow.infer(root)


def from_run(run) -> Seen:
    """What analysis makes of a run's table."""
    return from_table(run.defects_path, {})


def from_table(path: Path, settings: dict) -> Seen:
    """What analysis makes of a table, as `analyze.py table=`."""
    import stemdefects as sd

    quick = {"diffusion": {"n_bootstrap": 50, "gate_scan_lattice": []}, "transitions": {"n_gibbs": 20, "n_burn": 5}}
    groups = {"crystal": {"enabled": False}, "kinetics": {"enabled": False}} | quick | settings
    found = sd.analyze(path, progress=False, **groups).analysis
    D = [e.value for e in found.estimates if e.headline and e.quantity == "D"]
    table = found.inputs.found
    rows = table.rows
    return Seen(
        rows["frame"],
        table.kinds,
        np.column_stack([rows["y_nm"], rows["x_nm"]]).astype(float),
        table.times[rows["frame"]],
        float(D[0]) if D and D[0] is not None else np.nan,
        path,
    )


def shifted(seen: Seen, first: int) -> Seen:
    """`seen` of a longer movie whose frame `first` is the reference's frame 0; times from there."""
    if first == 0:
        return seen
    step = np.unique(seen.time_s)[1] - np.unique(seen.time_s)[0]
    return dataclasses.replace(seen, frame=seen.frame - first, time_s=seen.time_s - first * step)


def compare(way: str, expected: Seen, seen: Seen) -> Difference:
    """Rows are matched one to one within frame and kind, nearest first."""
    from scipy.optimize import linear_sum_assignment

    pairs, far, late = [np.zeros((0, 2), int)], 0.0, 0.0
    for key in set(zip(expected.frame.tolist(), expected.kind.tolist(), strict=True)):
        a, b = (np.flatnonzero((s.frame == key[0]) & (s.kind == key[1])) for s in (expected, seen))
        distance = np.linalg.norm(expected.yx_nm[a][:, None] - seen.yx_nm[b][None], axis=-1)
        i, j = linear_sum_assignment(np.minimum(distance, 10 * SAME_NM))
        near = distance[i, j] < SAME_NM
        pairs.append(np.column_stack([a[i[near]], b[j[near]]]))
        far = max(far, *distance[i, j][near], 0.0)
        late = max(late, *np.abs(expected.time_s[a[i]] - seen.time_s[b[j]])[near], 0.0)
    both = np.concatenate(pairs)
    relative = seen.D_nm2_per_s / expected.D_nm2_per_s - 1
    alone = len(expected.frame) + len(seen.frame) - 2 * len(both)
    common = relative
    if alone and all(s.path is not None and s.path.suffix == ".h5" for s in (expected, seen)):
        D = [of_rows(s, np.sort(both[:, k])).D_nm2_per_s for k, s in enumerate((expected, seen))]
        common = D[1] / D[0] - 1
    return Difference(way, len(seen.frame), alone, far, late, relative, common)


def of_rows(seen: Seen, rows: np.ndarray) -> Seen:
    """What analysis makes of these `rows` of a run's table alone."""
    from stemdefects.io.tables.table import DefectTable

    whole = DefectTable.read(seen.path)
    order = np.argsort(whole.rows["frame"], kind="stable")  # as analysis has them
    part = seen.path.with_name("common.h5")
    dataclasses.replace(whole, rows=whole.rows[order[rows]], patches=None, over_time=None, evidence=None).write(part)
    return from_table(part, {})


if __name__ == "__main__":
    main()
