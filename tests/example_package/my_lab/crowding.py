"""A quantity of our own: how far apart the defects of a frame are."""

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.analysis import seeds
from stemdefects.analysis.estimates import estimate
from stemdefects.analysis.stage import Figure, Section, StageResult, sentences


def crowding(inputs, cfg, seed):
    """Median distance to the next defect, with its interval from resampling frames."""
    found, unit = inputs.found, inputs.found.length_unit
    frames = [found.yx[found.rows["frame"] == f] for f in np.flatnonzero(found.observed)]
    nearest = [np.median(cKDTree(yx).query(yx, 2)[0][:, 1]) for yx in frames if len(yx) > 1]
    if not nearest:
        return StageResult(notes=["No frame has two defects: their distance is not known."])
    rng = seeds.stream(seed, "crowding")
    again = np.median(rng.choice(nearest, (500, len(nearest))), 1)
    low, high = np.quantile(again, [0.025, 0.975])
    three, of = (np.median(nearest), low, high), {"n": len(nearest), "n_of": "frames", "headline": True}
    said = [estimate("distance to the next defect", *three, unit, "median, frames resampled", **of)]

    def draw(pyplot):
        figure, axes = pyplot.subplots(figsize=(4, 3))
        axes.hist(nearest, 20)
        axes.set(xlabel=f"distance to the next defect ({unit})", ylabel="frames")
        return figure

    section = Section("Crowding", [sentences(said), Figure("crowding", "One value a frame.")])
    return StageResult(said, figures={"crowding": draw}, section=section)
