"""What comes out on real images, beside what is known of them. Writes its tables into docs/inference.md.

    python benchmarks/real.py [files=all] [graphene=graphene_si] [output=docs] [pictures=<folder>]

Labelled: WSe2 with Ti (`wse2_ti`, every column labelled half by hand), and the Si atoms of graphene movies (labels by
their authors, incomplete: recall alone), by the network or run of `graphene=`. Not labelled: MoS2 whose metal vacancies
plain to the eye are listed below, and WS2 partly turned into WSSe, whose chalcogens' own light says which of them are
vacancies. Files that are not at hand are said to be left out. `files=wse2_ti,wsse` takes those whose names hold one.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import script
import two_detectors
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared"
DEFAULTS = {"files": "all", "graphene": "graphene_si", "output": str(ROOT / "docs"), "pictures": ""}
WITHIN_NM = 0.09  # a third of the lattice constant: the same column
BULK = 2.0  # scatters from a level of the bulk
# metal places that are dark to the eye: y, x in px, by looking at the images
DARK = {
    "mos2_two_metal_vacancies.npy": [(201, 27), (113, 108), (132, 144)],
    "mos2_metal_vacancy.npy": [(135, 158), (156, 48)],
    "mos2_contaminated.npy": [(93, 48), (112, 83)],
}
WSSE = [
    "cases/real/ws2_wsse_partial_3.tif",
    *(f"data/real/ws2_wsse_partial_{n}.tif" for n in (12, 16, 17)),
]
TAKEN_FOR = ("ws2_mo", "wse2", "mos2")
MOS2 = [
    "cases/real/mos2_two_metal_vacancies.npy",
    "cases/real/mos2_metal_vacancy.npy",
    "cases/real/mos2_contaminated.npy",
    "data/real/mos2_60kv_a.npy",
    "data/real/mos2_60kv_b.npy",
]
GRAPHENE = ["data/real/graphene_si_trimer.npz", "data/real/graphene_si_single_128.npz"]


class Looked(NamedTuple):
    """One image: `FrameDefects`, rows of the table, area fractions, the setup, the image, flags of doubt."""

    found: Any
    rows: np.ndarray
    fraction: np.ndarray
    setup: Any
    image: np.ndarray
    doubt: int


def look(path: Path, model: str, second: Path | None = None, **settings: Any) -> Looked:
    """The first frame of `path`, judged as infer.py does, with a `second` detector of the same scan."""
    from stemdefects.commands.detection import configure, load_model
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.source import opened
    from stemdefects.inference.tables import stream
    from stemdefects.inference.tables.blocks_of_frames import BlockMaker
    from stemdefects.inference.teaching import teach
    from stemdefects.models import other_crystal

    asked = configure(**settings)
    model = other_crystal.chosen(asked) if model == "auto" else model
    movie = opened(str(path), None if second is None else [str(path), str(second)])
    setup = prepare(movie, other_crystal.asked_for(load_model(model), asked), asked)
    teach(movie, setup)
    shown = stream.shown(movie, 0, setup)
    (output,) = stream.look(setup, [shown])
    maker = BlockMaker(setup)
    finished = maker.finish(output)
    block = maker.block(0, np.zeros(1, int), [finished], {})
    return Looked(finished.found, block.rows, finished.fraction, setup, movie.frame(0), int(block.frames["doubt"][0]))


def wse2_ti(
    path: Path, second: Path | None = None, alone: Looked | None = None, **asked: Any
) -> tuple[list[str], Looked]:
    """Precision and recall per kind against the labelled columns, and the share of columns on the right sublattice.

    second: another detector, whose word on what the first one `alone` called is said too; asked: settings of
    inference."""
    seen = look(path, "auto", second, **(asked or {"material": "wse2_ti"}))
    lines = (path.parent / "columns.csv").read_text().split()[1:]
    place = np.array([[float(v) for v in line.split(",")[:2]] for line in lines])
    label = np.array([line.split(",")[2] for line in lines])
    found, pixel = seen.found, seen.setup.calibration.pixel_size_nm
    columns = seen.setup.raw_places(np.stack([found.columns.y_px, found.columns.x_px], 1))
    away, near = cKDTree(columns).query(place)
    same = away * pixel < WITHIN_NM
    metal = np.isin(label, ["W", "Ti_W"])
    right = same & ((found.columns.site[near] == 0) == metal)
    inside = ((columns >= place.min(0) - 0.5) & (columns <= place.max(0) + 0.5)).all(1)
    out = [f"Columns found {same.mean():.4f}, on the right sublattice {right.mean():.4f} of {len(label)}.", ""]
    out += ["| kind | labelled | called | precision | recall | F1 |", "|---|---|---|---|---|---|"]
    name = np.full(len(columns), "", "U24")
    name[found.called] = [k.decode() for k in found.rows["kind"]]
    for kind in ("Ti_W", "V_Se"):
        called, labelled = (name == kind) & inside, label == kind
        hits = int((labelled & same & called[near]).sum())
        n, m = int(labelled.sum()), int(called.sum())
        out.append(f"| {kind} | {n} | {m} | {hits / max(m, 1):.3f} | {hits / n:.3f} | {2 * hits / (n + m):.3f} |")
    taught, material = seen.setup.rules.specimen, seen.setup.model.material
    state = next(kind.state for kind in material.kinds if kind.name == "Ti_W")
    true = (label == "Ti_W").sum() / metal.sum()
    out += [
        "",
        f"Ti on W: {taught.prior[state]:.4f} [{taught.low[state]:.4f}, {taught.high[state]:.4f}] of the metal columns "
        f"(labelled: {true:.4f}); its light {taught.levels.level[state]:.2f} of W's (the file says "
        f"{material.intensities()[state]:.2f}).",
    ]
    if second is not None:
        of_label = np.full(len(columns), "", "U8")
        of_label[near[same]] = label[same]
        out += ["", two_detectors.told(alone.found, found, (name == "Ti_W") & inside, of_label)]
    return out, seen


def wsse(path: Path, material: str = "ws2_mo") -> tuple[str, Looked]:
    """A row: levels, composition, vacancy calls whose light lies in a level's bulk, by the `material` it is taken
    for."""
    from stemdefects.io.tables import quality_flags

    seen = look(path, "auto", material=material)
    found, taught = seen.found, seen.setup.rules.specimen
    site, levels = 1, taught.levels
    bulk = levels.bulk[site][np.isfinite(levels.bulk[site, :, 0])]
    mine = (found.columns.site == site) & np.isfinite(found.ratio)
    called = np.zeros(len(mine), bool)
    called[found.called] = [k.startswith(b"V_") for k in found.rows["kind"]]
    within = (np.abs(found.ratio[:, None] - bulk[:, 0]) < BULK * levels.scatter[site]).any(1)
    told = ", ".join(f"{level:.2f} ({share:.0%})" for level, share in bulk)
    n = int(mine.sum())
    in_bulk = int((called & mine & within).sum())
    doubted = "yes" if seen.doubt & ~quality_flags.DISTORTED else "no"
    vacant = f"{int((called & mine).sum())} | {in_bulk} | {100 * in_bulk / max(n, 1):.1f}"
    row = f"| {path.name} | {material} | {n} | {told} | {vacant} | {doubted} |"
    return row, seen


def mos2(path: Path) -> tuple[str, Looked]:
    """A row: calls per kind, dark metal places found, the share called 1T."""
    seen = look(path, "mos2")
    rows = seen.rows
    counts = ", ".join(f"{n} {kind.decode()}" for kind, n in Counter(rows["kind"].tolist()).most_common())
    vacant = rows[rows["kind"] == b"V_Mo"]
    dark, known = DARK.get(path.name, []), "not listed"
    if dark:
        place = np.stack([vacant["y_px"], vacant["x_px"]], 1)
        reach = WITHIN_NM / seen.setup.calibration.pixel_size_nm
        hit = sum(len(place) > 0 and np.hypot(*(place - d).T).min() < reach for d in dark)
        known = f"{hit} of {len(dark)}"
    brightest = f"{vacant['light'].max():.2f}" if len(vacant) else "none"
    one_t = seen.fraction[3]
    return f"| {path.name} | {counts or 'none'} | {known} | {len(vacant)} | {brightest} | {one_t:.3f} |", seen


def graphene(path: Path, model: str) -> str:
    """A row: recall of the labelled Si atoms, and how far the calls lie from them."""
    import stemdefects as sd

    with np.load(path) as stored:
        images, labels = stored["images"], json.loads(str(stored["labels"]))
        numbers = stored["frame"].tolist()
    pixel = 2.0 / images.shape[-1]  # field of 2 nm, by its authors
    table = sd.detect(sd.Movie(images, pixel_size_nm=pixel), model, progress=False)
    hits = []
    for one in labels:
        mine = table.rows[table.rows["frame"] == numbers.index(one["frame"])] if one["frame"] in numbers else []
        for x, y in one["Si_xy"]:
            off = np.hypot(mine["y_px"] - y, mine["x_px"] - x) * pixel if len(mine) else np.array([np.inf])
            hits.append(off.min(initial=np.inf))
    hits = np.array(hits)
    near = hits < WITHIN_NM
    told = f"{near.mean():.3f} | {np.median(hits[near]):.3f} | {len(table) / len(images):.1f}"
    return f"| {path.name} | {len(hits)} | {told} |"


def main() -> None:
    import warnings

    warnings.simplefilter("ignore")
    options = script.options(sys.argv[1:], DEFAULTS)
    wanted = options["files"].split(",")

    def at_hand(name: str) -> Path | None:
        if options["files"] != "all" and not any(w in name for w in wanted):
            return None
        path = SHARED / name
        if not path.exists():
            print(f"left out: {name} is not at hand")
            return None
        return path

    def keep(name: str, seen: Looked) -> None:
        if options["pictures"]:
            draw(Path(options["pictures"]) / f"{Path(name).stem}.png", seen)

    def rows_of(names: list[str], look: Callable[[Path], tuple[str, Looked]]) -> list[str]:
        rows = []
        for name in names:
            if path := at_hand(name):
                row, seen = look(path)
                rows.append(row)
                keep(name, seen)
        return rows

    text = []
    if path := at_hand("data/real/wse2_ti/adf2.dm4"):
        lines, seen = wse2_ti(path)
        keep("wse2_ti", seen)
        text += [
            "**WSe2 with Ti** (`wse2_ti/adf2.dm4`, `model=auto inference.material=wse2_ti`). " + lines[0],
            *lines[1:],
            "",
        ]
        lines, _ = wse2_ti(path, formula="W0.95Ti0.05Se2")
        text += ["Without a file (`model=auto formula=W0.95Ti0.05Se2`). " + lines[0], *lines[1:], ""]
        if other := at_hand("data/real/wse2_ti/adf1.dm4"):
            lines, _ = wse2_ti(other)
            text += ["The inner detector alone (`adf1.dm4`), to which Se2 is brighter than W. " + lines[0]]
            text += [*lines[1:], ""]
            lines, _ = wse2_ti(path, other, seen)
            text += ["The same with the inner detector beside it (`inference.signal=[adf2.dm4,adf1.dm4]`). " + lines[0]]
            text += [*lines[1:], ""]
    if rows := [row for name in TAKEN_FOR for row in rows_of(WSSE, partial(wsse, material=name))]:
        text += [
            "**WS2 partly turned into WSSe**, `model=auto inference.material=`, also of crystals that it is not: "
            "levels of the chalcogens' light, W's being 1; doubted for more than a stretched lattice.",
            "",
            "| file | material | chalcogens | levels (share) | vacancies called | of these in a level's bulk | "
            "per 100 | doubted |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    if rows := rows_of(MOS2, mos2):
        text += [
            "**MoS2**, `model=mos2`: metal places dark to the eye that are called V_Mo.",
            "",
            "| file | called | dark places found | V_Mo | brightest of them, of Mo | area called 1T |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    rows = []
    for name in GRAPHENE:
        if path := at_hand(name):
            rows.append(graphene(path, options["graphene"]))
    if rows:
        text += [
            f"**Graphene with Si**, frame by frame, `model={options['graphene']}`; the labels are incomplete.",
            "",
            "| movie | labelled Si | recall | median distance, nm | calls per frame |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    print("\n".join(text))
    if options["files"] == "all":
        page = Path(options["output"]) / "inference.md"
        made = "\n".join(["`python benchmarks/real.py`", "", *text]).rstrip()
        script.fill(page, "<!-- real: made by benchmarks/real.py -->", "<!-- end of real -->", made)


def draw(path: Path, seen: Looked) -> None:
    """The image with what is called."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(12, 12))
    low, high = np.percentile(seen.image, [0.5, 99.7])
    axes.imshow(seen.image, cmap="gray", vmin=low, vmax=high)
    rows = seen.rows
    for n, kind in enumerate(np.unique(rows["kind"])):
        mine = rows[rows["kind"] == kind]
        axes.plot(mine["x_px"], mine["y_px"], "o", mfc="none", ms=12, color=f"C{n}", label=kind.decode())
    axes.legend(loc="upper right")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
