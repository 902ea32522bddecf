"""Frames of a user's movie made ready to learn from: their sampling, and labels at one that the network takes."""

import dataclasses
from typing import NamedTuple

import numpy as np

from stemdefects import schema
from stemdefects.crystal.material import Material
from stemdefects.io.movie import Movie
from stemdefects.labels.fourier import label as fourier
from stemdefects.labels.fourier.periodic.lattice import ImageLattice
from stemdefects.labels.fourier.periodic.residual import take_apart
from stemdefects.models.frames import resample

NOMINAL_NM = 0.3  # lattice constant where nothing says how long a pixel is
PLAUSIBLE_NM = (0.15, 1.5)  # lattice constants
# of the movie over the model's: within it a new network takes the movie's own sampling, as resampling blurs the noise
OWN_SAMPLING = (0.7, 1.4)
KNOWN_SAMPLING = (0.9, 1.1)  # the same for a trained network, which has seen such samplings


class Given(NamedTuple):
    """Frames (N, H, W), their numbers in the movie, which pixels hold no intensity (N, H, W), and how far each shows
    its content moved against the first (N, 2) px, None: to be found out."""

    frames: np.ndarray
    indices: np.ndarray
    invalid: np.ndarray
    shift_px: np.ndarray | None = None


def labelled(
    given: Given, lattice: ImageLattice, pixel_nm: float, cfg: schema.TrainRoot, where: str
) -> tuple[fourier.MovieLabels, float, float]:
    """Labels of the frames, resampled to the network's sampling where theirs is too far from it; their sampling in nm
    per px, and how many of their pixels make one of the file's.

    lattice: of the frames as they are; pixel_nm: their sampling; where: the movie's name, for messages.
    """
    frames, indices, invalid, shift = given
    settings, scale = cfg.labels.fourier, pixel_nm / cfg.model.pixel_size_nm
    low, high = OWN_SAMPLING if cfg.training.init is None else KNOWN_SAMPLING
    if low < scale < high:
        return fourier.label(frames, settings, where, indices, lattice, invalid, shift), pixel_nm, 1.0
    noise = take_apart(frames[0], lattice)
    shape = resample.resampled_shape(frames.shape[1:], scale)
    rows, columns = (resample.weights(n, scale, m) for n, m in zip(frames.shape[1:], shape, strict=True))
    frames = np.einsum("bHW,hH,wW->bhw", frames, rows, columns, optimize=True)
    rows, columns = (resample.nearest(n, scale, m) for n, m in zip(invalid.shape[1:], shape, strict=True))
    invalid = invalid[:, rows][:, :, columns]
    shift = None if shift is None else shift * scale
    labels = fourier.label(frames, settings, where, indices, invalid=invalid, shift_px=shift)
    # interpolation hides noise from neighbouring pixels; white noise in these must have as much below them
    labels = dataclasses.replace(labels, gain=noise.gain * scale**2, read_variance=noise.read_variance * scale**2)
    return labels, cfg.model.pixel_size_nm, scale


def pixel_size(
    movie: Movie, settings: schema.FourierConfig, lattice: ImageLattice, known: Material | None, where: str
) -> tuple[float, list[str]]:
    """Sampling of the movie in nm per px, from the best that is known, and what to tell about it."""
    smallest = float(np.linalg.norm(lattice.vectors_px, axis=1).min())
    constant = settings.lattice_constant_nm
    if constant is None and known is not None:
        constant = known.a_nm  # a model of a crystal knows its lattice better than any file
    if constant is not None:
        area = abs(np.linalg.det(lattice.vectors_px))
        if known is not None:
            return float(np.sqrt(known.cell_area_nm2 / area)) * constant / known.a_nm, []
        return constant / smallest, []
    stated = settings.pixel_size_nm or movie.pixel_size_nm
    if stated is not None and PLAUSIBLE_NM[0] < stated * smallest < PLAUSIBLE_NM[1]:
        return float(stated), []
    if stated is not None:
        reason = f"{where}: {stated:.4g} nm/px would mean a lattice constant of {stated * smallest:.3g} nm"
    else:
        reason = f"{where} does not state its pixel size"
    return NOMINAL_NM / smallest, [
        f"{reason}; taking {NOMINAL_NM} nm as the lattice constant, so lengths in nm are only relative (set "
        "labels.fourier.lattice_constant_nm or labels.fourier.pixel_size_nm)"
    ]
