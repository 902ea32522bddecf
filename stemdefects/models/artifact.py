"""A trained model as a folder: all that inference needs, in formats that cannot run code.

weights.npz     arrays by path, no pickle          config.yaml      model, material, simulation, labels, training
emissions.npz   `models.probability.emissions`, alike          model.json       states, calibration, thresholds
README.md       the model card                     confusion.json   confusion matrix per dose

Weights may also be there as `weights.safetensors`, as `stemdefects.export` writes them.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stemdefects import config, extensions, schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.io.runs import write_atomically
from stemdefects.messages import LOG
from stemdefects.models import weights
from stemdefects.models.probability import emissions

OWN_ARCHITECTURE = "unet"
FORMAT_VERSION = 2  # 1 had the emissions in model.json; it is read too
DECIDING = ("model", "material", "labels")  # sections that inference reads; the others tell how the model was made


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What turns the network's logits into probabilities and decisions."""

    log_prior_shift: np.ndarray  # (S,) log(realistic prior / trained prior)
    temperature: float = 1.0
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)  # kind, or `defect`: least posterior


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


class Architecture(Protocol):
    """What `model.architecture` chooses: a network whose module gives `unet.Outputs` of frames (B, H, W, T)."""

    def __call__(self, cfg: schema.ModelConfig, material: crystal.Material, dtype: Any) -> Any: ...


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network ready to use. `apply(frames)` maps normalised (B, H, W, T) to `Outputs`."""

    id: str  # first characters of the hash of the weights
    path: Path | None
    config: Sections
    material: crystal.Material
    params: Any
    apply_fn: Callable  # (params, frames) -> Outputs
    calibration: Calibration
    confusion: dict[str, Any]
    emissions: dict[str, np.ndarray]  # of `emissions.measure`; empty: none were measured
    record: dict[str, Any]  # the rest of model.json: run id, seed, hardware, scores
    trained: "LoadedModel | None" = None  # what this network was trained as, where it is shown another crystal
    by_light: bool = False  # of that crystal's states it has no opinion

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
        return hashlib.sha256(json.dumps(_plain(told), sort_keys=True).encode()).hexdigest()[:12]

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
        return divisor(self.config.model)

    @property
    def thresholds(self) -> dict[str, float]:
        """Least posterior at which each kind is called; `defect` for any departure from the crystal."""
        return self.calibration.thresholds

    def apply(self, frames):
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

    def find_peaks(self, outputs, max_peaks: int, threshold: float = 0.5):
        """`peaks.find_peaks` for one frame's `Outputs`, with this model's calibration."""
        own = self.trained if self.by_light and self.trained is not None else self
        return peak_finder(own.config.model, own.config.labels, own.material, own.calibration)(
            outputs, max_peaks=max_peaks, threshold=threshold
        )


def divisor(cfg: schema.ModelConfig) -> int:
    """Height and width of the network's input are multiples of this."""
    return cfg.stem * 2 ** (len(cfg.filters) - 1)


