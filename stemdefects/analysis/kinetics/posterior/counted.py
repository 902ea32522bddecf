"""Counts per frame as one would take them from the pictures: what blurs them, however well the sites are known."""

from typing import NamedTuple

import numpy as np
from scipy import special

POSITION_NM = 0.008  # a site's error: independent movies at 400 to 4,000 e/px have .002 to .018 nm
DOUBLE = 2  # place among the kinds of counts


class Blur(NamedTuple):
    """Why a count taken from the pictures may differ from that of the true sites, however well these are known."""

    split: float  # share of the hops that are seen twice, or not at all, in some frame: see `split_share`
    border: np.ndarray  # (3,) standard deviation of the mean counts of the three kinds, see `at_the_border`


def at_the_border(occupancy: np.ndarray, inside_nm: np.ndarray | None, bound: np.ndarray) -> np.ndarray:
    """(3,) standard deviation of the mean counts (single off centres, at centres, double): sites near the line up to
    which vacancies are counted may lie on its other side. As many lie beyond it as within.

    occupancy: (T, n, 2), NaN where nothing is counted. inside_nm: (T, n) from that line. bound: (n,) sites of centres.
    """
    if inside_nm is None:
        return np.zeros(3)
    other = special.ndtr(-np.abs(inside_nm) / POSITION_NM)
    seen = max(np.isfinite(occupancy[..., 0]).any(1).sum(), 1)
    unsure = (np.nan_to_num(occupancy) * np.sqrt(other * (1 - other))[..., None]).sum(0) / seen  # of a site: the same
    parts = [unsure[~bound, 0], unsure[bound, 0], unsure[:, 1]]  # error in all frames
    return np.sqrt([2 * np.sum(part**2) for part in parts])


def split_share(height_nm: float, hop_nm: float) -> float:
    """Share of the hops during which the beam's row passes between start and end, of a field that is scanned row by row
    all the time: a vacancy is then seen twice in a frame, or in none. 2 / pi: of a hop's length, across the rows."""
    return 2 / np.pi * hop_nm / max(height_nm, hop_nm)


def blurred(counts: np.ndarray, kinds: list[int], blur: Blur, hops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(chains, draws) mean count per frame of some kinds, with what blurs it; 0 stays 0.

    counts: (chains, draws, T, 3) in the frames that were seen. hops: (chains, draws), all of single vacancies. By one
    that is seen twice, or not at all, the count of a frame is one off.
    """
    mean = counts[..., kinds].sum(-1).mean(-1)
    split = 0.0 if kinds == [DOUBLE] else blur.split * hops / max(counts.shape[2], 1) ** 2
    off = rng.normal(size=mean.shape) * np.sqrt(split + (blur.border[kinds] ** 2).sum())
    return np.where(mean > 0, np.maximum(mean + off, 0.0), 0.0)
