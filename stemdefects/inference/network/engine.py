"""From raw frames to columns on the device: one compiled program per frame size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from stemdefects.inference import hidden as hiding
from stemdefects.inference.network import bragg_map, region_map
from stemdefects.inference.network.cover import Cover
from stemdefects.models import other_crystal, symmetry
from stemdefects.models.frames import resample as sampling
from stemdefects.models.frames.normalization import normalize_frames
from stemdefects.schema import InferenceConfig

BATCH_SIZE = {True: 1, False: 8}  # on a CPU more frames at once only leave its caches
MAX_PROGRAMS = 8  # kept compiled
_programs: dict[tuple, Any] = {}
BOX_PX = 16  # side of a box of pixels
MARGIN_PX = 2.0  # a tile also reports columns this far outside its part, so that none is lost between two


class Columns(NamedTuple):
    """Columns of one frame, on the host; n columns, S states. Pixels are those of the original frame, where these are
    not square its columns' (x): rows are counted in the same unit."""

    y_px: np.ndarray
    x_px: np.ndarray
    sigma_px: np.ndarray
    site: np.ndarray
    state_prob: np.ndarray  # (n, S)
    presence: np.ndarray
    region: np.ndarray  # (n,) most probable region at the column
    state_spread: np.ndarray | None = None  # (n, S) of an ensemble: how far its members' `state_prob` differ

    def take(self, index: np.ndarray) -> "Columns":
        return Columns._make(None if field is None else field[index] for field in self)


class FrameOutput(NamedTuple):
    """What the network says of one frame. image: (h, w) float32, normalised, at the model's sampling (first pixels
    coincide, `scale` model px per frame px); region_fraction: (4,) of the area: lattice, hole, amorphous, 1T; lattice:
    what the frame's Bragg components say, None where the movie shows no lattice; together: mean of the aligned frames
    that the network was shown, None where that is `image`; regions: (ny, nx) uint8, see `region_map`; hidden: by
    invalid pixels, None where there are none; second: (H, W) the same frame on a second detector, as it is."""

    columns: Columns
    region_fraction: np.ndarray
    image: np.ndarray
    scale: float
    lattice: bragg_map.LocalLattice | None = None
    together: np.ndarray | None = None
    regions: np.ndarray | None = None
    hidden: hiding.Hidden | None = None
    second: np.ndarray | None = None

    @property
    def seen(self) -> np.ndarray:
        """(h, w) the image whose light counts: all that the network was shown."""
        return self.image if self.together is None else self.together


