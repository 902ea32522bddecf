"""The first look at a movie: what its frames teach of the specimen, before any of them is judged."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from stemdefects.devices import callers
from stemdefects.inference.columns.defects import find_defects
from stemdefects.inference.setup import Setup
from stemdefects.inference.specimen import learned
from stemdefects.inference.tables import stream
from stemdefects.io.movie import FrameError, Movie


@threadpool_limits.wrap(limits=1, user_api="blas")  # as `setup.prepare`
def teach(movie: Movie, setup: Setup, known: dict | None = None) -> None:
    """Fill in `setup.rules.specimen` from some frames spread over those that are to be looked at.

    known: `Specimen.to_plain` of an interrupted inference, taken as it is. Nothing is learned where the network is to
    judge alone, no lattice is seen, or columns may be
    anywhere.
    """
    before = setup.rules.specimen
    if before is None or setup.reference_px is None or setup.of_movie:
        return
    found = (
        learned.Specimen.from_plain(known)
        if known
        else learned.learn(_looked(movie, setup), setup.model.material, before, setup.settings.species)
    )
    setup.rules = replace(setup.rules, specimen=found, thresholds=_thresholds(found, setup))


def _thresholds(found: learned.Specimen, setup: Setup) -> dict[str, float]:
    """Least posteriors, by kind or `defect`: those of the frames where they are higher than the network's, if nobody
    asked for others."""
    rules, known = setup.rules, dict(setup.rules.thresholds)
    if found.least is None:
        return known
    for kind in setup.model.material.kinds:
        if kind.name not in setup.settings.thresholds and np.isfinite(found.least[kind.state]):
            known[kind.name] = max(rules.threshold(kind.name), float(found.least[kind.state]))
    return known


def _looked(movie: Movie, setup: Setup) -> list:
    """`FrameDefects` of up to `N_FRAMES` usable frames that show a lattice."""
    n = min(len(setup.indices), setup.settings.first_frames or len(setup.indices))
    order = np.unique(np.linspace(0, n - 1, min(n, learned.N_FRAMES)).astype(int))
    read = (stream.shown(movie, int(i), setup) for i in setup.indices[order])
    seen = [one for one in read if not isinstance(one, FrameError)]

    def look(some: list[stream.Shown]) -> list:
        founds = []
        for output in stream.look(setup, some):
            px_nm = setup.calibration.pixel_size_nm / output.scale
            found = find_defects(output, setup.model.material, setup.rules, setup.reference_px, px_nm, told_apart=True)
            founds += [found] if found.sites is not None else []
        return founds

    size = setup.engine.batch_size
    with ThreadPoolExecutor(callers(), "network") as pool:
        batches = pool.map(look, [seen[first : first + size] for first in range(0, len(seen), size)])
        return [found for founds in batches for found in founds]
