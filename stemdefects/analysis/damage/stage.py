"""Beam damage as a stage of the analysis: cross-sections of what happens to each site, metal loss, holes, pathways."""

from typing import Any

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.damage import histories, holes, metal, pathways, risks
from stemdefects.analysis.damage.risks import Agreed, Found
from stemdefects.analysis.data import scales
from stemdefects.analysis.estimates import Estimate, number
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.kinetics.quantities import Code
from stemdefects.analysis.kinetics.stage import names_of
from stemdefects.analysis.kinetics.statements import METHOD
from stemdefects.analysis.notes import Code as NoteCode
from stemdefects.analysis.notes import Note
from stemdefects.analysis.stage import Figure, Fold, Grid, Section, StageResult, sentences
from stemdefects.schema import AnalysisConfig

CROSS_SECTION, RATE = "cross-section", "damage rate"
ANSWERS = (Code.OK, Code.NONE)
MODEL = "lattice model"  # the stage whose histories are read
HOW = (
    "What happens to each site of the moving sublattice, as competing risks: events and the time for which each could "
    "have happened, counted in the sampled histories of the lattice model, so that what is uncertain in the histories "
    "widens the intervals. Arrivals by hopping are counted apart from what appears. Sites at the border take no part. "
    "Rates are per atom: {n} {atom} of a whole site can go first, one second."
)
PER_DOSE = (
    "The dose is {dose} e/nm2 a frame{sigma}, {source}; it is assumed to go on at that rate between frames. One movie "
    "cannot tell what happens per electron from what happens per second: runs at several dose rates can "
    "(damage.joint=dose_rate)."
)


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Rates per dose and per time of every process; `data` is the list of `risks.Found`."""
    dose = scales.dose(inputs.found, cfg)
    flux = scales.dose_per_time(inputs.found, cfg)
    grown = holes.measure(inputs.found, dose)
    answer = inputs.earlier[MODEL].data if MODEL in inputs.earlier else None
    if answer is None or not answer.histories:
        if not grown.estimates:
            return StageResult()
        return StageResult(grown.estimates, (), grown.tables, grown.figures, Section("Beam damage", grown.blocks))
    rng = seeds.stream(seed, "damage")
    atom, n_atoms = _atoms(inputs)
    agree = Agreed(cfg.kinetics.r_hat, cfg.kinetics.effective_samples)
    found = risks.find(histories.tally(answer), answer, n_atoms, rng, agree)
    lost = metal.measure(inputs.found, rng)
    sigma = 0.0 if dose is None else dose.relative_sigma
    said = [e for one in [*found, *lost] for e in _estimates(one, atom, flux, sigma, rng)]
    notes = [] if dose else [_no_dose()]
    ways = pathways.find(answer, names_of(inputs.found), seeds.stream(seed, "pathways"))
    tables = {"damage": _table([*found, *lost], said, atom, flux, dose), **pathways.tables(ways), **grown.tables}
    shown = [e for e in said if e.value is not None and e.quantity == (CROSS_SECTION if dose else RATE)]
    how = HOW.format(n=n_atoms, atom=f"{atom} atoms" if n_atoms > 1 else f"{atom} atom")
    blocks: list[Any] = [how, _dose_sentence(dose), sentences(shown), Figure("damage", "Bars: 95% intervals.")]
    blocks.append(Fold("per second, events and exposures", [_grid([*found, *lost], atom)]))
    blocks += [*pathways.blocks(ways), *grown.blocks]
    figures = {"damage": {"estimates": shown}, "pathways": ways, **grown.figures}
    return StageResult(
        [*said, *grown.estimates],
        notes,
        tables,
        figures,
        Section("Beam damage", blocks),
        {"risks": [*found, *lost], "pathways": ways},
        {"pathways.graphml": pathways.graphml(ways)},
    )


def _atoms(inputs: Inputs) -> tuple[str, int]:
    """Name and number of the atoms of an ideal site of the moving sublattice: 2 S; without a material one unnamed."""
    description, material = inputs.found.evidence.description, inputs.material
    own = next(s for s in description["sublattices"] if description["headline"] in s["features"])
    if material is None or own.get("ideal") not in material.state_names:
        return "atom", 1
    atoms = material.states[material.state_index(own["ideal"])].atoms
    return "+".join(name for name, _ in atoms), max(sum(n for _, n in atoms), 1)


def _no_dose() -> Note:
    return Note(
        "The dose is not known: damage is given per second, not per electron. inference.dose_e_per_px, or "
        "analysis.table.dose_e_per_nm2_per_frame states it.",
        NoteCode.NO_DOSE,
    )


def _dose_sentence(dose: scales.Dose | None) -> str:
    if dose is None:
        return "The dose is not known: rates are per second only."
    sigma = f" +- {100 * dose.relative_sigma:.0f}%" if dose.relative_sigma else " (its error is not stated)"
    return PER_DOSE.format(dose=number(dose.e_per_nm2_per_frame), sigma=sigma, source=dose.source)


def _subject(one: Found, atom: str) -> str:
    return one.name.replace("atom", f"{atom} atom", 1) if "atom" in one.name and atom != "atom" else one.name


def _estimates(one: Found, atom: str, flux: float | None, relative_sigma: float, rng) -> list[Estimate]:
    """Per dose, where it is known, and per time."""
    head = one.name in risks.HEADLINES and one.code in ANSWERS
    out = []
    if flux and one.beam:
        barn = one.per_dose(flux, relative_sigma, rng) if len(one.draws_per_s) else (np.nan,) * 3
        out.append(_row(CROSS_SECTION, barn, "barn", one, _subject(one, atom), head))
    unit = "1/s per site" if one.name == risks.ARRIVAL or one.name.endswith(metal.NAME) else "1/s per atom"
    out.append(_row(RATE, one.rate_per_s, unit, one, _subject(one, atom), head and not flux))
    return out


def _row(quantity: str, three: tuple, unit: str, one: Found, subject: str, headline: bool) -> Estimate:
    said = {
        Code.CANNOT_TELL: "Nothing was there for long enough to do it.",
        Code.NONE: "None is shown; the upper end follows from how long it could have happened.",
        Code.NOT_CONVERGED: "The chains do not agree on it: not to be quoted.",
    }.get(one.code, "")
    value, low, high = (float(v) if np.isfinite(v) else None for v in three)
    method = metal.METHOD if one.name.endswith(metal.NAME) else METHOD
    headline = headline and value is not None
    return Estimate(
        quantity=quantity,
        value=value,
        low=low,
        high=high,
        unit=unit,
        method=f"{method}, competing risks",
        subject=subject,
        n=round(one.events),
        n_of="events",
        warning=said,
        headline=headline,
        code=one.code.value,
    )


def _table(found: list[Found], said: list[Estimate], atom: str, flux, dose) -> Any:
    """One row per process: rates, events, exposure, and what a joint fit of runs needs."""
    import pandas as pd

    rows = []
    for one in found:
        subject = _subject(one, atom)
        barn = next((e for e in said if (e.quantity, e.subject) == (CROSS_SECTION, subject)), None)
        draws = one.draws_per_s
        mean, variance = (draws.mean(), draws.var()) if len(draws) else (np.nan, np.nan)
        rows.append(
            {
                "process": one.name,
                "subject": subject,
                "atom": "" if one.name.endswith(metal.NAME) else atom,
                "rate_per_s": one.rate_per_s[0],
                "low_per_s": one.rate_per_s[1],
                "high_per_s": one.rate_per_s[2],
                "cross_section_barn": barn.value if barn else np.nan,
                "low_barn": barn.low if barn else np.nan,
                "high_barn": barn.high if barn else np.nan,
                "events": one.events,
                "exposure_s": one.exposure_s,
                "probability_of_none": one.none,
                "code": one.code.value,
                "mean_per_s": mean,
                "variance_per_s2": variance,
                "flux_e_per_nm2_s": flux or np.nan,
                "dose_relative_sigma": dose.relative_sigma if dose else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _grid(found: list[Found], atom: str) -> Grid:
    rows = [
        [
            _subject(one, atom),
            number(one.rate_per_s[0]) if np.isfinite(one.rate_per_s[0]) else "not determined",
            f"{number(one.rate_per_s[1])} to {number(one.rate_per_s[2])}" if np.isfinite(one.rate_per_s[0]) else "",
            f"{one.events:.1f}",
            number(one.exposure_s),
            one.code.value,
        ]
        for one in found
    ]
    return Grid(["process", "1/s", "95% interval", "events", "exposure (s)", "code"], rows)
