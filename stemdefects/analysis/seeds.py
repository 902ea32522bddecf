"""A random stream for each stage by its name, so that leaving one out changes no other's numbers."""

from zlib import crc32

import numpy as np


def stream(seed: int, *names: str) -> np.random.Generator:
    """The generator of what `names` say, e.g. `stream(seed, "diffusion", kind, "cve")`."""
    return np.random.default_rng([seed, *map(_coded, names)])


def number(seed: int, *names: str) -> int:
    """A seed of what `names` say, where a library asks for a number (below 2^31) instead of a generator."""
    return int(np.random.SeedSequence([seed, *map(_coded, names)]).generate_state(1)[0] >> 1)


def _coded(name: str) -> int:
    return crc32(name.encode())
