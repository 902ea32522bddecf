"""The lattice of an image of an unknown crystal, from its Bragg peaks alone.

Two reciprocal vectors are wanted that index the strong peaks with integers. Every pair of peaks is a proposal; the one
that explains most of the peaks' signal with the largest reciprocal cell wins, is reduced to the shortest vectors, and
is fitted below a bin. Nothing is assumed about symmetry.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from stemdefects.crystal import bragg
from stemdefects.crystal.lattice import reduce
from stemdefects.errors import UserError
from stemdefects.labels.fourier.periodic import chance

TOLERANCE_BINS = 1.2  # how far from its integer place a peak may lie
MAX_INDEX = 4  # of a harmonic: beyond, a probe of 0.1 nm passes nothing of cells of 0.3 nm
MIN_PEAKS = 2  # two directions make a lattice
BLIND_SNR = 18.0  # of two of them: without a crystal to compare with, more is asked than `bragg.MIN_SNR`
# or two of less with a third where their sum or difference lies: 840 images of noise and of amorphous films, 128 and
# 256 px, 1 to 32 frames, had up to 34 in all three together, and 38 once
LEAST_OF_TWO, OF_THREE = 9.0, 36.0
N_PROPOSERS = 16  # strongest peaks, from which pairs are taken
N_FITTED = 12  # strongest peaks, to whose places below a bin the lattice is fitted
EXPLAINED = 0.93  # of the best proposal's score: a larger reciprocal cell with that much is preferred
MIN_SINE = 0.35  # of the angle between the reciprocal vectors


@dataclass(frozen=True)
class ImageLattice:
    """The lattice that an image shows.

    vectors_px: (2, 2) rows a1, a2 as (y, x), the shortest ones, right-handed; reciprocal: (2, 2) rows b1, b2 in cycles
    per px, a_i . b_j = delta_ij. peaks: (n, 2) int indices (h, k) of the visible Bragg peaks, one of each +- pair;
    snr: (n,) their power over the noise of the same frequency. stray: share of the strong peaks' signal that this
    lattice does not explain; stray_snr: the strongest such peak at a first-order spacing (another grain), else 0.
    """

    vectors_px: np.ndarray
    reciprocal: np.ndarray
    peaks: np.ndarray
    snr: np.ndarray
    stray: float
    stray_snr: float

    @property
    def spacing_px(self) -> float:
        """Geometric mean of the two lattice constants."""
        return float(np.sqrt(np.linalg.norm(self.vectors_px, axis=1).prod()))


def find_lattice(frames: np.ndarray, where: str = "image", near_px: np.ndarray | None = None) -> ImageLattice:
    """The lattice that `frames` (n, H, W) or (H, W) show, any intensity units; the frames may be shifted to each other.

    near_px: (2, 2) its vectors, where they are known to a few per cent.

    Raises UserError when no two independent Bragg peaks stand out of the noise (what was found is said).
    """
    frames = np.asarray(frames, np.float32)
    frames = frames[None] if frames.ndim == 2 else frames
    shape = frames.shape[1:]
    low = bragg.MIN_PERIODS / min(shape)
    if low >= bragg.MAX_FREQUENCY / 2:
        raise UserError(
            f"{where}: {shape[0]} x {shape[1]} px is too small to find a lattice in; at least "
            f"{int(np.ceil(2 * bragg.MIN_PERIODS / bragg.MAX_FREQUENCY))} px and {bragg.MIN_PERIODS:g} lattice periods "
            "are needed"
        )
    windowed = np.stack([bragg.apply_window(frame) for frame in frames])
    ratio = np.mean([bragg.whitened(np.abs(fft.rfft2(frame)) ** 2, steep=True) for frame in windowed], axis=0)
    clear = chance.of_one_frame(ratio, len(frames))  # what a peak of one frame would have to be
    peaks = bragg.candidates(clear, low, bragg.MAX_FREQUENCY, LEAST_OF_TWO)
    alone = np.array([_at(clear, p) for p in peaks])
    strength = np.array([_at(ratio, p) for p in peaks])
    certain, least = alone > BLIND_SNR, bragg.MIN_SNR
    if certain.sum() < MIN_PEAKS:
        certain, least = _of_three(clear, peaks, alone), LEAST_OF_TWO
    if certain.sum() < MIN_PEAKS:
        raise UserError(_missing(where, peaks, alone))
    kept = alone > least
    peaks, strength, certain, alone = peaks[kept], strength[kept], certain[kept], alone[kept]
    if near_px is None:
        basis = _propose(peaks, np.log(strength), shape, certain)
    else:
        basis = bragg.reciprocal(near_px)
    if basis is None:
        raise UserError(_missing(where, peaks, alone))
    _, good = _indexed(peaks, basis, shape)
    fitted = np.flatnonzero(good)[np.argsort(-strength[good])[:N_FITTED]]
    places = peaks.astype(float)
    places[fitted] = [bragg.peak_position(windowed, p) for p in places[fitted]]
    for _ in range(2):  # twice, as the first basis is off by up to a bin
        hk, good = _indexed(places[fitted], basis, shape)
        if not good.any() or np.linalg.matrix_rank(hk[good]) < 2:
            raise UserError(_missing(where, peaks, alone))
        weight = np.sqrt(np.log(strength[fitted][good]))[:, None]
        basis = np.linalg.lstsq(hk[good] * weight, places[fitted][good] * weight, rcond=None)[0]
    basis = _reduced(basis)
    _, good = _indexed(places, basis, shape)
    vectors = np.linalg.inv(basis).T
    visible, snr = _visible(ratio, clear, basis, least)
    if len(visible) < MIN_PEAKS or np.linalg.matrix_rank(visible) < 2:
        raise UserError(_missing(where, peaks, alone))
    first = np.linalg.norm(visible @ basis, axis=1).min()
    length = np.linalg.norm(places, axis=1)
    other = ~good & (np.abs(length / first - 1) < 0.12)
    score = np.log(strength)
    return ImageLattice(
        vectors,
        basis,
        visible,
        snr,
        stray=float(score[~good].sum() / score.sum()),
        stray_snr=float(strength[other].max()) if other.any() else 0.0,
    )


def _missing(where: str, peaks: np.ndarray, strength: np.ndarray) -> str:
    found = "no peak" if not len(peaks) else f"{len(peaks)} peak(s), the strongest {strength.max():.0f} times the noise"
    return (
        f"{where}: no lattice found. Looked for two independent Bragg peaks {BLIND_SNR:g} times above the noise, "
        f"with {bragg.MIN_PERIODS:g} or more periods across the frame; found {found}. Take frames with more intact "
        "crystal (labels.fourier.first_frame), more of them (labels.fourier.n_frames), or labels=simulated"
    )


def _at(ratio: np.ndarray, frequency: np.ndarray) -> float:
    height, half = ratio.shape
    width = 2 * (half - 1)
    return float(ratio[round(frequency[0] * height) % height, min(round(frequency[1] * width), half - 1)])


def _indexed(places: np.ndarray, basis: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Nearest integer indices (n, 2) of frequencies (n, 2), and which of these are peaks of the lattice."""
    hk, off = _index(places, basis, shape)
    order = np.abs(hk).max(1)
    return hk, (off < TOLERANCE_BINS) & (order <= MAX_INDEX) & (order > 0)


