"""How far a place is from the nearest hole or patch without a crystal, from the lattice's own contrast in the movie."""

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.tracking.lattice_drift import three_peaks
from stemdefects.analysis.tracking.tracks import Tracks
from stemdefects.errors import UserError

PRESENT = 0.4  # of the typical amplitude of the lattice
NEAR_NM = 1.0  # what is called near a hole
MIN_AREA_NM2 = 0.3  # that the gaps of a frame cover together: less is noise


def lattice_amplitude(image: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(H, W) local amplitude of the lattice's three strongest waves, averaged over about a lattice constant."""
    y, x = (np.arange(n, dtype=np.float32) for n in image.shape)
    width = 0.8 * float(np.linalg.norm(vectors_px[0]))
    flat = np.asarray(image, np.float32) - np.float32(np.mean(image))
    total = np.zeros(image.shape, np.float32)
    for g in three_peaks(vectors_px):
        wave = np.exp(-2j * np.pi * g[0] * y)[:, None] * np.exp(-2j * np.pi * g[1] * x)[None]
        shifted = flat * wave
        total += np.hypot(gaussian_filter(shifted.real, width), gaussian_filter(shifted.imag, width))
    return total


def distance_to_gaps(
    movie: Frames, frames: np.ndarray, vectors_px: np.ndarray, pixel_size_nm: float
) -> dict[int, np.ndarray]:
    """Frame -> (H, W) distance in nm to the nearest place without a lattice; infinite in a frame without one.

    Frames that cannot be read are left out.
    """
    out = {}
    for frame in frames:
        try:
            amplitude = lattice_amplitude(movie.frame(int(frame)), vectors_px)
        except UserError:
            continue
        there = amplitude > PRESENT * np.quantile(amplitude, 0.8)
        edge = int(0.8 * np.linalg.norm(vectors_px[0]))
        there[:edge], there[-edge:], there[:, :edge], there[:, -edge:] = True, True, True, True  # faint at the border
        if (~there).sum() * pixel_size_nm**2 < MIN_AREA_NM2:
            out[int(frame)] = np.full(there.shape, np.inf, np.float32)
        else:
            out[int(frame)] = (distance_transform_edt(there) * pixel_size_nm).astype(np.float32)
    return out


def track_distance(tracks: Tracks, rows: np.ndarray, maps: dict[int, np.ndarray]) -> np.ndarray:
    """(n_tracks,) median distance (nm) of each track's detections, each in the map of the nearest frame."""
    known = np.array(sorted(maps))
    nearest = known[np.abs(known[:, None] - tracks.frame[None]).argmin(0)]
    y, x = (np.rint(rows[c][tracks.index]).astype(int) for c in ("y_px", "x_px"))
    value = np.empty(len(tracks.frame))
    for frame in known:
        here = nearest == frame
        shape = maps[frame].shape
        value[here] = maps[frame][np.clip(y[here], 0, shape[0] - 1), np.clip(x[here], 0, shape[1] - 1)]
    return np.array([np.median(v) for v in np.split(value, np.flatnonzero(np.diff(tracks.track)) + 1)])
