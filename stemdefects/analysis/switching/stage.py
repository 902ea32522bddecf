"""Switching between states as a stage of the analysis, from the calls of single frames."""

from dataclasses import dataclass

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.kinetics import statements
from stemdefects.analysis.notes import Code, Note
from stemdefects.analysis.patches.stage import with_classes
from stemdefects.analysis.stage import Figure, Fold, Grid, Section, StageResult, sentences
from stemdefects.analysis.switching import confusion, estimators, states
from stemdefects.analysis.switching.confusion import Confusions
from stemdefects.analysis.switching.states import Chain
from stemdefects.analysis.switching.transitions import Transitions, memory
from stemdefects.schema import AnalysisConfig

CAPTION = "Probability of each change by each method, with half of its 95% interval."


@dataclass(frozen=True)
class Switched:
    """chain: of states; transitions: by method; confusions: what is known of the detector; stationarity: the test of
    it, None where it could not be made."""

    chain: Chain
    transitions: dict[str, Transitions]
    confusions: Confusions
    stationarity: dict | None


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Transition matrices and rates, by every method."""
    if not inputs.found.followed or inputs.found.smoothed:
        return StageResult()
    if statements.none_switch(inputs.estimates("lattice model")):
        why = "No transitions between states: there is probably no vacancy, so what calls say is noise."
        return StageResult(notes=[why])
    clock, found, own = inputs.clock, inputs.found, cfg.transitions
    some = inputs.tracks.select(inputs.tracks.lengths >= 2)
    rows = with_classes(inputs, inputs.earlier)
    chain = states.build(some, rows, own.states, own.centre, own.max_states, clock) if some.n_tracks else None
    if chain is None:
        why = "No defect was seen in two different states in successive frames: no transition matrix."
        return StageResult(notes=[why] if found.n_frames > 1 else [])
    notes: list[str] = []
    known = confusion.known(chain.names, own, found.attrs, inputs.material, notes)
    if not clock.even:
        notes.append(
            Note(
                "Frames are not evenly spaced: switching is a chain in continuous time, by rates; transition "
                f"probabilities are quoted {inputs.step}, the usual interval.",
                Code.IRREGULAR_TIMES,
            )
        )
    lasts = float(np.ptp(clock.times)) + clock.usual
    span = estimators.Span(len(clock.frames), clock.usual, found.time_unit, inputs.step, lasts)
    rng, bar = seeds.stream(seed, "transitions"), inputs.bar("sampling transitions")
    made, said, more, change = estimators.run(chain, own, span, rng, known, bar)
    out = Switched(chain, made, known, change)
    section = Section("Transitions between states", _blocks(out, said, inputs))
    figure = {"transitions": made, "step": inputs.step}
    return StageResult(said, [*notes, *more], _tables(made, inputs), {"transitions": figure}, section, out)


def _blocks(out: Switched, said: list, inputs: Inputs) -> list:
    chain, hmm = out.chain, out.transitions["hmm"]
    rows = [
        [r["lag"], f"{r['observed']:.3f} ± {r['error']:.3f}", f"{r['predicted']:.3f}", f"{r['z']:.1f}"]
        for r in hmm.extra["chapman"]
    ]
    head = ["frames apart", "labels equal, observed", "model", "difference (sigma)"]
    blocks = [
        f"States: {chain.how} ({', '.join(chain.names)}). {len(chain.steps()[0])} steps between neighbouring frames in "
        f"{chain.n_tracks} tracks. The hidden Markov model takes wrong labels and missed frames into account. "
        f"{_labels_right(hmm)} {_confusion(out)}The pooled counts take labels at face value; the published formula is "
        f"shown for comparison only. All matrices are {inputs.step}"
        f"{'' if chain.time is None else ', from rates in continuous time'}.",
        sentences(said, lambda e: e.quantity in ("dwell time", "long-run share")),
        sentences(said, lambda e: e.quantity.startswith("second eigenvalue")),
        Fold("rates", [sentences(said, lambda e: e.quantity.startswith("rate "))]),
        "Does one memoryless chain describe it (Chapman-Kolmogorov)?",
        Grid(head, rows),
    ]
    if out.stationarity:
        p = out.stationarity["p"]
        verdict = "they change" if p < 0.01 else "no change is seen" if p > 0.05 else "a change is possible"
        blocks.append(f"Are the probabilities the same throughout the movie? p = {p:.3f}: {verdict}.")
    flux = hmm.extra["net_flux"]
    return [
        *blocks,
        *_published(inputs),
        f"Largest net flux, {hmm.names[flux['from']]} to {hmm.names[flux['to']]}: {abs(flux['z']):.1f} sigma, p = "
        f"{flux['p']:.2f} for detailed balance (reported, not imposed).",
        Figure("transitions", CAPTION),
    ]


def _labels_right(hmm: Transitions) -> str:
    recalls = hmm.extra.get("recalls")
    if recalls:
        return recalls.sentence()
    return f"By its own account {100 * hmm.extra['accuracy']:.0f}% of labels are right."


def _confusion(out: Switched) -> str:
    """What the network's own confusion says, where it is known."""
    other = out.transitions.get("hmm_model") or out.transitions.get("hmm_estimate")
    if other is None:
        return ""
    share = f"{100 * other.extra['accuracy']:.0f}% of labels right"
    if "hmm_model" in out.transitions:
        return f"With {out.confusions.about}, {share}, the matrix beside it results. "
    return f"The matrix beside it has the confusion estimated instead ({share}). "


def _published(inputs: Inputs) -> list:
    """The matrix that the table's publication printed, when the config knows it."""
    printed = inputs.found.attrs.get("known", {}).get("published_transitions")
    if not printed:
        return []
    P = np.array(printed, float)
    left = memory(P / P.sum(1, keepdims=True))
    return [
        "The publication printed this matrix (its own classes, which these colours need not be), by averaging "
        f"row-normalised traces. Its second eigenvalue is {left:.2f}: nearly no memory from one frame to the next, as "
        "label noise makes it.",
        Grid([f"to {k + 1}" for k in range(len(P))], [[f"{v:.2f}" for v in row] for row in P]),
    ]


def _tables(made: dict[str, Transitions], inputs: Inputs) -> dict:
    import pandas as pd

    probability = f"probability_{inputs.step.replace(' ', '_')}"
    hmm = made["hmm"]
    of_transitions = pd.DataFrame(
        [
            {
                "from": m.names[i],
                "to": m.names[j],
                probability: m.P[i, j],
                "low": m.low[i, j],
                "high": m.high[i, j],
                "n_steps": m.counts[i, j],
                "method": name,
            }
            for name, m in made.items()
            for i, j in np.ndindex(*m.P.shape)
        ]
    )
    rates = pd.DataFrame(
        [
            {
                "from": hmm.names[i],
                "to": hmm.names[j],
                f"rate_per_{inputs.found.time_unit}": hmm.extra["rates"][i, j, 0],
                "low": hmm.extra["rates"][i, j, 1],
                "high": hmm.extra["rates"][i, j, 2],
                "method": "hmm",
            }
            for i, j in np.ndindex(*hmm.P.shape)
            if i != j
        ]
    )
    of_labels = pd.DataFrame(
        [
            {"state": m.names[i], "label": m.names[j], "probability": m.extra["confusion"][i, j], "method": name}
            for name, m in made.items()
            if "confusion" in m.extra
            for i, j in np.ndindex(*m.P.shape)
        ]
    )
    return {
        "transitions": of_transitions,
        "rates": rates,
        "chapman_kolmogorov": pd.DataFrame(hmm.extra["chapman"]),
        "confusion": of_labels,
    }