class Engine:
    """A loaded model, compiled for frames of one size and sampling.

    Args:
        model: `models.artifact.LoadedModel`.
        frame_shape: (H, W) of the frames.
        pixel_size_nm: sampling of the frames along x, nm per px.
        settings: of these `batch_size` counts (frames per call and local device, None: `BATCH_SIZE` of its kind; a
            smaller batch is filled up), `tile_px` and `overlap_px` (larger frames are cut into tiles, model pixels),
            `presence`, `symmetries`, and `resample_tolerance`: how far (relative) the sampling may be outside what the
            model was trained on. Frames within are left as they are, for interpolation would only correlate their
            noise; others are resampled to the nearer end, so that nothing jumps where a sampling crosses it. None: the
            defaults.
        aspect: height over width of a pixel; each axis is resampled by its own sampling.
        vectors_px, lattice_nm: about what lattice the frames show (square pixels; several: one of each grain, (K, 2,
            2)), and the ideal crystal's; with them every frame's own lattice is measured too.
    """

    def __init__(
        self,
        model: Any,
        frame_shape: tuple[int, int],
        pixel_size_nm: float,
        settings: InferenceConfig | None = None,
        aspect: float = 1.0,
        vectors_px: np.ndarray | None = None,
        lattice_nm: np.ndarray | None = None,
    ):
        settings = InferenceConfig(name="default") if settings is None else settings
        self.model, self.views = model, symmetry.views(model, settings.symmetries, vectors_px)
        self.frame_shape = frame_shape[0], frame_shape[1]
        devices = jax.local_devices()
        self.batch_size = (settings.batch_size or BATCH_SIZE[devices[0].platform == "cpu"]) * len(devices)
        finest, coarsest = model.samplings_nm
        slack = 1 + settings.resample_tolerance
        finest, coarsest = finest / slack, coarsest * slack
        self.scale = pixel_size_nm / min(max(pixel_size_nm, finest), coarsest)
        self.aspect = aspect
        scales = (self.scale * aspect, self.scale)
        shape = sampling.resampled_shape(self.frame_shape, scales)
        self.grid = sampling.plan(shape, settings.tile_px, settings.overlap_px, model.divisor)
        effective_nm = pixel_size_nm / self.scale
        cells = np.prod(self.grid.tile) * effective_nm**2 / (model.trained or model).material.cell_area_nm2
        self.max_peaks = _rounded(int(1.25 * cells * model.material.n_sites) + 64)
        self._presence = settings.presence
        self.cover: Cover | None = None  # of the movie: what lies on the crystal does not count in a frame's contrast
        self._made, waves = None, None
        if vectors_px is not None and lattice_nm is not None:
            self._made = bragg_map.windows(self.grid.shape, np.asarray(vectors_px) * self.scale, lattice_nm)
            waves = None if self._made is None else (jnp.asarray(self._made.rows), jnp.asarray(self._made.columns))
        key = (
            model.signature,
            self.frame_shape,
            self.grid.shape,
            self.grid.tile,
            self.grid.starts.tobytes(),
            self.max_peaks,
            self._presence,
            self.views,
        )
        weights = None
        if self.grid.shape != self.frame_shape or scales != (1.0, 1.0):
            sizes = list(zip(self.frame_shape, scales, self.grid.shape, strict=True))
            weights = tuple(jnp.asarray(f(*size)) for f in (sampling.weights, sampling.nearest) for size in sizes)
        self._constants = (weights, waves)
        if key not in _programs:  # a second movie of the same kind compiles nothing
            if len(_programs) >= MAX_PROGRAMS:
                _programs.pop(next(iter(_programs)))
            _programs[key] = jax.jit(_over_devices(self._run, devices))
        self._program = _programs[key]

    def _run(self, params: Any, constants: tuple, frames: jax.Array, valid: jax.Array) -> tuple:
        """(B, T, H, W) raw, (B, H, W) bool which pixels hold intensities -> peaks with leading axes (B, n_tiles),
        region fractions (B, 4), normalised middle frames, their Bragg components (None without a lattice), the mean of
        all frames (None where there is one) and coarse maps of the regions (B, n_tiles, h', w')."""
        weights, waves = constants
        grid, model = self.grid, self.model
        batch, depth = frames.shape[:2]
        flat = frames.reshape(-1, *self.frame_shape)
        if weights is not None:
            flat, valid = sampling.resample(flat, *weights[:2]), valid[:, weights[2]][:, :, weights[3]]
        flat = normalize_frames(flat, jnp.repeat(valid, depth, 0))
        stacks = flat.reshape(batch, depth, *grid.shape)
        tiles = sampling.cut(flat, grid).reshape(batch, depth, -1, *grid.tile)
        tiles = jnp.moveaxis(tiles, 1, -1).reshape(-1, *grid.tile, depth)
        outputs = symmetry.over(lambda seen: model.apply_fn(params, seen), self.views)(tiles)
        peaks = jax.vmap(lambda o: model.find_peaks(o, max_peaks=self.max_peaks, threshold=self._presence))(outputs)
        peaks = jax.tree.map(lambda a: a.reshape(batch, -1, *a.shape[1:]), peaks)
        start = jnp.asarray(grid.starts, jnp.float32)[None, :, :, None]
        y, x = peaks.y_px + start[:, :, 0], peaks.x_px + start[:, :, 1]
        top, bottom, left, right = (jnp.asarray(grid.owned[None, :, None, i], jnp.float32) for i in range(4))
        own = (y >= top - MARGIN_PX) & (y < bottom + MARGIN_PX) & (x >= left - MARGIN_PX) & (x < right + MARGIN_PX)
        h, w = grid.shape
        inside = (y > -0.5) & (y < h - 0.5) & (x > -0.5) & (x < w - 0.5)
        peaks = peaks._replace(y_px=y, x_px=x, valid=peaks.valid & own & inside)
        region = jnp.argmax(outputs.region, -1)
        weight = self._cell_weight((region.shape[1], region.shape[2]))
        hot = jax.nn.one_hot(region, outputs.region.shape[-1])
        regions = region_map.coarse(hot, self._region_cell_px // model.stride)
        regions = regions.reshape(batch, -1, *regions.shape[1:])
        counts = hot.reshape(batch, -1, *region.shape[1:], 4)
        counts = (counts * weight[None, ..., None]).sum((1, 2, 3))
        middle = stacks[:, depth // 2]
        bragg = None if waves is None else bragg_map.components(middle, *waves)
        together = stacks.mean(1) if depth > 1 else None
        return peaks, counts / counts.sum(-1, keepdims=True), middle, bragg, together, regions

    @property
    def _region_cell_px(self) -> int:
        """Model pixels per cell of the maps of regions."""
        return region_map.cell_px(self.grid.tile, self.model.stride)

    @property
    def region_shape(self) -> tuple[int, int]:
        """(ny, nx) of the maps of regions."""
        ny, nx = (-(-n // self._region_cell_px) for n in self.grid.shape)
        return ny, nx

    @property
    def region_step_px(self) -> list[float]:
        """(y, x) pixels of the original frame per cell of the maps of regions."""
        return [self._region_cell_px / self.scale / self.aspect, self._region_cell_px / self.scale]

    def _cell_weight(self, cells: tuple[int, int]) -> jax.Array:
        """(n_tiles, h, w) 1 for output cells whose centre lies in the part its tile answers for."""
        stride = self.grid.tile[0] // cells[0]
        centres = [np.arange(n) * stride + (stride - 1) / 2 for n in cells]
        masks = []
        for (y0, x0), (top, bottom, left, right) in zip(self.grid.starts, self.grid.owned, strict=True):
            y, x = centres[0] + y0, centres[1] + x0
            masks.append(((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None])
        return jnp.asarray(np.stack(masks), jnp.float32)

    def submit(
        self,
        stacks: np.ndarray,
        invalid: list[np.ndarray | None] | None = None,
        second: list[np.ndarray | None] | None = None,
    ) -> Any:
        """Start the network on (b, T, H, W) raw counts, b <= batch_size; returns at once, for `collect` to wait.

        invalid: per stack the pixels (H, W bool) that hold no intensity and were filled, None: there are none; second:
        per stack the middle frame on a second detector, handed on.
        """
        missing = self.batch_size - len(stacks)
        padded = np.concatenate([stacks, np.repeat(stacks[-1:], missing, 0)]) if missing else stacks
        masks = invalid or [None] * len(stacks)
        valid = np.ones((self.batch_size, *self.frame_shape), bool)
        for i, mask in enumerate(masks):
            if mask is not None:
                valid[i] = ~mask
            if self.cover is not None and (covered := self.cover.of(stacks[i][stacks.shape[1] // 2])) is not None:
                valid[i] &= ~covered
        padded = jnp.asarray(padded, jnp.float32)
        others = second or [None] * len(stacks)
        return masks, others, self._program(self.model.params, self._constants, padded, jnp.asarray(valid))

    def collect(self, handle: Any) -> list[FrameOutput]:
        """Wait for a submitted batch; one `FrameOutput` per frame."""
        invalid, second, found = handle
        peaks, fractions, images, bragg, together, regions = jax.tree.map(np.asarray, found)
        out = []
        for i, mask in enumerate(invalid):
            columns = self._columns(jax.tree.map(lambda a, i=i: a[i], peaks))
            lattice = None
            if bragg is not None and self._made is not None:
                lattice = bragg_map.read(bragg[i], self._made).scaled(1 / self.scale)
            mean = None if together is None else together[i]
            out.append(
                FrameOutput(
                    columns=columns,
                    region_fraction=fractions[i],
                    image=images[i],
                    scale=self.scale,
                    lattice=lattice,
                    together=mean,
                    regions=region_map.stitched(regions[i], self.grid),
                    hidden=hiding.by(mask, self.aspect),
                    second=second[i],
                )
            )
        return out

    def look(self, *parts: Any) -> list[FrameOutput]:
        """`submit` and `collect`."""
        return self.collect(self.submit(*parts))

    def __call__(self, stacks: np.ndarray) -> list[FrameOutput]:
        """`look` for any number of frames (n, T, H, W)."""
        parts = range(0, len(stacks), self.batch_size)
        return [f for i in parts for f in self.look(stacks[i : i + self.batch_size])]

    def _columns(self, peaks: Any) -> Columns:
        use = peaks.valid
        columns = Columns(*(getattr(peaks, name) for name in Columns._fields)).take(use)
        columns = columns.take(_by_place(columns.y_px, columns.x_px, self.grid.shape))
        if len(self.grid.starts) > 1:
            columns = columns.take(_without_doubles(columns, 1.5 * MARGIN_PX))
        if self.model.by_light:
            columns = columns._replace(state_prob=other_crystal.no_opinion(columns.site, self.model), state_spread=None)
        return columns._replace(
            y_px=columns.y_px / self.scale, x_px=columns.x_px / self.scale, sigma_px=columns.sigma_px / self.scale
        )


def _rounded(n: int) -> int:
    """`n` or a few more: samplings that differ by a hair then share a program."""
    unit = 2 ** max(n.bit_length() - 10, 0)
    return -(-n // unit) * unit


def _over_devices(run: Any, devices: list) -> Any:
    """`run(params, constants, frames, valid)` with the frames shared out over the local devices."""
    if len(devices) == 1:
        return run
    mesh = jax.sharding.Mesh(np.array(devices), ("frames",))
    here, everywhere = jax.sharding.PartitionSpec("frames"), jax.sharding.PartitionSpec()
    return jax.shard_map(run, mesh=mesh, in_specs=(everywhere, everywhere, here, here), out_specs=here, check_vma=False)


def _by_place(y_px: np.ndarray, x_px: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Index (n,) of columns in the order of boxes, row by row: whoever looks at the pixels around one after the other
    finds most of them in the processor's cache."""
    side = max(max(shape) // 250, BOX_PX)  # few enough boxes for a sort by 16 bits, which takes no time
    across = shape[1] // side + 2
    box = ((y_px + 1) // side) * across + (x_px + 1) // side
    return np.argsort(box.astype(np.uint16), kind="stable")


def _without_doubles(columns: Columns, radius: float) -> np.ndarray:
    """Index of columns to keep where two tiles saw the same one: the surer of two of a sublattice within `radius`."""
    position = np.stack([columns.y_px, columns.x_px], 1)
    pairs = cKDTree(position).query_pairs(radius, output_type="ndarray")
    pairs = pairs[columns.site[pairs[:, 0]] == columns.site[pairs[:, 1]]]
    worse = np.where(columns.presence[pairs[:, 0]] < columns.presence[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    return np.setdiff1d(np.arange(len(position)), worse)
