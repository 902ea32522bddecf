"""The crystal of a scene: where its sites lie, what sits on them, how it strains and drifts, and its kinetics run."""

import numpy as np

from benchmarks.independent.kinetics import EMPTY, FULL, SINGLE, Lattice, Walk
from benchmarks.independent.probe import A_NM
from benchmarks.independent.scene import Scene, starts_s

A1, A2 = A_NM * np.array([np.sqrt(3) / 2, 0.5]), A_NM * np.array([np.sqrt(3) / 2, -0.5])
CHALCOGEN = (A1 + A2) / 3
MARGIN_NM = 1.6  # the crystal goes on so far beyond the field: vacancies come in and go out
SITES_IN_256_PX = (256 * 0.03) ** 2 / (A_NM**2 * np.sqrt(3) / 2)


class Specimen:
    """Sites, kinetics and geometry of one scene.

    Attributes:
        starts_s: (n_frames,). drift_nm: (n_frames, 2), of each frame's middle row. metal: (N,) str, `W`, `Mo` or
        `V_metal`. crystal_nm: (2N, 2) of metals, then chalcogens, unstrained; place_nm: the same in the specimen.
        walk: the chalcogens' history.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self.rng = np.random.default_rng([scene.seed, 1])
        self.starts_s = starts_s(scene)
        size = scene.field_px * scene.pixel_size_nm
        self.middle = np.full(2, size / 2)
        self.drift_nm = self._drift()
        self.lattice = Lattice(int(np.ceil(2 * (0.71 * size + MARGIN_NM) / A_NM)) + 4)
        metal = (self.lattice.cells - self.lattice.n // 2) @ np.stack([A1, A2])
        self.origin = self.middle + self.rng.uniform(0, A_NM, 2)
        self.crystal_nm = np.concatenate([metal, metal + CHALCOGEN])
        turn = np.array(
            [[np.cos(scene.rotation), -np.sin(scene.rotation)], [np.sin(scene.rotation), np.cos(scene.rotation)]]
        )
        self.affine = (np.eye(2) + np.reshape(scene.strain, (2, 2))) @ turn
        self.place_nm = self.to_specimen(self.crystal_nm)
        self._occupy(size)

    def to_specimen(self, crystal_nm: np.ndarray) -> np.ndarray:
        """Places (n, 2) in the specimen, drift 0, of places in the unstrained crystal."""
        out = crystal_nm @ self.affine.T + self.origin
        return out + self._bend(out)

    def to_crystal(self, place_nm: np.ndarray) -> np.ndarray:
        """The inverse of `to_specimen`, to 1e-5 nm."""
        straight = place_nm
        for _ in range(3 if self.scene.bend_nm else 0):
            straight = place_nm - self._bend(straight)
        return (straight - self.origin) @ np.linalg.inv(self.affine).T

    def _bend(self, place_nm: np.ndarray) -> np.ndarray:
        """Smooth displacement of `bend_nm`, one wave over 1.5 fields."""
        if not self.scene.bend_nm:
            return np.zeros_like(place_nm)
        phase = 2 * np.pi * place_nm / (3 * self.middle)
        return self.scene.bend_nm * np.stack([np.sin(phase[..., 1] + 1), np.sin(phase[..., 0] + 2)], -1)

    def _drift(self) -> np.ndarray:
        scene, rng, n = self.scene, self.rng, self.scene.n_frames
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.05, n))
        step = scene.drift_nm_per_frame * np.stack([np.sin(angle), np.cos(angle)], 1)
        for frame in rng.choice(np.arange(1, n), scene.drift_steps if n > 1 else 0):
            turn = rng.uniform(0, 2 * np.pi)
            step[frame] += rng.uniform(0.05, 0.2) * np.array([np.sin(turn), np.cos(turn)])
        step[0] = 0
        return np.cumsum(step, 0)

    def _occupy(self, size: float) -> None:
        """Who sits where at the start: centres keep two bonds' distance, and vacancies keep off centres' bonds."""
        scene, rng, n = self.scene, self.rng, len(self.lattice.cells)
        inner = np.abs(self.place_nm - self.middle).max(1) < size / 2 + MARGIN_NM - 0.2
        metals, sites = np.flatnonzero(inner[:n]), np.flatnonzero(inner[n:])
        fields = len(metals) / SITES_IN_256_PX
        self.metal = np.full(n, "W", dtype="U8")
        wanted = {"Mo": round(scene.centres * fields), "V_metal": round(scene.metal_vacancies * fields)}
        chosen: list[int] = []
        for name, number in wanted.items():
            for metal in rng.permutation(metals):
                if number <= 0:
                    break
                far = np.hypot(*(self.place_nm[chosen] - self.place_nm[metal]).T) if chosen else np.array([9.0])
                if far.min() > 2.2 * A_NM and (self.lattice.bonds[metal] >= 0).all():
                    self.metal[metal] = name
                    chosen.append(metal)
                    number -= 1
        centres = np.flatnonzero(self.metal == "Mo")
        missing = np.full(n, FULL)
        open_sites = rng.permutation(np.setdiff1d(sites, self.lattice.bonds[chosen] if chosen else []))
        empty, single = round(scene.empty * fields), round(scene.vacancies * fields)
        missing[open_sites[:empty]] = EMPTY
        missing[open_sites[empty : empty + single]] = SINGLE
        for centre in centres[rng.random(len(centres)) < scene.caught_share]:
            missing[rng.choice(self.lattice.bonds[centre])] = SINGLE
        mobile = rng.random(n) >= scene.immobile_share
        self.walk = Walk(self.lattice, missing, centres, mobile, scene.rates, scene.reservoir, rng)
        self.end_s = float(self.starts_s[-1] + scene.frame_time_s)
        self.walk.advance(self.end_s)

    def positions_px(self, frame: int, sites=slice(None)) -> np.ndarray:
        """(n, 2) pixel places (y, x) of `sites` (rows of `place_nm`) in a frame: pixel 0's middle is at 0."""
        return (self.place_nm[sites] + self.drift_nm[frame]) / self.scene.pixel_size_nm

    def hole_nm(self, frame: int) -> float:
        """Radius of the hole in the middle of the field; it opens after a third of the movie."""
        share = frame / max(self.scene.n_frames - 1, 1)
        return self.scene.hole_radius_nm * float(np.sqrt(max(share - 1 / 3, 0) * 1.5))
