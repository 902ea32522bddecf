"""Unsupervised classes of the image patches: rotation-aware features, PCA, Gaussian mixture, honest model selection.

Kinds come from training on simulation; classes are for discovery, and say how well they agree with the kinds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from stemdefects.schema import ClusteringConfig

OUTLIER = -1
STABLE = 0.8  # adjusted Rand index between the whole set's classes and those of random halves


@dataclass
class Classes:
    """Classes of patches.

    Attributes:
        label: (n,) class 0..n_classes-1 by falling size, -1 outlier.
        averages: (n_classes, h, w) mean patches.
        counts: (n_classes,) members.
        scores: one dict per tried number of classes: `classes`, `bic`, `stability`.
        agreement: adjusted Rand index with the kinds, None without kinds.
    """

    label: np.ndarray
    averages: np.ndarray
    counts: np.ndarray
    scores: list[dict]
    agreement: float | None
    method: str
    note: str = ""


def features(patches: np.ndarray, kind: str) -> np.ndarray:
    """Features of patches (n, h, w), whose frames are normalised already; all are scaled alike, so that brightness
    counts.

    `raw`: pixels in the central disc. `threefold`: the polar image averaged over the three rotations that leave a
    1H lattice as it is, so that the orientations of one complex fall together. `zernike`: sizes of the Zernike
    moments up to order 8, unchanged by any rotation (Teague, J. Opt. Soc. Am. 70, 920 (1980)).

    Raises:
        ValueError: unknown kind.
    """
    flat = np.asarray(patches, np.float32).reshape(len(patches), -1)
    height, width = patches.shape[1:]
    middle = np.nanmedian(flat)
    spread = max(1.4826 * np.nanmedian(np.abs(flat - middle)), 1e-6)
    flat = np.clip((flat - middle) / spread, -30, 30)
    yy, xx = np.mgrid[:height, :width]
    radius = np.hypot(yy - (height - 1) / 2, xx - (width - 1) / 2)
    limit = (min(height, width) - 1) / 2
    if kind == "raw":
        return flat[:, (radius <= limit).ravel()]
    if kind == "threefold":
        polar = (_polar_matrix(height, width) @ flat.T).T.reshape(len(flat), _RADII, 3, _ANGLES // 3)
        return polar.mean(2).reshape(len(flat), -1)
    if kind == "zernike":
        return np.abs(flat @ _zernike(height, width).T)
    raise ValueError(f"unknown features: {kind}")


_RADII, _ANGLES = 7, 36
_REACH = 0.58  # of the patch: a defect differs from the crystal at its own column and the nearest ones


def _polar_matrix(height: int, width: int) -> csr_matrix:
    """Bilinear sampling of a flattened patch at _RADII x _ANGLES polar points around its middle."""
    limit = _REACH * (min(height, width) - 1) / 2
    r, a = np.meshgrid(np.linspace(0, limit, _RADII), np.arange(_ANGLES) * 2 * np.pi / _ANGLES, indexing="ij")
    y, x = (height - 1) / 2 + (r * np.sin(a)).ravel(), (width - 1) / 2 + (r * np.cos(a)).ravel()
    y0, x0 = np.clip(np.floor(y), 0, height - 2).astype(int), np.clip(np.floor(x), 0, width - 2).astype(int)
    fy, fx = y - y0, x - x0
    rows = np.tile(np.arange(y.size), 4)
    columns = np.concatenate([y0 * width + x0, y0 * width + x0 + 1, (y0 + 1) * width + x0, (y0 + 1) * width + x0 + 1])
    values = np.concatenate([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx])
    return csr_matrix((values, (rows, columns)), (y.size, height * width))


def _zernike(height: int, width: int, order: int = 8) -> np.ndarray:
    """Complex conjugate Zernike polynomials on the patch's disc, (n_moments, height * width)."""
    from math import factorial

    yy, xx = np.mgrid[:height, :width]
    y, x = yy - (height - 1) / 2, xx - (width - 1) / 2
    r, a = np.hypot(y, x) / ((min(height, width) - 1) / 2), np.arctan2(y, x)
    inside = r <= 1
    moments = []
    for n in range(order + 1):
        for m in range(n % 2, n + 1, 2):
            radial = sum(
                (-1) ** k * factorial(n - k)
                / (factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k)) * r ** (n - 2 * k)
                for k in range((n - m) // 2 + 1)
            )  # fmt: skip
            moments.append((np.sqrt(n + 1) * radial * np.exp(-1j * m * a) * inside).ravel() / inside.sum())
    return np.array(moments)


