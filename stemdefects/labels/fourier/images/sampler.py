"""Endless training images from a few labelled frames of a movie: `key -> (image, Truth)`, as the simulator gives.

Some images are pieces of the frames themselves; the others are pieces of noise-free scenes (`fourier_scenes`) with
fresh noise as the frames have it, so that no noise can be learned by heart. Both are turned, mirrored, zoomed, dimmed
and broken: holes and amorphous patches are cut into them cell by cell, since later frames of the movie will have them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.labels.fourier.images import augment as change
from stemdefects.labels.fourier.images import population
from stemdefects.labels.fourier.images import scenes as fourier_scenes
from stemdefects.labels.fourier.images.population import Registered
from stemdefects.labels.fourier.label import MovieLabels
from stemdefects.labels.fourier.points.certainty import AMORPHOUS, HOLE, LATTICE, UNKNOWN
from stemdefects.schema import FourierConfig
from stemdefects.simulation.images import Truth

LEAST_DOSE = 0.4  # of an image relative to the movie's
EXACT = 0.5  # share of images turned by quarter turns only, which leaves their noise as it is
SEED = 10  # of the scenes of validation; those of training have the next one
BLOTCHES = 0.1  # largest rms of added background, relative to the signal


class Columns(NamedTuple):
    """What is labelled: L points with their site and state; `yx` (N, L, 2) in each frame, `sure` (N, L)."""

    yx: np.ndarray
    site: np.ndarray
    state: np.ndarray
    sure: np.ndarray


class Pictures(NamedTuple):
    """Q pictures that pieces are cut from, (Q, H, W), their regions, and their points: (Q, L, 2) and (Q, L)."""

    image: np.ndarray
    region: np.ndarray
    yx: np.ndarray
    site: np.ndarray
    state: np.ndarray
    sure: np.ndarray


def signs(labels: MovieLabels) -> list[str]:
    """Names of the signs that any label has, in the order of their states."""
    return [name for name, sign in (("dark", -1), ("bright", 1)) if (np.sign(labels.defects.z) == sign).any()]


def defect_columns(labels: MovieLabels, names: Sequence[str] | None = None) -> Columns:
    """The labelled defects as columns of one site; state 0 is the crystal without one, the others are `names` in their
    order, by default `signs`."""
    names = list(signs(labels) if names is None else names)
    state = np.array([names.index("bright" if z > 0 else "dark") for z in labels.defects.z], int) + 1
    return Columns(labels.yx, np.zeros(len(state), np.int32), state.astype(np.int32), labels.sure)


def pictures(
    labels: MovieLabels,
    columns: Columns,
    allowed: np.ndarray,
    n_scenes: int,
    crystal: Registered | None,
    seed: int,
    as_common: bool = False,
) -> Pictures:
    """The frames with their labels, and after them `n_scenes` noise-free scenes with theirs.

    allowed: (N, H, W) bool, where labels may be used; elsewhere nothing is said; crystal: scenes are of this crystal
    (`fourier_population`), else copies of the labelled defects are planted (`fourier_scenes`), as_common: as rarely as
    the frames have them.
    """
    known = np.where(allowed, labels.regions, UNKNOWN)
    site, state = (np.broadcast_to(a, columns.sure.shape) for a in (columns.site, columns.state))
    of_frames = Pictures(labels.frames, known, columns.yx, site, state, columns.sure)
    if n_scenes == 0:
        return of_frames
    everywhere = np.asarray(allowed.any(0))
    known = everywhere if labels.covered is None else everywhere & ~labels.covered[0]  # scenes are without dirt
    region = np.repeat(np.where(known, labels.steps["regions"], UNKNOWN)[None], n_scenes, 0)
    if crystal is None:
        scenes = fourier_scenes.make(labels, everywhere, n_scenes, seed, as_common)
        state = columns.state[scenes.label]
        made = Pictures(scenes.pictures, region, scenes.yx, np.zeros_like(state), state, scenes.there)
    else:
        image, state = population.make(labels, columns.yx[0], crystal, n_scenes, seed)
        site, yx = (np.broadcast_to(a, (n_scenes, *a.shape)) for a in (columns.site, columns.yx[0]))
        made = Pictures(image, region, yx, site, state, np.ones(state.shape, bool))
    length = max(of_frames.sure.shape[1], made.sure.shape[1])

    def joined(a, b):
        if a.ndim > 1 and a.shape[1] != b.shape[1]:
            a, b = (np.pad(v, [(0, 0), (0, length - v.shape[1])] + [(0, 0)] * (v.ndim - 2)) for v in (a, b))
        return np.concatenate([a, b])

    return Pictures._make(joined(a, b) for a, b in zip(of_frames, made, strict=True))


class Use(NamedTuple):
    """What is used of a labelled movie, and how.

    allowed: (N, H, W) bool, where labels may be used (what lies outside is shown but says nothing); augment: False
    gives pieces turned by quarter turns and mirrored, nothing else, of the frames and, where the crystal is known or
    labels are `few`, of scenes; crystal: what columns and scenes are of, None: labels are defects, points of their own.
    """

    allowed: np.ndarray
    augment: bool = True
    crystal: Registered | None = None
    few: bool = False


def make_sampler(
    labels: MovieLabels,
    columns: Columns,
    cfg: FourierConfig,
    size_px: int,
    pixel_size_nm: float,
    use: Use,
) -> Callable:
    """A function `key -> (image (size_px, size_px) float32, Truth)`, pure, of fixed shapes, for jit and vmap.

    pixel_size_nm: of the labelled frames. The region of pixels about which nothing is said is -1.
    """
    allowed, augment, crystal, few = use
    usable = np.flatnonzero(allowed.any((1, 2)))
    low, high = _centre_range(np.asarray(allowed.any(0)), size_px)
    spacing = labels.lattice.spacing_px
    floor = 0.1 * float(np.median(np.maximum(labels.gain * labels.clean + labels.read_variance, 1e-30)))
    vacuum = _vacuum(labels)
    contrast = float(np.std(labels.clean))
    first_ring = float(np.linalg.norm(labels.lattice.peaks @ labels.lattice.reciprocal, axis=1).min())
    shape = (size_px, size_px)
    grid = np.stack(np.meshgrid(*[np.arange(size_px) - (size_px - 1) / 2] * 2, indexing="ij"), -1).astype(np.float32)
    n_frames = len(labels.frames)
    remake = cfg.remade > 0 and (augment or few or crystal is not None)
    source = pictures(
        labels, columns, allowed, cfg.scenes if remake else 0, crystal, SEED + augment, few and not augment
    )
    n_pictures, n_points = len(source.image), source.sure.shape[1]
    kinds = (np.float32, np.int32, np.float32, np.int32, np.int32, bool)
    source = Pictures(*(np.asarray(a, kind) for a, kind in zip(source, kinds, strict=True)))
    clean = None  # where frames show crystal: as in inference, what lies on it does not count in an image's contrast
    if labels.covered is not None:
        clean = np.concatenate([~labels.covered, np.ones((n_pictures - n_frames, *labels.frames.shape[1:]), bool)])

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

        remade = jax.random.bernoulli(next(keys), cfg.remade if remake else 0.0)
        scene = jax.random.randint(next(keys), (), min(n_frames, n_pictures - 1), n_pictures)
        number = jnp.where(remade, scene, frame)
        jitter = labels.row_jitter_px * jax.random.normal(next(keys), (size_px, 1))
        jitter = jnp.stack([jnp.zeros(shape), jnp.broadcast_to(jitter, shape)], -1)
        image, kept = change.linear(jnp.asarray(source.image)[number], place + jnp.where(remade, jitter, 0.0))
        kept = jnp.where(remade, 0.0, kept)
        region = change.nearest(jnp.asarray(source.region)[number], place, UNKNOWN)
        local = (jnp.asarray(source.yx)[number] - centre) @ matrix / zoom + (size_px - 1) / 2

        if augment:
            image = _uneven(next(keys), image, vacuum, spacing)
            cell = jnp.stack([change.nearest(jnp.asarray(part), place) for part in labels.cell], -1)
            cell = (cell - centre) @ matrix / zoom + (size_px - 1) / 2
            cut = change.cuts(next(keys), cell, spacing, jax.random.bernoulli(next(keys), cfg.broken))
            image = change.emptied(next(keys), image, cut, vacuum, contrast, labels.sigma_px, first_ring)
            region = jnp.where(cut.hole, HOLE, jnp.where(cut.patch, AMORPHOUS, region))
            kept = jnp.where(cut.hole | cut.patch, 0.0, kept)
        dim = jax.random.uniform(next(keys), (2,))
        dose = jnp.where((dim[0] < 0.5) & augment, jnp.exp(dim[1] * np.log(LEAST_DOSE)), 1.0)
        whole = variance(image)
        fresh = jnp.maximum(1 / dose - kept, 0.0) * whole
        counted = 1 - max(labels.read_variance, 0.0) / whole  # share of the noise that electrons make
        skewness = jnp.maximum(counted, 0.0) * labels.gain / dose / jnp.sqrt(jnp.maximum(fresh, 1e-6 * whole))
        image = image + change.counting_noise(next(keys), fresh, skewness)

        inside = ((local > -0.5) & (local < size_px - 0.5)).all(-1)
        valid = jnp.asarray(source.sure)[number] & inside & (change.nearest(region, local, UNKNOWN) == LATTICE)
        return image, Truth(
            y_px=local[:, 0],
            x_px=local[:, 1],
            site=jnp.asarray(source.site)[number],
            state=jnp.asarray(source.state)[number],
            valid=valid,
            complex=jnp.full(n_points, -1, jnp.int32),
            complex_kind=jnp.full(n_points, -1, jnp.int32),
            orientation=jnp.full(n_points, -1, jnp.int8),
            regions=region,
            pixel_size_nm=jnp.float32(pixel_size_nm) * zoom,
            angle_rad=jnp.float32(0.0),
            dose_e_per_px=dose.astype(jnp.float32),
            counted=None if clean is None else change.nearest(jnp.asarray(clean)[number], place),
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
