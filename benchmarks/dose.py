"""How well the noise of single frames tells the dose: python benchmarks/dose.py images=60 [page=docs/inference.md]

Images of the training simulation: every range of probe, film, scan and detector is drawn anew (pulse heights, afterglow
and scattered fraction among them, which nobody states of a real detector); what was drawn for the dose is compared with
what `inference/electrons.py` says without being told anything.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from script import fill, options

from stemdefects import config
from stemdefects.crystal import material
from stemdefects.inference import electrons
from stemdefects.io.movie import Movie
from stemdefects.simulation import images

DOSES = (130.0, 400.0, 4000.0)  # e/px
MARKS = ("<!-- benchmarks/dose.py -->", "<!-- end dose -->")


def main() -> None:
    chosen = options(sys.argv[1:], {"images": "60", "size": "256", "seed": "0", "page": ""})
    size = int(chosen["size"])
    crystal = material.load("ws2_mo")
    settings = config.load_group("inference", "default")
    make = images.make_simulator(crystal, config.load_group("simulation", "train"), size_px=(size, size))
    simulate = jax.jit(lambda key, dose: make(key, dose)[0])
    lines = [
        "| e/px | told | told over true: median, 16% and 84% | error stated | within one, within two of it |",
        "|---|---|---|---|---|",
    ]
    for dose in DOSES:
        ratio, sigma = [], []
        for number in range(int(chosen["images"])):
            key = jax.random.fold_in(jax.random.key(int(chosen["seed"])), number)
            frame = np.asarray(simulate(key, dose), np.float32).reshape(1, size, size)
            found = electrons.of_movie(Movie(frame, 0.03), settings, crystal, frame)
            if found.e_per_px is not None:
                ratio.append(found.e_per_px / dose)
                sigma.append(found.relative_sigma)
        off = np.abs(np.log(ratio)) / sigma
        low, middle, high = np.quantile(ratio, [0.16, 0.5, 0.84])
        lines.append(
            f"| {dose:.0f} | {len(ratio)} of {chosen['images']} | {middle:.2f}, {low:.2f} to {high:.2f} | "
            f"{np.median(sigma):.0%} | {np.mean(off < 1):.0%}, {np.mean(off < 2):.0%} |"
        )
    text = "\n".join([f"`{' '.join(['python benchmarks/dose.py', *sys.argv[1:]])}`", "", *lines])
    print(text)
    if chosen["page"]:
        fill(Path(chosen["page"]), *MARKS, text)


if __name__ == "__main__":
    main()
