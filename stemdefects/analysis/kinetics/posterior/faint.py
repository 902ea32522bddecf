"""What stands of an answer where vacancies are faint, or may be too fast for the frames, or both.

The sampler's posterior is right if the noise is as its model says. How far counts of movies of an independent simulator
lay outside of it is what the intervals are widened by here.
"""

from typing import TYPE_CHECKING

import numpy as np

from stemdefects.analysis.kinetics.quantities import WAYS, Code, Quantity

if TYPE_CHECKING:
    from stemdefects.analysis.kinetics.sampler.chain import Data

# hops per frame above which one frame's place says little of the next, and one that moves while it is scanned leaves
# little light anywhere: both D and counts are then bounded from below only
FAST = 2.0
# scatters between a full site and one vacancy, below which fast ones are not told from noise: in movies without any, at
# 1.5 and 1.8, the noise had a few readings more towards vacancies than the model allows, and a crowd made up for them
FAINT = 2.5
LOST = 1.6  # true ones for each that was found at 2.6 hops a frame: those that moved while they were scanned are missed
# by how much (standard deviation of the logarithm) counts of single vacancies were off beyond their posterior, below
# how many scatters: of nine independent movies below 1.3 scatters two counts lay outside and the median was 26% off; of
# 17 between 1.5 and 2.1 three lay outside, by a percent or two (docs/kinetics.md)
OFF = ((1.4, 0.25), (2.5, 0.02))
SLIGHT = 0.05  # of these, not worth a sentence
OF_FAST = (
    "hop rate",
    "D",
    "D of mobile ones",
    "D of the hops that happened",
    "single off centres per frame",
    "single per frame",
)


def too_fast(hop_rates: np.ndarray, step_s: float) -> bool:
    """Can more than `FAST` hops a frame not be ruled out? hop_rates: draws of the rate (1/s) for one of six ways."""
    return bool(np.quantile(hop_rates, 0.975) * WAYS * step_s > FAST) if hop_rates.size else False


def apart(data: "Data", scale: np.ndarray) -> float:
    """Scatters between the readings of a full site and of one vacancy. scale: draws of the level's factor."""
    weight = data.weight[data.weight > 0] / data.light[5]
    return float(abs(data.level[0]) * np.median(scale) * np.sqrt(np.median(weight))) if len(weight) else 0.0


def of_fast(said: list[Quantity], apart: float) -> list[Quantity]:
    """`said` of vacancies that are too fast for the frames: lower ends stand; where they are `FAINT` as well, the upper
    ends of counts alone, whether the chains agree on them or not."""
    out = []
    for q in said:
        if q.name in OF_FAST and apart < FAINT and q.code in (Code.OK, Code.LOWER_LIMIT, Code.NOT_CONVERGED):
            shown = {"value": 0.0, "low": 0.0, "high": LOST * q.high, "code": Code.NONE}
            if not q.name.endswith("per frame"):
                shown = {"value": np.nan, "low": np.nan, "high": np.nan, "code": Code.CANNOT_TELL}
            q = q._replace(**shown)
        elif q.name in OF_FAST and q.code == Code.OK and q.low > 0:
            q = q._replace(code=Code.LOWER_LIMIT)
        out.append(q)
    return out


def of_faint(said: list[Quantity], apart: float) -> list[Quantity]:
    """`said` with counts of single vacancies that allow for `OFF`."""
    off = systematic(apart)
    if not off:
        return said
    return [_allowing(q, 1.96 * off) if q.name.startswith("single") else q for q in said]


def systematic(apart: float) -> float:
    """Standard deviation of a count's logarithm that the posterior does not know of."""
    return next((off for below, off in OFF if apart < below), 0.0)


def allows(q: Quantity, apart: float) -> str:
    """What is said beside a count whose interval allows for much more than the posterior; empty for others."""
    if not q.name.startswith("single") or systematic(apart) <= SLIGHT:
        return ""
    return (
        f" So faint (one stands {apart:.1f} scatters above the noise), the interval allows for what counts were off by."
    )


def _allowing(q: Quantity, half: float) -> Quantity:
    """Ends of the interval where both errors, as logarithms, are independent."""
    if not q.value > 0:
        return q
    low = q.value * np.exp(-np.hypot(np.log(q.value / q.low), half)) if q.low > 0 else q.low
    return q._replace(low=float(low), high=float(q.value * np.exp(np.hypot(np.log(q.high / q.value), half))))
