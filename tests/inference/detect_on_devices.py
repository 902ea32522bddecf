"""Detect with several pretended CPU devices: <n devices> <model folder> <movie> <out.npz>; run by test_devices.py."""

import sys

import jax
import numpy as np

n, model, movie, out = sys.argv[1:]
jax.config.update("jax_num_cpu_devices", int(n))

from stemdefects import devices  # noqa: E402
from stemdefects.commands import detection  # noqa: E402

devices.use_compilation_cache()
assert len(jax.local_devices()) == int(n)
found = detection.detect(
    movie, model, progress=False, presence=0.14, thresholds={"defect": 0.05}, exclude_regions=[], batch_size=2
)
np.savez(out, rows=found.rows, frames=found.frames, over_time=found.over_time)
