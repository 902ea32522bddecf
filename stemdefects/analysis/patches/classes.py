"""Unsupervised classes of the image patches, for discovery: they say how well they agree with the network's kinds.

Where the lattice is known a patch is described by the light of its column and of the three bonded ones (`patch_light`),
and classes are those of a mixture that knows the orientations (`orientation_mixture`). Else, or when asked for,
features of the whole patch go through PCA into a Gaussian mixture or HDBSCAN. Either way the number of classes is the
one of lowest BIC up to where labels no longer come back when the mixture is fitted to random halves.
"""

from dataclasses import dataclass, field

import numpy as np

from stemdefects.analysis.patches import orientation_mixture
from stemdefects.analysis.patches.patch_features import features
from stemdefects.analysis.patches.patch_light import Light
from stemdefects.schema import ClusteringConfig

OUTLIER = -1  # label of what belongs to no class
STABLE = 0.8  # Jaccard index of each class between the whole set and random halves
LEAST_PATCHES = 30  # fewer are no basis for classes


@dataclass
class Classes:
    """Classes of patches.

    Attributes:
        label: (n,) class 0..n_classes-1 by falling size, -1 outlier.
        averages: (n_classes, h, w) mean patches, members of a class with orientations turned onto each other.
        counts: (n_classes,) members.
        scores: one dict per tried number of classes: `classes`, `bic`, `stability`.
        agreement: adjusted Rand index with the kinds, None without kinds.
        light: (n_classes, 4) mean light of the column and of its three bonded ones, the one that differs first, in
            units of an ideal bright column; None where it was not measured.
        site: (n_classes,) sublattice of each class, None as `light`.
    """

    label: np.ndarray
    averages: np.ndarray
    counts: np.ndarray
    scores: list[dict]
    agreement: float | None
    method: str
    note: str = ""
    light: np.ndarray | None = None
    site: np.ndarray | None = None


@dataclass
class _Found:
    """Labels (n,) and orientations (n,), -1 for none, before classes are sorted by size."""

    label: np.ndarray
    turn: np.ndarray
    scores: list[dict] = field(default_factory=list)
    method: str = ""


def classify(
    patches: np.ndarray,
    cfg: ClusteringConfig,
    seed: int = 0,
    kinds: np.ndarray | None = None,
    light: Light | None = None,
    owner: np.ndarray | None = None,
) -> Classes | None:
    """Group patches (n, h, w) into classes; `light` of their columns, for `features: columns`.

    owner: (n,) number of the defect that a patch is of, -1 unknown: a defect that stays is seen in many frames, and
    what comes back with the same defects proves nothing, so halves are halves of the owners.
    Without light in half of the patches, or with HDBSCAN, three-fold means stand in for it. Returns None with fewer
    than 30 patches.
    """
    from sklearn.metrics import adjusted_rand_score
    from threadpoolctl import threadpool_limits

    rng, notes = np.random.default_rng(seed), []
    owner = _numbered(owner, len(patches))
    if not (cfg.features == "columns" and cfg.method == "mixture"):
        light = None
    elif light is not None and not light.known.mean() >= 0.5:
        light = None
        notes.append("The light of the columns is known in too few patches; whole patches were compared instead.")
    with threadpool_limits(1):  # small matrices: threads would wait for each other
        found = _of_patches(patches, cfg, seed, owner, rng) if light is None else _of_light(light, cfg, owner, rng)
    if found is None:
        return None
    label = _by_size(found.label)
    n_classes = int(label.max(initial=-1)) + 1
    members = [np.flatnonzero(label == k) for k in range(n_classes)]
    averages = [_mean_patch(patches[rows], found.turn[rows]) for rows in members]
    agreement = None
    if kinds is not None and len(np.unique(kinds)) > 1:
        inside = label >= 0
        agreement = float(adjusted_rand_score(kinds[inside], label[inside]))
    if n_classes <= 1:
        notes.append("The patches form one class only: no grouping is stable.")
    out = Classes(
        label,
        np.stack(averages) if averages else np.empty((0, 0, 0)),
        np.array([len(rows) for rows in members], int),
        found.scores,
        agreement,
        found.method,
        " ".join(notes),
    )
    if light is not None:
        turned = np.take_along_axis(light.beside, (np.maximum(found.turn, 0)[:, None] + np.arange(3)) % 3, 1)
        values = np.column_stack([light.own, turned])
        out.light = np.array([np.nanmean(values[rows], 0) for rows in members]).reshape(-1, 4)
        out.site = np.array([light.site[rows][0] for rows in members], int)
    return out


