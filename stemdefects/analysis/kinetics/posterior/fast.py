"""What stands of an answer where vacancies may be too fast for the frames, and what where they are faint as well."""

from typing import TYPE_CHECKING

import numpy as np

from stemdefects.analysis.kinetics.quantities import Code, Quantity

if TYPE_CHECKING:
    from stemdefects.analysis.kinetics.sampler.chain import Data

WAYS = 6  # from a site to its neighbours
# hops per frame above which one frame's place says little of the next, and one that moves while it is scanned leaves
# little light anywhere: both D and counts are then bounded from below only
FAST = 2.0
# scatters between a full site and one vacancy, below which fast ones are not told from noise: in movies without any, at
# 1.5 and 1.8, the noise had a few readings more towards vacancies than the model allows, and a crowd made up for them
FAINT = 2.5
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
            shown = {"value": 0.0, "low": 0.0, "code": Code.NONE}
            if not q.name.endswith("per frame"):
                shown = {"value": np.nan, "low": np.nan, "high": np.nan, "code": Code.CANNOT_TELL}
            q = q._replace(**shown)
        elif q.name in OF_FAST and q.code == Code.OK and q.low > 0:
            q = q._replace(code=Code.LOWER_LIMIT)
        out.append(q)
    return out