def build(
    cfg: schema.ModelConfig, material: crystal.Material, dtype: Any = None, signals: tuple[float, ...] | None = None
):
    """The Flax module of a model config: a U-Net, or what the package behind `model.architecture` makes of
    `(cfg, material, dtype)`, a module from normalised frames (B, H, W, T) to `unet.Outputs`. signals: what a network
    with `told_signals` is told, None: those of `material`.

    Raises UserError for a config that makes no network.
    """
    import jax.numpy as jnp

    from stemdefects.models.unet import UNet

    def bad(key, text):
        return UserError(f"model.{key} (model={cfg.name}): {text}")

    if not cfg.filters or min(cfg.filters) < 4 or any(f % 4 for f in cfg.filters):
        raise bad("filters", f"needs multiples of 4, got {cfg.filters}")
    if len(cfg.depths) != len(cfg.filters) or min(cfg.depths) < 1:
        raise bad("depths", f"needs one number >= 1 per level ({len(cfg.filters)}), got {cfg.depths}")
    if cfg.stem not in (1, 2, 4) or cfg.stride not in (1, 2, 4) or cfg.stride > cfg.stem:
        raise bad("stem", f"stem and stride are 1, 2 or 4 and stride <= stem; got {cfg.stem} and {cfg.stride}")
    if cfg.norm not in ("none", "group"):
        raise bad("norm", f"{cfg.norm!r} does not exist; there are: none, group")
    if cfg.frames < 1 or cfg.frames % 2 == 0:
        raise bad("frames", f"needs an odd number of frames, got {cfg.frames}")
    if not 0 < cfg.pixel_size_nm < 1:
        raise bad("pixel_size_nm", f"needs a size in nm between 0 and 1, got {cfg.pixel_size_nm}")
    dtype = jnp.float32 if dtype is None else dtype
    if cfg.architecture != OWN_ARCHITECTURE:
        make: Architecture = extensions.load(
            extensions.MODELS, cfg.architecture, "model.architecture", [OWN_ARCHITECTURE]
        )
        return make(cfg, material, dtype)
    return UNet(
        n_sites=material.n_sites,
        n_states=material.n_states,
        filters=tuple(cfg.filters),
        depths=tuple(cfg.depths),
        stem=cfg.stem,
        stride=cfg.stride,
        norm=cfg.norm,
        dtype=dtype,
        n_frames=cfg.frames,
        signals=(log_signals(material) if signals is None else signals) if cfg.told_signals else (),
    )


def log_signals(material: crystal.Material) -> tuple[float, ...]:
    """Logarithm of the signal of one atom of each species over the reference one's, the mean of the known voltages."""
    known = material.species_intensities(float(np.mean(material.voltages_kv)))
    return tuple(float(value) for value in np.log(np.maximum(known, 1e-3)))


def apply_function(
    cfg: schema.ModelConfig,
    training: schema.TrainingConfig,
    material: crystal.Material,
    signals: tuple[float, ...] | None = None,
) -> Callable:
    """(params, frames) -> `Outputs`, for one network or an ensemble (`training.ensemble` members stacked in params).
    signals: as in `build`."""
    from stemdefects.models.ensemble import apply_members
    from stemdefects.models.probability.states import site_mask

    apply = build(cfg, material, signals=signals).apply
    if training.ensemble == 1:
        return apply
    return apply_members(apply, site_mask(material.site_of_state, material.n_sites))


def peak_finder(cfg: schema.ModelConfig, labels: schema.LabelsConfig, material, calibration: Calibration | None = None):
    """`peaks.find_peaks` with everything the model fixes filled in; `calibration` None: as trained."""
    from stemdefects.models.peaks import find_peaks
    from stemdefects.models.probability.states import site_mask

    shift: Any = 0.0 if calibration is None else np.asarray(calibration.log_prior_shift, np.float32)
    return functools.partial(
        find_peaks,
        stride=cfg.stride,
        site_mask=site_mask(material.site_of_state, material.n_sites),
        heat_sigma_px=labels.heat_sigma_px,
        log_prior_shift=shift,
        temperature=1.0 if calibration is None else calibration.temperature,
        nothing=material.nothing_states,
    )


def _plain(value: Any) -> Any:
    """`value` for JSON: numbers as Python's own, not-a-number as null (JSON has none)."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def save(
    folder: Path,
    *,
    params: Any,
    sections: Sections,
    calibration: Calibration,
    confusion: dict[str, Any],
    record: dict[str, Any],
    card: str,
    emitted: dict[str, np.ndarray] | None = None,
) -> str:
    """Write the artifact into `folder` (made when missing; files are replaced one by one, whole). Returns its id.

    sections: for config.yaml; record: plain figures for model.json; card: Markdown;
    emitted: from `emissions.measure`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    material = crystal.from_config(sections.material)
    flat = weights.flatten(params)
    emitted = emitted or {}
    weights.write(folder, flat)
    weights.write(folder, emitted, emissions.NAME)
    write_atomically(folder / "config.yaml", config.to_yaml(config.to_plain(sections)))
    about = {
        "format_version": FORMAT_VERSION,
        "id": weights.identity(flat),
        "emissions": weights.identity(emitted),
        "material": material.name,
        "sites": material.site_names,
        "states": material.state_names,
        "kinds": material.kind_names,
        "pixel_size_nm": sections.model.pixel_size_nm,
        "frames": sections.model.frames,
        "calibration": {
            "log_prior_shift": [float(x) for x in calibration.log_prior_shift],
            "temperature": float(calibration.temperature),
            "thresholds": {k: float(v) for k, v in calibration.thresholds.items()},
        },
    } | record
    write_atomically(folder / "model.json", json.dumps(_plain(about), indent=2))
    write_atomically(folder / "confusion.json", json.dumps(_plain(confusion), indent=2))
    write_atomically(folder / "README.md", card)
    return about["id"]


