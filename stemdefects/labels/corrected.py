"""Labels that a person gave: the columns of a movie's frames in the states that were seen there.

Where the columns are comes from the movie's lattice (`labels/fourier/`); what they are, from the corrected table. Of a
frame that was looked at as a whole every column is labelled, of others those that were corrected.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from stemdefects.crystal.material import Material
from stemdefects.labels.fourier.images.population import Registered
from stemdefects.labels.fourier.images.sampler import Columns
from stemdefects.labels.fourier.label import MovieLabels
from stemdefects.labels.fourier.points import certainty
from stemdefects.labels.fourier.points.certainty import LATTICE, UNKNOWN
from stemdefects.labels.fourier.sites import UNSTATED

REACH_NM = 0.09  # a detection this near is the column: half the distance of neighbours
KNOWN = (0.25, 0.03)  # what a state adds is known from the material so well: relative, and of a column of signal 1
ENOUGH = 5  # defects on either side, for a part of each frame to be held out
FACTORS = (0.3, 3.0)  # of the light a state adds against the material's; beyond, something else was measured


class Said(NamedTuple):
    """What was said of one frame: `yx_px` (k, 2) places, the state (k,) of the column there, ideal ones too; whole:
    every other column is ideal; excluded: (m, 4) y, x, y, x of rectangles in which nothing counts."""

    yx_px: np.ndarray
    state: np.ndarray
    whole: bool
    excluded: np.ndarray


def columns(
    labels: MovieLabels, places: Columns, material: Material, said: Sequence[Said], pixel_size_nm: float
) -> tuple[Columns, MovieLabels, int]:
    """The columns with the states that were said, a row for each frame (N, L); labels whose regions leave nothing
    unsaid but what no lattice shows and what was excluded; and how many of the places no column is near.

    places: columns of the crystal in each frame; said: of each frame of `labels`.
    """
    n_frames, n = places.yx.shape[:2]
    state, sure = np.full((n_frames, n), UNSTATED, np.int32), np.zeros((n_frames, n), bool)
    regions, lost = labels.regions.copy(), 0
    ideal, reach = material.ideal_states[places.site], REACH_NM / pixel_size_nm
    for t, (here, yx) in enumerate(zip(said, places.yx, strict=True)):
        shown = certainty.moved(labels.steps["regions"], labels.shift_px[t])
        regions[t] = np.where((labels.regions[t] == UNKNOWN) & (shown == LATTICE), LATTICE, regions[t])
        for y0, x0, y1, x1 in here.excluded:
            (top, bottom), (left, right) = (
                np.clip(np.ceil(sorted(s)), 0, None).astype(int) for s in ((y0, y1), (x0, x1))
            )
            regions[t, top : bottom + 1, left : right + 1] = UNKNOWN
        sure[t] = certainty.region_at(regions[t], yx) == LATTICE
        sure[t] &= ((yx > -0.5) & (yx < np.array(regions.shape[1:]) - 0.5)).all(1)
        if here.whole:
            state[t] = ideal
        for site in range(material.n_sites):
            mine = np.flatnonzero(material.site_of_state[here.state] == site)
            own = np.flatnonzero(places.site == site)
            if not len(mine) or not len(own):
                lost += len(mine)
                continue
            away, nearest = cKDTree(yx[own]).query(here.yx_px[mine])
            near = away <= reach
            lost += int((~near).sum())
            state[t, own[nearest[near]]] = here.state[mine[near]]
    return Columns(places.yx, places.site, state, sure), dataclasses.replace(labels, regions=regions), lost


def light(labels: MovieLabels, named: Columns, crystal: Registered) -> np.ndarray:
    """(S,) what each state adds to its column in this movie, of what the material says: measured on the columns that
    were named, against ideal ones of the same site, and drawn to 1 as far as the material is trusted."""
    material = crystal.material
    height = np.stack(
        [
            ndimage.map_coordinates(2 * ndimage.gaussian_filter(r, labels.sigma_px), yx.T, order=1, mode="nearest")
            for r, yx in zip(labels.residuals, named.yx, strict=True)
        ]
    )  # a Gaussian column of height A, filtered with a normalised one of the same width, is A / 2 high
    height, factor = height / crystal.amplitude, np.ones(material.n_states)
    for state, site in enumerate(material.site_of_state):
        ideal = material.ideal_states[site]
        change = float(material.intensities()[state] - material.intensities()[ideal])
        seen, usual = (height[named.sure & (named.state == s)] for s in (state, ideal))
        usual = usual if len(usual) else height[named.sure & (named.site == site)]
        if state == ideal or len(seen) < 2 or not len(usual) or change == 0:
            continue
        mean, error = float(seen.mean() - usual.mean()), float(seen.std(ddof=1) / np.sqrt(len(seen))) + 1e-6
        prior = KNOWN[0] * abs(change) + KNOWN[1]
        factor[state] = (mean / error**2 + change / prior**2) / (error**-2 + prior**-2) / change
    return np.clip(factor, *FACTORS)


def split(
    labels: MovieLabels, named: Columns, material: Material, held_out: float
) -> tuple[np.ndarray, np.ndarray, str]:
    """(N, H, W) masks of training and validation, and in words how they were parted: the right-hand part of every frame
    is held out where it has defects enough, else the last frames are, else nothing is."""
    n, height, width = labels.frames.shape
    edge, gap = width * (1 - held_out), 0.5 * labels.lattice.spacing_px
    defect = named.sure & (named.state >= 0) & (named.state != material.ideal_states[named.site])
    x = named.yx[..., 1][defect]
    place = np.broadcast_to(np.arange(width), (n, height, width))
    if (x > edge + gap).sum() >= ENOUGH and (x < edge - gap).sum() >= ENOUGH:
        return place < edge - gap, place >= edge + gap, f"the right {held_out:.0%} of the frames"
    whole = np.ones((n, height, width), bool)
    per_frame = defect.sum(1)
    late = np.arange(n) >= n - max(1, round(held_out * n))
    if per_frame[late].sum() and per_frame[~late].sum():
        return whole & ~late[:, None, None], whole & late[:, None, None], f"the last {late.sum()} of {n} frames"
    return whole, whole, "the same frames (too few corrections to hold any out: scores are optimistic)"
