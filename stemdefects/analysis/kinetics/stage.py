"""The lattice model as a stage of the analysis: from a table's evidence to the headline of the page."""

import time
from dataclasses import replace
from zlib import crc32

import numpy as np

from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.estimates import Estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.kinetics import infer, statements, tables
from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.posterior import agreement, orientations, windows
from stemdefects.analysis.kinetics.priors import Priors
from stemdefects.analysis.kinetics.quantities import ANSWERS, Code
from stemdefects.analysis.kinetics.reading import Missing, read
from stemdefects.analysis.kinetics.result import Kinetics
from stemdefects.analysis.kinetics.sampling import Settings
from stemdefects.analysis.kinetics.statements import Names
from stemdefects.analysis.notes import Code as NoteCode
from stemdefects.analysis.notes import Note
from stemdefects.analysis.stage import Figure, Fold, Items, Progress, Section, StageResult
from stemdefects.schema import AnalysisConfig, KineticsConfig

NOT_YET = "not converged"


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """The headline where the table holds evidence; what tracks and calls say becomes a cross-check of it, with notes
    where the two contradict each other."""
    if not cfg.kinetics.enabled or not inputs.found.followed:
        return StageResult()
    result = of_table(inputs.found, cfg.kinetics, seed, inputs.progress)
    gate = f"{inputs.gate / inputs.lattice_constant:.2g} lattice constants"
    others = [e for stage in inputs.earlier.values() for e in stage.estimates]
    return replace(result, notes=[*result.notes, *statements.against(result.estimates, others, gate)])


def of_table(found: Detections, cfg: KineticsConfig, seed: int = 0, progress: Progress | None = None) -> StageResult:
    """Sample the lattice model and say what follows.

    Args:
        found: detections with the evidence of their table; without it one note says why nothing is done here.
        cfg: how long to sample.
        seed: of the chains.
        progress: wraps the items of a loop in a bar.
    """
    evidence = read(found.table())
    if isinstance(evidence, Missing):
        text = f"No lattice model: {evidence}. Motion and counts are those of linked, thresholded calls."
        return StageResult(notes=[Note(text, NoteCode.NO_LATTICE_MODEL)] if found.n_frames > 1 else [])
    evidence = _of_looked_at(evidence._replace(yx_nm=evidence.yx_nm * _rescaled(found)), found)
    names = names_of(found)
    answer = _sample(evidence, cfg, crc32(f"kinetics {seed}".encode()), progress)
    answer = agreement.each_by_itself(answer, cfg.r_hat, cfg.effective_samples)
    said = statements.estimates(answer, names)
    notes = statements.notes(answer, names)
    prior = answer.prior
    if answer.code == Code.CANNOT_TELL or prior is None:
        return StageResult(said, notes)
    section = Section("Kinetics", _blocks(answer, evidence, cfg, said))
    made = tables.of_posterior(answer, found, names)
    split = windows.parts(answer, windows.places(evidence, answer.sites), windows.edges(answer.times_s))
    worth = {name: answer.estimate(name).code for name in ("D", "turn rate", "single per frame")}
    made["kinetics_windows"] = windows.table(split, prior, answer.sites).assign(code=worth["D"].value)
    changes = [windows.probability_of_change(split, prior, axis) for axis in (1, 2)]
    turned = orientations.count(answer)
    if len(answer.sites.bonds):
        made["kinetics_orientations"] = orientations.table(turned, prior, tables.one_bond(names)).assign(
            code=worth["turn rate"].value
        )
    if worth["D"] in ANSWERS:
        notes += statements.of_parts(changes, orientations.probability_of_difference(turned, prior), names)
    if worth["single per frame"] in ANSWERS:
        made |= tables.over_time(answer, evidence, found, names)
        said += tables.precision(answer, evidence, found, (names.one, names.two))
    figures = _figures(answer, evidence, prior, names)
    figures["kinetics_windows"] = {"table": made["kinetics_windows"], "name": names.one}
    return StageResult(said, notes, made, figures, section, answer)


