"""A trained network, alone or pooled with the light of its columns, judged on the clips of the limit study: its
posterior at their prevalence, paired with truth."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from stemdefects.crystal.bragg import rotation
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.columns.lattice import seen_width
from stemdefects.inference.columns.lattice.sites import view
from stemdefects.limit.study import Seen
from stemdefects.models import artifact, symmetry
from stemdefects.models.frames.normalization import normalize_frames
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.numerics.borders import from_border
from stemdefects.scoring import columns as scores
from stemdefects.scoring import detection
from stemdefects.simulation.images import Truth

RADIUS_NM = 0.09  # a detection this close to the true column is right


class Network:
    """A trained model that gives columns for a clip, and its posterior at the study's prevalence.

    light: its opinion of each column is pooled with what the column's light says (`inference.light`); average: a
    single-frame model is shown the mean of so many frames (`inference.average_frames`); frames: how many it judges by.
    """

    def __init__(
        self,
        folder: Path,
        material: Material,
        prior: np.ndarray,
        size_px: tuple[int, int],
        symmetries: int = 1,
        light: bool = False,
        average: int = 1,
    ):
        self.model = model = artifact.load(folder)
        if model.material.state_names != material.state_names:
            raise UserError(f"run={folder}: trained for {model.material.name}, the study shows {material.name}")
        own = state_prior(model.config.labels, model.material)
        self.shift = model.calibration.log_prior_shift + np.log(prior / own)
        self.light, self._prior, self._average = light, prior, average > 1
        self.frames = max(model.frames, average)
        area = size_px[0] * size_px[1] * (1.3 * model.pixel_size_nm) ** 2
        max_peaks = int(area / material.cell_area_nm2 * material.n_sites) + 64
        find = artifact.peak_finder(model.config.model, model.config.labels, model.material)

        answer = symmetry.averaged(model.apply, symmetries)

        def predict(clip):
            frames = jax.numpy.moveaxis(normalize_frames(clip), 0, -1)[None]
            return find(jax.tree.map(lambda a: a[0], answer(frames)), max_peaks=max_peaks)

        self._predict = jax.jit(predict)
        self.parts = {}

    def look(self, about: float | str, number: int, frames: np.ndarray, truth: Truth, margin_px: float) -> None:
        """Detect in the middle of clip `number` (T, H, W), pair with its truth, keep it under `about` (the dose)."""
        first = len(frames) // 2 - self.frames // 2
        clip = frames[first : first + self.frames]
        clip = clip.mean(0, keepdims=True) if self._average else clip
        peaks = jax.tree.map(np.asarray, self._predict(clip))
        if self.light:
            peaks = self._with_light(peaks, clip.mean(0), truth)
        matched = scores.pair_image(truth, peaks, RADIUS_NM, number, margin_px)
        keep = from_border(matched.yx_px, frames.shape[1:]) >= margin_px
        self.parts.setdefault(about, []).append(scores.Matched(**{k: v[keep] for k, v in matched.__dict__.items()}))

    def _with_light(self, peaks, image, truth):
        """Peaks whose state probabilities, once calibrated, are those of network and light together."""
        model, found = self.model, np.flatnonzero(peaks.valid)
        site, temperature = peaks.site[found], model.calibration.temperature
        with np.errstate(divide="ignore"):
            log_prob = np.log(peaks.state_prob[found])
        prob = scores.calibrated(log_prob, site, model.material, self.shift, temperature)
        place = np.stack([peaks.y_px, peaks.x_px], 1)[found]
        pixel_nm, basis = float(truth.pixel_size_nm), model.material.basis
        vectors = model.material.lattice_nm @ rotation(float(truth.angle_rad)) / pixel_nm
        sites = view(place.astype(float), site, peaks.presence[found], vectors, basis, vectors)
        if sites is None:
            return peaks
        columns = column_intensity.Places(place, site, sites.cell)
        width_nm = seen_width.nm(image, place, site, model.material, sites.vectors_px)
        known = column_intensity.Known(missing=seen_width.missing(width_nm, model.material))
        prob, *_ = column_intensity.judged(prob, image, columns, model.material, pixel_nm, self._prior, known)
        together = peaks.state_prob.copy()
        with np.errstate(divide="ignore"):
            raw = temperature * (np.log(prob) - self.shift)
        together[found] = np.exp(raw - raw.max(1, keepdims=True))
        return peaks._replace(state_prob=together)

    def columns(
        self, about: float | str, material: Material
    ) -> tuple[scores.Matched, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """(`Matched`, scores and truth per kind) of all clips kept under `about`."""
        matched = scores.concatenate(self.parts[about], material.n_states)
        prob = scores.posterior(matched, material, self.shift, self.model.calibration.temperature)
        return matched, scores.kind_columns(material, prob, matched.state)

    def alone(self, about: float | str, material: Material, kinds: Sequence[str]) -> dict[str, dict[str, float]]:
        """F1 at the best threshold and average precision per kind, on clips that no observer judges."""
        _, columns = self.columns(about, material)
        return {
            kind: {"f1": detection.best_f1(*columns[kind])[0], "ap": detection.average_precision(*columns[kind])}
            for kind in kinds
        }

    def figures(
        self, dose: float, seen: list[Seen], material: Material, kinds: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """Scores per kind beside the observer's, both against the truth, each at its best threshold."""
        matched, columns = self.columns(dose, material)
        best = np.concatenate([s.prob[self.frames] for s in seen])
        state = np.concatenate([s.state for s in seen])
        image = np.repeat(np.arange(len(seen)), [len(s.state) for s in seen])
        out = {}
        for kind in kinds:
            index = material.kinds[material.kind_index(kind)].state
            score, truth = columns[kind]
            observer = (best[:, index], state == index, image)
            f1, limit = detection.best_f1(score, truth)[0], detection.best_f1(*observer[:2])[0]
            low, high = detection.ratio_interval((score, truth, matched.image), observer, np.random.default_rng(0))
            out[kind] = {
                "f1": f1,
                "observer_f1": limit,
                "ratio": f1 / limit,
                "ratio_low": low,
                "ratio_high": high,
                "ap": detection.average_precision(score, truth),
                "own_f1": detection.f1_at(score, truth, self.model.thresholds.get(kind, 0.5)),
            }
        out["rmse_nm"] = {
            name: float(np.sqrt((matched.error_nm[(matched.state == i) & matched.found] ** 2).mean()))
            for i, name in enumerate(material.state_names)
            if ((matched.state == i) & matched.found).any()
        }
        return out