def classify(
    patches: np.ndarray, cfg: ClusteringConfig, seed: int = 0, kinds: np.ndarray | None = None
) -> Classes | None:
    """Group patches (n, h, w) into classes.

    The number of classes is the one of lowest BIC up to where labels no longer come back when the mixture is fitted to
    random halves (adjusted Rand index below 0.8). Returns None with fewer than 30 patches.
    """
    from sklearn.decomposition import PCA
    from sklearn.metrics import adjusted_rand_score
    from threadpoolctl import threadpool_limits

    if len(patches) < 30:
        return None
    rng = np.random.default_rng(seed)
    data = features(patches, cfg.features)
    finite = np.isfinite(data).all(1)
    pool = np.flatnonzero(finite)
    train = np.sort(rng.permutation(pool)[: cfg.max_patches])
    if len(train) < 30:
        return None
    n_pca = min(cfg.n_pca, data.shape[1], len(train) - 1)
    pca = PCA(n_pca, random_state=seed).fit(data[train])
    points = np.zeros((len(data), n_pca))
    points[finite] = pca.transform(data[finite])
    scores: list[dict] = []
    if cfg.method == "hdbscan":
        from sklearn.cluster import HDBSCAN

        raw = np.full(len(data), OUTLIER)
        raw[train] = HDBSCAN(min_cluster_size=max(10, len(train) // 50), copy=True).fit_predict(points[train])
        if len(train) < len(pool):
            raw[pool] = _nearest_label(points[train], raw[train], points[pool])
    elif cfg.method == "mixture":
        with threadpool_limits(1):  # small matrices: threads would wait for each other
            raw, scores = _mixture(points, train, pool, cfg, seed, rng)
    else:
        raise ValueError(f"unknown clustering method: {cfg.method}")
    label = _by_size(raw)
    n_classes = int(label.max(initial=-1)) + 1
    averages = (
        np.stack([_mean_patch(patches[label == k]) for k in range(n_classes)]) if n_classes else np.empty((0, 0, 0))
    )
    counts = np.bincount(label[label >= 0], minlength=n_classes)
    agreement = None
    if kinds is not None and len(np.unique(kinds)) > 1:
        inside = label >= 0
        agreement = float(adjusted_rand_score(kinds[inside], label[inside]))
    note = "" if n_classes > 1 else "The patches form one class only: no grouping is stable."
    return Classes(
        label, averages, counts, scores, agreement, f"{cfg.features} features, {n_pca} components, {cfg.method}", note
    )


def _mixture(points, train, pool, cfg, seed, rng):
    """Labels by Gaussian mixture, and the table of BIC and stability over the number of classes."""
    from sklearn.metrics import adjusted_rand_score
    from sklearn.mixture import GaussianMixture

    def fit(k, rows, state):
        return GaussianMixture(
            k, covariance_type=cfg.covariance, random_state=state, reg_covar=1e-4, n_init=1, max_iter=100
        ).fit(points[rows])

    sizes = [cfg.classes] if cfg.classes else list(range(1, cfg.max_classes + 1))
    sizes = [k for k in sizes if k * 10 <= len(train)] or [1]
    scores, models = [], {}
    for k in sizes:
        models[k] = fit(k, train, seed)
        reference = models[k].predict(points[train])
        again = []
        for number in range(cfg.n_resamples if k > 1 else 0):
            half = rng.permutation(train)[: max(len(train) // 2, 5 * k)]
            again.append(adjusted_rand_score(reference, fit(k, half, seed + 1 + number).predict(points[train])))
        scores.append({
            "classes": k, "bic": float(models[k].bic(points[train])),
            "stability": float(np.mean(again)) if again else 1.0,
        })  # fmt: skip
        if scores[-1]["stability"] < STABLE:
            break  # past the first number that does not come back, a stable one is chance
    falls = next((k for k, s in enumerate(scores) if s["stability"] < STABLE), len(scores))
    stable = scores[: max(falls, 1)]
    chosen = cfg.classes if cfg.classes in models else min(stable, key=lambda s: s["bic"])["classes"]
    for s in scores:
        s["chosen"] = s["classes"] == chosen
    label = np.full(len(points), OUTLIER)
    label[pool] = models[chosen].predict(points[pool])
    likelihood = models[chosen].score_samples(points[pool])
    if cfg.outlier_quantile > 0:
        # far below what the mixture itself would produce, not merely the last per cent
        typical = models[chosen].score_samples(models[chosen].sample(2000)[0])
        label[pool[likelihood < np.quantile(typical, cfg.outlier_quantile / 10) - 5]] = OUTLIER
    return label, scores


def _nearest_label(known, labels, points):
    from scipy.spatial import cKDTree

    return labels[cKDTree(known).query(points)[1]]


def _by_size(label: np.ndarray) -> np.ndarray:
    """Renumber classes by falling size, so that labels stay the same from run to run."""
    names, counts = np.unique(label[label >= 0], return_counts=True)
    out = np.full(len(label), OUTLIER)
    for new, old in enumerate(names[np.argsort(-counts, kind="stable")]):
        out[label == old] = new
    return out


def _mean_patch(patches: np.ndarray) -> np.ndarray:
    return np.asarray(patches, np.float32).mean(0) if len(patches) else np.zeros(patches.shape[1:], np.float32)
