"""One network for all crystals of a build, beside those made for one: share of the ideal observer's F1. Writes its
table into docs/models.md.

    python benchmarks/crystals.py [told=tmd] [own=ws2_mo,mos2,graphene_si] [crystals=ws2_mo,...] [dose=2500,400]
                                  [images=12] [simulation=train] [size_px=192] [output=docs]

crystals: material files, or formulas. Every image is simulated, judged by the observer and by `infer.py`'s whole way
(calibration, what the image itself teaches, the light of its columns), as a single image. Columns of the table: `own`,
the network made for that crystal; `told`, the one network with its opinion of the states; `light`, the same for places
and sublattices alone, the columns' light saying what they are; `nearest`, a network made for another crystal, likewise.
Images of crystals that `told` does not serve are drawn as in their own network's training, in all directions that
differ.
Vacancies called where the truth has no column at all (atoms missing beside a hole) do not count.
Rows of crystals and doses that are not asked for stay as they are: the whole takes an hour and may be run in parts.
"""

import copy
import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import script
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DEFAULTS = {
    "told": "tmd",
    "own": "ws2_mo,mos2,graphene_si",
    "crystals": "ws2_mo,mos2,wse2,mose2,mote2,W0.98V0.02S2,graphene_si",
    "dose": "2500,400",
    "images": "12",
    "simulation": "train",
    "size_px": "192",
    "output": str(ROOT / "docs"),
    "runs_dir": "runs",
}
RADIUS_NM = 0.09  # a detection this close to the true column is right
A_PX = 10.7  # pixels per lattice constant: 0.03 nm/px for a crystal of 0.32 nm
MARKS = "<!-- crystals: made by benchmarks/crystals.py -->", "<!-- end of crystals -->"
UNEXCHANGED_DEG = [-15.0, 45.0]  # of graphene: which of two alike sublattices is A, its direction says alone
WAYS = ("own", "told", "light", "nearest")


class Way(NamedTuple):
    """A network for the crystal, and what was kept of the images it judged."""

    model: Any
    parts: list


