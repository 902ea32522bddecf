"""What the lattice model's posterior says as rows of the estimates and as plain sentences."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from stemdefects.analysis import notes as coded
from stemdefects.analysis.estimates import Estimate, number
from stemdefects.analysis.kinetics.posterior.faint import allows
from stemdefects.analysis.kinetics.quantities import ANSWERS, Code, Quantity
from stemdefects.analysis.kinetics.result import Kinetics
from stemdefects.analysis.notes import Note
from stemdefects.analysis.tracking.tracks import ALL

METHOD = "lattice model"
COUNT, DENSITY = "count per frame", "density"
OFF, AT = ", off centres", ", at centres"  # whose counts, after the kind
FEW_AT_CENTRES = 0.5  # vacancies per frame: fewer than one in every second frame of a whole field
FEW = 1.04  # an interval that is wider by so much has fewer than 50 effective samples behind it, which is said
SURE = 0.95  # posterior probability from which a difference is said
# quantity of the model -> (quantity of the estimates, whose: one, two or centre, unit where it says more)
OF_ONE = {
    "D": ("D", None),
    "D of mobile ones": ("D of mobile ones", None),
    "D of the hops that happened": ("D of the hops that happened", None),
    "hop rate": ("hop rate", "1/s per neighbour"),
    "immobile share": ("immobile share", None),
    "anisotropy of D": ("anisotropy of D", None),
    "appear rate": ("appear rate", "1/s per site"),
    "vanish rate": ("vanish rate", None),
    "doubling rate": ("doubling rate", None),
    "single per frame": (COUNT, "defects"),
}
OF_TWO = {
    "double per frame": (COUNT, "defects"),
    "halving rate": ("halving rate", None),
    "hop rate of doubles": ("hop rate", "1/s per neighbour"),
}
OF_CENTRE = {
    "attach rate": ("attach rate", "1/s per bond"),
    "detach rate": ("detach rate", None),
    "turn rate": ("turn rate", "1/s per bond"),
    "catch rate": ("catch rate", "1/s per bond"),
    "release rate": ("release rate", "1/s per site"),
    "residence at a centre": ("residence time", None),
    "turn rate beside others": ("turn rate beside others", "1/s per bond"),
    "attach rate beside others": ("attach rate beside others", "1/s per bond"),
    "detach rate beside others": ("detach rate beside others", None),
}
SHOWN = (
    "D",
    "D of the hops that happened",
    "hop rate",
    COUNT,
    DENSITY,
    "immobile share",
    "attach rate",
    "detach rate",
    "turn rate",
    "residence time",
    "anisotropy of D",
    "appear rate",
)


class Names(NamedTuple):
    """What the model's parts are called in this material."""

    one: str  # a single vacancy: the headline's kind
    two: str  # a double one; empty: the material has none
    centre: str  # what catches them; empty: nothing does
    orientations: tuple[int, ...] = (0, 1, 2)  # of the model's bonds of a centre, as the table of defects numbers them


def estimates(answer: Kinetics, names: Names) -> list[Estimate]:
    """Rows of the estimates, headlines first: D and the counts, where the data determine them."""
    if not answer.estimates:
        code = Code.CANNOT_TELL.value
        return [Estimate("D", None, None, None, "nm^2/s", METHOD, names.one, 0, "sites", str(code), code=code)]
    out = []
    for q in answer.estimates:
        for table, subject in ((OF_ONE, names.one), (OF_TWO, names.two), (OF_CENTRE, names.centre)):
            if q.name not in table or not subject or (table is OF_CENTRE and not len(answer.sites.bonds)):
                continue
            quantity, unit = table[q.name]
            out.append(_row(q, quantity, subject, unit or q.unit, answer))
    for name, where in (("single off centres per frame", OFF), ("single at centres per frame", AT)):
        row = _row(answer.estimate(name), COUNT, names.one + where, "defects", answer)
        out.append(replace(row, headline=False))
    out += [_density(e, answer.counted_nm2) for e in out if e.quantity == COUNT and e.subject in (names.one, names.two)]
    return sorted(out, key=lambda e: (not e.headline, e.quantity != "D"))


def _density(count: Estimate, area_nm2: float) -> Estimate:
    """A count as one per area, to be compared with other fields."""
    per = [None if v is None or not area_nm2 else v / area_nm2 for v in (count.value, count.low, count.high)]
    value, low, high = per
    return replace(count, quantity=DENSITY, value=value, low=low, high=high, unit="1/nm^2", headline=False)


