"""Arrays on disk, by path, no pickle: `weights.npz` holds those of the network, or `weights.safetensors` does."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.needed import HUB, needed

NAME = "weights.npz"
SAFETENSORS = "weights.safetensors"  # what is read where there is no npz


def flatten(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dict of arrays -> flat dict with `/` between names."""
    flat = {}
    for name, value in tree.items():
        path = f"{prefix}/{name}" if prefix else name
        flat |= flatten(value, path) if isinstance(value, dict) else {path: np.asarray(value)}
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> dict:
    """Inverse of `flatten`."""
    tree: dict = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def identity(flat: dict[str, np.ndarray]) -> str:
    """Twelve hex digits of the SHA-256 of the arrays: of the weights, the model's id in defect tables."""
    digest = hashlib.sha256()
    for path in sorted(flat):
        array = np.ascontiguousarray(flat[path])
        digest.update(f"{path}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def write(folder: Path, flat: dict[str, np.ndarray], name: str = NAME) -> None:
    """Write the arrays into `folder`, whole or not at all."""
    partial = Path(folder) / f".{name}.partial.npz"
    arrays: dict[str, Any] = dict(flat)
    np.savez_compressed(partial, **arrays)
    partial.replace(Path(folder) / name)


def write_safetensors(path: Path, flat: dict[str, np.ndarray]) -> Path:
    """Write the arrays to `path`, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    _safetensors(path).save_file({name: np.ascontiguousarray(a) for name, a in flat.items()}, partial)
    partial.replace(path)
    return path


def _safetensors(path: Path) -> Any:
    return needed("safetensors.numpy", str(path), HUB)


def there(folder: Path) -> bool:
    """Whether `folder` holds the weights of a network, in either form."""
    return (Path(folder) / NAME).is_file() or (Path(folder) / SAFETENSORS).is_file()


def read(folder: Path, name: str = NAME) -> dict[str, np.ndarray]:
    """The arrays in `folder`, as they are stored (float32 or float16); whatever is not plain numbers is refused."""
    if name == NAME and not (Path(folder) / NAME).exists() and (Path(folder) / SAFETENSORS).is_file():
        return _safetensors(Path(folder) / SAFETENSORS).load_file(Path(folder) / SAFETENSORS)
    with np.load(Path(folder) / name, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
