"""Precision and recall of two networks on the frames that a person corrected: before and after learning from them.

What is scored was held out: parts of the corrected frames that served for no training (they chose, with simulated
images, how far the weights went). Only frames that were looked at as a whole can say what was missed or called wrongly.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from stemdefects.errors import UserError
from stemdefects.labels.fourier.points.certainty import UNKNOWN
from stemdefects.messages import LOG
from stemdefects.models import architecture, artifact
from stemdefects.models.frames.normalization import normalize_frames
from stemdefects.schema import TrainRoot
from stemdefects.scoring import columns as scores
from stemdefects.scoring.proportion import proportion
from stemdefects.simulation.images import Truth
from stemdefects.training import start, task

BEFORE, AFTER = "before", "after"


def scored(
    cfg: TrainRoot, the_task: task.Task, params: Any, calibration: artifact.Calibration
) -> dict[str, dict[str, Any]]:
    """{before, after: {precision, recall: [value, low, high, n] or None}} of the network of `training.init` and of that
    with `params` and `calibration`; before is missing where that network is."""
    networks = {AFTER: (params, calibration)}
    try:
        parent = start.parent(cfg)
        networks = {BEFORE: (jax.device_get(parent.params), parent.calibration)} | networks
    except UserError as error:
        LOG.warning("cannot compare with the network this one comes from: %s", error)
    finder = artifact.peak_finder(cfg.model, cfg.labels, the_task.material)
    calls: dict[str, list] = {name: [] for name in networks}

    @functools.partial(jax.jit, static_argnums=2)
    def found(weights, frame, most):
        return finder(jax.tree.map(lambda a: a[0], the_task.exact_apply(weights, frame)), max_peaks=most)

    for number, part in enumerate(the_task.corrected.parts):
        for t in np.flatnonzero(part.whole):
            frame, truth = _shown(part, int(t), architecture.divisor(cfg.model))
            places = cKDTree(np.stack([truth.y_px, truth.x_px], 1))
            for name, (weights, calibrated) in networks.items():
                peaks = jax.tree.map(np.asarray, found(weights, frame, int(1.2 * len(truth.site)) + 64))
                matched = scores.pair_image(truth, peaks, cfg.training.validation.radius_nm)
                prob = scores.posterior(matched, the_task.material, calibrated.log_prior_shift, calibrated.temperature)
                said = scores.called(prob, the_task.material, calibrated.thresholds)
                said = np.where(matched.found, said, -1)
                calls[name].append((matched.state, said, 1_000_000 * number + places.query(matched.yx_px)[1]))
    return {name: _shares(parts, the_task.material) for name, parts in calls.items()}


def _shown(part, t: int, divisor: int) -> tuple[Any, Truth]:
    """Frame `t` as the network sees it, (1, H, W, 1), and as `Truth` what is held out of it; of the rest it says
    nothing."""
    image = part.labels.frames[t]
    short = [-n % divisor for n in image.shape]
    shown = np.asarray(normalize_frames(jnp.asarray(image[None])))[0]
    shown = np.pad(shown, ((0, short[0]), (0, short[1])), "reflect")
    regions = np.where(part.test[t], part.labels.regions[t], UNKNOWN)
    regions = np.pad(regions, ((0, short[0]), (0, short[1])), constant_values=UNKNOWN)
    yx = part.columns.yx[t]
    at = np.clip(np.rint(yx).astype(int), 0, np.array(image.shape) - 1)
    valid = part.columns.sure[t] & part.test[t][tuple(at.T)]
    none = np.full(len(yx), -1, np.int32)
    zero = np.float32(0)
    of_columns: tuple[Any, ...] = (
        yx[:, 0],
        yx[:, 1],
        part.columns.site,
        part.columns.state[t],
        valid,
        none,
        none,
        none,
        regions,
    )
    of_image: tuple[Any, ...] = (np.float32(part.pixel_size_nm), zero, zero)
    return jnp.asarray(shown[None, ..., None]), Truth(*of_columns, *of_image)


def _shares(parts: list, material) -> dict[str, Any]:
    """Precision of the defects that were called and recall of those there are, by kind and place at once."""
    if not parts:
        return {"precision": None, "recall": None}
    true, said, place = (np.concatenate(values) for values in zip(*parts, strict=True))
    kinds = np.array([kind.state for kind in material.kinds])
    out = {}
    for name, mine in (("precision", np.isin(said, kinds)), ("recall", np.isin(true, kinds))):
        p = proportion((true == said)[mine], place[mine])
        out[name] = None if p is None else [p.value, p.low, p.high, p.n]
    return out


def sentences(found: dict[str, dict[str, Any]]) -> list[str]:
    """The same in words."""
    names = {BEFORE: "the network before", AFTER: "with the corrections"}
    out = []
    for when, shares in found.items():
        told = [
            f"{name} {v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f}, {v[3]} calls)" for name, v in shares.items() if v is not None
        ]
        out.append(f"- {names[when]}: {', '.join(told) or 'no frame was checked as a whole, so none can be told'}")
    return out
