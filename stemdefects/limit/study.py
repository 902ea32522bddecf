"""The limit of detection, measured: the ideal observer on many simulated clips of one set of conditions."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from tqdm import tqdm

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.limit import bounds, observer
from stemdefects.schema import SimulationConfig
from stemdefects.scoring import detection
from stemdefects.simulation import images
from stemdefects.simulation.conditions import Conditions

OTHER_PREVALENCE = 3e-4  # of kinds that a study does not name: one in five fields of 600 columns
MARGIN_PX = 8.0  # columns nearer to the border are not scored: part of them is not in the image
NEIGHBOUR_PX = 8.0  # columns nearer to each other than this are judged one after the other
_ROW = 256  # columns updated at once: fixed shapes


@dataclass
class Seen:
    """One clip and what the observer says of it. M scored columns, S states."""

    frames: np.ndarray  # (T, H, W) counts
    truth: images.Truth  # numpy
    scored: np.ndarray  # (M,) entries of the truth
    state: np.ndarray  # (M,) true state
    site: np.ndarray  # (M,)
    prob: dict[int, np.ndarray]  # number of frames: posterior (M, S)
    d_prime: np.ndarray  # (M, S) of one frame, against the ideal state of the site; 0 for it and other sites' states
    bound_px: np.ndarray  # (M, 2) Cramer-Rao bound of the position in one frame


def state_prior(material: Material, prevalence: dict[str, float], other: float = OTHER_PREVALENCE) -> np.ndarray:
    """(S,) how common each state is among the columns of its site; kinds not in `prevalence` have `other`."""
    prior = np.zeros(material.n_states)
    for kind in material.kinds:
        prior[kind.state] = prevalence.get(kind.name, other)
    for index, site in enumerate(material.sites):
        rest = 1.0 - prior[material.site_of_state == index].sum()
        if rest <= 0:
            raise UserError(f"prevalence: the defects of site {site.name} leave nothing of the crystal ({rest:.2f})")
        prior[site.ideal] = rest
    return prior


def independent_columns(cfg: SimulationConfig, material: Material, prevalence: dict[str, float]) -> SimulationConfig:
    """The same images with every column's state drawn on its own with known chances, and nothing moving in a clip.

    No complexes, lines or clusters, whose chances the observer would have to know; frames of a clip may still drift.
    """
    cfg = copy.deepcopy(cfg)
    cfg.defects.density = {k.name: [prevalence.get(k.name, OTHER_PREVALENCE)] * 2 for k in material.kinds}
    cfg.defects.density_scale = 1.0
    cfg.defects.complexes = {c.name: [0.0, 0.0] for c in material.complexes}
    cfg.defects.clustering = [0.0, 0.0]
    cfg.defects.line_probability = 0.0
    cfg.clip.hop_probability = [0.0, 0.0]
    return cfg


class Study:
    """The observer, compiled for one set of conditions.

    Args:
        material, cfg: what is simulated; see `independent_columns` for what is changed.
        prevalence: how common each kind is; others `OTHER_PREVALENCE`.
        frames: numbers of frames to judge by, odd. A clip has max(frames); fewer are taken around the middle one.
        size_px: (height, width).

    Raises `UserError` for even numbers of frames and for settings that cannot be simulated.
    """

    def __init__(
        self,
        material: Material,
        cfg: SimulationConfig,
        prevalence: dict[str, float],
        frames: Sequence[int] = (1, 5, 9),
        size_px: tuple[int, int] = (256, 256),
    ):
        if min(frames) < 1 or any(n % 2 == 0 for n in frames):
            raise UserError(f"frames={list(frames)}: the frame in question is the middle one, so numbers must be odd")
        self.material, self.frames, self.size_px = material, sorted(frames), size_px
        self.stage = stage = images.make_stage(material, independent_columns(cfg, material, prevalence), size_px)
        self.make = observer.make_scene_simulator(stage, state_prior(material, prevalence), max(frames))
        self.posterior = jax.jit(observer.posterior)
        self.detectability = jax.jit(bounds.scene_detectability)
        self.bound_px = jax.jit(lambda truth, known: bounds.position_bound_px(stage, truth, known))
        self._rows = -(-stage.n_truth // _ROW) + 2

    def order(self, truth: images.Truth) -> np.ndarray:
        """The order in which `posterior` judges the columns of a clip."""
        return observer.update_order(truth.y_px, truth.x_px, truth.valid, NEIGHBOUR_PX, _ROW, self._rows)

    def look(self, key: jax.Array, dose_e_per_px: float, conditions: Conditions | None = None) -> Seen:
        """Simulate one clip and judge it. conditions: of the microscope and the sample, None: drawn."""
        clip, truth, known, scene = self.make(key, dose_e_per_px, conditions)
        truth = jax.tree.map(np.asarray, truth)
        order, middle = self.order(truth), max(self.frames) // 2
        scored = np.flatnonzero(truth.valid & _within(truth, self.size_px))

        def by_state(values):
            return observer.state_probabilities(scene, np.asarray(values), self.material.n_states)[scored]

        prob = {}
        for n in self.frames:
            part = observer.some_frames(scene, range(middle - n // 2, middle + n // 2 + 1))
            prob[n] = by_state(self.posterior(part, order))
        single = observer.some_frames(scene, [middle])
        return Seen(
            frames=np.asarray(clip),
            truth=truth,
            scored=scored,
            state=truth.state[scored],
            site=truth.site[scored],
            prob=prob,
            d_prime=by_state(self.detectability(single, known.conditions.detector)),
            bound_px=np.asarray(self.bound_px(truth, known))[scored],
        )

    def run(
        self, dose_e_per_px: Sequence[float], n_images: int = 24, seed: int = 0, progress: str | None = None
    ) -> Iterator[tuple[float, Seen]]:
        """Yields (dose, `Seen`) for `n_images` clips of every dose; the same crystals at all doses.

        `progress`: label of a progress bar.
        """
        if n_images < 1:
            raise UserError(f"images={n_images}: must be at least 1")
        with tqdm(total=n_images * len(dose_e_per_px), desc=progress, unit="clip", disable=progress is None) as bar:
            for dose in dose_e_per_px:
                for number in range(n_images):
                    yield dose, self.look(jax.random.fold_in(jax.random.key(seed), number), dose)
                    bar.update()


def _within(truth, size_px):
    height, width = size_px
    return (
        (truth.y_px >= MARGIN_PX)
        & (truth.y_px <= height - 1 - MARGIN_PX)
        & (truth.x_px >= MARGIN_PX)
        & (truth.x_px <= width - 1 - MARGIN_PX)
    )


def summary(material: Material, seen: list[Seen], n_frames: int) -> dict[str, dict[str, float]]:
    """Per named kind of `seen` (one dose): prevalence, d', and the observer's scores with `n_frames` frames.

    `f1`, `ap`: expected from the observer's own posterior; `counted_f1`, `counted_ap`: against the truth, which differ
    by luck alone. `f1_low`, `f1_high`: what the 5% and 95% quantiles of d' allow in one frame, in the Gaussian limit
    with the neighbours known.
    """
    site = np.concatenate([s.site for s in seen])
    state = np.concatenate([s.state for s in seen])
    prob = np.concatenate([s.prob[n_frames] for s in seen])
    d_prime = np.concatenate([s.d_prime for s in seen])
    out = {}
    for kind in material.kinds:
        here = site == material.states[kind.state].site
        score, truth = prob[here, kind.state], state[here] == kind.state
        d = d_prime[here, kind.state]
        best, threshold = detection.best_f1(score, score)
        low, high = np.quantile(d, [0.05, 0.95])
        out[kind.name] = {
            "n": int(truth.sum()),
            "sites": int(here.sum()),
            "expected_n": float(score.sum()),
            "d_prime": float(np.median(d)),
            "d_prime_low": float(low),
            "d_prime_high": float(high),
            "f1_low": float(bounds.best_f1(low, score.mean())),
            "f1_high": float(bounds.best_f1(high, score.mean())),
            "f1": best,
            "threshold": threshold,
            "counted_f1": detection.f1_at(score, truth, threshold),
            "ap": detection.average_precision(score, score),
            "counted_ap": detection.average_precision(score, truth),
            "ece": detection.calibration_error(score, truth),
        }
    return out


def position_bounds_nm(material: Material, seen: list[Seen]) -> dict[str, float]:
    """Root mean square over columns and axes of the Cramer-Rao bound of one frame, per state that occurs."""
    state = np.concatenate([s.state for s in seen])
    bound = np.concatenate([s.bound_px * float(s.truth.pixel_size_nm) for s in seen])
    return {
        name: float(np.sqrt((bound[state == i] ** 2).mean()))
        for i, name in enumerate(material.state_names)
        if (state == i).any() and np.isfinite(bound[state == i]).all()
    }