def _of_light(light: Light, cfg: ClusteringConfig, owner, rng) -> _Found | None:
    """Classes of the columns' light."""
    pool = np.flatnonzero(light.known)
    if len(pool) < LEAST_PATCHES:
        return None
    own, beside, site = light.even(light.own)[pool], light.even(light.beside)[pool], light.site[pool]
    train = np.sort(rng.permutation(len(pool))[: cfg.max_patches])

    def grow(rows):
        return orientation_mixture.joint(own[rows], beside[rows], site[rows])

    def labels(mixtures):
        return orientation_mixture.assign(mixtures, own[train], beside[train], site[train])[0]

    halves = [grow(train[_half(owner[pool][train], rng)]) for _ in range(cfg.n_resamples)]
    path, scores = [], []
    for mixtures, *others in zip(grow(train), *halves, strict=False):
        count = orientation_mixture.size(mixtures)
        total = sum(orientation_mixture.bic(m, len(train)) for m in mixtures.values())
        stability = _agreement(labels(mixtures), [labels(m) for m in others])
        path.append(mixtures)
        scores.append({"classes": count, "bic": total, "stability": stability})
        past = stability < STABLE or (len(scores) > 1 and total > scores[-2]["bic"])
        if count >= (cfg.classes or cfg.max_classes) or (past and not cfg.classes):
            break
    if not path:
        return None
    chosen = path[_choose(scores, cfg.classes)]
    found = _Found(np.full(len(light.own), OUTLIER), np.full(len(light.own), -1), scores)
    found.label[pool], found.turn[pool] = orientation_mixture.assign(chosen, own, beside, site)
    found.method = "the light of the column and of its three bonded ones, a mixture that knows the orientations"
    return found


