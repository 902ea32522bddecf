"""What one pixel of a movie measures: the user's word, the lattice in the frames, or the file's metadata."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from stemdefects.crystal.bragg import FrameLattice, equivalent_cells, fit_lattice, from_vectors
from stemdefects.errors import UserError
from stemdefects.io.movie import FrameError, Movie
from stemdefects.labels.fourier.periodic.lattice import find_lattice

N_FRAMES = 8  # taken together for the lattice of a movie
FAR = 0.1  # from the stated scale: a lattice there is looked for at all scales
CLEAR_SNR = 100.0  # of a lattice far from the stated scale; noise and amorphous film stay below 12, crystals have 300
PLAUSIBLE_NM = (0.002, 0.09)  # sampling at which columns of a crystal can be told apart
OTHER_SHAPE = 0.25  # strain of the crystal that would make a lattice of it: a square one is 0.32, scans stretch by 0.15
MANY_PEAKS = 6  # of a lattice that is believed without a crystal to compare with
FAINT_BINS = 0.2  # error of the place of a Bragg peak that hardly stands out, in Fourier bins
LEAST_CELLS = 2.0  # of the crystal along a frame's shorter side


@dataclass(frozen=True)
class Calibration:
    """Sampling of a movie and where it comes from.

    pixel_size_nm: what positions are stated with; sampling_nm: what the network is shown, from the lattice where there
    is one (the network knows the crystal in pixels, not in nanometres); origin: `user`, `lattice` or `metadata`;
    stated_nm: what the file says; lattice_nm and lattice_sigma: what the Bragg peaks say and their relative standard
    error; disagreement: stated (or the user's) / lattice - 1; vectors_px: lattice vectors (rows, y and x) in pixels;
    strain: largest principal strain of the lattice in the frames, scan distortion included; message: one line for
    people.
    """

    pixel_size_nm: float
    sampling_nm: float
    origin: str
    stated_nm: float | None
    lattice_nm: float | None
    lattice_sigma: float | None
    disagreement: float | None
    vectors_px: list[list[float]] | None
    angle_rad: float | None
    strain: float | None
    message: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def sample_frames(movie: Movie, number: int = N_FRAMES, among: int | None = None) -> np.ndarray:
    """Up to `number` usable frames spread over the movie (or its first frames, `among` so many), (n, H, W) float32;
    more are tried when some are bad."""
    n = len(movie) if among is None else min(len(movie), among)
    order = np.unique(np.linspace(0, n - 1, min(n, number)).astype(int)).tolist()
    order += [i for i in np.unique(np.linspace(0, n - 1, min(n, 4 * number)).astype(int)).tolist() if i not in order]
    frames, reason = [], None
    for i in order:
        if len(frames) == number:
            break
        try:
            frames.append(movie.frame(i))
        except FrameError as error:
            reason = reason or error
    if not frames:
        raise UserError(f"no usable frame among {len(order)} tried; the first: {reason}")
    return np.stack(frames)


class Trust(NamedTuple):
    """What is believed. method `lattice`: the Bragg peaks, where they are clear, else the stated value; `metadata`: the
    stated value. A disagreement above `tolerance` is part of the message. A lattice with a principal strain above
    `max_strain` is not believed. faint: a lattice that shows in all frames together is one too, as where a network was
    trained on the movie's own labels."""

    method: str = "lattice"
    tolerance: float = 0.03
    max_strain: float = 0.15
    faint: bool = False


TRUST = Trust()


def calibrate(
    frames: np.ndarray,
    lattice_nm: np.ndarray,
    stated_nm: float | None = None,
    user_nm: float | None = None,
    trust: Trust = TRUST,
    source: str = "movie",
) -> Calibration:
    """Sampling of `frames` (n, H, W) that show a crystal with vectors `lattice_nm`.

    stated_nm: what the file says; user_nm: the user's value, which always wins.

    Raises UserError when no sampling can be found.
    """
    hint = user_nm or stated_nm
    if hint is not None and not PLAUSIBLE_NM[0] / 2 < hint < 2 * PLAUSIBLE_NM[1]:
        hint = None
    found = fit_lattice(frames, lattice_nm, hint)
    if hint is not None and (found is None or abs(hint / found.pixel_size_nm - 1) > FAR):
        # ten times it (nm for angstrom) or twice: then peaks of higher order are where the shortest were looked for
        free = fit_lattice(frames, lattice_nm, None)
        if free is not None and free.snr > max(CLEAR_SNR, 0.0 if found is None else found.snr):
            found = free
    if found is None and trust.faint:
        found = _faint(frames, lattice_nm)
    if found is not None and np.abs(np.linalg.eigvalsh(found.strain)).max() > trust.max_strain:
        found = None
    other = _of_another(frames[:1], lattice_nm)
    if other is not None:
        (a, b), angle = np.linalg.norm(other, axis=1), _degrees(other)
        raise UserError(
            f"{source}: its lattice ({a:.1f} and {b:.1f} px, at {angle:.0f} degrees) has another symmetry than the "
            "crystal's that the network knows, or its pixels are not square; let the frames teach "
            "one (`python train.py labels=fourier input=...`)"
        )
    value, origin = _choose(found, stated_nm, user_nm, trust.method)
    if value is None:
        raise UserError(
            f"{source}: the file states no pixel size and no lattice can be seen in it; "
            "give inference.pixel_size_nm=<nm per pixel>"
        )
    if not PLAUSIBLE_NM[0] < value < PLAUSIBLE_NM[1]:
        raise UserError(
            f"{source}: {value:.4g} nm per pixel ({origin}) resolves no atoms; "
            "give an atomic-resolution image, or inference.pixel_size_nm=<nm per pixel>"
        )
    shown_nm = value if found is None else found.pixel_size_nm
    cells = min(frames.shape[1:]) * shown_nm / float(np.linalg.norm(lattice_nm[0]))
    if cells < LEAST_CELLS:
        raise UserError(
            f"{source}: frames of {frames.shape[1]} x {frames.shape[2]} px at {shown_nm:.4g} nm per pixel ({origin}) "
            f"show {cells:.3g} cells of the crystal; at least {LEAST_CELLS:g} are needed"
        )
    against = user_nm or stated_nm
    disagreement = None if found is None or against is None else against / found.pixel_size_nm - 1
    message = _message(value, origin, found, against, "the user's" if user_nm else "the stated", trust.tolerance)
    strain = None if found is None else float(np.abs(np.linalg.eigvalsh(found.strain)).max())
    return Calibration(
        pixel_size_nm=float(value),
        sampling_nm=float(shown_nm),
        origin=origin,
        stated_nm=stated_nm,
        lattice_nm=found and found.pixel_size_nm,
        lattice_sigma=found and found.sigma,
        disagreement=disagreement,
        vectors_px=found and found.vectors_px.tolist(),
        angle_rad=found and found.angle_rad,
        strain=strain,
        message=message,
    )


def _of_another(frames: np.ndarray, lattice_nm: np.ndarray) -> np.ndarray | None:
    """Vectors (2, 2) px of the lattice that `frames` show without doubt, where that is none that a scan could have made
    of the crystal's."""
    try:
        own = find_lattice(frames)
    except UserError:
        return None
    if len(own.peaks) < MANY_PEAKS or own.stray_snr > 0:  # or several crystals
        return None
    vectors = equivalent_cells(own.vectors_px, lattice_nm)[0]
    unit = vectors * np.sqrt(abs(np.linalg.det(lattice_nm) / np.linalg.det(vectors)))
    strain = np.abs(np.linalg.svd(np.linalg.solve(lattice_nm, unit), compute_uv=False) - 1).max()
    return own.vectors_px if strain > OTHER_SHAPE else None


def _degrees(vectors: np.ndarray) -> float:
    """Angle between two vectors (2, 2), below 90 degrees."""
    a, b = vectors
    return float(np.degrees(np.arccos(abs(a @ b) / np.sqrt((a @ a) * (b @ b)))))


def _faint(frames: np.ndarray, lattice_nm: np.ndarray) -> FrameLattice | None:
    """The lattice that no frame of (n, H, W) shows by itself and all of them do, or that too few peaks show to be known
    as the crystal's; None: there is none either."""
    try:
        found = find_lattice(frames)
    except UserError:
        return None
    g_px = float(np.linalg.norm(found.peaks @ found.reciprocal, axis=1).min())
    sigma = FAINT_BINS / (g_px * min(frames.shape[1:]) * np.sqrt(len(found.peaks)))
    return from_vectors(found.vectors_px, lattice_nm, sigma, float(found.snr.min()), len(found.peaks))


def _choose(
    found: FrameLattice | None, stated: float | None, user: float | None, method: str
) -> tuple[float | None, str]:
    if user is not None:
        return user, "user"
    if method == "lattice" and found is not None:
        return found.pixel_size_nm, "lattice"
    if stated is not None:
        return stated, "metadata"
    return (found.pixel_size_nm, "lattice") if found is not None else (None, "")


def _message(
    value: float, origin: str, found: FrameLattice | None, against: float | None, whose: str, tolerance: float
) -> str:
    text = f"{value:.5f} nm/px from the {origin}"
    if found is None:
        return f"{text}; no clear lattice in the frames to check it against"
    if against is None:
        return f"{text} (+-{found.sigma:.1%}); nothing stated to compare with"
    off = against / found.pixel_size_nm - 1
    verdict = "agrees with" if abs(off) <= max(tolerance, 2 * found.sigma) else "DISAGREES with"
    return f"{text}; {whose} {against:.5f} {verdict} the lattice's {found.pixel_size_nm:.5f} ({off:+.1%})"
