"""The lattice of one frame from its Bragg peaks: vectors, rotation, sampling, strain.

The frame is windowed (Hann) and Fourier transformed; the power is compared with the median of its ring, so that a
number of standard size says how far a peak stands above the noise of its spatial frequency. A peak is taken as one of
the shortest reciprocal vectors of the known crystal, its partners are looked for where the crystal has them (a few
per cent of strain allowed), and the best set is refined below a bin on a finer Fourier grid and fitted by a general
2 x 2 matrix. On the axes of the transform, where row offsets and line noise of the scan lie as streaks, the power is
compared with its neighbours along the axis instead. Several frames of a movie are taken together by their mean power,
which drift does not change.
"""

from stemdefects.crystal.bragg.cells import equivalent_cells, reciprocal, rotation, shells
from stemdefects.crystal.bragg.fit import MIN_PERIODS, MIN_SNR, FrameLattice, fit_lattice, from_vectors
from stemdefects.crystal.bragg.spectrum import MAX_FREQUENCY, apply_window, candidates, peak_position, whitened

__all__ = [
    "MAX_FREQUENCY",
    "MIN_PERIODS",
    "MIN_SNR",
    "FrameLattice",
    "apply_window",
    "candidates",
    "equivalent_cells",
    "fit_lattice",
    "from_vectors",
    "peak_position",
    "reciprocal",
    "rotation",
    "shells",
    "whitened",
]
