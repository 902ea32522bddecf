"""Movies with exact truth: defect kinetics, drift, and frames rendered block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material
from stemdefects.io.tables.table import DEFECT_DTYPE, empty
from stemdefects.schema import MovieConfig, SimulationConfig
from stemdefects.simulation import checks, images
from stemdefects.simulation.conditions import draw_conditions
from stemdefects.simulation.optics import stage as stages
from stemdefects.simulation.specimen import fields, growth, population
from stemdefects.simulation.specimen.center_chain import state_labels
from stemdefects.simulation.specimen.kinetics import LOST, Event, Kinetics
from stemdefects.simulation.specimen.processes import cross_sections_barn, rates, roles


@dataclass
class Block:
    """A few consecutive frames with their truth. Arrays start at frame `first`; positions in pixels (y, x)."""

    first: int
    frames: np.ndarray  # (b, h, w)
    states: np.ndarray  # (b, n_sites) uint8, as the scan saw each column; 255: lost in a hole
    regions: np.ndarray | None  # (b, h, w) uint8; None while everything is lattice
    rows: np.ndarray  # defect table rows
    chain: np.ndarray  # (b, n_centers) uint8 state of each centre; 255: none of them (it changed under the scan)
    events: list[Event]


class Scene:
    """A simulated experiment: one crystal, its kinetics, one microscope. `blocks()` makes the movie, once.

    Attributes hold the truth that does not change: `sites_px` (n, 2) in the undrifted frame, `site` (n,),
    `drift_px` (n_frames, 2) displacement of each frame's content, `generator`, `state_labels`, `centers`,
    `D_nm2_per_s`. The same material, config and seed give the same movie.
    """

    def __init__(self, material: Material, cfg: SimulationConfig, seed: int = 0):
        movie = cfg.movie
        self.size_px = (int(cfg.view.size_px[0]), int(cfg.view.size_px[1]))
        checks.check(material, cfg, self.size_px)
        checks.check_movie(material, cfg)
        self.material, self.cfg, self.seed = material, cfg, seed
        keys = jax.random.split(jax.random.key(seed), 5)
        self._frame_key = keys[4]
        conditions = jax.jit(lambda key: draw_conditions(key, material, cfg))(keys[0])  # op by op compiles for longer
        conditions = conditions._replace(complexes=jnp.zeros_like(conditions.complexes), has_twin=jnp.asarray(False))
        self.conditions = conditions
        self.pixel_size_nm = float(conditions.pixel_size_nm)
        self.dose_e_per_px = float(conditions.detector.dose_e_per_px)
        self._path_px = drift_path(np.random.default_rng([seed, 1]), movie)  # at frame borders
        self.drift_px = 0.5 * (self._path_px[1:] + self._path_px[:-1])
        self.lattice = self._cut()
        self.stage = stages.make_stage(material, cfg, self.size_px, self.lattice)
        state, self.crystal = self._grow(keys[1:3], conditions)
        self.rates = rates(cfg, self.pixel_size_nm, self.dose_e_per_px)
        self.kinetics = Kinetics(material, self.lattice, np.asarray(state), roles(material, cfg), self.rates, seed)
        holes = np.flatnonzero(np.asarray(self.crystal.region) == growth.HOLE)
        self._first_events = self.kinetics.open_hole(holes) if len(holes) else []
        self.initial_state = self.kinetics.state.copy()
        position = jnp.asarray(self.lattice.position_nm, jnp.float32)
        self.sites_px = np.stack(growth.to_px(self.stage, conditions, position), 1)
        self.site = self.lattice.site.astype(np.uint8)
        self.centers = self.kinetics.centers.copy()
        self.center_identities = self.kinetics.identity[self.centers].copy()
        self.generator = self.kinetics.matrix
        self.state_labels = []
        if self.kinetics.roles.center >= 0:
            self.state_labels = state_labels(
                material, self.kinetics.center_states, self.kinetics.roles.center, self.kinetics.roles.mobile
            )
        step = np.linalg.norm(self.lattice.position_nm[self.lattice.hops[0, 0]] - self.lattice.position_nm[0])
        n_ways = self.lattice.hops.shape[1]
        self.D_nm2_per_s = float(material.a_nm**2 * n_ways * movie.hop_rate_per_s / 4.0)
        ideal = material.states[material.sites[self.kinetics.active_site].ideal]
        lost = self.kinetics.roles.other_lost
        others = [site.name for site, state in zip(material.sites, lost, strict=True) if state >= 0]
        self.damage_barn = cross_sections_barn(movie, max(sum(n for _, n in ideal.atoms), 1), others)
        assert abs(step - material.a_nm) < 0.01 * material.a_nm or self.lattice.hops[0, 0] < 0
        self._nearest = self._nearest_site_map()
        self._render = jax.jit(self._render_block)

    def _grow(self, keys, conditions):
        """(states (n,) at the start, the crystal)."""

        @jax.jit
        def grown(keys, conditions):
            _, state, columns = growth.grow_states(keys[0], self.stage, conditions)
            return state, growth.grow(keys[1], self.stage, conditions, state, columns)

        return grown(keys, conditions)

    def _cut(self) -> geometry.Lattice:
        """The part of the crystal that some frame shows, with a margin."""
        margin = stages.PAD_PX + 4
        low = -self._path_px.max(0) - margin - 0.5 * np.array(self.size_px)
        high = -self._path_px.min(0) + margin + 0.5 * np.array(self.size_px)
        affine, offset = np.asarray(self.conditions.affine), np.asarray(self.conditions.offset_nm)
        cells = geometry.rectangle(self.material, affine, low * self.pixel_size_nm, high * self.pixel_size_nm, offset)
        return geometry.build(self.material, cells)

    def _nearest_site_map(self):
        """(origin, map): nearest site of every pixel of the field that the drift sweeps over."""
        low = np.floor(-self._path_px.max(0)).astype(int) - 1
        high = np.ceil(-self._path_px.min(0)).astype(int) + 1 + np.array(self.size_px)
        y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
        index = cKDTree(self.sites_px).query(np.stack([y.ravel(), x.ravel()], 1), workers=1)[1]
        return low, index.reshape(y.shape).astype(np.int32)

    def _render_block(self, base_px, keys, states, drifts, shears, masks):
        """base_px: (n, 2) columns without the relaxation that follows their state; then one entry per frame of each."""

        def frame(key, state, drift, shear, mask):
            kept = jnp.where(state == LOST, self.stage.slots.ideal, state)
            alive = self.crystal.present & (state != LOST)
            moved = population.relax(self.stage.slots, self.material, kept, self.conditions.relaxation)
            turned = moved @ self.conditions.affine.T / self.conditions.pixel_size_nm
            crystal = self.crystal._replace(
                y_px=base_px[:, 0] + turned[:, 0],
                x_px=base_px[:, 1] + turned[:, 1],
                state=kept,
                present=alive,
                masks=mask,
                contamination=_moved(self.crystal.contamination, drift),
            )
            # film and dirt lie on the sample and drift with it
            film = tuple(fields.moved_upsampling(n, d) for n, d in zip(self.size_px, drift, strict=True))
            stage = self.stage._replace(upsampling=film)
            scan = self.conditions.scan._replace(drift_y_px=shear[0], drift_x_px=shear[1])
            image, y, x = images.expose(key, stage, self.conditions._replace(scan=scan), crystal, drift)
            return image, y, x, population.find_complexes(self.stage.slots, self.material, kept)

        return jax.vmap(frame)(keys, states, drifts, shears, masks)

    def blocks(self) -> Iterator[Block]:
        """The movie, `movie.block_frames` frames at a time. Memory does not grow with its length."""
        movie = self.cfg.movie
        resting = population.relax(
            self.stage.slots, self.material, jnp.asarray(np.asarray(self.crystal.state)), self.conditions.relaxation
        )
        turned = resting @ self.conditions.affine.T / self.conditions.pixel_size_nm
        grown = jnp.stack([self.crystal.y_px, self.crystal.x_px], 1)
        base_px = grown - turned  # static displacements stay, relaxation follows the state
        events, self._first_events = self._first_events, []
        for first in range(0, movie.n_frames, movie.block_frames):
            count = min(movie.block_frames, movie.n_frames - first)
            numbers = range(first, first + count)
            states, identities = [], []
            for number in numbers:
                seen, who, new = self._scan_frame(number)
                states.append(seen)
                identities.append(who)
                events += new
            states, identities = np.stack(states), np.stack(identities)
            masks = np.stack([self._masks(number, seen) for number, seen in zip(numbers, states, strict=True)])
            padded = [*numbers] + [numbers[-1]] * (movie.block_frames - count)  # one compiled shape
            take = np.array(padded) - first
            keys = jax.vmap(lambda n: jax.random.fold_in(self._frame_key, n))(jnp.array(padded))
            shears = (self._path_px[1:] - self._path_px[:-1])[padded]
            image, y, x, groups = jax.device_get(
                self._render(
                    base_px,
                    keys,
                    jnp.asarray(states[take], jnp.int32),
                    jnp.asarray(self.drift_px[padded], jnp.float32),
                    jnp.asarray(shears, jnp.float32),
                    jnp.asarray(masks[take], jnp.int32),
                )
            )
            rows = [
                self._rows(number, states[b], identities[b], y[b], x[b], jax.tree.map(lambda v, b=b: v[b], groups))
                for b, number in enumerate(numbers)
            ]
            regions = masks.astype(np.uint8) if masks.any() else None
            yield Block(
                first,
                image[:count],
                states.astype(np.uint8),
                regions,
                np.concatenate(rows),
                self._chain(states),
                events,
            )
            events = []

    def _scan_frame(self, number: int):
        """States and identities as frame `number` shows them: each column at the moment the scan passes its row."""
        duration = self.cfg.movie.frame_time_s
        start = self.kinetics.time_s
        seen, who = self.kinetics.state.copy(), self.kinetics.identity.copy()
        rows = (self.sites_px[:, 0] + self.drift_px[number, 0]) / self.size_px[0]
        passed = start + duration * np.clip(rows, 0.0, 1.0)
        events = self.kinetics.advance(duration)
        for event in events:
            if event.time_s <= passed[event.slot]:
                seen[event.slot], who[event.slot] = event.state, event.identity
        return seen, who, events

    def _masks(self, number: int, seen: np.ndarray) -> np.ndarray:
        """(h, w) region labels of a frame: each pixel is what its nearest column is."""
        low, nearest = self._nearest
        shift = np.round(-self.drift_px[number]).astype(int) - low
        window = nearest[shift[0] : shift[0] + self.size_px[0], shift[1] : shift[1] + self.size_px[1]]
        label = np.where(seen == LOST, growth.HOLE, np.where(self._region == growth.HOLE, 0, self._region))
        return label[window]

    @property
    def _region(self) -> np.ndarray:
        return np.asarray(self.crystal.region)

    def _rows(self, number, seen, who, y, x, groups) -> np.ndarray:
        """Rows of the defect table for one frame."""
        kind = self.material.kind_of_state[np.where(seen == LOST, 0, seen)]
        inside = (y >= -0.5) & (y < self.size_px[0] - 0.5) & (x >= -0.5) & (x < self.size_px[1] - 0.5)
        wanted = np.flatnonzero((seen != LOST) & (kind >= 0) & inside & (self._region == growth.LATTICE))
        rows = empty(len(wanted))
        assert rows.dtype == DEFECT_DTYPE
        rows["frame"] = number
        rows["time_s"] = number * self.cfg.movie.frame_time_s
        rows["y_px"], rows["x_px"] = y[wanted], x[wanted]
        rows["y_nm"], rows["x_nm"] = y[wanted] * self.pixel_size_nm, x[wanted] * self.pixel_size_nm
        rows["sigma_nm"], rows["score"], rows["kind_prob"] = 0.0, 1.0, 1.0
        rows["kind"] = np.array([n.encode() for n in self.material.kind_names])[kind[wanted]]
        rows["track"] = who[wanted]
        rows["complex"], rows["orientation"] = groups.complex[wanted], groups.orientation[wanted]
        return rows

    def _chain(self, states: np.ndarray) -> np.ndarray:
        """(b, n_centers) index of each centre's visible state in `state_labels`; 255: none of them."""
        known = {frozenset(s): i for i, s in enumerate(self.kinetics.center_states)}
        mobile = states[:, self.lattice.bonds[self.centers]] == self.kinetics.roles.mobile
        out = np.full(mobile.shape[:2], 255, np.uint8)
        for place in np.ndindex(out.shape):
            out[place] = known.get(frozenset(np.flatnonzero(mobile[place]).tolist()), 255)
        return out


def _moved(image, shift_px):
    """`image` (H, W) displaced by `shift_px` (y, x), bilinear, its edge continued."""
    y, x = (jnp.arange(n) - d for n, d in zip(image.shape, shift_px, strict=True))
    return jax.scipy.ndimage.map_coordinates(image, jnp.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")


def drift_path(rng: np.random.Generator, movie: MovieConfig) -> Float[np.ndarray, "borders 2"]:
    """(n_frames + 1, 2) displacement (y, x) in pixels at the frame borders: steady, wandering, with sudden steps."""
    n = movie.n_frames
    steps = np.array(movie.drift_px_per_frame) + movie.drift_wander_px * rng.standard_normal((n, 2))
    sudden = rng.random(n) < movie.drift_step_probability
    steps = steps + sudden[:, None] * movie.drift_step_px * rng.standard_normal((n, 2))
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
