"""From the blocks of an inference to its files: table, CSV, figures. Memory does not grow with the movie."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stemdefects.inference.evidence import movie_sites
from stemdefects.inference.evidence.floating import calls
from stemdefects.inference.specimen import learned
from stemdefects.inference.tables.partial_results import PartialResults
from stemdefects.io.movie import QUALITY
from stemdefects.io.tables import contradictions, quality_flags, table, table_writer
from stemdefects.io.tables.contradictions import Contradiction
from stemdefects.models import symmetry
from stemdefects.models.probability.prevalence import state_prior

FIRST_ROWS = 10_000  # that go to the experiment tracker


class Assembled(NamedTuple):
    """What was written. frames: the frame table; counts: detections per kind; counts_over_time: the same from all
    frames together, None when they were not looked at together; first: a table of the first rows; contradicted: what
    speaks against the states over time."""

    frames: np.ndarray
    n_rows: int
    counts: dict[str, int]
    counts_over_time: dict[str, int] | None
    first: table.DefectTable
    contradicted: tuple[Contradiction, ...] = ()


def assemble(folder: Path, setup: Any, partial: PartialResults, attrs: dict[str, Any]) -> Assembled:
    """Blocks -> defects.h5 and the CSV files in `folder` (setup: `setup.Setup`)."""
    path = folder / "defects.h5"
    counts, over_time, first, n_first = Counter(), None, [table.empty(0)], 0
    contradicted: tuple[Contradiction, ...] = ()
    all_frames = [table.empty_frames(0)]
    writer = table_writer.TableWriter(path, attrs)
    read = calls.judged(partial.read, setup.n_blocks, setup)
    try:
        for number in range(setup.n_blocks):
            block = read(number)
            writer.append(block.rows, block.frames, block.patches, block.regions)
            counts.update(block.rows["kind"].tolist())
            all_frames.append(block.frames)
            if n_first < FIRST_ROWS:
                first.append(block.rows)
                n_first += len(block.rows)
        if setup.keeps_columns:
            counted = Counter()
            over_time = counted if tells_states(setup) else None

            def write(rows: np.ndarray) -> None:
                writer.append_over_time(rows)
                counted.update(rows["kind"].tolist())

            seen = look_together(read, setup, write, writer.start_evidence)
            assert seen is not None  # columns were kept
            writer.set_frames(drift_y_px=seen.drift_px[:, 0], drift_x_px=seen.drift_px[:, 1])
            all_frames = [seen.doubted(np.concatenate(all_frames))]
            writer.set_frames(doubt=all_frames[0]["doubt"])
            writer.set_attributes(seen.attributes)
            contradicted = seen.contradicted
        writer.finish()
    finally:
        writer.discard()
    stored = table_writer.stored
    table_writer.write_csv(folder / "defects.csv", stored(path))
    if over_time is not None:
        table_writer.write_csv(folder / "defects_over_time.csv", stored(path, "defects_over_time"), all_frames=True)
    together = None if over_time is None else _named(over_time)
    head = table.DefectTable(np.concatenate(first)[:FIRST_ROWS])
    return Assembled(np.concatenate(all_frames), sum(counts.values()), _named(counts), together, head, contradicted)


def look_together(
    read: Callable[[int], Any], setup: Any, write: Callable[[np.ndarray], None], start_evidence: Any = None
) -> movie_sites.Result | None:
    """All blocks together, rows to `write`, evidence to what `start_evidence` makes; None when the settings or the
    movie do not ask for it."""
    if not setup.keeps_columns:
        return None
    prior = state_prior(setup.model.config.labels, setup.model.material)
    told = tells_states(setup)
    written = write if told else lambda rows: None  # drift and evidence are wanted all the same
    seen = movie_sites.analyse(read, setup.n_blocks, setup, prior, written, start_evidence)
    return seen if told else seen._replace(contradicted=())


def tells_states(setup: Any) -> bool:
    """Are states over time worth telling? Among alike columns, a bond apart, the tails of a heavy atom that lies beside
    its place pass for lighter atoms, frame after frame."""
    return not symmetry.alike(setup.model.material)


def summarise(found: Assembled, setup: Any) -> dict[str, Any]:
    """Figures for the summary: counts, frames skipped and why, doubts, calibration, area fractions."""
    frames = found.frames
    good = frames[frames["quality"] == 0]
    area = float(np.prod(setup.shape_px)) * setup.calibration.pixel_size_nm**2
    fractions = {
        name: float(np.mean(good[f"fraction_{name}"])) if len(good) else None
        for name in ("lattice", "hole", "amorphous", "1T")
    }
    values, numbers = np.unique(frames["quality"], return_counts=True)
    skipped = {QUALITY[int(v)]: int(n) for v, n in zip(values, numbers, strict=True) if v}
    return {
        "n_frames": len(frames),
        "n_frames_skipped": sum(skipped.values()),
        "skipped": skipped,
        "n_frames_without_lattice": int((good["n_sites"] == 0).sum()),
        "n_frames_in_doubt": int((good["doubt"] != 0).sum()),
        "doubts": quality_flags.counts(frames),
        contradictions.ATTRIBUTE: contradictions.to_plain(found.contradicted),
        "n_withheld": int(frames["n_withheld"].sum()),
        "n_detections": found.n_rows,
        "detections": found.counts,
        "detections_per_frame": {k: n / max(len(good), 1) for k, n in found.counts.items()},
        "detections_over_time": found.counts_over_time,
        "frame_area_nm2": area,
        "area_fraction": fractions,
        "pixel_size_nm": setup.calibration.pixel_size_nm,
        "calibration": setup.calibration.message,
        "model_id": setup.model.id,
        "prevalence": _prevalence(setup),
        "composition": _composition(setup),
        "composition_order": _order(setup),
        "limit_of_detection_per_cm2": _limits(setup),
        "unnamed_columns": _unnamed(setup),
    }


def _prevalence(setup: Any) -> dict[str, dict[str, float]]:
    """Per kind that the frames can tell: fraction of its sublattice, and the 95% interval."""
    taught, kinds = setup.rules.specimen, setup.model.material.kinds
    if taught is None:
        return {}
    return {
        k.name: {"fraction": float(taught.prior[k.state]), "low": float(taught.low[k.state]), "high": float(high)}
        for k in kinds
        if np.isfinite(high := taught.high[k.state])
    }


def _unnamed(setup: Any) -> list[dict[str, Any]]:
    """Groups of columns whose light no common state has, and which elements have it."""
    taught = setup.rules.specimen
    return [] if taught is None else [one.to_plain() for one in taught.unnamed]


def _limits(setup: Any) -> dict[str, float]:
    """Per kind: density per cm2 below which single frames could not tell it from none by its light."""
    taught, material = setup.rules.specimen, setup.model.material
    if taught is None:
        return {}
    known = [k for k in material.kinds if np.isfinite(taught.limit[k.state])]
    return {k.name: learned.per_cm2(float(taught.limit[k.state]), material) for k in known}


def _composition(setup: Any) -> dict[str, list[dict[str, float]]]:
    """Per alloyed sublattice: level (light over that of the brightest sublattice) and share of each kind of column."""
    taught, sites = setup.rules.specimen, setup.model.material.sites
    if taught is None:
        return {}
    return {
        sites[g].name: [
            {"level": float(level), "share": float(share)}
            for level, share in taught.levels.bulk[g]
            if np.isfinite(level)
        ]
        for g in np.flatnonzero(taught.levels.alloyed)
    }


def _order(setup: Any) -> dict[str, dict[str, float]]:
    """Per alloyed sublattice: Warren-Cowley parameter of nearest columns, and its 95% interval."""
    taught = setup.rules.specimen
    found = () if taught is None else taught.compositions
    return {one.site: {name: float(getattr(one, name)[0]) for name in ("order", "low", "high")} for one in found}


def _named(counts: Counter) -> dict[str, int]:
    """Kinds as text, most frequent first."""
    return {kind.decode(): n for kind, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}
