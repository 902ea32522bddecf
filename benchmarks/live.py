"""A watch at the pace of a microscope, and killed: python benchmarks/live.py frames=1000 size=512 rate=2 kills=10

Frames of a simulated movie (`simulation=movie` with damage and hops, `simulated=` frames of it there and back again)
come into a folder as TIFF files, `rate=` a second, while `infer.py watch=` runs in a process of its own. Reported:
seconds from the end of a file's writing to its line on stdout (median, 95th percentile, of the last tenth of frames:
a watch that falls behind shows there), CPU seconds a frame, memory after a tenth of the frames and at the end, and
whether the table is, byte for byte, that of `infer.py input=` on the folder. Then the same frames come again and the
watch is killed (SIGKILL) `kills=` times at random moments, each time started again by the same command. `first=8` has
the table made of what was computed along the way (`inference.first_frames`). Options: also dose= (e/px), port= (a
browser listens to the page all the while), folder= (kept), page=docs/live.md (where the figures are written).
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import tifffile
from script import fill, options

ROOT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- benchmarks/live.py -->", "<!-- end -->")


class Feeder(threading.Thread):
    """Writes frames into a folder at a pace. written: when each was whole."""

    def __init__(self, movie: Path, folder: Path, n: int, rate: float):
        super().__init__(daemon=True)
        self.movie, self.folder, self.n, self.rate = movie, folder, n, rate
        self.written: dict[str, float] = {}
        folder.mkdir(parents=True)

    def run(self) -> None:
        with h5py.File(self.movie) as file:
            frames, per_cm = file["frames"], 1e7 / float(file.attrs["pixel_size_nm"])
            start, m = time.monotonic(), len(frames)
            for i in range(self.n):
                time.sleep(max(0.0, start + i / self.rate - time.monotonic()))
                there = i % (2 * m - 2) if m > 1 else 0
                image = frames[there if there < m else 2 * m - 2 - there]
                path = self.folder / f"frame_{i:05d}.tif"
                tifffile.imwrite(path, image, resolution=(per_cm,) * 2, resolutionunit="CENTIMETER", metadata=None)
                self.written[path.name] = time.monotonic()


class Watching:
    """A process that watches. lines: what it published; memory_mb and cpu_s by frame."""

    def __init__(self, arguments: list[str], feeder: Feeder, log: Path):
        self.feeder, self.lines, self.latency = feeder, [], []
        self.memory_mb: dict[int, float] = {}
        self.cpu_s: dict[int, float] = {}
        with open(log, "a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "infer.py", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            now, line = time.monotonic(), json.loads(text)
            self.lines.append(line)
            self.latency.append(now - self.feeder.written.get(Path(line["file"]).name, now))
            proc = Path(f"/proc/{self.process.pid}")
            try:
                used = (proc / "stat").read_text().rsplit(")", 1)[1].split()
                status = (proc / "status").read_text()
            except OSError:
                continue
            if "VmRSS:" not in status:  # killed: the process has no memory any more
                continue
            self.cpu_s[line["frame"]] = (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")
            self.memory_mb[line["frame"]] = int(status.split("VmRSS:")[1].split()[0]) / 1024

    def wait(self) -> int:
        """Exit code."""
        code = self.process.wait()
        self._thread.join()
        return code


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same table, to the byte."""
    names = ("defects.h5", "defects.csv", "defects_over_time.csv")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def listen(port: str, stop: threading.Event) -> None:
    """As a browser does: hold the page's events open."""
    while not stop.is_set():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=30) as events:
                while not stop.is_set() and events.readline():
                    pass
        except OSError:
            time.sleep(0.2)