def _row(q: Quantity, quantity: str, subject: str, unit: str, answer: Kinetics) -> Estimate:
    n, n_of = (round(q.events), "events") if np.isfinite(q.events) else (len(answer.times_s), "frames")
    value, low, high = (float(v) if np.isfinite(v) else None for v in (q.value, q.low, q.high))
    if q.code == Code.LOWER_LIMIT:
        value, high = low, None
    if value is None:
        low = high = None
    head = q.code in ANSWERS and value is not None and quantity in ("D", COUNT)
    said = _said(q, quantity, answer)
    return Estimate(quantity, value, low, high, unit, METHOD, subject, n, n_of, said, head, q.code.value)


def _said(q: Quantity, quantity: str, answer: Kinetics) -> str:
    """What the code means here; empty where the answer is plain."""
    if q.code in ANSWERS and q.widened > FEW:
        said = _said(q._replace(widened=1.0), quantity, answer)
        return f"{said} Few effective samples: the interval is {q.widened:.2f} times wider for it.".strip()
    if q.code == Code.CANNOT_TELL:
        if answer.code == Code.NONE:
            return "There was probably no vacancy that could have done it."
        return "Too little was there to do it: its prior would be the answer."
    if q.code == Code.NOT_CONVERGED:
        return "The chains do not agree yet: not to be quoted."
    if q.code == Code.LOWER_LIMIT and quantity == COUNT:
        return "A lower limit: one that moves while it is scanned leaves little light in any place."
    if q.code == Code.LOWER_LIMIT:
        return "A lower limit: beyond two hops a frame the light hardly tells one rate from a larger one."
    if q.code == Code.NONE:
        if quantity == COUNT and q.none <= 0.5:
            return "None is shown: so fast and so faint, they look like noise; only their upper limit is known."
        if quantity == COUNT:
            return f"Probably there are none (posterior probability {q.none:.2f}, against even odds before)."
        return "None was seen; the upper end follows from how long it could have happened."
    if quantity == COUNT:
        said = f"Counted over {answer.counted_nm2:.4g} nm^2: the border and strange regions are left out."
        return said + allows(q, answer.apart)
    return ""


def none_switch(said: Iterable[Estimate]) -> bool:
    """Whether the posterior says that there is nothing whose states could change: no vacancy off or at centres."""
    counts = {e.subject: e for e in said if e.quantity == COUNT}
    off = next((e for name, e in counts.items() if name.endswith(OFF)), None)
    at = next((e for name, e in counts.items() if name.endswith(AT)), None)
    return off is not None and off.code == Code.NONE.value and at is not None and (at.high or 0) < FEW_AT_CENTRES


def shown(said: Iterable[Estimate]) -> list[Estimate]:
    """Those that stand open in the section."""
    wanted = [e for e in said if e.quantity in SHOWN and (e.value is not None or e.quantity == "D")]
    return sorted(wanted, key=lambda e: SHOWN.index(e.quantity))


def folded(said: Sequence[Estimate]) -> list[Estimate]:
    """The others."""
    return [e for e in said if e not in shown(said)]


def notes(answer: Kinetics, names: Names) -> list[str]:
    """Sentences with codes: what cannot be said, or only as a limit."""
    if answer.code == Code.CANNOT_TELL:
        said = "No lattice model: too few frames or sites could be judged, so its prior would be the answer."
        return [Note(said, coded.Code.CANNOT_TELL)]
    out = []
    d = answer.estimate("D")
    if answer.code == Code.NOT_CONVERGED:
        worst = max(answer.checks, key=lambda name: answer.checks[name].r_hat)
        check = answer.checks[worst]
        few = min(c.effective for c in answer.checks.values())
        said = (
            f"The lattice model's chains do not agree ({worst}: R-hat {check.r_hat:.2f}; at least {few:.0f} effective "
            "samples): what rests on that has wider intervals, or is no headline where few are too few. "
            "analysis.kinetics.max_sweeps and max_work let them run longer."
        )
        out.append(Note(said, coded.Code.NOT_CONVERGED))
    elif answer.code == Code.NONE:
        said = (
            f"Probably there is no {names.one} off the centres in this movie (posterior probability {answer.none:.2f}, "
            "against even odds before): the count's interval holds 0, and D is not given."
        )
        out.append(Note(said, coded.Code.NO_VACANCIES))
    if d.code == Code.NONE:
        said = (
            f"No hop of {names.one} is shown: D is 0 as far as this movie tells, "
            f"and at most {number(d.high)} {d.unit} (95%), by how long vacancies were watched."
        )
        out.append(Note(said, coded.Code.NO_HOPS))
    elif d.code == Code.LOWER_LIMIT:
        said = (
            f"{names.one} may hop more than twice a frame: D is at least {number(d.low)} {d.unit}, "
            f"and these frames cannot tell how much more, nor how many {names.one} were missed for moving while they "
            "were scanned. A shorter frame time would."
        )
        out.append(Note(said, coded.Code.LOWER_LIMIT))
    elif d.code == Code.CANNOT_TELL and answer.estimate("single per frame").code == Code.NONE and answer.none <= 0.5:
        said = (
            f"No {names.one} is shown: what the lattice model finds may hop more than twice a frame and stands "
            f"{answer.apart:.1f} scatters of the noise above it in one frame, and noise of another shape looks the "
            "same. Its number has an upper limit; a shorter frame time or more dose would tell."
        )
        out.append(Note(said, coded.Code.LIKE_NOISE))
    elif d.code == Code.CANNOT_TELL and answer.code != Code.NONE:
        said = (
            f"D of {names.one} cannot be told by the lattice model: "
            "vacancies were there for too short a time off the centres, and its prior would be the answer."
        )
        out.append(Note(said, coded.Code.CANNOT_TELL))
    return out


