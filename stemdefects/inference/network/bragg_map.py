"""The lattice of every frame, place by place, from its Bragg components: no network has a say in it.

Around each point of a coarse grid the frame is multiplied by a Gaussian window and a wave of one of the shortest
reciprocal vectors (geometric phase analysis, Hytch et al., Ultramicroscopy 74, 131 (1998)). How strong that component
is says where the lattice is; how its phase runs says how the frame's lattice differs from the one the waves were made
for. One more wave between the Bragg peaks gives the noise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.crystal.bragg import reciprocal, shells

SIGMA_LATTICE = 1.1  # width of the windows, in lattice spacings: what one defect changes stays small
MIN_POINTS = 3  # per axis: with fewer a map has no inside
CLEAR = 5.0  # median Bragg power over noise below which nothing is said about places
ABSENT = 0.12  # of the frame's median Bragg power: no lattice here
USUAL = 0.9  # quantile of a grain's power over the frame that is the grain's own: it need not fill half of it


class Windows(NamedTuple):
    """rows: (K, 2, ny, H) real and imaginary windowed waves along y; columns: (K, 2, nx, W) along x; y_px, x_px:
    centres; waves: (K, 2) frequencies in cycles per px (y, x), the last one the noise's; orders: (n, 2) h, k of the
    waves of a grain, of which there are as many as fit into K - 1."""

    rows: np.ndarray
    columns: np.ndarray
    y_px: np.ndarray
    x_px: np.ndarray
    waves: np.ndarray
    orders: np.ndarray


class LocalLattice(NamedTuple):
    """vectors: (2, 2) lattice vectors of the frame, px; power: (ny, nx) Bragg power over its median, NaN where not
    clear; y_px, x_px: where. `clear`: the frame's lattice stands so far above the noise that places can be judged.
    grains: (K, ny, nx) the same of each of several grains, the first one's `power` (over the median of the strongest
    there); None: there is one."""

    vectors_px: np.ndarray
    power: np.ndarray
    y_px: np.ndarray
    x_px: np.ndarray
    clear: bool
    grains: np.ndarray | None = None

    def at(self, y_px: np.ndarray, x_px: np.ndarray) -> np.ndarray:
        """(n,) relative Bragg power at points, bilinear."""
        return self._between(self.power, y_px, x_px)

    def of_any_grain(self, y_px: np.ndarray, x_px: np.ndarray) -> np.ndarray:
        """(n,) the same of the grain that is strongest there."""
        return self._between(self.power if self.grains is None else self.grains.max(0), y_px, x_px)

    def grain_at(self, y_px: np.ndarray, x_px: np.ndarray) -> np.ndarray:
        """(n,) which grain points are in: whose lattice is strongest there, each against its own usual power."""
        if self.grains is None:
            return np.zeros(len(y_px), int)
        usual = np.quantile(self.grains, USUAL, axis=(1, 2))
        strength = [self._between(p / max(u, 1e-9), y_px, x_px) for p, u in zip(self.grains, usual, strict=True)]
        return np.argmax(strength, axis=0)

    def _between(self, p: np.ndarray, y_px: np.ndarray, x_px: np.ndarray) -> np.ndarray:
        fy, fx = (np.interp(v, c, np.arange(len(c))) for v, c in ((y_px, self.y_px), (x_px, self.x_px)))
        i, j = (np.minimum(f.astype(int), n - 2) for f, n in zip((fy, fx), p.shape, strict=True))
        a, b = fy - i, fx - j
        upper, lower = p[i, j] * (1 - b) + p[i, j + 1] * b, p[i + 1, j] * (1 - b) + p[i + 1, j + 1] * b
        return upper * (1 - a) + lower * a

    def scaled(self, by: float) -> "LocalLattice":
        """The same in pixels `1 / by` as large."""
        return self._replace(vectors_px=self.vectors_px * by, y_px=self.y_px * by, x_px=self.x_px * by)

    @property
    def absent(self) -> np.ndarray:
        """(ny, nx) bool: no lattice here."""
        return self.power < ABSENT if self.clear else np.zeros(self.power.shape, bool)


def windows(shape: tuple[int, int], vectors_px: np.ndarray, lattice_nm: np.ndarray) -> Windows | None:
    """Windowed waves for frames of `shape` with about the lattice `vectors_px` (rows a1, a2; y and x), `lattice_nm` in
    the ideal crystal; None: too small a frame. vectors_px: (2, 2), or (K, 2, 2) of several grains."""
    grains = np.asarray(vectors_px, float).reshape(-1, 2, 2)
    spacing = np.sqrt(abs(np.linalg.det(grains[0])))
    sigma = SIGMA_LATTICE * spacing
    centres = [_centres(n, sigma) for n in shape]
    if min(map(len, centres)) < MIN_POINTS:
        return None
    orders = shells(lattice_nm)[0]
    bragg = orders @ reciprocal(grains[0])
    order = np.argsort(np.arctan2(bragg[:, 0], bragg[:, 1]) % np.pi)
    middle = bragg[order[0]] + bragg[order[1]]
    between = middle / np.linalg.norm(middle) * np.linalg.norm(bragg, axis=1).mean()
    waves = np.concatenate([*(orders @ reciprocal(vectors) for vectors in grains), between[None]])
    parts = []
    for axis, (n, centre) in enumerate(zip(shape, centres, strict=True)):
        x = np.arange(n)
        window = np.exp(-0.5 * ((x[None] - centre[:, None]) / sigma) ** 2)
        window /= window.sum(1, keepdims=True)
        wave = np.exp(-2j * np.pi * waves[:, axis, None] * x[None])
        full = wave[:, None] * window[None]
        parts.append(np.stack([full.real, full.imag], 1).astype(np.float32))
    return Windows(parts[0], parts[1], centres[0], centres[1], waves, orders)


def components(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """(B, h, w) images -> (B, K, 2, ny, nx) real and imaginary parts, by matrix products."""
    across = jnp.einsum("bhw,kcxw->bkchx", images, columns)
    part = jnp.einsum("bkchx,kdyh->bkcdyx", across, rows)
    real, imaginary = part[:, :, 0, 0] - part[:, :, 1, 1], part[:, :, 0, 1] + part[:, :, 1, 0]
    return jnp.stack([real, imaginary], 2)


def read(component: np.ndarray, made: Windows) -> LocalLattice:
    """What the `components` (K, 2, ny, nx) of one frame say."""
    value = component[:, 0] + 1j * component[:, 1]
    power = (np.abs(value) ** 2).astype(float)
    noise = float(np.median(power[-1]) / np.log(2))  # the median of an exponential distribution
    n = len(made.orders)
    grains = power[:-1].reshape(-1, n, *power.shape[1:]).mean(1) - noise
    level = float(np.median(grains.max(0)))
    clear = level > CLEAR * noise > 0
    relative = grains / level if level > 0 else np.full(grains.shape, np.nan)
    several = relative if len(grains) > 1 else None
    return LocalLattice(_refined(value[:n], made), relative[0], made.y_px, made.x_px, clear, several)


def of_frame(image: np.ndarray, made: Windows) -> LocalLattice:
    """What the Bragg components of one frame (H, W) say; without a device."""
    image = image - image.mean()
    rows, columns = (part[:, 0] + 1j * part[:, 1] for part in (made.rows, made.columns))
    value = np.stack([r @ image @ c.T for r, c in zip(rows, columns, strict=True)])
    return read(np.stack([np.real(value), np.imag(value)], 1), made)


def _refined(value: np.ndarray, made: Windows) -> np.ndarray:
    """Lattice vectors from how the phases (K, ny, nx) run over the frame; strong places count more."""
    shift = []
    for axis, centre in ((1, made.y_px), (2, made.x_px)):
        step = np.diff(centre).mean()
        turn = value * np.conj(np.roll(value, 1, axis))
        turn = np.take(turn, np.arange(1, value.shape[axis]), axis)
        shift.append(np.angle(turn.sum((1, 2))) / (2 * np.pi * step))
    waves = made.waves[: len(made.orders)] + np.stack(shift, 1)
    solved, *_ = np.linalg.lstsq(made.orders, waves, rcond=None)  # rows b1, b2
    return np.linalg.inv(solved).T if abs(np.linalg.det(solved)) > 1e-12 else np.full((2, 2), np.nan)


def deformation(vectors_px: np.ndarray, lattice_nm: np.ndarray, pixel_size_nm: float) -> tuple[float, np.ndarray]:
    """Rotation (rad) and symmetric strain (2, 2) (y, x) that turn `lattice_nm` into `vectors_px` of a frame."""
    gradient = np.linalg.solve(lattice_nm, vectors_px * pixel_size_nm)  # row vectors: r' = r F
    u, s, vt = np.linalg.svd(gradient)
    turn = u @ vt
    return float(np.arctan2(turn[1, 0], turn[1, 1])), (vt.T * s) @ vt - np.eye(2)


def distortion(strain: np.ndarray) -> float:
    """How much a lattice of the symmetric `strain` (2, 2) is stretched or sheared: the larger of the stretch of one
    axis against the other and of either against the crystal."""
    low, high = 1 + np.linalg.eigvalsh(strain)
    return float(max(high / low - 1, high - 1, 1 - low))


def _centres(n: int, sigma: float) -> np.ndarray:
    """Centres of windows about `sigma` apart, none nearer than that to the border."""
    inner = n - 1 - 2 * sigma
    if inner <= 0:
        return np.zeros(0)
    return np.linspace(sigma, n - 1 - sigma, int(inner / sigma) + 1)
