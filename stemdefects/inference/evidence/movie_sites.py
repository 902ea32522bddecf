"""All frames of a movie together: drift, and the state of every lattice site at every frame.

Two passes over the blocks of an inference. The first puts the frames onto one numbering of sites (`registration`); the
second smooths the states of the sites in overlapping windows (`over_time`), so that memory does not grow with the
movie.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stemdefects.inference.columns.site_columns import Frame, centred, frames, posterior
from stemdefects.inference.evidence import blank_sites, cross_checks, site_evidence, window_rows
from stemdefects.inference.evidence.field.field_changes import Fields
from stemdefects.inference.evidence.field.registration import FrameSites, Registrar
from stemdefects.inference.evidence.floating import sites as floating_sites
from stemdefects.inference.evidence.site_window import Window
from stemdefects.inference.tables.partial_results import Block
from stemdefects.io.tables import contradictions, quality_flags, table
from stemdefects.io.tables.contradictions import Contradiction
from stemdefects.models.probability import emissions

LARGEST_WINDOW = 1_500_000  # columns (sites times frames) smoothed together: some 200 MB


class Result(NamedTuple):
    """drift_px: (n_frames, 2), NaN where there was no lattice; change and prevalence: what was fitted, by sublattice
    and state; unrelated: the frames show different fields, and nothing was followed from one to the next;
    other_field: (n_frames,) bool, frames of another field than most, left out; contradicted: what speaks
    against the states; places: fractions of the cell at which defects of an unknown crystal sit."""

    drift_px: np.ndarray
    change_per_frame: dict[str, float]
    prevalence: dict[str, float]
    other_field: np.ndarray
    unrelated: bool = False
    contradicted: tuple[Contradiction, ...] = ()
    places: tuple[tuple[float, float], ...] = ()

    @property
    def attributes(self) -> dict[str, Any]:
        """What was fitted, as attributes of the defect table."""
        if self.unrelated:
            return {"fields": "unrelated"}
        found = {"over_time_change_per_frame": self.change_per_frame, "over_time_prevalence": self.prevalence}
        told = {contradictions.ATTRIBUTE: contradictions.to_plain(self.contradicted)} if self.contradicted else {}
        return found | told | ({"places": [list(place) for place in self.places]} if self.places else {})

    def doubted(self, frames: np.ndarray) -> np.ndarray:
        """`frames` (rows of `/frames`, n_frames of them) with the doubts that all frames together raise."""
        frames = quality_flags.added(frames, quality_flags.OTHER_FIELD, self.other_field)
        if not self.contradicted:
            return frames
        return quality_flags.added(frames, quality_flags.CONTRADICTED, np.isfinite(self.drift_px[:, 0]))


def analyse(
    read: Callable[[int], Block],
    n_blocks: int,
    setup: Any,
    prior: np.ndarray,
    write: Callable[[np.ndarray], None],
    start_evidence: site_evidence.Start | None = None,
) -> Result:
    """Both passes. read: block number -> `Block` (called twice for each); setup: `setup.Setup`; prior: (S,); write:
    takes rows of the defect table, window by window, ordered by frame; start_evidence: makes the writer of the
    evidence (`io.tables.evidence`), None: it is not kept."""
    material, settings = setup.model.material, setup.settings.over_time
    if setup.of_movie:
        seen = floating_sites.analyse(read, n_blocks, setup, write)
        change = {site.name: seen.change for site in material.sites}
        nowhere = np.zeros(len(seen.drift_px), bool)
        drift = seen.drift_px / (setup.aspect, 1)
        return Result(drift, change, seen.prevalence, nowhere, places=tuple(map(tuple, seen.places.tolist())))
    pixel = setup.calibration.pixel_size_nm
    followed = Fields(lambda: Registrar(prior, material.site_of_state, pixel, settings.max_step_nm))
    for frame in frames(read, range(n_blocks)):
        followed.add(_sites(frame, setup.model))
        if frame.row["doubt"] & quality_flags.OTHER_FIELD:
            followed.kinship.other_lattice()
    followed.settle()
    n, others = len(followed.placed), followed.others()
    if followed.kinship.unrelated:
        write(table.empty(0))
        return Result(np.full((n, 2), np.nan), {}, {}, unrelated=True, other_field=np.ones(n, bool))
    if others.any():
        read = _without(read, others, setup.settings.block_frames)
    shifts, drifts = np.zeros((n, 2), int), np.full((n, 2), np.nan)
    for t, placed in enumerate(followed.placed):
        if placed is not None and not others[t]:
            shifts[t], drifts[t] = placed.shift, placed.drift_px
    scatters, most, blanks, middles = [[] for _ in material.sites], 1, [], []
    evidence = site_evidence.Gatherer(setup, prior)
    for frame, shift in zip(frames(read, range(n_blocks)), shifts, strict=True):
        blanks.append(blank_sites.of_frame(frame, material, setup.aspect))
        features, of_frame, of_bulk = centred(frame.columns, material, pixel)
        middles.append(of_bulk)
        if len(frame.columns):
            most = max(most, len(frame.columns))
            for g, scatter in enumerate(of_frame):
                if scatter is not None:
                    scatters[g].append(scatter)
            evidence.look(frame, blanks[-1], shift, features, of_frame)
    models = [_emissions(g, scatters[g], setup.model) for g in range(material.n_sites)]
    change, prevalence = {}, {}
    evidence.settle(n, drifts, start_evidence)
    checks = _checks(setup, prior)
    margin = settings.overlap_frames
    step = int(np.clip(LARGEST_WINDOW // most - 2 * margin, margin + 1, settings.window_frames))
    for start in range(0, n, step):
        low, high = max(0, start - margin), min(n, start + step + margin)
        window = Window(read, setup, low, high, shifts, blanks)
        fits = window.fit(models, prior, evidence.readings, middles[low:high])
        write(window_rows.rows(window, fits, start, min(start + step, n)))
        evidence.window(window, fits, start, min(start + step, n))
        for part in cross_checks.of_window(window, fits, start, min(start + step, n)):
            checks.add(part)
        for g, found in fits.items():
            change.setdefault(material.sites[g].name, []).append(found.mean_change)
            for state, value in zip(window.states[g], found.mean_prevalence, strict=True):
                prevalence.setdefault(material.states[state].name, []).append(value)
    evidence.finish()
    return Result(
        drifts / (setup.aspect, 1),
        {name: float(np.mean(v)) for name, v in change.items()},
        {name: float(np.mean(v)) for name, v in prevalence.items()},
        other_field=others,
        contradicted=tuple(checks.contradictions({k.state: k.name for k in material.kinds})),
    )


def _checks(setup: Any, prior: np.ndarray) -> cross_checks.CrossChecks:
    material, threshold = setup.model.material, np.ones(len(prior))
    for kind in material.kinds:
        threshold[kind.state] = setup.rules.threshold(kind.name)
    signal = material.intensities()
    ideal = signal[material.ideal_states[material.site_of_state]]
    return cross_checks.CrossChecks(signal, ideal, prior, threshold)


def _sites(frame: Frame, model: Any) -> FrameSites | None:
    """What the registration takes of a frame; None without columns on a lattice."""
    if not len(frame.columns):
        return None
    site = frame.columns["site"].astype(int)
    prob = posterior(frame.columns["score"], site, model)
    return FrameSites(frame.columns["cell"].astype(int), site, prob, frame.lattice[:2], frame.lattice[2])


def _without(read: Callable[[int], Block], others: np.ndarray, size: int) -> Callable[[int], Block]:
    """`read`, but the frames `others` (n_frames,) bool show no lattice. size: frames of a block."""

    def some(number: int) -> Block:
        block = read(number)
        away = others[number * size :][: len(block.frames)]
        gone = block.frames["frame"][away]
        lattices = np.where(away[:, None, None], np.nan, block.lattices)
        columns, hidden = (part[~np.isin(part["frame"], gone)] for part in (block.columns, block.hidden))
        return block._replace(columns=columns, hidden=hidden, lattices=lattices)

    return some


def _emissions(site: int, scatters: list[np.ndarray], model: Any) -> emissions.Emissions | None:
    """Emissions of a sublattice at the movie's scatter; None where the model has none."""
    if not scatters:
        return None
    material = model.material
    scatter = np.median(scatters, axis=0)
    return emissions.fitted(model.emissions, site, scatter, material.site_of_state, material.sites[site].ideal)
