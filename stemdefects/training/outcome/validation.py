"""Detection scores of a network on fixed simulated sets, one per dose."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects import schema
from stemdefects.models import artifact
from stemdefects.models.artifact import Calibration
from stemdefects.scoring import columns as scores
from stemdefects.scoring import detection
from stemdefects.training.task import Task

CHUNK = 4  # images predicted at once
# nobody wants to see what is less likely than one in four, whatever F1 says; where one atom is looked for among a
# thousand cells, only what is nearly sure is one
THRESHOLDS = np.append(
    np.round(np.arange(0.25, 0.951, 0.025), 3), [0.965, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.999]
)


@dataclasses.dataclass
class DoseSet:
    """Fixed images of one dose with their truth, on the host."""

    frames: np.ndarray  # (N, H, W, T) normalised
    truth: Any  # Truth with a leading axis of N


@dataclasses.dataclass
class Result:
    """What validation found at each dose."""

    matched: dict[str, scores.Matched]
    peaks: dict[str, list]  # per image, numpy `Peaks`


class Validator:
    """Holds the fixed sets and the compiled prediction; one per training run.

    seed_offset: other images from the same settings (0 for validation, 1 for the final test).
    """

    def __init__(self, cfg: schema.TrainRoot, task: Task, seed_offset: int = 0, like: "Validator | None" = None):
        self.cfg, self.task = cfg, task
        settings = cfg.training.validation
        n_chunks = -(-settings.images // CHUNK)
        self.sets: dict[str, DoseSet] = {}
        example = task.validation_example
        self._make = like._make if like else jax.jit(lambda k, d: jax.vmap(lambda k: example(k, d)[::2])(k))
        for number, (name, dose) in enumerate(settings.doses_e_per_px.items()):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed), seed_offset), number)
            keys = jax.random.split(key, (n_chunks, CHUNK))
            chunks = [jax.tree.map(np.asarray, self._make(k, jnp.float32(dose))) for k in keys]
            frames, truth = jax.tree.map(lambda *a: np.concatenate(a)[: settings.images], *chunks)
            self.sets[name] = DoseSet(frames, truth)
        self._predict = like._predict if like else self._make_predict()

    def _make_predict(self) -> Callable:
        finder = artifact.peak_finder(self.cfg.model, self.cfg.labels, self.task.material)
        size, material = self.cfg.training.validation.size_px, self.task.material
        densest = size**2 * (1.25 * self.cfg.model.pixel_size_nm) ** 2 / material.cell_area_nm2
        max_peaks = int(1.2 * densest * material.n_sites) + 16

        def predict(params, frames):
            outputs = self.task.exact_apply(params, frames)
            return jax.vmap(lambda o: finder(o, max_peaks=max_peaks))(outputs)

        return jax.jit(predict)

    def run(self, params: Any) -> Result:
        """Detect in every image with `params` and pair with the truth."""
        result = Result({}, {})
        for name, data in self.sets.items():
            peaks, parts = [], []
            for start in range(0, len(data.frames), CHUNK):
                frames = data.frames[start : start + CHUNK]
                padded = np.concatenate([frames, np.repeat(frames[-1:], CHUNK - len(frames), 0)])
                found = jax.tree.map(np.asarray, self._predict(params, padded))
                peaks += [jax.tree.map(lambda a, i=i: a[i], found) for i in range(len(frames))]
            for i, one in enumerate(peaks):
                truth = jax.tree.map(lambda a, i=i: a[i], data.truth)
                parts.append(scores.pair_image(truth, one, self.cfg.training.validation.radius_nm, i))
            result.matched[name] = scores.concatenate(parts, self.task.material.n_states)
            result.peaks[name] = peaks
        return result


def calibrate(result: Result, task: Task, shift: np.ndarray) -> Calibration:
    """Temperature and decision thresholds from all doses of a validation together."""
    pooled = scores.concatenate(list(result.matched.values()), task.material.n_states)
    weight = scores.weights(pooled, task.prior, task.material.site_of_state)
    temperature = scores.fit_temperature(pooled, task.material, shift, weight)
    sets = []
    for matched in result.matched.values():
        prob = scores.posterior(matched, task.material, shift, temperature)
        columns = scores.kind_columns(task.material, prob, matched.state)
        sets.append((columns, scores.weights(matched, task.prior, task.material.site_of_state)))
    names = sets[0][0] if sets else {}
    thresholds = {name: _threshold([(*columns[name], weight) for columns, weight in sets]) for name in names}
    return Calibration(shift, temperature, thresholds)


def _threshold(sets: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """Threshold with the greatest mean F1 over (score, truth, weight) sets; 0.5 where there is nothing to find."""
    sets = [s for s in sets if s[1].any()]
    if not sets:
        return 0.5
    f1 = np.array([np.mean([detection.f1_at(*s[:2], t, s[2]) for s in sets]) for t in THRESHOLDS])
    best = np.flatnonzero(f1 > f1.max() - 1e-9)  # several are as good where few were validated: the middle is safest
    return float(THRESHOLDS[best[len(best) // 2]])


def figures(result: Result, task: Task, calibration: Calibration) -> dict[str, dict[str, Any]]:
    """Per dose: scores per kind at the calibration's thresholds, columns found, position error, calibration error.

    Returns {dose: {"kinds": {kind: {f1, precision, recall, best_f1, ap, n}}, "found", "spurious_per_image", "rmse_nm",
    "sigma_ratio" (rms of error / stated sigma, 1 when honest), "ece", "defect_ece", "reliability" (of the defect score
    above 0.05, from `detection.reliability`)}}.
    """
    out = {}
    for dose, matched in result.matched.items():
        weight = scores.weights(matched, task.prior, task.material.site_of_state)
        prob = scores.posterior(matched, task.material, calibration.log_prior_shift, calibration.temperature)
        kinds = {}
        for name, (score, truth) in scores.kind_columns(task.material, prob, matched.state).items():
            best = scores.best_threshold(score, truth, weight)
            kinds[name] = detection.at_threshold(score, truth, calibration.thresholds.get(name, 0.5), weight) | {
                "best_f1": detection.f1_at(score, truth, best, weight),
                "ap": detection.average_precision(scores.claimable(score), truth, weight),
                "n": int(truth.sum()),
            }
        true = matched.state >= 0
        both = true & matched.found
        error = matched.error_nm[both]
        top = prob[both].max(1)
        defect, is_defect = scores.kind_columns(task.material, prob, matched.state)[scores.GENERIC]
        suspicious = both & (defect > 0.05)
        claims = defect[suspicious], is_defect[suspicious], weight[suspicious]
        out[dose] = {
            "kinds": kinds,
            "found": float((weight * both).sum() / max((weight * true).sum(), 1e-12)),
            "spurious_per_image": float((~true).sum() / max(len(result.peaks[dose]), 1)),
            "rmse_nm": float(np.sqrt((error**2).mean())) if len(error) else np.nan,
            "sigma_ratio": float(np.sqrt((error**2 / matched.sigma_nm[both, None] ** 2).mean()))
            if len(error)
            else np.nan,
            "ece": detection.calibration_error(top, prob[both].argmax(1) == matched.state[both], weight[both]),
            "defect_ece": detection.calibration_error(*claims),
            "reliability": detection.reliability(*claims),
        }
    return out


def score(figures: dict[str, dict[str, Any]], kinds: list[str]) -> float:
    """One number to choose the best weights by: mean F1 over `kinds` and doses."""
    values = [f["kinds"][k]["f1"] for f in figures.values() for k in kinds if k in f["kinds"]]
    values = [v for v in values if np.isfinite(v)]
    return float(np.mean(values)) if values else 0.0


def flat(figures: dict[str, dict[str, Any]]) -> dict[str, float]:
    """`figures` with names like `high_dose/Mo_W/f1`, for the tracker; counts and undefined values left out."""
    row = {}
    for dose, values in figures.items():
        for kind, numbers in values["kinds"].items():
            row |= {f"{dose}/{kind}/{n}": v for n, v in numbers.items() if n != "n" and np.isfinite(v)}
        single = {n: v for n, v in values.items() if n not in ("kinds", "reliability")}
        row |= {f"{dose}/{n}": v for n, v in single.items() if np.isfinite(v)}
    return row


def confusion_tables(result: Result, task: Task, calibration: Calibration) -> dict[str, Any]:
    """Confusion matrix per dose for `confusion.json`.

    Rows: true state, last row: no column there. Columns: the state that a defect table says with the calibration's
    thresholds (`decision`), last column: not found. `counts` as they are; `probability` has rows that add up to 1.
    """
    names = task.material.state_names
    tables = {}
    for dose, matched in result.matched.items():
        prob = scores.posterior(matched, task.material, calibration.log_prior_shift, calibration.temperature)
        said = scores.called(prob, task.material, calibration.thresholds)
        counts = scores.confusion(matched, said, task.material.n_states)
        rows = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        tables[dose] = {"counts": counts.astype(int).tolist(), "probability": np.round(rows, 6).tolist()}
    about = {"true": [*names, "none"], "said": [*names, "missed"], "decision": "thresholds"}
    return about | {"doses": tables}
