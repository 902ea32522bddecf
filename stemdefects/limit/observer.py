"""The ideal observer: the posterior of every column's state when all but the states is known.

The observer is told the lattice, the place of every column, the probe, background, scan distortions, gains and the
noise model, and how common each state is. What it cannot tell, nobody can: by the Neyman-Pearson lemma a threshold on
its posterior gives the best detector there is (Barrett & Myers, Foundations of Image Science (2004), ch. 13).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.limit import noise, templates
from stemdefects.simulation import images
from stemdefects.simulation.optics import detector, scan

RADIUS_PX = 7  # half side of a column's window
SWEEPS = 3  # over all columns
_LEAST_MEAN_E = 1e-4  # electrons: its logarithm must exist


class Scene(NamedTuple):
    """A clip as the observer sees it. N columns as in the Truth, T frames, C the most states a site has.

    Images have a margin of RADIUS_PX + 2 pixels, so that every window lies inside.
    """

    coefficients: jnp.ndarray  # (T, H', W', D + 1) likelihood of every pixel, see `noise.Likelihood`
    middle: jnp.ndarray
    half: jnp.ndarray
    reference: jnp.ndarray  # (T, H', W') expected electrons with every column in question ideal
    template: jnp.ndarray  # (T, N, P, P)
    corner: jnp.ndarray  # (T, N, 2), in images with margin
    amplitude: jnp.ndarray  # (N, C) electrons of a column in each state
    ideal: jnp.ndarray  # (N,) electrons of the ideal column
    log_prior: jnp.ndarray  # (N, C), -inf where there is no such state
    choice: jnp.ndarray  # (N, C) index of the state, -1 where there is none
    unknown: jnp.ndarray  # (N,) bool: the column is in question; all others are known


def make_scene_simulator(stage: images.Stage, prior: np.ndarray, n_frames: int) -> Callable:
    """`(key, dose_e_per_px) -> (frames (T, H, W), Truth, Known, Scene)`: a clip, and all the observer is told of it.
    A third argument is taken as the clip's conditions, instead of drawn ones.

    prior: (S,) how common each state is; the states of a site add up to 1. Not for jit: the likelihood is made on the
    host. Raises `UserError` for settings whose noise has no likelihood here.
    """
    simulate = jax.jit(images.make_known_simulator(stage, n_frames))
    prepare = jax.jit(lambda frames, truth, known: _prepare(stage, np.asarray(prior), frames, truth, known))
    detect = stage.cfg.detector
    if not detect.poisson:
        raise UserError(
            f"simulation.detector.poisson (simulation={stage.cfg.name}): the limit needs noise; set it to true"
        )

    def make(key, dose_e_per_px, conditions=None):
        frames, truth, known = simulate(key, jnp.float32(dose_e_per_px), conditions)
        parts, electrons = prepare(frames, truth, known)
        given = known.conditions.detector
        low = max(float(parts["low"]), _LEAST_MEAN_E)
        rounding = 1.0 / (12.0 * float(given.gain) ** 2) if detect.integer else 0.0
        like = noise.likelihood(
            np.asarray(electrons),
            low,
            max(float(parts["high"]), 2 * low),
            float(given.pulse_spread),
            np.sqrt(float(given.read_noise_e) ** 2 + rounding),
        )
        margin = RADIUS_PX + 2
        pad = ((0, 0), (margin, margin), (margin, margin), (0, 0))
        scene = Scene(
            jnp.pad(like.coefficients, pad),
            like.middle,
            like.half,
            **{name: parts[name] for name in Scene._fields if name in parts},
        )
        return frames, truth, known, scene

    return make


def state_table(material: Material) -> np.ndarray:
    """(n_sites, C) indices of the states of each site, padded with -1."""
    lists = [np.flatnonzero(material.site_of_state == g) for g in range(material.n_sites)]
    width = max(map(len, lists))
    return np.array([np.pad(found, (0, width - len(found)), constant_values=-1) for found in lists])


def _prepare(stage: images.Stage, prior, frames, truth: images.Truth, known: images.Known):
    material, conditions = stage.material, known.conditions
    index = jnp.maximum(known.column, 0)
    unknown = truth.valid
    ideal_state = jnp.asarray(material.ideal_states)[truth.site]
    at = jnp.where(unknown, index, len(known.crystal.state))
    state = known.crystal.state.at[at].set(ideal_state, mode="drop")
    pixel = conditions.detector.dose_e_per_px / conditions.pixel_size_nm**2
    reach = RADIUS_PX + 2
    fine = templates.fine_probe(conditions.probe, stage.table, conditions.pixel_size_nm, reach)
    margin = reach

    def frame(args):
        key, drift, counts = args
        key_rows, key_noise = jax.random.split(key)
        fraction, y, x, jitter = images.project(key_rows, stage, conditions, known.crystal._replace(state=state), drift)
        y, x = y[index], x[index]
        move_y, move_x = scan.at_columns(jitter, y, 1.5, stage.size_px[0])
        windows = templates.windows(fine, (y, x), jitter, (y + move_y, x + move_x), stage.size_px, RADIUS_PX)
        gain = detector.line_gain(key_noise, conditions.detector, stage.size_px[0])
        electrons = noise.electrons(counts, conditions.detector, gain)
        corner = jnp.clip(windows.corner + margin, 0, jnp.array(stage.size_px) + 2 * margin - 2 * RADIUS_PX - 1)
        return electrons, fraction * conditions.detector.dose_e_per_px, windows.value, corner

    electrons, reference, template, corner = jax.lax.map(frame, (known.keys, known.drift_px, frames))
    choice = jnp.asarray(state_table(material))[truth.site]
    exists = choice >= 0
    amplitude = pixel * conditions.signals_nm2[choice]
    ideal = pixel * conditions.signals_nm2[ideal_state]
    parts = {
        "reference": jnp.pad(reference, ((0, 0), (margin, margin), (margin, margin)), constant_values=1.0),
        "template": template,
        "corner": corner,
        "amplitude": amplitude,
        "ideal": ideal,
        "log_prior": jnp.where(exists, jnp.log(jnp.asarray(prior, jnp.float32))[choice], -jnp.inf),
        "choice": choice,
        "unknown": unknown,
        "low": 0.01 * reference.mean(),  # no state takes all the light there is
        "high": reference.max() + amplitude.max() * template.max(),
    }
    return parts, electrons


def expected(scene: Scene, amplitude: Float[jax.Array, " columns"]) -> Float[jax.Array, "frames height width"]:
    """(T, H', W') electrons expected, with margin, when the columns in question have `amplitude` (N,)."""
    return _moved(scene, scene.reference, jnp.arange(len(scene.ideal)), amplitude - scene.ideal)


def _moved(scene: Scene, image, who, change):
    change = jnp.where(scene.unknown[who], change, 0.0)[None, :, None, None]
    return jax.vmap(templates.scatter)(image, scene.corner[:, who], change * scene.template[:, who])


def log_likelihoods(
    scene: Scene,
    amplitude: Float[jax.Array, " columns"],
    who: jax.Array | np.ndarray | None = None,
    image: jax.Array | None = None,
) -> Float[jax.Array, "asked choices"]:
    """(M, C) log-likelihood of each state of the columns `who` (M,), all others having `amplitude` (N,).

    Up to a constant of the column. `who` None: all of them; `image`: `expected(scene, amplitude)` where it is known.
    """
    size = scene.template.shape[-1]
    low = jnp.exp(scene.middle - scene.half)
    high = jnp.exp(scene.middle + scene.half)
    who = jnp.arange(len(scene.ideal)) if who is None else who
    image = expected(scene, amplitude) if image is None else image
    # columns that are known are not judged: what comes out for them means nothing
    present = amplitude[who][:, None, None]

    def frame(total, t):
        template, corner = scene.template[t, who], scene.corner[t, who]
        # columns that are known stand in the reference as they are, those in question with their amplitude
        without = templates.gather(image[t], corner, size) - present * template
        pixels = templates.gather(scene.coefficients[t], corner, size)

        def state(step):
            mean = jnp.clip(without + step[:, None, None] * template, low, high)
            return jnp.where(template != 0, noise.evaluate(pixels, scene.middle, scene.half, mean), 0.0).sum((1, 2))

        return total + jnp.stack([state(step) for step in scene.amplitude[who].T], 1), None

    total = jnp.zeros((len(who), scene.amplitude.shape[1]))
    return jax.lax.scan(frame, total, jnp.arange(scene.reference.shape[0]))[0]


def posterior(scene: Scene, order: np.ndarray, sweeps: int = SWEEPS) -> Float[jax.Array, "columns choices"]:
    """(N, C) posterior of each column's state, by iterated means.

    Starts as a matched filter with all neighbours ideal; then each column is judged with its neighbours at their
    posterior means, `sweeps` times. `order` (K, M), from `update_order`: the columns of a row are judged at once.
    Agrees with `sample` as far as columns overlap little (tests/limit). 0 for columns not in question.
    """
    n = len(scene.ideal)

    def update(carry, who):
        amplitude, image, prob = carry
        at = jnp.maximum(who, 0)
        own = jax.nn.softmax(log_likelihoods(scene, amplitude, at, image) + scene.log_prior[at], axis=1)
        mean = (own * scene.amplitude[at]).sum(1)
        image = _moved(scene, image, at, jnp.where(who >= 0, mean - amplitude[at], 0.0))
        to = jnp.where(who >= 0, who, n)
        return (amplitude.at[to].set(mean, mode="drop"), image, prob.at[to].set(own, mode="drop")), None

    start = (scene.ideal, scene.reference, jnp.zeros(scene.amplitude.shape))
    return jax.lax.scan(update, start, jnp.tile(jnp.asarray(order), (sweeps, 1)))[0][2]


def sample(
    key: jax.Array, scene: Scene, order: np.ndarray, sweeps: int = 60, burn: int = 10
) -> Float[jax.Array, "columns choices"]:
    """(N, C) posterior by Gibbs sampling: exact in the limit of many sweeps, and slow.

    `order` (K, M) from `update_order` with a distance beyond which columns share no pixel. The average of the
    conditional posteriors of the sweeps after `burn`.
    """
    n, k = len(scene.ideal), len(order)

    def update(carry, step):
        amplitude, image, total = carry
        who, key, counts = step
        at = jnp.maximum(who, 0)
        logits = log_likelihoods(scene, amplitude, at, image) + scene.log_prior[at]
        drawn = jax.random.categorical(key, logits, axis=1)
        value = jnp.take_along_axis(scene.amplitude[at], drawn[:, None], 1)[:, 0]
        image = _moved(scene, image, at, jnp.where(who >= 0, value - amplitude[at], 0.0))
        to = jnp.where(who >= 0, who, n)
        total = total.at[to].add(counts * jax.nn.softmax(logits, axis=1), mode="drop")
        return (amplitude.at[to].set(value, mode="drop"), image, total), None

    counts = jnp.repeat(jnp.arange(sweeps) >= burn, k).astype(jnp.float32)
    steps = (jnp.tile(jnp.asarray(order), (sweeps, 1)), jax.random.split(key, k * sweeps), counts)
    start = (scene.ideal, scene.reference, jnp.zeros(scene.amplitude.shape))
    total = jax.lax.scan(update, start, steps)[0][2]
    return total / jnp.maximum(total.sum(1, keepdims=True), 1e-9)


def update_order(
    y_px: ArrayLike,
    x_px: ArrayLike,
    unknown: ArrayLike,
    distance_px: float,
    width: int | None = None,
    least_rows: int = 1,
) -> Int[np.ndarray, "rows width"]:
    """(K, M) int32: the columns in question, in rows whose members are `distance_px` apart; -1 fills up.

    Greedy colouring; a crystal's two sublattices make two rows, more where columns crowd or a row is longer than
    `width` (M). With `width` and `least_rows` the shape, and so the compiled program, stays from image to image.
    """
    points = np.stack([np.asarray(y_px), np.asarray(x_px)], 1)
    chosen = np.flatnonzero(np.asarray(unknown))
    near = cKDTree(points[chosen]).query_ball_point(points[chosen], distance_px)
    group = np.full(len(chosen), -1)
    for i, others in enumerate(near):
        taken = set(group[others])
        group[i] = next(g for g in range(len(chosen) + 1) if g not in taken)
    groups = [chosen[group == g] for g in range(group.max(initial=-1) + 1)]
    width = max(map(len, groups), default=1) if width is None else width
    rows = [g[start : start + width] for g in groups for start in range(0, len(g), width)]
    rows += [np.empty(0, int)] * (least_rows - len(rows))
    return np.array([np.pad(r, (0, width - len(r)), constant_values=-1) for r in rows], np.int32)


def state_probabilities(scene: Scene, prob: np.ndarray, n_states: int) -> Float[np.ndarray, "columns states"]:
    """(N, S) posterior over all states of the material from (N, C) over the states of each site."""
    out = np.zeros((len(prob), n_states + 1), np.float32)
    choice = np.asarray(scene.choice)
    np.put_along_axis(out, np.where(choice >= 0, choice, n_states), np.where(choice >= 0, prob, 0.0), axis=1)
    return out[:, :n_states]


def some_frames(scene: Scene, frames: ArrayLike) -> Scene:
    """The scene with only `frames` (indices)."""
    frames = np.asarray(frames)
    return scene._replace(
        coefficients=scene.coefficients[frames],
        reference=scene.reference[frames],
        template=scene.template[frames],
        corner=scene.corner[frames],
    )
