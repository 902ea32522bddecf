"""Endless training images from a few labelled frames of a movie: `key -> (image, Truth)`, as the simulator gives.

Some images are pieces of the frames themselves; the others are made anew from the noise-free estimate, with copies of
the found defects planted elsewhere and fresh noise as the frames have it, so that no noise can be learned by heart.
Both are turned, mirrored, zoomed, dimmed and broken: holes and amorphous patches are cut into them cell by cell, since
later frames of the movie will have them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.labels import fourier_augment as change
from stemdefects.labels.fourier import AMORPHOUS, DISC, HOLE, LATTICE, UNKNOWN, MovieLabels
from stemdefects.schema import FourierConfig
from stemdefects.simulation.images import Truth

LEAST_DOSE = 0.4  # of an image relative to the movie's
EXACT = 0.5  # share of images turned by quarter turns only, which leaves their noise as it is
STEP_CELLS = 8.0  # how far copies of defects are planted
BLOTCHES = 0.1  # largest rms of added background, relative to the signal


class Columns(NamedTuple):
    """What is labelled: L points with their site and state; `yx` (N, L, 2) in each frame, `sure` (N, L)."""

    yx: np.ndarray
    site: np.ndarray
    state: np.ndarray
    sure: np.ndarray


def defect_columns(labels: MovieLabels, first_state: int = 1) -> Columns:
    """The labelled defects as columns of one site; state `first_state` is dark, the next one bright."""
    state = labels.defects.state + first_state
    return Columns(labels.yx, np.zeros(len(state), np.int32), state.astype(np.int32), labels.sure)


def make_sampler(
    labels: MovieLabels,
    columns: Columns,
    cfg: FourierConfig,
    size_px: int,
    pixel_size_nm: float,
    allowed: np.ndarray,
    *,
    augment: bool = True,
    plant: bool = True,
) -> Callable:
    """A function `key -> (image (size_px, size_px) float32, Truth)`, pure, of fixed shapes, for jit and vmap.

    pixel_size_nm: of the labelled frames; allowed: (N, H, W) bool, where labels may be used (what lies outside is shown
    but says nothing); augment: False gives pieces of the frames, turned by quarter turns and mirrored, nothing else;
    plant: add copies of the defects to images made anew (for defects that are points of their own, not states of
    columns). The region of pixels about which nothing is said is -1.
    """
    usable = np.flatnonzero(allowed.any((1, 2)))
    known = np.where(allowed, labels.regions, UNKNOWN).astype(np.int32)
    everywhere = allowed.any(0)
    low, high = _centre_range(everywhere, size_px)
    place0 = np.clip(np.rint(columns.yx[0]).astype(int), 0, np.array(everywhere.shape) - 1)
    may_plant = everywhere[tuple(place0.T)]
    spacing = labels.lattice.spacing_px
    floor = 0.1 * float(np.median(np.maximum(labels.gain * labels.clean + labels.read_variance, 1e-30)))
    vacuum = _vacuum(labels)
    contrast = float(np.std(labels.clean))
    first_ring = float(np.linalg.norm(labels.lattice.peaks @ labels.lattice.reciprocal, axis=1).min())
    shape = (size_px, size_px)
    grid = np.stack(np.meshgrid(*[np.arange(size_px) - (size_px - 1) / 2] * 2, indexing="ij"), -1).astype(np.float32)
    n, n_frames = len(columns.site), len(labels.frames)
    pictures = np.concatenate([labels.frames, (labels.clean + labels.excess)[None]]).astype(np.float32)

    def variance(image):
        return jnp.maximum(labels.gain * image + labels.read_variance, floor)

    def sample(key):
        keys = iter(jax.random.split(key, 16))
        frame = jnp.asarray(usable)[jax.random.randint(next(keys), (), 0, len(usable))]
        exact = jax.random.bernoulli(next(keys), EXACT if augment else 1.0)
        matrix, zoom = change.turn(next(keys), cfg.zoom, exact)
        centre = jax.random.uniform(next(keys), (2,), minval=jnp.asarray(low), maxval=jnp.asarray(high))
        centre = jnp.floor(centre) + (0.5 if size_px % 2 == 0 else 0.0)
        place = grid @ matrix.T * zoom + centre  # of each pixel, in the frame
        place = jnp.where(exact, jnp.round(place), place)

        remade = jax.random.bernoulli(next(keys), cfg.remade if augment else 0.0)
        step = jnp.round(jax.random.uniform(next(keys), (2,), minval=-STEP_CELLS, maxval=STEP_CELLS))
        planted = (jnp.abs(step).sum() > 0) & remade & plant
        step = step @ jnp.asarray(labels.lattice.vectors_px, jnp.float32)
        jitter = labels.row_jitter_px * jax.random.normal(next(keys), (size_px, 1))
        jitter = jnp.stack([jnp.zeros(shape), jnp.broadcast_to(jitter, shape)], -1)
        place_seen = place + jnp.where(remade, jitter, 0.0)
        image, kept = change.linear(jnp.asarray(pictures)[jnp.where(remade, n_frames, frame)], place_seen)
        kept = jnp.where(remade, 0.0, kept)
        if plant and augment:
            copies = change.linear(jnp.asarray(labels.excess * everywhere), place_seen - step)[0]
            image = image + jnp.where(planted, copies, 0.0)
        source = jnp.where(remade, usable[0], frame)
        region = change.nearest(jnp.asarray(known)[source], place, UNKNOWN)

        there, sure = jnp.asarray(columns.yx, jnp.float32)[source], jnp.asarray(columns.sure)[source]
        points, valid = jnp.concatenate([there, there + step]), jnp.concatenate([sure, sure & planted & may_plant])
        if plant:
            free = change.apart(there + step, there, 0.8 * spacing)
            valid = valid & jnp.concatenate([jnp.ones(n, bool), free])
        local = (points - centre) @ matrix / zoom + (size_px - 1) / 2
        shown = jnp.concatenate([jnp.zeros(n, bool), planted & may_plant])  # a copy that may not be labelled blinds
        region = jnp.where(change.discs(local, shown & ~valid, shape, DISC * spacing), UNKNOWN, region)

        if augment:
            image = _uneven(next(keys), image, vacuum, spacing)
            cell = jnp.stack([change.nearest(jnp.asarray(part), place) for part in labels.cell], -1)
            cell = (cell - centre) @ matrix / zoom + (size_px - 1) / 2
            cut = change.cuts(next(keys), cell, spacing, jax.random.bernoulli(next(keys), cfg.broken))
            image = change.emptied(
                next(keys), image, cut, vacuum, contrast, labels.sigma_px, first_ring
            )  # fmt: skip
            region = jnp.where(cut.hole, HOLE, jnp.where(cut.patch, AMORPHOUS, region))
            kept = jnp.where(cut.hole | cut.patch, 0.0, kept)
        dim = jax.random.uniform(next(keys), (2,))
        dose = jnp.where((dim[0] < 0.5) & augment, jnp.exp(dim[1] * np.log(LEAST_DOSE)), 1.0)
        fresh = jnp.maximum(1 / dose - kept, 0.0) * variance(image)
        image = image + jnp.sqrt(fresh) * jax.random.normal(next(keys), shape)

        inside = ((local > -0.5) & (local < size_px - 0.5)).all(-1)
        valid = valid & inside & (change.nearest(region, local, UNKNOWN) == LATTICE)
        return image, Truth(
            y_px=local[:, 0],
            x_px=local[:, 1],
            site=jnp.tile(jnp.asarray(columns.site, jnp.int32), 2),
            state=jnp.tile(jnp.asarray(columns.state, jnp.int32), 2),
            valid=valid,
            complex=jnp.full(2 * n, -1, jnp.int32),
            complex_kind=jnp.full(2 * n, -1, jnp.int32),
            orientation=jnp.full(2 * n, -1, jnp.int8),
            regions=region,
            pixel_size_nm=jnp.float32(pixel_size_nm) * zoom,
            angle_rad=jnp.float32(0.0),
            dose_e_per_px=dose.astype(jnp.float32),
        )

    return sample


def _centre_range(allowed: np.ndarray, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest centre (y, x) of pieces that stay within the allowed part where they fit into it."""
    low, high = [], []
    for axis in (0, 1):
        inside = np.flatnonzero(allowed.any(1 - axis))
        first, last = float(inside[0]), float(inside[-1])
        margin = min(size_px / 2, (last - first) / 2)
        low.append(first + margin)
        high.append(max(last - margin, first + margin + 1e-3))
    return np.array(low, np.float32), np.array(high, np.float32)


def _vacuum(labels: MovieLabels) -> float:
    """Counts where nothing is: the detector's offset as the noise tells, else somewhat below the darkest place."""
    darkest = float(np.quantile(labels.clean, 0.005))
    if labels.gain > 0 and labels.read_variance < 0:
        return min(-labels.read_variance / labels.gain, darkest)
    return max(darkest - float(np.std(labels.clean)), min(0.0, darkest))


def _uneven(key, image, vacuum: float, spacing: float):
    """Slowly varying gain and background, as contamination gives."""
    keys = jax.random.split(key, 3)
    size = jax.random.uniform(keys[0], (2,), maxval=BLOTCHES)
    gain = 1 + size[0] * change.field(keys[1], len(image), 5 * spacing, 30 * spacing)
    extra = size[1] * change.field(keys[2], len(image), 3 * spacing, 15 * spacing)
    level = image.mean() - vacuum
    return vacuum + (image - vacuum) * jnp.maximum(gain, 0.3) + extra * level
