"""Damaged files into the readers: python benchmarks/fuzz_readers.py 1000

Each case (truncated, bits flipped, header overwritten, huge numbers in the header, wrong extension, blocks zeroed,
empty) is opened and its first and last frame are read in a process of its own kind, with a memory limit and a time
limit. Good are frames and clear errors; bad are any other exception, a crash, a hang, or running out of memory.
Whole files come from our own writers and, where they are, from ../shared/data/readers.
"""

import collections
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MEMORY_BYTES = 6 << 30  # address space, JAX not loaded
PATIENCE = 10.0  # times SECONDS, of wall time
SECONDS = 20.0  # of computing, for one file
DAMAGES = ("truncate", "flip", "header", "huge", "extension", "zero", "empty")
SHARED = Path(__file__).parents[2] / "shared" / "data" / "readers"


def whole_files(folder: Path) -> list[Path]:
    """Small sound files of every type we write ourselves, and the shared vendor files."""
    import h5py
    import tifffile
    from PIL import Image

    stack = np.random.default_rng(0).integers(0, 4000, (3, 40, 48)).astype(np.uint16)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("frames", data=stack, chunks=(1, 40, 48), compression="gzip")
        file.attrs.update(pixel_size_nm=0.03, frame_time_s=2.0)
    tifffile.imwrite(folder / "plain.tif", stack, photometric="minisblack")
    tifffile.imwrite(folder / "zip.tif", stack, photometric="minisblack", compression="zlib")
    tifffile.imwrite(folder / "imagej.tif", stack, imagej=True, resolution=(30, 30), metadata={"unit": "nm"})
    two = np.stack([stack, stack // 2], 1)
    hyperstack = {"axes": "TCYX", "unit": "micron", "finterval": 2.25, "Labels": ["BF", "HAADF"] * 3}
    tifffile.imwrite(folder / "hyperstack.tif", two, imagej=True, resolution=(30, 60), metadata=hyperstack)
    planes = {"DeltaT": [0.0, 2.0, 900.0] * 2, "DeltaTUnit": ["s"] * 6}
    metadata = {"axes": "TCYX", "Channel": {"Name": ["BF", "HAADF"]}, "PhysicalSizeX": 0.03, "Plane": planes}
    tifffile.imwrite(folder / "a.ome.tif", two, ome=True, photometric="minisblack", metadata=metadata)
    tifffile.imwrite(folder / "colour.tif", stack.astype(np.uint8), photometric="rgb")
    np.savez(folder / "times.npz", frames=stack, BF=stack, time_s=[0.0, 2.0, 900.0], pixel_size_yx_nm=[0.06, 0.03])
    with h5py.File(folder / "several.h5", "w") as file:
        file["scan/HAADF"], file["scan/BF"], file["time_s"] = two.transpose(0, 2, 3, 1), stack, [0.0, 2.0, 900.0]
        for dimension, label in zip(file["scan/HAADF"].dims, "tyxc", strict=True):
            dimension.label = label
    np.save(folder / "a.npy", stack)
    np.savez(folder / "a.npz", frames=stack, pixel_size_nm=0.03)
    np.savez_compressed(folder / "b.npz", frames=stack)
    Image.fromarray(stack[0].astype(np.uint8)).save(folder / "a.png")
    files = sorted(folder.iterdir())
    if SHARED.exists():
        files += sorted(p for p in SHARED.iterdir() if p.stat().st_size < 300_000)
    return files


def damage(data: bytes, how: str, rng: np.random.Generator) -> bytes:
    """`data` damaged; `extension` leaves it as it is."""
    out = bytearray(data)
    n = len(out)
    if how == "truncate":
        return bytes(out[: int(rng.integers(1, n))])
    if how == "empty":
        return b""
    if how == "flip":
        for _ in range(int(rng.integers(1, 40))):
            out[int(rng.integers(0, n))] ^= 1 << int(rng.integers(0, 8))
    elif how == "header":
        length = int(rng.integers(1, 64))
        start = int(rng.integers(0, min(n, 512)))
        out[start : start + length] = rng.bytes(len(out[start : start + length]))
    elif how == "huge":
        for _ in range(int(rng.integers(1, 4))):
            start = int(rng.integers(0, min(n, 600)))
            value = [b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\xff" * 8][int(rng.integers(0, 3))]
            out[start : start + len(value)] = value[: len(out[start : start + len(value)])]
    elif how == "zero":
        start = int(rng.integers(0, n))
        length = int(rng.integers(1, n - start + 1))
        out[start : start + length] = bytes(length)
    return bytes(out)


def _work(pipe) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from stemdefects.errors import UserError
    from stemdefects.io import opening

    pipe.send("ready")
    while True:
        path = pipe.recv()
        if path is None:
            return
        try:
            with opening.read(path) as movie:
                for index in {0, len(movie) - 1}:
                    movie.frame(index)
            verdict = ("frames", "")
        except UserError as error:
            text = str(error)
            verdict = ("clear error", "") if "\n" not in text and len(text) < 1000 else ("long message", text[:300])
        except BaseException as error:
            verdict = ("traceback", f"{type(error).__name__}: {str(error)[:300]}")
        pipe.send((*verdict, _peak_mb()))


def _peak_mb() -> int:
    """Peak memory of this process; its ru_maxrss would hold that of the process that started it too."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _cpu_s(pid: int) -> float:
    """Seconds that a process has computed; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


class _Worker:
    """A reading process that is replaced when it crashes or hangs."""

    def __init__(self):
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()  # it has imported what it needs

    def read(self, path: Path) -> tuple[str, str, int]:
        self._pipe.send(str(path))
        begun, worked, end = time.monotonic(), _cpu_s(self._process.pid), np.inf
        while time.monotonic() < end:
            if _cpu_s(self._process.pid) - worked > SECONDS or time.monotonic() - begun > PATIENCE * SECONDS:
                end = 0.0  # other work on the machine is not this file's fault
            try:
                if self._pipe.poll(0.1):
                    return self._pipe.recv()
            except (EOFError, ConnectionError):
                break
        hung = self._process.is_alive() and end == 0.0
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        self._start()
        return ("hang", "", 0) if hung else ("crash", f"exit {code}", 0)

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(5)
        self._process.kill()


def run(number: int, seed: int = 0, report=print) -> tuple[collections.Counter, list[tuple[str, str, str]], int]:
    """`number` cases: counts per verdict, the bad ones (file, verdict, message), and peak memory in MB."""
    rng = np.random.default_rng(seed)
    verdicts: collections.Counter = collections.Counter()
    bad, peak = [], 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "whole").mkdir()
        files = whole_files(folder / "whole")
        suffixes = sorted({p.suffix for p in files})
        worker = _Worker()
        for case in range(number):
            suffix = suffixes[int(rng.integers(0, len(suffixes)))]  # every format as often as the others
            alike = [p for p in files if p.suffix == suffix]
            source = alike[int(rng.integers(0, len(alike)))]
            how = DAMAGES[int(rng.integers(0, len(DAMAGES)))]
            suffix = suffixes[int(rng.integers(0, len(suffixes)))] if how == "extension" else source.suffix
            path = folder / f"case{suffix}"
            path.write_bytes(damage(source.read_bytes(), how, rng))
            verdict, message, memory = worker.read(path)
            verdicts[verdict] += 1
            peak = max(peak, memory)
            if verdict not in ("frames", "clear error"):
                bad.append((f"case {case}: {how} {source.name} -> {suffix}", verdict, message))
                report(*bad[-1])
            path.unlink()
        worker.close()
    return verdicts, bad, peak


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    start = time.monotonic()
    found, bad, peak = run(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    print(f"{dict(found)}; {len(bad)} bad; peak memory {peak} MB; {time.monotonic() - start:.0f} s")
    sys.exit(1 if bad else 0)
