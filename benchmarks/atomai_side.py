"""AtomAI's side of benchmarks/inference.py, run by AtomAI's own python: <train.npz> <frames.npy> <seconds> <out folder>

Its standard recipe: Segmentor (U-Net, 16 filters), cross entropy, Adam, batches of 32, then SegPredictor with its
locator. Training stops after <seconds> of CPU time. Writes coordinates and figures.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np


def main(train: str, frames: str, seconds: float, out: Path) -> None:
    import atomai as aoi
    import torch

    data = np.load(train)
    images, labels = data["images"].astype(np.float32), data["labels"].astype(np.int64)
    n_test = max(4, len(images) // 10)
    parts = (images[n_test:], labels[n_test:], images[:n_test], labels[:n_test])
    start = time.process_time()
    aoi.models.Segmentor(nb_classes=1, seed=1).fit(*parts, training_cycles=3, batch_size=16, print_loss=1000)
    per_cycle = (time.process_time() - start) / 3
    cycles = max(10, int(seconds / per_cycle))
    start = time.process_time()
    model = aoi.models.Segmentor(nb_classes=1, seed=1)
    model.fit(*parts, training_cycles=cycles, batch_size=16, print_loss=max(cycles // 5, 1))
    used = time.process_time() - start
    torch.save(model.net.state_dict(), out / "atomai.pt")
    stack = np.load(frames)
    predictor = aoi.predictors.SegPredictor(model.net, nb_classes=1, verbose=False)
    predictor.run(stack[:2], num_batches=1)
    seconds_wall, seconds_cpu = [], []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        _, coordinates = predictor.run(stack, num_batches=10)
        seconds_wall.append(time.perf_counter() - wall)
        seconds_cpu.append(time.process_time() - cpu)
    np.savez(out / "atomai.npz", **{str(k): v[:, :2] for k, v in coordinates.items()})
    figures = {
        "cycles": cycles,
        "train_cpu_s": used,
        "wall_s": min(seconds_wall),
        "cpu_s": min(seconds_cpu),
        "peak_mb_training": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "version": aoi.__version__,
    }
    (out / "atomai.json").write_text(json.dumps(figures))


def predict(state: str, frames: str, found: str) -> None:
    """Seconds and peak memory of a prediction alone, as JSON; its coordinates into the file `found` (npz)."""
    import atomai as aoi
    import torch

    net, _ = aoi.nets.init_fcnn_model("Unet", 1)
    net.load_state_dict(torch.load(state))
    stack = np.load(frames)
    predictor = aoi.predictors.SegPredictor(net, nb_classes=1, verbose=False)
    predictor.run(stack[:2], num_batches=1)
    times, coordinates = [], {}
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        _, coordinates = predictor.run(stack, num_batches=10)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    np.savez(found, **{str(k): v[:, :2] for k, v in coordinates.items()})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"wall_s": min(t[0] for t in times), "cpu_s": min(t[1] for t in times), "peak_mb": peak}))


if __name__ == "__main__":
    if sys.argv[1] == "--predict":
        predict(*sys.argv[2:5])
    else:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
