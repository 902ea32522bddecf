"""All frames of a movie together: drift, and the state of every lattice site at every frame.

Two passes over the blocks of an inference. The first puts the frames onto one numbering of sites (`registration`); the
second smooths the states of the sites in overlapping windows (`over_time`), so that memory does not grow with the
movie.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stemdefects.inference.columns.site_columns import centred, frames, posterior
from stemdefects.inference.evidence import site_evidence
from stemdefects.inference.evidence.registration import FrameSites, Registrar
from stemdefects.inference.evidence.site_window import Window
from stemdefects.inference.tables.partial_results import Block
from stemdefects.io import quality_flags, table
from stemdefects.models import emissions

LARGEST_WINDOW = 1_500_000  # columns (sites times frames) smoothed together: some 200 MB


class Result(NamedTuple):
    """drift_px: (n_frames, 2), NaN where there was no lattice; change and prevalence: what was fitted, by sublattice
    and state; unrelated: the frames show different fields, and nothing was followed from one to the next."""

    drift_px: np.ndarray
    change_per_frame: dict[str, float]
    prevalence: dict[str, float]
    unrelated: bool = False

    @property
    def attributes(self) -> dict[str, Any]:
        """What was fitted, as attributes of the defect table."""
        if self.unrelated:
            return {"fields": "unrelated"}
        return {"over_time_change_per_frame": self.change_per_frame, "over_time_prevalence": self.prevalence}


def analyse(
    read: Callable[[int], Block], n_blocks: int, setup: Any, prior: np.ndarray, write: Callable[[np.ndarray], None],
    start_evidence: site_evidence.Start | None = None,
) -> Result:  # fmt: skip
    """Both passes. read: block number -> `Block` (called twice for each); setup: `setup.Setup`; prior: (S,); write:
    takes rows of the defect table, window by window, ordered by frame; start_evidence: makes the writer of the
    evidence (`io.evidence`), None: it is not kept."""
    material, settings = setup.model.material, setup.settings.over_time
    pixel = setup.calibration.pixel_size_nm
    registrar = Registrar(prior, material.site_of_state, pixel, settings.max_step_nm)
    shifts, drifts, scatters, most = [], [], [[] for _ in material.sites], 1
    evidence = site_evidence.Gatherer(setup, prior)
    for frame in frames(read, range(n_blocks)):
        shift, drift = np.zeros(2, int), np.full(2, np.nan)
        if len(frame.columns):
            most = max(most, len(frame.columns))
            site = frame.columns["site"].astype(int)
            prob = posterior(frame.columns["score"], site, setup.model)
            seen = FrameSites(frame.columns["cell"].astype(int), site, prob, frame.lattice[:2], frame.lattice[2])
            shift, drift = registrar.add(seen)
            features, of_frame = centred(frame.columns, material, pixel)
            for g, scatter in enumerate(of_frame):
                if scatter is not None:
                    scatters[g].append(scatter)
            evidence.look(frame, shift, features, of_frame)
        elif frame.row["doubt"] & quality_flags.OTHER_FIELD:
            registrar.kinship.other_lattice()
        shifts.append(shift)
        drifts.append(drift)
    if registrar.kinship.unrelated:
        write(table.empty(0))
        return Result(np.full((len(drifts), 2), np.nan), {}, {}, unrelated=True)
    models = [_emissions(g, scatters[g], setup.model) for g in range(material.n_sites)]
    change, prevalence = {}, {}
    evidence.settle(len(shifts), np.array(drifts), start_evidence)
    n, margin = len(shifts), settings.overlap_frames
    step = int(np.clip(LARGEST_WINDOW // most - 2 * margin, margin + 1, settings.window_frames))
    for start in range(0, n, step):
        low, high = max(0, start - margin), min(n, start + step + margin)
        window = Window(read, setup, low, high, np.array(shifts))
        fits = window.fit(models, prior, evidence.readings)
        write(window.rows(fits, start, min(start + step, n)))
        evidence.window(window, fits, start, min(start + step, n))
        for g, found in fits.items():
            change.setdefault(material.sites[g].name, []).append(found.mean_change)
            for state, value in zip(window.states[g], found.mean_prevalence, strict=True):
                prevalence.setdefault(material.states[state].name, []).append(value)
    evidence.finish()
    return Result(
        np.array(drifts) / (setup.aspect, 1),
        {name: float(np.mean(v)) for name, v in change.items()},
        {name: float(np.mean(v)) for name, v in prevalence.items()},
    )


def _emissions(site: int, scatters: list[np.ndarray], model: Any) -> emissions.Emissions | None:
    """Emissions of a sublattice at the movie's scatter; None where the model has none."""
    if not scatters:
        return None
    material = model.material
    scatter = np.median(scatters, axis=0)
    return emissions.fitted(model.emissions, site, scatter, material.site_of_state, material.sites[site].ideal)
