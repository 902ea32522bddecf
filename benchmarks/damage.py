"""Beam damage against its truth: cross-sections of the first and the second atom, filling, arrivals told from creation.

    python benchmarks/damage.py [sets=20] [first=0] [dose=4000,1200,400] [variant=damage,none] [page=docs/damage.md]
    python benchmarks/damage.py joint=100 [page=docs/damage.md]

Sets: exact synthetic evidence (normal about the levels, persistent site errors and neighbours' shifts as measured) of
histories by a Gillespie simulation of its own in a wider field than is seen. Rows are kept in `folder=`; the same
command goes on.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import script

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
DEFAULTS = {
    "sets": "20",
    "first": "0",
    "dose": "4000,1200,400",
    "variant": "damage,none",
    "joint": "0",
    "folder": "benchmark_results/damage",
    "page": "",
    "sweeps": "160",
}
DETECT = {"4000": 4.8, "1200": 3.1, "400": 1.8}  # d' of V_S in one frame at these e/px (middle of what is measured)
PIXEL_NM, FRAME_S, FRAMES, SIDE_NM = 0.03, 2.25, 36, 4.8


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    folder = Path(options["folder"])
    if int(options["joint"]):
        from benchmarks.damage_sets import joint

        return say(options, "joint", joint.report(int(options["joint"])))
    from benchmarks.damage_sets import judged

    for number in range(int(options["first"]), int(options["first"]) + int(options["sets"])):
        for variant in options["variant"].split(","):
            for dose in options["dose"].split(","):
                path = folder / variant / f"{dose}_{number}.json"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(one_set(number, variant, dose, int(options["sweeps"]))))
    say(options, "sets", judged.report(folder))


def say(options: dict, part: str, text: str) -> None:
    """Print a report, and put it into its part of the page."""
    print(text)
    if options["page"]:
        shown = " ".join(a for a in sys.argv[1:] if not a.startswith(("page=", "folder=")))
        script.fill(
            Path(options["page"]),
            f"<!-- {part} -->",
            f"<!-- end {part} -->",
            f"`python benchmarks/damage.py {shown}`\n\n{text}".replace(" `\n", "`\n"),
        )


def one_set(number: int, variant: str, dose: str, sweeps: int) -> dict:
    """Truth and answer of one set; a line is printed."""
    from benchmarks.damage_sets import gillespie, judged

    rng = np.random.default_rng([number, int(dose), len(variant)])
    truth = gillespie.draw(rng, variant, DETECT[dose], FRAMES, FRAME_S, SIDE_NM)
    started = time.perf_counter()
    row = judged.row(truth, number, sweeps, float(dose) / PIXEL_NM**2 / FRAME_S)
    row |= {"dose": dose, "variant": variant, "set": number, "seconds": time.perf_counter() - started}
    print(
        f"{variant} {dose} e/px set {number}: {row['code']}, {row['seconds']:.0f} s; "
        + "; ".join(
            f"{name} {q['value']:.3g} [{q['low']:.3g}, {q['high']:.3g}] ({q['true']:.3g}, happened {q['happened']:.3g})"
            for name, q in row["quantities"].items()
            if name in judged.SHOWN
        ),
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
