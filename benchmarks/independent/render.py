"""Frames of a specimen: column templates at exact places, scanned row by row, with film, dose and detector (numpy).

A frame is recorded from its first row to its last over the frame time: every site has the state it has when the beam
passes it, and the specimen drifts on between rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.independent import probe as probes
from benchmarks.independent.scene import Scene
from benchmarks.independent.specimen import Specimen

CHALCOGEN_STATES = {1: "S", 2: "V_chalcogen"}


@dataclass
class Seen:
    """What is true of one frame: per chalcogen whether it lies in the field, atoms missing and identity; per metal
    whether it lies in the field; `place_px` (2N, 2) of all; `intact` (2N,) False where the hole has been."""

    chalcogen: np.ndarray
    missing: np.ndarray
    identity: np.ndarray
    metal: np.ndarray
    place_px: np.ndarray
    intact: np.ndarray


def make_probe(scene: Scene) -> probes.Probe:
    """The scene's probe."""
    if scene.probe == "plain":
        core = np.hypot(0.075, scene.blur_nm * 2.355)
        return probes.plain(core, *scene.tail, scene.s2_to_w, scene.s_to_s2)
    return probes.multislice(scene.probe, scene.blur_nm, scene.relaxation)


class Camera:
    """Makes the frames of `specimen`; `frame(k)` depends on the seed and k alone."""

    def __init__(self, specimen: Specimen):
        self.specimen, self.scene = specimen, specimen.scene
        self.probe = make_probe(self.scene)
        self.mean = float(self.probe.ideal.mean())
        rng = np.random.default_rng([self.scene.seed, 2])
        step = 0.1  # nm of the film's grid
        n = int(self.scene.field_px * self.scene.pixel_size_nm / step) + 2 * int(3 / step)
        film = sum(
            w * _unit(gaussian_filter(rng.normal(size=(n, n)), s * self.scene.film_nm / step))
            for w, s in ((0.8, 1.0), (0.6, 0.25))
        )
        self.film, self.film_step = np.clip(film, -3, 4), step

    def seen(self, k: int) -> Seen:
        """The truth of frame `k`."""
        sp, scene = self.specimen, self.scene
        place = sp.positions_px(k)
        size, n = scene.field_px, len(place) // 2
        inside = (place > -0.5).all(1) & (place < size - 0.5).all(1)
        intact = np.hypot(*(sp.place_nm - sp.middle).T) > sp.hole_nm(k)
        missing, identity = np.zeros(n, int), np.full(n, -1)
        near = np.flatnonzero((place[n:] > -30).all(1) & (place[n:] < size + 30).all(1))
        for s in near:
            if len(sp.walk.history[s]) > 1 or sp.walk.history[s][0][1]:
                row = np.clip(place[n + s, 0] / size, 0, 1)
                time = sp.starts_s[k] + row * scene.frame_time_s
                missing[s], identity[s] = sp.walk.at(s, time)
        return Seen(inside[n:], missing, identity, inside[:n], place, intact)

    def fraction(self, k: int, seen: Seen, rng) -> np.ndarray:
        """(H, W) fraction of the beam on the detector, before the dose."""
        sp, scene, n = self.specimen, self.scene, self.scene.field_px
        rows = np.arange(n)
        drift = sp.drift_nm[k] + self._slope(k) * ((rows - (n - 1) / 2) / n)[:, None]
        jitter = rng.normal(size=(n, 2)) * scene.jitter_px
        y = (rows + jitter[:, 0])[:, None] * scene.pixel_size_nm - drift[:, :1] + np.zeros((1, n))
        x = rows[None] * scene.pixel_size_nm + (jitter[:, 1] * scene.pixel_size_nm - drift[:, 1])[:, None]
        place = np.stack([y, x], -1)
        crystal = sp.to_crystal(place)
        image = self.probe.crystal(crystal[..., 0], crystal[..., 1])
        for state, column in self._columns(seen):
            self._add(image, crystal, state, column, seen.place_px[column])
        # film under the crystal, that the hole opens too
        film = map_coordinates(self.film, [(c + 3.0) / self.film_step for c in (y, x)], order=1, mode="nearest")
        light = self.mean * np.clip(scene.background + scene.film * film, 0, None)
        hole = sp.hole_nm(k)
        if hole > 0:
            light = light * (1 / (1 + np.exp((hole - np.hypot(*np.moveaxis(place - sp.middle, -1, 0))) / 0.05)))
        return np.clip(image, 0, None) + light

    def _columns(self, seen: Seen):
        """(state, row of `place_px`) of every column that is not the ideal one."""
        n = len(seen.metal)
        for k, name in enumerate(self.specimen.metal):
            if not seen.intact[k]:
                yield "V_metal", k
            elif name != "W":
                yield str(name), k
        for k, missing in enumerate(seen.missing):
            if not seen.intact[n + k]:
                yield "V_chalcogen", n + k
            elif missing:
                yield CHALCOGEN_STATES[int(missing)], n + k

    def _add(self, image, crystal, state: str, column: int, place_px: np.ndarray) -> None:
        reach = int(self.probe.half_width_nm() * 1.45 / self.scene.pixel_size_nm) + 2
        low = np.clip(np.floor(place_px).astype(int) - reach, 0, None)
        high = np.floor(place_px).astype(int) + reach + 1
        if (high <= 0).any() or (low >= image.shape).any():
            return
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        away = crystal[window] - self.specimen.crystal_nm[column]
        image[window] += self.probe.change(state, away[..., 0], away[..., 1])

    def _slope(self, k: int) -> np.ndarray:
        """Drift (y, x) in nm from a frame's first row to its last: that of the slow part, steps fall between frames."""
        steps = np.diff(self.specimen.drift_nm, axis=0)
        if not len(steps):
            return np.zeros(2)
        step = steps[min(k, len(steps) - 1)]
        return step if np.hypot(*step) < 0.02 else np.zeros(2)

    def frame(self, k: int) -> tuple[np.ndarray, Seen]:
        """Counts (H, W) uint16 and the truth of frame `k`."""
        rng = np.random.default_rng([self.scene.seed, 3, k])
        seen = self.seen(k)
        return detect(self.fraction(k, seen, rng) * self.scene.dose_e_per_px, self.scene, rng), seen

    def detectability(self) -> float:
        """d' of one single vacancy in one frame: exact columns, known place, Poisson noise and pulse heights alone."""
        scene, pixel = self.scene, self.scene.pixel_size_nm
        grid = np.arange(-0.45, 0.45, pixel)
        y, x = np.meshgrid(grid, grid, indexing="ij")
        signal = self.probe.change("S", y, x)
        ideal = self.probe.crystal(y + probes.A_NM / np.sqrt(3), x) + self.mean * scene.background
        return float(np.sqrt(scene.dose_e_per_px * (signal**2 / (ideal * (1 + scene.pulse_spread**2))).sum()))


def detect(expected_e: np.ndarray, scene: Scene, rng) -> np.ndarray:
    """Counts from the expected number of electrons (H, W): Poisson, pulse heights, afterglow, gain, read-out."""
    signal = rng.poisson(expected_e).astype(float)
    if scene.pulse_spread:
        shape = (
            1 / scene.pulse_spread**2
        )  # a gamma distribution of this relative width per electron; sums are gamma too
        signal = np.where(signal > 0, rng.gamma(np.maximum(signal, 1e-9) * shape) / shape, 0.0)
    if scene.afterglow_px:
        keep = np.exp(-1 / scene.afterglow_px)
        flat, out = signal.ravel(), np.empty(signal.size)  # the beam runs on from row to row
        weights = keep ** np.arange(8) * (1 - keep)
        out = np.convolve(flat, weights)[: flat.size]
        signal = out.reshape(signal.shape)
    signal = signal * scene.gain * (1 + scene.line_gain * rng.normal(size=(len(signal), 1)))
    noisy = signal + scene.offset + rng.normal(0, scene.read_noise, signal.shape)
    return np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)


def _unit(field: np.ndarray) -> np.ndarray:
    return (field - field.mean()) / field.std()