def _of_patches(patches: np.ndarray, cfg: ClusteringConfig, seed: int, owner, rng) -> _Found | None:
    """Classes of features of the whole patch."""
    from sklearn.decomposition import PCA

    if len(patches) < LEAST_PATCHES:
        return None
    kind = "threefold" if cfg.features == "columns" else cfg.features
    data = features(patches, kind)
    finite = np.isfinite(data).all(1)
    pool = np.flatnonzero(finite)
    train = np.sort(rng.permutation(pool)[: cfg.max_patches])
    if len(train) < LEAST_PATCHES:
        return None
    n_pca = min(cfg.n_pca, data.shape[1], len(train) - 1)
    points = np.zeros((len(data), n_pca))
    points[finite] = PCA(n_pca, random_state=seed).fit(data[train]).transform(data[finite])
    found = _Found(np.full(len(data), OUTLIER), np.full(len(data), -1))
    found.method = f"{kind} features, {n_pca} components, {cfg.method}"
    if cfg.method == "hdbscan":
        from sklearn.cluster import HDBSCAN

        # its default "warn" is taken for the type of `copy`
        how = HDBSCAN(min_cluster_size=max(10, len(train) // 50), copy=True)  # pyright: ignore[reportArgumentType]
        found.label[train] = how.fit_predict(points[train])
        if len(train) < len(pool):
            found.label[pool] = _nearest_label(points[train], found.label[train], points[pool])
    elif cfg.method == "mixture":
        found.label, found.scores = _mixture(points, train, pool, cfg, seed, owner, rng)
    else:
        raise ValueError(f"unknown clustering method: {cfg.method}")
    return found


def _mixture(points, train, pool, cfg, seed, owner, rng):
    """Labels by Gaussian mixture, and the table of BIC and stability over the number of classes."""
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
        again = []
        for number in range(cfg.n_resamples if k > 1 else 0):
            half = train[_half(owner[train], rng)]
            again.append(fit(k, half, seed + 1 + number).predict(points[train]))
        scores.append(
            {
                "classes": k,
                "bic": float(models[k].bic(points[train])),
                "stability": _agreement(models[k].predict(points[train]), again),
            }
        )
        if scores[-1]["stability"] < STABLE:
            break  # past the first number that does not come back, a stable one is chance
    chosen = scores[_choose(scores, cfg.classes)]["classes"]
    label = np.full(len(points), OUTLIER)
    label[pool] = models[chosen].predict(points[pool])
    likelihood = models[chosen].score_samples(points[pool])
    if cfg.outlier_quantile > 0:
        # far below what the mixture itself would produce, not merely the last per cent
        typical = models[chosen].score_samples(models[chosen].sample(2000)[0])
        label[pool[likelihood < np.quantile(typical, cfg.outlier_quantile / 10) - 5]] = OUTLIER
    return label, scores


def _numbered(owner: np.ndarray | None, n: int) -> np.ndarray:
    """(n,) owners, each patch without one being its own."""
    if owner is None:
        return np.arange(n)
    return np.where(owner >= 0, owner, owner.max(initial=0) + 1 + np.arange(n))


def _half(owner: np.ndarray, rng) -> np.ndarray:
    """(n,) bool: the patches of a random half of the owners."""
    names, number = np.unique(owner, return_inverse=True)
    return (rng.permutation(len(names)) < (len(names) + 1) // 2)[number]


def _agreement(label: np.ndarray, others: list[np.ndarray]) -> float:
    """How well the worst class comes back in other labels of the same patches: the mean Jaccard index with the class
    there that is most like it (Hennig, Comput. Stat. Data Anal. 52, 258 (2007)); 1 without others."""
    if not others:
        return 1.0

    def likest(mine, other):
        same = (np.sum(mine & (other == j)) / np.sum(mine | (other == j)) for j in np.unique(other[other >= 0]))
        return max(same, default=0.0)

    return float(min(np.mean([likest(label == k, o) for o in others]) for k in np.unique(label[label >= 0])))


def _choose(scores: list[dict], wanted: int | None) -> int:
    """Index of the number of classes to take, marked `chosen`: the wanted one, else of lowest BIC among the stable."""
    falls = next((k for k, s in enumerate(scores) if s["stability"] < STABLE), len(scores))
    number = min(range(max(falls, 1)), key=lambda k: scores[k]["bic"])
    number = next((k for k, s in enumerate(scores) if s["classes"] == wanted), number)
    for k, s in enumerate(scores):
        s["chosen"] = k == number
    return number


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


def _mean_patch(patches: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Mean of patches (n, h, w), those of orientation k turned back by k thirds."""
    from scipy.ndimage import map_coordinates

    height, width = patches.shape[1:]
    middle = np.array([height - 1, width - 1]) / 2
    offset = np.moveaxis(np.mgrid[:height, :width], 0, -1) - middle
    total, weight = np.zeros((height, width)), np.zeros((height, width))
    for k in np.unique(turn):
        mean = np.asarray(patches[turn == k], np.float32).mean(0)
        if k > 0:
            c, s = np.cos(2 * np.pi * k / 3), np.sin(2 * np.pi * k / 3)
            place = offset @ np.array([[c, -s], [s, c]]) + middle  # (y, x), by k thirds from x towards y
            mean = map_coordinates(mean, np.moveaxis(place, -1, 0), order=1, cval=np.nan)
        good = np.isfinite(mean)
        total[good] += (turn == k).sum() * mean[good]
        weight[good] += (turn == k).sum()
    return (total / np.maximum(weight, 1)).astype(np.float32)
