"""Whether the chains agree on what a quantity rests on, and how much wider its interval is where they hardly do."""

import numpy as np

from stemdefects.analysis.kinetics.posterior.convergence import SAME, Check
from stemdefects.analysis.kinetics.posterior.faint import of_fast, too_fast
from stemdefects.analysis.kinetics.quantities import ANSWERS, Code
from stemdefects.analysis.kinetics.result import Kinetics

# what quantities rest on, of what the chains are checked for; others are of no use before everything agrees
# at 400 e/px counts agreed while turning did not, and vacancies at centres were a third too many
_VACANCIES = ("single", "double", "level", "attach", "detach", "turn")
RESTS_ON = {
    **dict.fromkeys(("D", "D of mobile ones", "hop rate"), ("hop", "hops", *_VACANCIES)),
    "D of the hops that happened": ("hops", *_VACANCIES),
    **dict.fromkeys(("single per frame", "single off centres per frame", "double per frame"), _VACANCIES),
    **dict.fromkeys(("attach rate", "detach rate", "turn rate", "residence at a centre"), _VACANCIES),
}


def worst_check(answer: Kinetics, name: str) -> Check | None:
    """Worst R-hat and fewest effective samples of what a quantity rests on; None: not known."""
    of = [answer.checks[c] for c in RESTS_ON.get(name, ()) if c in answer.checks]
    return None if not of else Check(max(c.r_hat for c in of), min(c.effective for c in of))


def widening(answer: Kinetics, name: str, r_hat: float, effective: float) -> float | None:
    """How much wider the interval of a quantity must be for the effective samples of all that it rests on (1.04 for 50,
    1.02 for 100; 1 where the chains differ by nothing that matters); None where they do not even agree roughly."""
    of = [answer.checks[c] for c in RESTS_ON.get(name, ()) if c in answer.checks]
    if not of or not all(c.roughly() or c.agrees(r_hat, effective) for c in of):
        return None
    return max((c.wider() for c in of if not c.apart <= SAME), default=1.0)


def each_by_itself(answer: Kinetics, r_hat: float, effective: float) -> Kinetics:
    """Codes of chains that do not agree on everything, given to each quantity by what it rests on itself; intervals are
    wider for the effective samples that stand behind them."""
    said = []
    fast = too_fast(answer.rates[..., 0], float(np.median(np.diff(answer.times_s))))
    for q in answer.estimates:
        factor = widening(answer, q.name, r_hat, effective)
        if q.code == Code.NOT_CONVERGED and factor is not None:
            code = Code.OK
            if (q.value == 0 and np.isfinite(q.events)) or (q.name.startswith("single off") and q.none > 0.5):
                code = Code.NONE
            q = q._replace(code=code)
        q = of_fast([q], answer.apart)[0] if fast else q
        said.append(q.wider(factor) if factor is not None and q.code in ANSWERS else q)
    return answer._replace(estimates=said)
