"""Memory that a command's process keeps."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from stemdefects import devices
devices.keep_memory()
pool = ThreadPoolExecutor(1)  # JAX runs its programs in threads of its own
pool.submit(np.ones, 20_000_000).result()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    pool.submit(np.ones, 20_000_000).result()  # 160 MB: 39,000 pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_not_handed_out_page_by_page_again():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000
