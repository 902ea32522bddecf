"""Bounds in closed form: detectability of a state, the F1 it allows, the precision of a position.

Gaussian limit, neighbours known: the matched filter for a known change of a known mean (Kay, Fundamentals of
Statistical Signal Processing II (1998), ch. 4), and the Cramer-Rao bound (ibid. I (1993), ch. 3).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import ndtr

from stemdefects.limit import noise, templates
from stemdefects.limit.observer import RADIUS_PX, Scene
from stemdefects.simulation import images
from stemdefects.simulation.optics import scan
from stemdefects.simulation.optics.detector import Detector


def detectability(
    change: jax.Array, mean: jax.Array, variance_per_e: float | jax.Array = 1.0, variance: float | jax.Array = 0.0
) -> jax.Array:
    """d' of a known change of the expected electrons on known ones: sqrt(sum(change^2 / (k mean + v))).

    `change`, `mean`: (..., P, P), summed over the last two axes. For Poisson numbers k is 1 and v 0.
    """
    return jnp.sqrt((change**2 / (variance_per_e * mean + variance)).sum((-2, -1)))


def scene_detectability(scene: Scene, detector: Detector) -> Float[jax.Array, "columns choices"]:
    """(N, C) d' of each state of each column against its ideal one, neighbours ideal, all frames together."""
    size = scene.template.shape[-1]
    around = jax.vmap(lambda image, corner: templates.gather(image, corner, size))(scene.reference, scene.corner)
    unit = detectability(
        scene.template, jnp.maximum(around, 1e-6), 1.0 + detector.pulse_spread**2, detector.read_noise_e**2
    )
    return jnp.sqrt((unit**2).sum(0))[:, None] * jnp.abs(scene.amplitude - scene.ideal[:, None])


def best_f1(d_prime: ArrayLike, prevalence: ArrayLike) -> Float[np.ndarray, "..."]:
    """Largest F1 that a threshold on one Gaussian statistic allows: N(0, 1) for nothing, N(d', 1) for a defect.

    `prevalence`: fraction of the sites that are defective. Expected counts, as of many sites.
    """
    d_prime, prevalence = np.broadcast_arrays(np.asarray(d_prime, float)[..., None], np.asarray(prevalence)[..., None])
    threshold = np.linspace(-6.0, 9.0, 3001)  # at 9 nothing is claimed wrongly
    hits = prevalence * ndtr(d_prime - threshold)
    claimed = hits + (1 - prevalence) * ndtr(-threshold)
    return (2 * hits / (prevalence + claimed)).max(-1)


def position_bound_px(stage: images.Stage, truth: images.Truth, known: images.Known) -> jnp.ndarray:
    """(N, 2) Cramer-Rao bound of each column's (y, x) in one frame, 1 sigma; infinite for columns without signal.

    Told: the probe, the background, the neighbours, the distortions of the scan. Not told: place and signal of the
    column. Middle frame of the clip.
    """
    conditions = known.conditions
    t = known.keys.shape[0] // 2
    fraction, y, x, jitter = images.project(
        jax.random.split(known.keys[t])[0], stage, conditions, known.crystal, known.drift_px[t]
    )
    index = jnp.maximum(known.column, 0)
    y, x = y[index], x[index]
    move_y, move_x = scan.at_columns(jitter, y, 1.5, stage.size_px[0])
    fine = templates.fine_probe(conditions.probe, stage.table, conditions.pixel_size_nm, RADIUS_PX + 2)
    slope = jnp.gradient(fine, 1.0 / templates.FINE)
    parts = [
        templates.windows(f, (y, x), jitter, (y + move_y, x + move_x), stage.size_px, RADIUS_PX) for f in (fine, *slope)
    ]
    dose = conditions.detector.dose_e_per_px
    signal = dose / conditions.pixel_size_nm**2 * conditions.signals_nm2[truth.state]
    jacobian = jnp.stack([parts[0].value, *(signal[:, None, None] * p.value for p in parts[1:])], -1)
    inside = parts[0].corner
    margin = RADIUS_PX + 2
    mean = jnp.pad(fraction * dose, margin, constant_values=1.0)
    corner = jnp.clip(inside + margin, 0, jnp.array(mean.shape) - 2 * RADIUS_PX - 1)
    variance = noise.variance(jnp.maximum(templates.gather(mean, corner, 2 * RADIUS_PX + 1), 1e-6), conditions.detector)
    information = jnp.einsum("npqi,npqj->nij", jacobian / variance[..., None], jacobian)
    good = (signal > 0)[:, None, None]
    information = jnp.where(good, information, jnp.eye(3))
    scale = (
        jnp.sqrt(jnp.diagonal(information, axis1=1, axis2=2)) + 1e-20
    )  # signal and place differ by orders of magnitude
    bound = jnp.linalg.inv(information / (scale[:, :, None] * scale[:, None, :]))
    sigma = jnp.sqrt(jnp.diagonal(bound, axis1=1, axis2=2)) / scale
    return jnp.where(good[:, 0], sigma[:, 1:], jnp.inf)
