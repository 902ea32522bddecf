"""What JAX runs on, and its compilation cache."""

import os
from pathlib import Path

from stemdefects.errors import UserError


def use_compilation_cache() -> None:
    """Keep compiled programs between processes, in `$JAX_COMPILATION_CACHE_DIR` or the user's cache folder.

    A U-Net step compiles for 20-40 s on two cores; from the cache it loads in 1-3 s. A folder that cannot be written
    costs nothing but that.
    """
    import jax

    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stemdefects" / "jax"
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", default))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def check() -> None:
    """Raise UserError when JAX is told (JAX_PLATFORMS) to use devices that this machine or its JAX does not have."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX 0.10 asserts where no backend is left
        wanted = os.environ.get("JAX_PLATFORMS") or getattr(jax.config, "jax_platforms", None) or "(unset)"
        lines = str(error).strip().splitlines()
        reason = f" ({lines[0].split('. (set')[0]})" if lines else ""
        raise UserError(
            f"JAX_PLATFORMS={wanted}: there is no such device here, or JAX's plug-in for it is missing{reason}; unset "
            "it to take what there is, or use JAX_PLATFORMS=cpu"
        ) from None


def describe() -> str:
    """The devices in words, e.g. `2 x NVIDIA H200` or `1 x cpu (2 cores)`; goes into model cards and tables."""
    import jax

    devices = jax.local_devices()
    kind = devices[0].device_kind
    cores = f" ({os.cpu_count()} cores)" if devices[0].platform == "cpu" else ""
    return f"{len(devices)} x {kind}{cores}"