def of_parts(changes: Sequence[float], differ: float, names: Names) -> list[Note]:
    """Where one rate does not fit all parts. changes: posterior probabilities that the hop rate differs between windows
    of time and between places; differ: that a centre's orientations do; NaN where it cannot be told."""
    out = []
    for chance, what in zip(
        changes, ("in the course of the movie", "between the open lattice, centres and holes"), strict=True
    ):
        if chance > SURE:
            said = (
                f"The hop rate of {names.one} changes {what} (posterior probability {chance:.3f}, against even odds "
                "before): D of the whole movie is an average; kinetics_windows.csv has its parts."
            )
            out.append(Note(said, coded.Code.MOTION_CHANGES))
    if differ > SURE:
        said = (
            f"The orientations of {names.centre} with one {names.one} have rates of their own "
            f"(posterior probability {differ:.3f}): the symmetric rates are averages; "
            "kinetics_orientations.csv has each."
        )
        out.append(Note(said, coded.Code.ORIENTATIONS_DIFFER))
    return out


def cross_checks(said: Sequence[Estimate], others: Sequence[Estimate]) -> list[Estimate]:
    """The `others`, no longer headlines where the lattice model (`said`) has one, nor where its chains, though they do
    not agree yet, all say something else than their value: calls that miss most vacancies have narrow intervals too."""
    heads = {(e.quantity, e.subject) for e in said if e.headline}
    empty = any(e.quantity == COUNT and e.code == Code.NONE.value and e.subject.endswith(OFF) for e in said)
    counts = {subject for quantity, subject in heads if quantity == COUNT}
    moves = empty or any(quantity == "D" for quantity, _ in heads)
    open_yet = {(e.quantity, e.subject): e for e in said if e.code == Code.NOT_CONVERGED.value and e.value is not None}

    def denied(e: Estimate) -> bool:
        mine = open_yet.get((e.quantity, e.subject))
        if mine is None or e.value is None or mine.low is None or mine.high is None or e.unit != mine.unit:
            return False
        return not mine.low <= e.value <= mine.high

    def less(e: Estimate) -> bool:
        return (e.quantity == "D" and moves) or (e.quantity == COUNT and bool(counts) and e.subject in {*counts, ALL})

    return [replace(e, headline=False) if e.headline and (less(e) or denied(e)) else e for e in others]


def against(said: Sequence[Estimate], others: Sequence[Estimate], gate: str) -> list[str]:
    """Notes where the intervals of other estimates do not meet those of the lattice model's headlines, with the
    assumption that fails.

    gate: how far tracks were linked, in words.
    """
    heads = {(e.quantity, e.subject): e for e in said if e.headline}
    notes = []
    for e in (one for one in others if one.value is not None and one.method != "paper"):
        mine = heads.get((e.quantity, e.subject))
        if mine is None or mine.low is None or e.low is None or e.high is None or e.unit != mine.unit:
            continue
        if e.high < mine.low:
            notes.append(_apart(e, mine, False, gate))
        elif mine.high is not None and e.low > mine.high:
            notes.append(_apart(e, mine, True, gate))
    return [Note(text, coded.Code.TRACKS_DISAGREE) for text in notes]


def _apart(e: Estimate, mine: Estimate, above: bool, gate: str) -> str:
    what = f"{e.quantity} of {e.subject} by {e.how} is {number(e.value)} ({e.interval()} {_unit(e)})"
    posterior = f"the lattice model's interval is {mine.interval()}"
    if e.quantity == COUNT:
        why = (
            "false calls, or the border and strange regions, where the model does not count, are part of it"
            if above
            else "it counts what passes the thresholds in single frames, and misses the others"
        )
    elif above:
        why = "false calls and links to them look like hops that are taken back at once"
    else:
        why = (
            f"tracks are linked within {gate} and end where a vacancy is missed, so fast and repeated hops are cut, "
            "and only what passes the thresholds is followed"
        )
    return f"{what}; {posterior}. The two do not meet: {why}. The lattice model's is the headline."


def _unit(e: Estimate) -> str:
    return "a frame" if e.quantity == COUNT else e.unit
