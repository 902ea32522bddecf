"""A model folder, written and read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects import config, schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.io.runs import write_atomically
from stemdefects.messages import LOG
from stemdefects.models import architecture
from stemdefects.models.artifact import weights
from stemdefects.models.artifact.calibration import Calibration
from stemdefects.models.artifact.loaded import DECIDING, LoadedModel, Sections, plain
from stemdefects.models.probability import emissions

FORMAT_VERSION = 2  # 1 had the emissions in model.json; it is read too


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a model folder is made of."""

    params: Any
    sections: Sections  # for config.yaml
    calibration: Calibration
    confusion: dict[str, Any]
    record: dict[str, Any]  # plain figures for model.json
    card: str  # Markdown
    emitted: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # from `emissions.measure`


def save(folder: Path, contents: Contents) -> str:
    """Write the artifact into `folder` (made when missing; files are replaced one by one, whole). Returns its id."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    material = crystal.from_config(contents.sections.material)
    flat = weights.flatten(contents.params)
    weights.write(folder, flat)
    weights.write(folder, contents.emitted, emissions.NAME)
    write_atomically(folder / "config.yaml", config.to_yaml(config.to_plain(contents.sections)))
    about = {
        "format_version": FORMAT_VERSION,
        "id": weights.identity(flat),
        "emissions": weights.identity(contents.emitted),
        "material": material.name,
        "sites": material.site_names,
        "states": material.state_names,
        "kinds": material.kind_names,
        "pixel_size_nm": contents.sections.model.pixel_size_nm,
        "frames": contents.sections.model.frames,
        "calibration": {
            "log_prior_shift": [float(x) for x in contents.calibration.log_prior_shift],
            "temperature": float(contents.calibration.temperature),
            "thresholds": {k: float(v) for k, v in contents.calibration.thresholds.items()},
        },
    } | contents.record
    write_atomically(folder / "model.json", json.dumps(plain(about), indent=2))
    write_atomically(folder / "confusion.json", json.dumps(plain(contents.confusion), indent=2))
    write_atomically(folder / "README.md", contents.card)
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
        LOG.warning("model %s was made by another version; not read: %s", folder, ", ".join(left_out))
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
        apply_fn=architecture.apply_function(sections.model, sections.training, material),
        calibration=calibration,
        confusion=json.loads(confusion_path.read_text()) if confusion_path.is_file() else {},
        emissions=emitted,
        record=about,
    )