def _index(places: np.ndarray, basis: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Nearest integer indices (n, 2) of frequencies (n, 2), and how far off they are in Fourier bins."""
    hk = np.rint(places @ np.linalg.inv(basis)).astype(int)
    off = (places - hk @ basis) * np.array(shape)
    return hk, np.linalg.norm(off, axis=1)


def _of_three(clear: np.ndarray, peaks: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """(n,) bool: the two peaks that are likeliest to span a lattice by what lies at their sum or difference; none where
    all three may be chance.

    clear: (H, W // 2 + 1) from `chance.of_one_frame`; alone: (n,) its values at `peaks` (n, 2), the largest first.
    """
    best, pair = OF_THREE, []
    for i, first in enumerate(peaks[:N_PROPOSERS]):
        for j, second in enumerate(peaks[i + 1 : N_PROPOSERS], i + 1):
            if _collinear(np.stack([first, second])):
                continue
            third = max(_largest(clear, first + second), _largest(clear, first - second))
            together = alone[i] + alone[j] + third
            if together > best:
                best, pair = together, [i, j]
    return np.isin(np.arange(len(peaks)), pair)


def _collinear(basis: np.ndarray) -> bool:
    return abs(np.linalg.det(basis)) < MIN_SINE * np.linalg.norm(basis, axis=1).prod()


def _propose(peaks: np.ndarray, score: np.ndarray, shape: tuple[int, int], certain: np.ndarray) -> np.ndarray | None:
    """Rows b1, b2 of the pair of `certain` (n,) peaks that explains all peaks best; None without a pair."""
    order = np.argsort(score)[::-1]
    order = order[certain[order]][:N_PROPOSERS]
    results = []
    for n, i in enumerate(order):
        for j in order[n + 1 :]:
            basis = np.stack([peaks[i], peaks[j]])
            if _collinear(basis):
                continue
            hk, off = _index(peaks, basis, shape)
            inner = np.abs(hk).max(1)
            # small indices count fully: a tiny reciprocal cell would explain anything
            tolerance = TOLERANCE_BINS * (1 + 0.5 * np.maximum(inner - 1, 0))
            explained = (off < tolerance) & (inner > 0) & (inner <= MAX_INDEX)
            # two peaks of two grains span a cell that many peaks are near to, and few once it is fitted to them
            weight = np.sqrt(score[explained])[:, None]
            fitted = np.linalg.lstsq(hk[explained] * weight, peaks[explained] * weight, rcond=None)[0]
            if abs(np.linalg.det(fitted)) > 0.5 * abs(np.linalg.det(basis)):
                explained &= _indexed(peaks, fitted, shape)[1]
            results.append((score[explained].sum(), abs(np.linalg.det(basis)), i, j))
    if not results:
        return None
    best = max(r[0] for r in results)
    _, _, i, j = max((r for r in results if r[0] >= EXPLAINED * best), key=lambda r: (round(r[1], 6), r[0]))
    return np.stack([peaks[i], peaks[j]])


def _reduced(basis: np.ndarray) -> np.ndarray:
    """Gauss reduction of the reciprocal rows so that the direct vectors are the shortest, with det > 0."""
    a, b = reduce(np.linalg.inv(basis).T)
    if np.dot(a, b) > 1e-9 * np.dot(a, a):
        b = b - a if np.dot(b - a, b - a) < 1.05 * np.dot(b, b) else b
    vectors = np.stack([a, b])
    if np.linalg.det(vectors) < 0:
        vectors[1] *= -1
    return np.linalg.inv(vectors).T


def _visible(ratio: np.ndarray, clear: np.ndarray, basis: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, 2) of the harmonics that stand out of the noise, strongest last index range; and their SNR (n,)."""
    found, snr = [], []
    for h in range(-MAX_INDEX, MAX_INDEX + 1):
        for k in range(-MAX_INDEX, MAX_INDEX + 1):
            g = np.array([h, k]) @ basis
            if (h, k) <= (0, 0) or np.abs(g).max() > bragg.MAX_FREQUENCY:
                continue
            if _largest(clear, g) > least:
                found.append((h, k))
                snr.append(_largest(ratio, g))
    return np.array(found, int).reshape(-1, 2), np.array(snr)


def _largest(ratio: np.ndarray, frequency: np.ndarray) -> float:
    """The largest value of `ratio` within a bin of `frequency` (2,), 0 outside the transform."""
    height, half = ratio.shape
    if np.abs(frequency).max() > bragg.MAX_FREQUENCY:
        return 0.0
    g = frequency if frequency[1] >= 0 else -frequency
    near = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]) / np.array([height, 2 * (half - 1)])
    return max(_at(ratio, g + d) for d in near if g[1] + d[1] >= 0)
