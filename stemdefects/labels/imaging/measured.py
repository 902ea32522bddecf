"""How the frames of one session were made: everything that can be measured of the microscope without a label."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.io.movie import FrameError, Movie
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from stemdefects.labels.fourier.periodic.residual import take_apart
from stemdefects.labels.imaging import photon_transfer, unit_cell
from stemdefects.models.frames import resample
from stemdefects.schema import SimulationConfig

N_FRAMES = 6  # looked at, spread over the movie or the folder
SIDE_PX = 512  # of the middle of each: 250 cells across at 0.03 nm/px tell all of this to a few per cent
TOLD = 0.15  # misfit of the mean cell up to which its probe and signals are believed; 0.04-0.10 on simulated images
# how much pulses of different height add to the noise of counting: 1 + s^2, s from 0 to 0.9 (configs/simulation/train)
PULSES = 1.27
SLACK = 1.02  # a sampling so far outside what a network was trained on is still shown to it as it is
FILM = 0.2  # what film adds to the crystal's mean signal where the mean cell does not say it: 0 to 0.4, the same
DARK = 2.0  # standard errors from which a dark level is told from none


class Imaging(NamedTuple):
    """One frame, at the sampling that the network is shown. pixel_nm; cell: probe and signals; film: what it adds on
    the average, blotches: rms of the slow part of the intensity, both over the crystal's mean; row_jitter_px;
    dose_e_per_px and afterglow_px: None where the noise is not that of counting."""

    pixel_nm: float
    cell: unit_cell.Cell
    film: float
    blotches: float
    row_jitter_px: float
    dose_e_per_px: float | None
    afterglow_px: float | None

    @property
    def told(self) -> bool:
        """Do probe and signals explain the frame's mean cell?"""
        return self.cell.misfit < TOLD


def of_movie(
    movie: Movie, material: Material, simulation: SimulationConfig, where: str
) -> tuple[list[Imaging], list[str]]:
    """`Imaging` of up to `N_FRAMES` frames, and in words which could not be used; where: the movie's name.

    simulation: how the network was trained; its samplings are those that a frame is shown at. Raises UserError where no
    frame says anything.
    """
    found, lost = [], []
    for index in np.unique(np.linspace(0, len(movie) - 1, min(N_FRAMES, len(movie))).astype(int)):
        try:
            frame, invalid = movie.checked(int(index))
            found.append(of_frame(frame, invalid, material, simulation))
        except (FrameError, UserError) as error:
            lost.append(f"frame {index}: {error}")
    if not found:
        reason = lost[0].split(": ", 1)[1]
        raise UserError(f"{where}: none of {len(lost)} frame(s) looked at can be adapted to; the first: {reason}")
    return found, lost


def of_frame(
    frame: Float[np.ndarray, "height width"],
    invalid: np.ndarray | None,
    material: Material,
    simulation: SimulationConfig,
) -> Imaging:
    """`Imaging` of one frame (H, W) in counts; invalid: (H, W) bool, pixels that hold no intensity, None: all do.

    Raises UserError where no lattice is seen, or that of another crystal.
    """
    here = tuple(slice((n - min(n, SIDE_PX)) // 2, (n + min(n, SIDE_PX)) // 2) for n in frame.shape)
    frame = np.asarray(frame[here], np.float32)
    invalid = None if invalid is None else invalid[here]
    try:
        lattice = find_lattice(frame)
    except UserError:
        raise UserError("no lattice is seen; take frames with more intact crystal, or of a higher dose") from None
    pixel_nm = unit_cell.pixel_size_nm(lattice, material)
    parts = take_apart(frame, lattice, invalid=invalid)
    with np.errstate(all="ignore"):  # frames that hold no noise
        noise = photon_transfer.of_frame(parts)
    low, high = simulation.view.pixel_size_nm
    shown_nm = pixel_nm if low / SLACK < pixel_nm < high * SLACK else float(np.clip(pixel_nm, low, high))
    scale = pixel_nm / shown_nm
    if scale != 1:
        shape = resample.resampled_shape(frame.shape, scale)
        rows, columns = (resample.weights(n, scale, m) for n, m in zip(frame.shape, shape, strict=True))
        frame = np.einsum("HW,hH,wW->hw", frame, rows, columns, optimize=True)
        if invalid is not None:
            rows, columns = (resample.nearest(n, scale, m) for n, m in zip(invalid.shape, shape, strict=True))
            invalid = invalid[rows][:, columns]
        lattice = find_lattice(frame)
        parts = take_apart(frame, lattice, invalid=invalid)
    cell = unit_cell.fit(frame, parts, lattice, material, simulation)
    calm = parts.background[parts.calm]
    dark, counts, afterglow = 0.0, None, None
    if noise is not None and (noise.quarters[:, 0] > 0).all() and np.isfinite(noise.quarters).all():
        gain, read, _ = noise.quarters.T
        zero = -read / gain
        dark = float(zero.mean()) if zero.mean() > DARK * zero.std(ddof=1) / np.sqrt(len(zero)) else 0.0
        # a pixel that is larger gets more electrons, each of which still makes as many counts of the mean
        counts = float(gain.mean()) * scale**2 / PULSES
        afterglow = float(-scale / np.log(noise.kept)) if noise.kept > 0 else 0.0
    level = max(float(np.median(calm)) - dark, 1e-30)
    mean = cell.mean if cell.misfit < TOLD else level / (1 + FILM)
    return Imaging(
        pixel_nm=shown_nm,
        cell=cell,
        film=max(level / mean - 1, 0.0),
        blotches=float(calm.std()) / mean,
        row_jitter_px=float(parts.row_shift_px.std()),
        dose_e_per_px=None if counts is None else mean / counts / _scattered(material),
        afterglow_px=afterglow,
    )


def _scattered(material: Material) -> float:
    """Share of the beam that the perfect crystal scatters onto the detector, the mean over its voltages."""
    parts = [
        material.intensities(v)[material.ideal_states].sum() * material.cross_section_nm2(v)
        for v in material.voltages_kv
    ]
    return float(np.mean(parts)) / material.cell_area_nm2