def main() -> None:
    import warnings

    from stemdefects import devices

    warnings.simplefilter("ignore")
    devices.use_compilation_cache()
    options = script.options(sys.argv[1:], DEFAULTS)
    asked = [a for a in sys.argv[1:] if a.split("=")[0] not in ("crystals", "dose", "output")]
    head = [
        f"`{' '.join(['python benchmarks/crystals.py', *asked]).strip()}`: best F1 of the observer, and the share "
        "of it that each way reaches (95% interval over images); then of what `told` (or `own`, where it is "
        "alone) calls at its thresholds, how many are right, and in brackets how many it claims.",
        "",
        "| crystal | e/px | kind | number | observer | own | told | light | nearest | right (claimed) of called |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    page = Path(options["output"]) / "models.md"
    for name in options["crystals"].split(","):  # written after every crystal, so that a long run leaves something
        rows = of_crystal(name, options)
        print("\n".join(rows), flush=True)
        script.fill(page, *MARKS, "\n".join([*head, *joined(page, rows)]))


def joined(page: Path, rows: list[str]) -> list[str]:
    """`rows` among those that the page has of other crystals and doses, in the usual order of crystals."""
    old = page.read_text().partition(MARKS[0])[2].partition(MARKS[1])[0] if page.exists() else ""
    known = [line for line in old.splitlines() if line.startswith("| ") and not line.startswith("| crystal ")]
    made = {_key(line) for line in rows}
    order = DEFAULTS["crystals"].split(",")

    def rank(line: str) -> tuple[int, float]:
        name, dose = _key(line)
        return (order.index(name) if name in order else len(order)), -dose

    return sorted([line for line in known if _key(line) not in made] + rows, key=rank)


def _key(line: str) -> tuple[str, float]:
    """Crystal and dose of a row."""
    name, dose = (cell.strip() for cell in line.split("|")[1:3])
    return name, float(dose)


def networks(material: Any, options: dict) -> dict[str, Way]:
    """The ways there are for a crystal of the config `material`."""
    from stemdefects.commands.detection import load_model
    from stemdefects.crystal import material as crystal
    from stemdefects.errors import UserError
    from stemdefects.models import other_crystal, told

    target, found = crystal.from_config(material), {}
    for name in filter(None, options["own"].split(",")):
        model = load_model(name, options["runs_dir"])
        if model.material.name == target.name:
            found["own"] = Way(model, [])
        elif "nearest" not in found:
            try:
                found["nearest"] = Way(other_crystal.shown(model, material), [])
            except UserError:
                pass  # its sublattices are of another brightness
    one = load_model(options["told"], options["runs_dir"])
    if told.serves(one.material, target):
        found["told"] = Way(told.shown_as(one, material), [])
        found["light"] = Way(told.shown_as(one, material, by_light=True), [])
    return found


def of_crystal(name: str, options: dict) -> list[str]:
    """Rows of the table."""
    from stemdefects import config
    from stemdefects.crystal import formula
    from stemdefects.crystal import material as crystal
    from stemdefects.limit import study
    from stemdefects.models import symmetry
    from stemdefects.models.probability.prevalence import state_prior

    known = name in config.group_names("material")
    material_config = config.load_group("material", name) if known else formula.material(name)
    material = crystal.from_config(material_config)
    ways = networks(material_config, options)
    cfg = config.load_group("simulation", options["simulation"])
    if "told" not in ways:  # of another build: drawn as in its network's training
        cfg = copy.deepcopy(ways["own"].model.config.simulation)
    if symmetry.alike(material):
        cfg.view.rotation_deg = UNEXCHANGED_DEG
    cfg.view.pixel_size_nm = [material.a_nm / A_PX] * 2
    first = next(iter(ways.values())).model  # prevalences are the crystal's, not the network's
    prior = state_prior(dataclasses.replace(first.config.labels, prior={}), material)
    usual = {kind.name: float(prior[kind.state]) for kind in material.kinds}
    size = int(options["size_px"]), int(options["size_px"])
    watch = study.Study(material, cfg, usual, [1], size)
    rows = []
    for dose in [float(d) for d in options["dose"].split(",")]:
        seen = []
        for way in ways.values():
            way.parts.clear()
        for number, (_, one) in enumerate(watch.run([dose], int(options["images"]), progress=f"{name} {dose:g}")):
            for way in ways.values():
                way.parts.append(judged(way.model, one, number, study.MARGIN_PX))
            seen.append(one)
        rows += [row(name, dose, kind, seen, ways, material) for kind in material.kinds if usual[kind.name] >= 1e-3]
    return rows


def judged(model: Any, one: Any, number: int, margin_px: float) -> Any:
    """`scoring.columns.Matched` of one image, its probabilities those that the table would state."""
    from stemdefects.commands.detection import configure
    from stemdefects.inference.columns.defects import classify, find_defects
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.teaching import teach
    from stemdefects.io.movie import Movie
    from stemdefects.models.peaks import Peaks
    from stemdefects.scoring import columns as scores

    pixel_nm = float(one.truth.pixel_size_nm)
    movie = Movie(one.frames, pixel_size_nm=pixel_nm)
    setup = prepare(movie, model, configure(calibration="metadata", straighten=False))
    teach(movie, setup)
    output = setup.engine(movie.frame(0)[None, None])[0]
    step = setup.calibration.pixel_size_nm / output.scale
    found = find_defects(output, model.material, setup.rules, setup.reference_px, step, told_apart=True)
    prob, columns, material = found.prob.copy(), found.columns, model.material
    _, kind, kind_prob = classify(prob, material)
    would = kind_prob >= np.array([setup.rules.threshold(k.name) for k in material.kinds])[kind]
    fell = np.setdiff1d(np.flatnonzero(would), found.called)  # by their light, their region or the border
    prob[np.ix_(fell, [k.state for k in material.kinds])] = 0
    n = len(prob)
    peaks = Peaks(
        columns.y_px,
        columns.x_px,
        columns.sigma_px,
        columns.site,
        prob,
        columns.presence,
        np.ones(n, bool),
        columns.region,
    )
    matched = scores.pair_image(one.truth, peaks, RADIUS_NM, number, margin_px)
    inner = (matched.yx_px >= margin_px) & (matched.yx_px <= np.array(one.frames.shape[1:]) - 1 - margin_px)
    counts = inner.all(1) & ~nothing_there(matched, one.truth, material)
    return matched.take(np.flatnonzero(counts)), setup.rules.thresholds


def nothing_there(matched: Any, truth: Any, material: Any) -> np.ndarray:
    """(R,) bool of `scoring.columns.Matched`: a vacancy is found where the truth has no column of any sublattice, of a
    crystal or beside a hole: an atom that is missing, and neither right nor wrong of the columns that are scored."""
    empty = material.species_counts().sum(1) == 0
    said = (matched.state == -1) & empty[matched.log_prob.argmax(1)]
    columns = np.stack([truth.y_px, truth.x_px], 1)[truth.valid]
    away, _ = cKDTree(columns).query(matched.yx_px)
    y, x = np.clip(np.rint(matched.yx_px).astype(int), 0, np.array(truth.regions.shape) - 1).T
    crystal_or_hole = np.isin(truth.regions[y, x], (0, 1))
    return said & (away * float(truth.pixel_size_nm) > RADIUS_NM) & crystal_or_hole


def row(name: str, dose: float, kind: Any, seen: list, ways: dict[str, Way], material: Any) -> str:
    """One row of the table."""
    from stemdefects.limit.page import number
    from stemdefects.scoring import columns as scores
    from stemdefects.scoring import detection

    state = np.concatenate([s.state for s in seen])
    image = np.repeat(np.arange(len(seen)), [len(s.state) for s in seen])
    observer = np.concatenate([s.prob[1] for s in seen])[:, kind.state], state == kind.state, image
    best = detection.best_f1(*observer[:2])[0]
    cells, said = [], ""
    for label in WAYS:
        if label not in ways:
            cells.append("-")
            continue
        matched = scores.concatenate([m for m, _ in ways[label].parts], material.n_states)
        prob = np.where(matched.found[:, None], np.exp(matched.log_prob), 0.0)
        mine = prob[:, kind.state], matched.state == kind.state
        f1 = detection.best_f1(*mine)[0]
        low, high = detection.ratio_interval((*mine, matched.image), observer, np.random.default_rng(0))
        cells.append(f"**{number(f1 / best)}** ({number(low)}-{number(high)})")
        if label == ("told" if "told" in ways else "own"):
            threshold = ways[label].parts[0][1].get(kind.name, 0.5)
            called = mine[0] >= threshold
            right = (called & mine[1]).sum()
            said = f"{right} ({mine[0][called].sum():.1f}) of {called.sum()}"
    n = int((state == kind.state).sum())
    return f"| {name} | {dose:g} | {kind.name} | {n} | {number(best)} | {' | '.join(cells)} | {said} |"


if __name__ == "__main__":
    main()
