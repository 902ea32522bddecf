"""The simulation drawn around what was measured of a user's frames: their probe, film, scan and noise, the crystal's
own defects (`train.py training=adapt training.init=<network> input=<image, folder or movie>`)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stemdefects import schema
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.labels.imaging import unit_cell
from stemdefects.labels.imaging.measured import Imaging

# how far from the measured value each lies on images of simulation=train, about two standard deviations: relative
SAMPLING, WIDTH, FILM, BLOTCHES, JITTER, AFTERGLOW, DOSE = 0.02, 0.2, 0.35, 0.3, 0.3, 0.3, 1.5
SIGNALS = 0.2  # of the sublattices beside each other: the mean cell holds their defects too
C10_NM = 0.8  # defocus
FOLDED = 0.4  # other aberrations: of their value, or of the largest in the training
OTHERS = 0.4  # of the range of spherical aberration, which is not measured: what it does is in the others already
ANGLES = 0.6  # the same where the frames do not say them: what the detector's angles do
NONE = 3.0  # times: no detector's angles shift them so far (1.9 at most in real images, docs/inference.md)
ODD = 1.7  # times the file's: sublattices of another proportion are another crystal's (as the doubt of `infer.py`)


class Around(NamedTuple):
    """simulation, material: to train on; dose_e_per_px: of validation, None: not known; notes, warnings: for people."""

    simulation: schema.SimulationConfig
    material: schema.MaterialConfig
    dose_e_per_px: float | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def around(
    found: Sequence[Imaging],
    simulation: schema.SimulationConfig,
    config: schema.MaterialConfig,
    material: Material,
    shown: Material,
    where: str = "the frames",
) -> Around:
    """Ranges that hold what all frames `found` say; what they do not say stays as `simulation` has it.

    config, material: of the network that is adapted; shown: the crystal of the frames, of the same build; where: what
    holds them. Raises UserError where they show another crystal.
    """
    told = [one for one in found if one.told]
    notes, warnings = [], []
    view, scan = simulation.view, simulation.scan
    view = _with(view, pixel_size_nm=_range([one.pixel_nm for one in found], SAMPLING, view.pixel_size_nm))
    jitter = _range([one.row_jitter_px for one in found], JITTER)
    detector = _with(
        simulation.detector,
        background=_range([o.film for o in told], FILM, least=0.05) if told else simulation.detector.background,
        blotches=_range([one.blotches for one in found], BLOTCHES),
    )
    doses = [one.dose_e_per_px for one in found if one.dose_e_per_px is not None]
    dose = float(np.exp(np.mean(np.log(doses)))) if doses else None
    if dose is not None:
        trails = [one.afterglow_px or 0.0 for one in found if one.dose_e_per_px is not None]
        detector = _with(
            detector,
            dose_e_per_px=[min(doses) / DOSE, max(doses) * DOSE],
            signal_scale=[1.0, 1.0],  # one with the dose
            afterglow_px=_range(trails, AFTERGLOW, detector.afterglow_px, 0.1),
        )
        noise = f"noise as of {_words(doses, '.0f')} e/px"
    else:
        noise = "the noise is not that of counting electrons (filtered or resampled?): doses as in the training"
    probe = simulation.probe
    if told:
        cells = [one.cell for one in told]
        defocus = [c.C10_nm for c in cells]
        probe = _with(
            probe,
            source_fwhm_nm=_range([c.source_fwhm_nm for c in cells], WIDTH, least=0.01),
            C10_nm=[min(defocus) - C10_NM, max(defocus) + C10_NM],
            C12_nm=_range([c.C12_nm for c in cells], FOLDED, None, FOLDED * probe.C12_nm[1]),
            C21_nm=_range([c.C21_nm for c in cells], FOLDED, None, FOLDED * probe.C21_nm[1]),
            C23_nm=_range([c.C23_nm for c in cells], FOLDED, None, FOLDED * probe.C23_nm[1]),
            C30_um=[OTHERS * end for end in probe.C30_um],
        )
        notes.append(
            f"probe {_words([c.source_fwhm_nm for c in cells], '.3f')} nm wide (blur, full width at half maximum), "
            f"defocus {_words(defocus, '.1f')} nm, C12, C21, C23 {_words([c.C12_nm for c in cells], '.1f')}, "
            f"{_words([c.C21_nm for c in cells], '.0f')}, {_words([c.C23_nm for c in cells], '.0f')} nm; they leave "
            f"{_words([100 * c.misfit for c in cells], '.0f')}% of the mean cell"
        )
        config, said, odd = _signals(np.array([c.signals for c in cells]), SIGNALS, config, material, shown, where)
        notes += said
        warnings += odd
    else:
        warnings.append(
            f"probe and signals do not explain the mean cell of the frames (they leave "
            f"{_words([100 * one.cell.misfit for one in found], '.0f')}% of it): both as in the training"
        )
        if any(s.ranges for s in material.species):  # a network of many crystals: those of this one
            config, _, _ = _signals(np.ones((1, len(shown.sites))), ANGLES, config, material, shown, where)
    notes.append(
        f"rows jitter by {_words([one.row_jitter_px for one in found], '.2f')} px; film of "
        f"{_words([one.film for one in found], '.2f')} of the crystal's mean signal, uneven by "
        f"{_words([one.blotches for one in found], '.2f')}; {noise}; shown to the network at "
        f"{_words([one.pixel_nm for one in found], '.4f')} nm/px"
    )
    scan = _with(scan, row_jitter_px=jitter)
    simulation = _with(simulation, view=view, scan=scan, detector=detector, probe=probe)
    return Around(simulation, config, dose, tuple(notes), tuple(warnings))


def _signals(
    ratio: np.ndarray, off: float, config: schema.MaterialConfig, material: Material, shown: Material, where: str
) -> tuple[schema.MaterialConfig, list[str], list[str]]:
    """(material with the measured signals, notes, warnings); ratio: (frames, G) of each sublattice over the file's;
    off: how far from it the signals may be."""
    species = dict(config.species)
    notes, warnings = [], []
    signal = shown.intensities()[shown.ideal_states]
    own = material.intensities()[material.ideal_states]
    reference = unit_cell.reference(shown)
    for g, site in enumerate(shown.sites):
        if site.floating or g == reference or signal[g] == signal[reference]:
            continue
        seen = ratio[:, g]
        factor = float(np.exp(np.log(seen).mean()))
        name, bright = (shown.states[shown.sites[k].ideal].name for k in (g, reference))
        atoms = material.states[material.sites[g].ideal].atoms
        notes.append(
            f"{name} has {_words(seen * signal[g] / signal[reference], '.2f')} of the light of "
            f"{bright} (the file says {signal[g] / signal[reference]:.2f})"
        )
        if not 1 / ODD < factor < ODD:
            if not 1 / NONE < factor < NONE:
                raise UserError(
                    f"{where}: {name} is {factor:.1f} times as bright beside {bright} as {shown.name} says: another "
                    "crystal. Start from a network of this crystal, or let the frames teach one (labels=fourier)"
                )
            warnings.append(
                f"{name} is {factor:.2f} times as bright as {shown.name} says: another crystal "
                "(material=), or a detector of other angles? The defects that are trained are those of this material"
            )
        of_network = own[g] / own[reference] / (signal[g] / signal[reference])
        for element, _ in atoms:
            one = species[element]
            spread = max(off, float(np.ptp(np.log(seen))))
            if one.ranges:  # a network that is told the signals
                each = signal[g] / signal[reference] / sum(n for _, n in atoms)
                values = [float(factor * each)] * len(one.intensity)
                ranges = [[float(seen.min() * each / (1 + off)), float(seen.max() * each * (1 + off))]]
                species[element] = dataclasses.replace(one, intensity=values, ranges=ranges)
            else:
                values = [float(v * factor / of_network) for v in one.intensity]
                species[element] = dataclasses.replace(one, intensity=values, spread=min(spread, 0.9))
    return dataclasses.replace(config, species=species), notes, warnings


def _range(
    values: Sequence[float], relative: float, within: Sequence[float] | None = None, least: float = 0.0
) -> list[float]:
    """[low, high] that holds the positive `values` and their error; no narrower than `least` to each side, inside
    `within` where any of it is."""
    low, high = min(values), max(values)
    low, high = max(low - max(relative * low, least), 0.0), high + max(relative * high, least)
    if within is not None:
        low, high = (float(np.clip(v, *within)) for v in (low, high))
    return [low, high]


def _with(group: Any, **values: Any) -> Any:
    return dataclasses.replace(group, **values)


def _words(values: Sequence[float], form: str) -> str:
    """One number, or the lowest and the highest."""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
