"""What JAX runs on, its compilation cache, and the memory its programs work in."""

import ctypes
import os
from pathlib import Path

from stemdefects.errors import UserError

# glibc's mallopt (malloc.h): what is freed at the end of the heap stays up to _TRIM, smaller blocks come from the heap
# where other threads than the first look for memory too: in heaps of their own no large block is kept
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# of a block: more than a step of `unet_small` or two frames of 512 px work in; larger ones go back
KEPT_BYTES = 256 << 20

MAX_CALLERS = 4  # batches at once: each works in memory of its own (100 MB for a frame of 512 x 512)


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


def keep_memory() -> None:
    """Let this process keep memory that it frees, where the C library can be told so (glibc); for commands, whose
    process is theirs.

    XLA on a CPU asks for the memory of a program anew at each call. By default the system takes it back in between and
    hands it out page by page, cleared: an eighth of the time of a step of `unet_small`. Before JAX is used.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
    mallopt(_TRIM_THRESHOLD, 2 * KEPT_BYTES - 1)  # an int of C


def callers() -> int:
    """Threads that should call the network at once. XLA runs most of a convolution on one core of a CPU, and the calls
    of one thread one after the other (two cores: 37 ms of wall time a frame from one thread, 23 from two); an
    accelerator is fed by one thread while another waits for it."""
    return min(max(os.cpu_count() or 1, 2), MAX_CALLERS)


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