def names_of(found: Detections) -> Names:
    """The kinds by their part in the model, from the description of the evidence."""
    description = found.evidence.description
    one = description["headline"]
    own = next(s for s in description["sublattices"] if one in s["features"])
    kinds = [s["kind"] for s in own["states"]]
    two = kinds[kinds.index(one) + 1 : kinds.index(one) + 2]
    bonded = {k for b in own["bonds"] for k in description["sublattices"][b[2]]["features"]}
    centres = [k for k in description["centre"] if k in bonded]
    # the model has a centre's sites in order of their cells; the table has them as the centre's sublattice lists them
    sublattices = description["sublattices"]
    g = next((b[2] for b in own["bonds"] if set(centres) & set(sublattices[b[2]]["features"])), None)
    listed = [] if g is None else [b[:2] for b in sublattices[g]["bonds"] if sublattices[b[2]] is own]
    order = tuple(sorted(range(len(listed)), key=listed.__getitem__))
    return Names(one, "".join(two), "/".join(centres), order if len(order) == 3 else (0, 1, 2))


def _of_looked_at(evidence: Evidence, found: Detections) -> Evidence:
    """The evidence without frames that the analysis does not use: they are missing, not empty."""
    used = found.observed[found.frame_table()["frame"]][:, None]
    return evidence._replace(line=np.where(used, evidence.line, np.nan), allowed=evidence.allowed & used)


def _rescaled(found: Detections) -> float:
    """What lengths of the evidence are multiplied by where the user states another pixel size than the table's."""
    own = found.attrs.get("pixel_size_nm")
    return 1.0 if not own or not found.pixel_size_nm else found.pixel_size_nm / float(own)


def _sample(evidence: Evidence, cfg: KineticsConfig, key: int, progress: Progress | None) -> Kinetics:
    """Chains until they agree, `max_sweeps` at most, and where a time is set no longer than about that."""
    settings = Settings(
        chains=cfg.chains,
        threads=cfg.threads,
        warmup=cfg.warmup,
        sweeps=cfg.sweeps,
        max_sweeps=max(cfg.max_sweeps, cfg.sweeps),
        r_hat=cfg.r_hat,
        effective=cfg.effective_samples,
        max_work=cfg.max_work,
        rough_sweeps=cfg.rough_sweeps,
    )
    show = None if progress is None else _bar(progress)
    if cfg.seconds is None:
        return infer(evidence, settings, key=key, progress=show)
    started = time.perf_counter()
    answer = infer(evidence, settings._replace(max_sweeps=cfg.sweeps), key=key, progress=show)
    took = time.perf_counter() - started
    more = int((cfg.seconds - took) / took * (cfg.warmup + cfg.sweeps))
    if answer.code != Code.NOT_CONVERGED or more <= cfg.sweeps:
        return answer
    # what was sampled so far becomes warm-up of the longer run
    more = min(more, settings.max_sweeps)
    return infer(evidence, settings._replace(sweeps=more, max_sweeps=more), key=key, progress=show, resume=answer)


def _bar(progress: Progress):
    """The share that is done, shown by a bar over percents."""

    def begin():
        return iter(progress(range(100), "sampling the lattice model (compiled once, a minute)"))

    steps, shown = begin(), 0

    def show(share: float) -> None:
        nonlocal steps, shown
        if round(100 * share) < shown:  # prolonged
            steps, shown = begin(), 0
        while shown < round(100 * share):
            shown += 1
            next(steps, None)
        if share >= 1:
            next(steps, None)

    return show


def _line(e: Estimate) -> str:
    """An estimate's sentence; what it means that chains do not agree is said once, above all."""
    return (replace(e, warning=f"({NOT_YET})") if e.code == Code.NOT_CONVERGED.value else e).sentence()


