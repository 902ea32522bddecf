"""From the network's logits to decisions: its calibration, and the search for columns with it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects import schema

if TYPE_CHECKING:
    from stemdefects.crystal.material import Material
    from stemdefects.models.peaks import Peaks


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What turns the network's logits into probabilities and decisions."""

    log_prior_shift: np.ndarray  # (S,) log(realistic prior / trained prior)
    temperature: float = 1.0
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)  # kind, or `defect`: least posterior


def peak_finder(
    cfg: schema.ModelConfig, labels: schema.LabelsConfig, material: "Material", calibration: Calibration | None = None
) -> Callable[..., "Peaks"]:
    """`peaks.find_peaks` with everything the model fixes filled in; `calibration` None: as trained."""
    from stemdefects.models.peaks import MapsOf, find_peaks
    from stemdefects.models.probability.states import site_mask

    shift: Any = 0.0 if calibration is None else np.asarray(calibration.log_prior_shift, np.float32)
    maps = MapsOf(
        stride=cfg.stride,
        site_mask=site_mask(material.site_of_state, material.n_sites),
        heat_sigma_px=labels.heat_sigma_px,
        log_prior_shift=shift,
        temperature=1.0 if calibration is None else calibration.temperature,
        nothing=material.nothing_states,
    )
    return functools.partial(find_peaks, model=maps)
