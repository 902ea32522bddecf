"""How much of what a movie has taught is kept: weights between the network of `training.init` and the trained one.

On a straight line between both, weights keep what the first knew of everything and have what the second learned of this
movie; how far to go is decided on the validation images.

Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, arXiv:2109.01903.
"""

from typing import Any

import jax
import numpy as np

from stemdefects.errors import UserError
from stemdefects.messages import LOG
from stemdefects.models import artifact
from stemdefects.models.probability import prevalence
from stemdefects.schema import TrainRoot
from stemdefects.training import start, task
from stemdefects.training.movie import HELD_OUT
from stemdefects.training.outcome import validation

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the trained weights; of equal scores the first counts


def score(figures: dict[str, dict[str, Any]], cfg: TrainRoot, the_task: task.Task) -> float:
    """What the best weights are chosen by: mean F1 of the kinds that matter.

    Labels of a movie's own defects differ by sign only, and of one sign there may be next to none: there it is the F1
    of all of them together. The held-out part of a movie weighs as much as all simulated images beside it.
    """
    kinds = (
        ["defect"] if the_task.material.sites[0].floating else prevalence.common_kinds(cfg.labels, the_task.material)
    )
    parts = [{k: v for k, v in figures.items() if (k == HELD_OUT) == own} for own in (True, False)]
    return float(np.mean([validation.score(part, kinds) for part in parts if part]))


def best_share(
    cfg: TrainRoot,
    the_task: task.Task,
    validator: validation.Validator,
    params: Any,
    validated: validation.Result,
    calibration: artifact.Calibration,
) -> tuple[Any, validation.Result, artifact.Calibration, float]:
    """(weights, validation result, calibration, share of the trained weights in them) that do best on the validation
    images; 1 where there is no network that a movie was to improve.

    params, validated, calibration: the trained weights and how they do.
    """
    trained = (params, validated, calibration, 1.0)
    if cfg.training.init is None or not (cfg.labels.of_movie or cfg.input is not None):
        return trained
    try:
        parent = start.parent(cfg)
    except UserError as error:
        LOG.warning("cannot compare with the network this one comes from: %s", error)
        return trained
    first, seen = jax.device_get(parent.params), []
    for share in SHARES:
        weights = jax.tree.map(lambda a, b, s=share: ((1 - s) * a + s * b).astype(a.dtype), first, params)
        shift = (1 - share) * parent.calibration.log_prior_shift + share * calibration.log_prior_shift
        result = validated if share == 1 else validator.run(weights)
        # all with thresholds of their own for these images
        fitted = validation.calibrate(result, the_task, shift)
        value = score(validation.figures(result, the_task, fitted), cfg, the_task)
        seen.append((value, weights, result, fitted, share))
    by_share = ", ".join(f"{share:g}: {value:.3f}" for value, *_, share in seen)
    LOG.info("score on validation images by share of the adapted weights: %s", by_share)
    _, weights, result, fitted, share = max(seen, key=lambda one: one[0])
    if share == 0:
        LOG.info("the adaptation did not help: keeping the weights of %s", cfg.training.init)
        fitted = parent.calibration
    return weights, result, fitted, share