def _how(answer: Kinetics, evidence: Evidence, cfg: KineticsConfig) -> str:
    worst = max((c.r_hat for c in answer.checks.values()), default=np.nan)
    chains, kept = answer.rates.shape[:2]
    judged = int((np.isfinite(evidence.line) & evidence.allowed).any(1).sum())
    where = f"{len(answer.sites.kind)} sites in {judged} frames"
    agree = ""
    if answer.code == Code.NOT_CONVERGED:
        agree = f"The chains do not agree on everything: what is marked ({NOT_YET}) is not to be quoted. "
    return (
        f"From the light of {where}: whole paths of vacancies, with the rates of all that they do, sampled from their "
        f"posterior ({chains} chains of {kept} sweeps; largest R-hat {worst:.3f}, at most {cfg.r_hat:g} is asked "
        f"for). {agree}Numbers are posterior medians with 95% intervals; nothing is said of sites at the border, in "
        "holes and in strange regions, nor counted there."
    )


CAPTIONS = {
    "kinetics_lattice": "Discs: mean occupancy of each site over the movie. Lines: hops between neighbouring sites, by "
    "their mean number in the sampled histories. Triangles: centres.",
    "kinetics_D": "Posterior of D against its prior: where the two are alike, the data say nothing.",
    "kinetics_windows": "D in windows of time (bands) and by place (points at the right), all from histories sampled "
    "with one rate for the whole movie, which draws the parts together where the light says little.",
    "kinetics_counts": "Median and 95% band of the posterior in every frame.",
    "kinetics_switching": "Chance of each change of a centre per frame with its 95% interval; below it the mean number "
    "of such changes that were sampled.",
    "kinetics_chains": "Draws of each chain: they should look alike and wander about one level.",
}


def _blocks(answer: Kinetics, evidence: Evidence, cfg: KineticsConfig, said: list[Estimate]) -> list:
    """How it was found, the numbers, the pictures."""
    centres = ("kinetics_switching",) if len(answer.sites.bonds) else ()
    shown = ("kinetics_lattice", "kinetics_D", "kinetics_windows", "kinetics_counts", *centres)
    return [
        _how(answer, evidence, cfg),
        Items([_line(e) for e in statements.shown(said)]),
        Fold("other rates", [Items([_line(e) for e in statements.folded(said)])]),
        *(Figure(name, CAPTIONS[name]) for name in shown),
        Fold("do the chains agree?", [Figure("kinetics_chains", CAPTIONS["kinetics_chains"])]),
    ]


def _figures(answer: Kinetics, evidence: Evidence, prior: Priors, names: Names) -> dict:
    """What the drawings of the section are made from."""
    place = answer.sites
    bonds = evidence.yx_nm[place.original[place.bonds]] if len(place.bonds) else np.zeros((0, 3, 2))
    area = 1.5 * place.hop_nm**2  # nm^2 per hop to one of six neighbours
    counts = answer.counts.reshape(-1, *answer.counts.shape[2:])
    judged = (np.isfinite(evidence.line) & evidence.allowed).any(1)
    kinds = {names.one: counts[..., 0] + counts[..., 1]} | ({names.two: counts[..., 2]} if names.two else {})
    out = {
        "kinetics_lattice": {
            "yx_nm": evidence.yx_nm,
            "occupancy": tables.mean_over_frames(answer.occupancy.sum(-1)),
            "edges": tables.hops_by_edge(answer),
            "centres_nm": bonds.mean(1),
            "name": names.one,
        },
        "kinetics_D": {
            "draws": None if answer.code == Code.NONE else (area * answer.rates[..., 0] * answer.mobile).ravel(),
            "prior_mean": area * prior.shape[0] / prior.scale[0],
            "prior_shape": float(prior.shape[0]),
            "name": names.one,
        },
        "kinetics_counts": {
            "times_s": answer.times_s[judged],
            "bands": {n: np.quantile(c[:, judged], [0.025, 0.5, 0.975], axis=0) for n, c in kinds.items()},
        },
        "kinetics_chains": {
            "hop rate (1/s)": answer.rates[..., 0],
            f"{names.one} per frame": answer.counts[..., judged, :2].sum(-1).mean(-1),
            "level of the light": answer.light[..., 0],
        },
    }
    if len(place.bonds):
        held = tables.states_seen(answer)
        out["kinetics_switching"] = {
            "names": [tables.state_name(i, names) for i in held],
            "P": answer.transition[np.ix_(held, held)],
            "seen": answer.transitions_seen[np.ix_(held, held)],
        }
    return out