def _sections(folder: Path) -> Sections:
    """config.yaml as dataclasses. Of how it was made, what is not known any more is left out and told on stderr."""
    from omegaconf import OmegaConf

    stored: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True)
    found: dict[str, Any] = {}
    left_out: list[str] = []
    for item in dataclasses.fields(Sections):
        name, cls = item.name, getattr(schema, f"{item.name.capitalize()}Config")
        if name in DECIDING:
            found[name] = config.to_object(stored[name], cls)
        else:
            found[name], keys = config.known_part(stored[name], cls)
            left_out += [f"{name}.{key}" for key in keys]
    if left_out:
        LOG.warning("model %s is of another version; unread: %s", folder, ", ".join(left_out))
    return Sections(**found)


def load(folder: str | Path) -> LoadedModel:
    """Read a model folder. Raises UserError when it is missing, incomplete, damaged or of another format version.

    How it was trained (simulation, training) may have been written by another version of this software: what is no
    longer known of it is left out with a note. What inference works with must be understood in full.
    """
    folder = Path(folder)
    missing = [n for n in ("config.yaml", "model.json") if not (folder / n).is_file()]
    missing = missing if weights.there(folder) else [weights.NAME, *missing]
    if missing:
        raise UserError(
            f"model {folder}: {', '.join(missing)} missing; train one with `python train.py` or finish it with "
            f"`python train.py run=<id>`"
        )
    try:
        about = json.loads((folder / "model.json").read_text())
        flat = weights.read(folder)
        if about.get("format_version") == 1:
            emitted = emissions.packed(about.get("emissions", []))
            about |= {"format_version": FORMAT_VERSION, "emissions": weights.identity(emitted)}
        else:
            emitted = weights.read(folder, emissions.NAME)
    except UserError:
        raise
    except Exception as error:  # zip, JSON and numpy each have their own
        raise UserError(
            f"model {folder}: cannot be read ({type(error).__name__}: {error}); it may be damaged"
        ) from None
    if about.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"model {folder}: format version {about.get('format_version')}, this software reads 1 to {FORMAT_VERSION}"
        )
    for name, arrays, known in ((weights.NAME, flat, about["id"]), (emissions.NAME, emitted, about["emissions"])):
        if weights.identity(arrays) != known:
            raise UserError(f"model {folder}: {name} is {weights.identity(arrays)}, model.json belongs to {known}")
    sections = _sections(folder)
    material = crystal.from_config(sections.material)
    if material.state_names != about["states"]:
        raise UserError(f"model {folder}: states {about['states']} do not fit its material {material.state_names}")
    import jax
    import jax.numpy as jnp

    calibration = Calibration(
        log_prior_shift=np.asarray(about["calibration"]["log_prior_shift"], np.float32),
        temperature=about["calibration"]["temperature"],
        thresholds=about["calibration"]["thresholds"],
    )
    confusion_path = folder / "confusion.json"
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), weights.unflatten(flat))  # float16 in the package
    return LoadedModel(
        id=about["id"],
        path=folder,
        config=sections,
        material=material,
        params=params,
        apply_fn=apply_function(sections.model, sections.training, material),
        calibration=calibration,
        confusion=json.loads(confusion_path.read_text()) if confusion_path.is_file() else {},
        emissions=emitted,
        record=about,
    )
