"""A random stream for each stage by its name, so that leaving one out changes no other's numbers."""

from zlib import crc32

import numpy as np


def stream(seed: int, *names: str) -> np.random.Generator:
    """The generator of what `names` say, e.g. `stream(seed, "diffusion", kind, "cve")`."""
    return np.random.default_rng([seed, *(crc32(name.encode()) for name in names)])