def main() -> None:
    chosen = options(
        sys.argv[1:],
        {
            "frames": "1000",
            "size": "512",
            "rate": "2",
            "kills": "10",
            "dose": "2000",
            "simulated": "200",
            "first": "",
            "port": "8791",
            "folder": "",
            "page": "",
            "seed": "0",
        },
    )
    folder = Path(chosen["folder"] or tempfile.mkdtemp(prefix="live_"))
    folder.mkdir(exist_ok=True)
    n, rate, size, dose = int(chosen["frames"]), float(chosen["rate"]), chosen["size"], chosen["dose"]
    movie = folder / f"movie_{size}_{dose}.h5"
    if not movie.exists():
        made = f"simulation.movie.n_frames={min(n, int(chosen['simulated']))}"
        subprocess.run(
            [
                sys.executable,
                "simulate.py",
                "simulation=movie",
                f"output={movie}",
                f"seed={chosen['seed']}",
                made,
                f"simulation.view.size_px=[{size},{size}]",
                f"simulation.movie.frame_time_s={1 / rate}",
                f"simulation.detector.dose_e_per_px=[{dose},{dose}]",
                "simulation.movie.damage_cross_section_nm2=4e-10",
                "simulation.movie.hop_rate_per_s=0.005",
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    common = [
        "model=ws2_mo",
        "logging=disabled",
        f"inference.dose_e_per_px={dose}",
        f"inference.frame_time_s={1 / rate}",
        "inference.pictures.animation=false",
        "verbose=0",
    ]
    common += [f"inference.first_frames={chosen['first']}"] if chosen["first"] else []
    lines = undisturbed(folder, movie, n, rate, common, chosen["port"])
    if int(chosen["kills"]):
        lines += killed(folder, movie, n, rate, common, int(chosen["kills"]), random.Random(int(chosen["seed"])))
    command = " ".join(["python benchmarks/live.py", *sys.argv[1:]])
    text = "\n".join([f"`{command}`", "", "| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in lines)])
    print(text)
    if chosen["page"]:
        fill(ROOT / chosen["page"], *MARKS, text)


def watch(folder: Path, runs: Path, n: int, common: list[str], port: str) -> list[str]:
    """Arguments of a watch."""
    return [
        f"watch={folder}",
        f"runs_dir={runs}",
        f"live.stop_frames={n}",
        "live.publish=stdout",
        f"live.port={port}",
        *common,
    ]


def undisturbed(folder: Path, movie: Path, n: int, rate: float, common: list[str], port: str) -> list[tuple[str, str]]:
    """Frames at their pace; the rows of the report."""
    feeder = Feeder(movie, folder / "frames", n, rate)
    stop = threading.Event()
    threading.Thread(target=listen, args=(port, stop), daemon=True).start()
    feeder.start()
    watching = Watching(watch(feeder.folder, folder / "watched", n, common, port), feeder, folder / "log.txt")
    feeder.join()
    written = time.monotonic()
    code = watching.wait()
    stop.set()
    done = time.monotonic() - written
    subprocess.run(
        [sys.executable, "infer.py", f"input={feeder.folder}", f"runs_dir={folder / 'offline'}", *common],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (run,), (offline,) = ((folder / name).glob("2*") for name in ("watched", "offline"))
    late, first, last = np.array(watching.latency), n // 10, max(watching.cpu_s)
    steady = min(k for k in watching.cpu_s if k >= first)
    tail = late[-max(n // 10, 1) :]
    return [
        (
            "frames, all published in order",
            f"{n}, {[x['frame'] for x in watching.lines] == list(range(n))}, exit {code}",
        ),
        (
            "file written to calls, median and 95% of frames",
            f"{np.median(late):.2f} s, {np.quantile(late, 0.95):.2f} s",
        ),
        ("the same of the last tenth", f"{np.median(tail):.2f} s, {np.quantile(tail, 0.95):.2f} s"),
        ("falls behind", "yes" if np.median(tail) > 2 / rate + 1 else "no"),
        ("CPU s a frame, once it runs", f"{(watching.cpu_s[last] - watching.cpu_s[steady]) / (last - steady):.3f}"),
        (
            "memory after a tenth and at the end",
            f"{watching.memory_mb[steady]:.0f} MB, {watching.memory_mb[last]:.0f} MB",
        ),
        ("last frame written to the table", f"{done:.0f} s"),
        ("table equal to the offline one", f"{same(run, offline)}"),
        ("said at the end", watching.lines[-1]["sentence"]),
    ]


def killed(
    folder: Path, movie: Path, n: int, rate: float, common: list[str], kills: int, rng: random.Random
) -> list[tuple[str, str]]:
    """The same, killed at random moments; frames go on coming meanwhile."""
    feeder = Feeder(movie, folder / "killed_frames", n, rate)
    feeder.start()
    published, done = [], 0
    arguments = watch(feeder.folder, folder / "killed", n, common, "null")
    while True:
        watching = Watching(arguments, feeder, folder / "log_killed.txt")
        if done < kills:
            try:
                watching.process.wait(rng.uniform(2, max(2 * n / rate / kills, 12)))
            except subprocess.TimeoutExpired:
                watching.process.send_signal(signal.SIGKILL)
                done += 1
        code = watching.wait()
        published += [line["frame"] for line in watching.lines]
        if code != -signal.SIGKILL:
            break
    subprocess.run(
        [sys.executable, "infer.py", f"input={feeder.folder}", f"runs_dir={folder / 'killed_offline'}", *common],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (run,), (offline,) = ((folder / name).glob("2*") for name in ("killed", "killed_offline"))
    twice = len(published) - len(set(published))
    return [
        ("killed at random", f"{done} times, exit {code}"),
        ("frames published, and twice", f"{len(set(published))} of {n}, {twice}"),
        ("table equal to the offline one after the kills", f"{same(run, offline)}"),
    ]


if __name__ == "__main__":
    main()
