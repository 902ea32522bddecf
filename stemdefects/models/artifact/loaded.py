"""A network ready to use, and the config that says what it is."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects import config, schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import architecture
from stemdefects.models.artifact import weights
from stemdefects.models.artifact.calibration import Calibration, peak_finder

if TYPE_CHECKING:
    import jax
    from jaxtyping import Float

    from stemdefects.models.peaks import Peaks
    from stemdefects.models.unet import Outputs

DECIDING = ("model", "material", "labels")  # sections that inference reads; the others tell how the model was made


@dataclasses.dataclass(frozen=True)
class Sections:
    """What a network is and how it was made: config.yaml of its folder."""

    model: schema.ModelConfig
    material: schema.MaterialConfig
    simulation: schema.SimulationConfig
    labels: schema.LabelsConfig
    training: schema.TrainingConfig

    @classmethod
    def of(cls, holder: Any) -> "Sections":
        """Those of a config that has them, e.g. of a training."""
        return cls(**{item.name: getattr(holder, item.name) for item in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network ready to use. `apply(frames)` maps normalised (B, H, W, T) to `Outputs`."""

    id: str  # first characters of the hash of the weights
    path: Path | None
    config: Sections
    material: crystal.Material
    params: Any
    apply_fn: Callable  # (params, frames) -> "Outputs"
    calibration: Calibration
    confusion: dict[str, Any]
    emissions: dict[str, np.ndarray]  # of `emissions.measure`; empty: none were measured
    record: dict[str, Any]  # the rest of model.json: run id, seed, hardware, scores
    trained: "LoadedModel | None" = None  # what this network was trained as, where it is shown another crystal
    by_light: bool = False  # of that crystal's states it has no opinion

    @property
    def name(self) -> str:
        """What a person calls it: the folder of a network that ships, or the run it was trained in."""
        if self.path is None:
            return str(self.record.get("run_id") or "")
        return self.path.parent.name if self.path.name == "model" else self.path.name

    @functools.cached_property
    def signature(self) -> str:
        """Twelve hex digits of all that changes an answer: weights, calibration, thresholds and the deciding sections.

        Two models of the same weights (`id`) that call columns differently have two signatures.
        """
        calibration = {
            "log_prior_shift": np.asarray(self.calibration.log_prior_shift, float).tolist(),
            "temperature": float(self.calibration.temperature),
            "thresholds": dict(self.calibration.thresholds),
        }
        told = {name: config.to_plain(getattr(self.config, name)) for name in DECIDING} | {"calibration": calibration}
        told |= {
            "id": self.id,
            "emissions": weights.identity(self.emissions),
            "ensemble": self.config.training.ensemble,
        }
        if self.trained is not None:  # shown another crystal: what it was trained as decides, too
            told |= {"trained": self.trained.signature, "by_light": self.by_light}
        return hashlib.sha256(json.dumps(plain(told), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def pixel_size_nm(self) -> float:
        """Sampling the network was made for."""
        return self.config.model.pixel_size_nm

    @property
    def samplings_nm(self) -> tuple[float, float]:
        """Least and largest sampling of the images it was trained on, nm per px; others are resampled to these."""
        labels = self.config.labels
        if not labels.of_movie:
            view = self.config.simulation.view
            return min(view.pixel_size_nm), max(view.pixel_size_nm)
        zoom = math.exp(labels.fourier.zoom) if labels.fourier.augment else 1.0
        return self.pixel_size_nm / zoom, self.pixel_size_nm * zoom

    @property
    def turns_deg(self) -> tuple[float, float]:
        """Least and largest turn of the lattice in the images it was trained on."""
        turns = self.config.simulation.view.rotation_deg
        return (0.0, 360.0) if self.config.labels.of_movie else (min(turns), max(turns))

    @property
    def frames(self) -> int:
        """Neighbouring frames it sees."""
        return self.config.model.frames

    @property
    def stride(self) -> int:
        """Image pixels per output cell."""
        return self.config.model.stride

    @property
    def divisor(self) -> int:
        """Height and width of the input must be multiples of this."""
        return architecture.divisor(self.config.model)

    @property
    def thresholds(self) -> dict[str, float]:
        """Least posterior at which each kind is called; `defect` for any departure from the crystal."""
        return self.calibration.thresholds

    def apply(self, frames: "Float[jax.Array, 'batch height width frames']") -> "Outputs":
        """(B, H, W, T) normalised frames -> `Outputs`; jit it together with what surrounds it."""
        return self.apply_fn(self.params, frames)

    def predict_maps(self, frame: Any) -> dict[str, np.ndarray]:
        """What the network says of one image (or the `frames` neighbours it sees) at about its own sampling.

        frame: (H, W) or (T, H, W) counts. Returns arrays by name, one value per cell of `stride` px: `presence of
        <sublattice>`, the probability that a column sits there; each state by its name, its probability if one does, at
        the training's prevalence. `stemdefects.detect` does all the rest: sampling, calibration, calls.
        Raises UserError for another number of frames, or images smaller than the network takes.
        """
        import jax
        import jax.numpy as jnp

        from stemdefects.models.frames.normalization import normalize_frames

        frame = np.asarray(frame, np.float32)
        frame = frame[None] if frame.ndim == 2 else frame
        if frame.ndim != 3 or len(frame) != self.frames:
            raise UserError(f"predict_maps: an array of shape {frame.shape}; the network sees {self.frames} frame(s)")
        height, width = frame.shape[1:]
        if min(height, width) < self.divisor:
            raise UserError(f"predict_maps: {height} x {width} px; at least {self.divisor} px each way are needed")
        short = [-n % self.divisor for n in (height, width)]
        images = np.pad(
            np.asarray(normalize_frames(jnp.asarray(frame))), ((0, 0), (0, short[0]), (0, short[1])), "reflect"
        )
        outputs = self.apply(jnp.asarray(np.moveaxis(images, 0, -1)[None]))
        cells = (-(-height // self.stride), -(-width // self.stride))
        there = np.asarray(jax.nn.sigmoid(outputs.presence[0]))[: cells[0], : cells[1]]
        maps = {f"presence of {site.name}": there[..., g] for g, site in enumerate(self.material.sites)}
        for g in range(self.material.n_sites):
            mine = np.flatnonzero(self.material.site_of_state == g)
            share = np.asarray(jax.nn.softmax(outputs.state[0][..., mine], -1))[: cells[0], : cells[1]]
            maps |= {self.material.state_names[s]: share[..., k] for k, s in enumerate(mine)}
        return maps

    def find_peaks(self, outputs: "Outputs", max_peaks: int, threshold: float = 0.5) -> "Peaks":
        """`peaks.find_peaks` for one frame's `Outputs`, with this model's calibration."""
        own = self.trained if self.by_light and self.trained is not None else self
        return peak_finder(own.config.model, own.config.labels, own.material, own.calibration)(
            outputs, max_peaks=max_peaks, threshold=threshold
        )


def plain(value: Any) -> Any:
    """`value` for JSON: numbers as Python's own, not-a-number as null (JSON has none)."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
