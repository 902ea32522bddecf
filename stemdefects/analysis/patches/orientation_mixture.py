"""Gaussian mixture whose classes may come in the three orientations of the lattice.

A column is described by its own light, the mean light of its three bonded columns, and their contrast, the complex sum
of b_k exp(2 pi i k / 3) times 2/3: a turn by a third turns the contrast and changes nothing else. A class that looks
the same in all directions has one contrast; one in which a bond differs has three, a third of a turn apart and of one
size, and which of them a member has is a hidden variable. So a complex is one class in all its orientations, and the
noise is not folded, as it would be by sorting the bonds. Classes of one family share their scatter, for noise is the
instrument's; a class with its own costs more parameters. Every group (sublattice) has classes of its own.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# threefold: each orientation turns the contrast of the bonds by 120 degrees
TURNS = np.exp(2j * np.pi * np.arange(3) / 3)
BACKGROUND = 0.01  # share of members of no class that is expected
_FLOOR = 1e-5  # variance
_LEAST = 10  # members of a class
_EVIDENCE = 10.0  # fall of the BIC that is very strong evidence (Kass & Raftery, J. Am. Stat. Assoc. 90, 773 (1995))
_QUICK, _MORE, _FULL, _SOME = 12, 20, 100, 400  # rounds, and columns of the quick ones


@dataclass
class Family:
    """What classes share: scatter (2, 2) of own light and mean of bonds, variance of the contrast per component, and
    the contrast of a class that is alike in all directions (a crooked probe)."""

    scatter: np.ndarray
    spread: float
    offset: complex


@dataclass
class Member:
    """A class: its family, share, mean (2,) of own light and mean of bonds, and size of the contrast. A negative one:
    one bond darker, or two brighter, than the others; None: alike in all directions."""

    family: int
    weight: float
    mean: np.ndarray
    contrast: float | None = None


@dataclass
class Mixture:
    """Classes of one group; `background`: log density of what belongs to none."""

    families: list[Family]
    classes: list[Member]
    background: float
    log_likelihood: float = -np.inf

    @property
    def n_parameters(self) -> int:
        return 6 * len(self.families) + sum(3 + (c.contrast is not None) for c in self.classes)

    def log_density(self, own: np.ndarray, beside: np.ndarray) -> np.ndarray:
        """(n, K, 3) log of the density of each class in each orientation, with the class's share."""
        pair, contrast = coordinates(own, beside)
        return np.moveaxis(self.by_class(pair, contrast), -1, 0)

    def by_class(self, pair: np.ndarray, contrast: np.ndarray) -> np.ndarray:
        """(K, 3, n) of `log_density`; a row per class and turn, for sums over short last axes take several times as
        long."""
        return np.stack([self._one(c, pair, contrast) for c in self.classes])

    def _one(self, c: Member, pair, contrast):
        f = self.families[c.family]
        inverse, volume = np.linalg.inv(f.scatter), np.linalg.det(f.scatter)
        own, mean = pair[:, 0] - c.mean[0], pair[:, 1] - c.mean[1]
        distance = inverse[0, 0] * own**2 + 2 * inverse[0, 1] * own * mean + inverse[1, 1] * mean**2
        value = np.log(c.weight / (3 * f.spread * (2 * np.pi) ** 2 * np.sqrt(volume))) - 0.5 * distance
        return value - 0.5 * _square(contrast - f.offset - (c.contrast or 0.0) * TURNS[:, None]) / f.spread

    def assign(self, own: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(class (n,), -1 for none; orientation (n,), -1 where the class has none) of each column."""
        value = self.log_density(own, beside)
        top = value.max((1, 2))
        chance = np.exp(value - top[:, None, None])
        of_class = chance.sum(2)
        label = of_class.argmax(1)
        turn = chance[np.arange(len(label)), label].argmax(1)
        turned = np.array([c.contrast is not None for c in self.classes])
        outside = of_class.max(1) < np.exp(np.minimum(self.background - top, 700))
        label[outside] = -1
        return label, np.where((label >= 0) & turned[label], turn, -1)

    def bonds(self, number: int) -> np.ndarray:
        """(3,) mean light of the bonded columns of a class, the one that differs first."""
        c = self.classes[number]
        wave = (c.contrast or 0.0) * np.real(TURNS)
        return c.mean[1] + wave


def _square(of: np.ndarray) -> np.ndarray:
    """|z|^2 without the root that a magnitude takes first."""
    return np.real(of) ** 2 + np.imag(of) ** 2


def coordinates(own: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((n, 2) own light and mean of bonds, (n,) complex contrast) from (n,) and (n, 3)."""
    return np.column_stack([own, beside.mean(1)]), 2 / 3 * (beside @ TURNS)


def bic(mixture: Mixture, n: int) -> float:
    """Bayesian information criterion of a mixture fitted to n columns."""
    return float(-2 * mixture.log_likelihood + mixture.n_parameters * np.log(n))


def search(own: np.ndarray, beside: np.ndarray, n: int) -> Iterator[Mixture]:
    """The best mixture found with 1, 2, ... classes: each grows out of the one before by splitting a class.

    own: (m,), beside: (m, 3) of one group; n: columns of all groups, for the BIC.
    """
    pair, contrast = coordinates(own, beside)
    start = Family(np.cov(pair.T) + _FLOOR * np.eye(2), float(np.var(contrast)) / 2 + _FLOOR, complex(contrast.mean()))
    reach = np.quantile(np.abs(contrast - contrast.mean()), 0.999)
    volume = np.prod(np.ptp(pair, axis=0) + np.sqrt(_FLOOR)) * np.pi * (reach**2 + _FLOOR)
    mixture = Mixture([start], [Member(0, 1.0 - BACKGROUND, pair.mean(0))], np.log(BACKGROUND / volume))
    mixture = _em(mixture, pair, contrast, _FULL, 0)
    while mixture is not None:
        mixture = _refined(mixture, pair, contrast, n)
        yield mixture
        mixture = _best(_splits(mixture), pair, contrast, n)


def _refined(mixture: Mixture, pair, contrast, n: int) -> Mixture:
    """Without orientations that are not needed; with more, and families of their own, on very strong evidence."""
    # Ends: what is simpler has fewer parts and no larger BIC, what is richer has a BIC smaller by _EVIDENCE.
    while True:
        simpler = _best(_simpler(mixture), pair, contrast, n)
        if simpler is not None and bic(simpler, n) <= bic(mixture, n):
            mixture = simpler
            continue
        richer = _best(_richer(mixture), pair, contrast, n)
        if richer is None or bic(richer, n) > bic(mixture, n) - _EVIDENCE:
            return mixture
        mixture = richer


def _best(candidates, pair, contrast, n: int) -> Mixture | None:
    """Of lowest BIC; all are tried for a few rounds on some of the columns, the best two for more on all of them."""
    step = max(1, len(pair) // _SOME)
    tried = [_em(c, pair[::step], contrast[::step], _QUICK, _LEAST / step) for c in candidates]
    tried = sorted((m for m in tried if m is not None), key=lambda m: bic(m, n) - 2 * (step - 1) * m.log_likelihood)
    done = [m for m in (_em(c, pair, contrast, _MORE, _LEAST) for c in tried[:2]) if m is not None]
    best = min(done, key=lambda m: bic(m, n), default=None)
    return None if best is None else _em(best, pair, contrast, _FULL, _LEAST)


def _simpler(mixture: Mixture):
    for number, c in enumerate(mixture.classes):
        if c.contrast is not None:
            new = copy.deepcopy(mixture)
            new.classes[number].contrast = None
            yield new


def _richer(mixture: Mixture):
    for number, c in enumerate(mixture.classes):
        f = mixture.families[c.family]
        if c.contrast is None:
            for sign in (-1, 1):
                new = copy.deepcopy(mixture)
                new.classes[number].contrast = sign * np.sqrt(f.spread)
                new.families[c.family].spread *= 0.8
                yield new
        if sum(d.family == c.family for d in mixture.classes) > 1:
            new = copy.deepcopy(mixture)
            new.classes[number].family = len(new.families)
            new.families.append(copy.deepcopy(f))
            yield new


def _splits(mixture: Mixture):
    for number, c in enumerate(mixture.classes):
        f = mixture.families[c.family]
        size, axes = np.linalg.eigh(f.scatter)
        for way in (0, 1, "darker", "brighter"):
            new = copy.deepcopy(mixture)
            a, family = new.classes[number], new.families[c.family]
            a.weight /= 2
            b = copy.deepcopy(a)
            if isinstance(way, int):
                step = 0.8 * axes[:, way] * np.sqrt(size[way])
                a.mean, b.mean = c.mean + step, c.mean - step
                family.scatter = f.scatter - 0.6 * np.outer(step, step)
            else:
                a.contrast, b.contrast = None, (-1.4 if way == "darker" else 1.4) * np.sqrt(f.spread)
                family.spread = 0.7 * f.spread
            new.classes.append(b)
            yield new
            apart = copy.deepcopy(new)
            apart.classes[-1].family = len(apart.families)
            apart.families.append(copy.deepcopy(family))
            yield apart


def _em(mixture: Mixture, pair, contrast, rounds: int, least: float) -> Mixture | None:
    """Expectation maximisation; None when a class dies or a scatter has no inverse."""
    mixture, last = copy.deepcopy(mixture), -np.inf
    for round_ in range(rounds + 1):
        if any(np.linalg.det(f.scatter) <= 0 or f.spread <= 0 for f in mixture.families):
            return None
        value = mixture.by_class(pair, contrast)
        top = np.maximum(value.max((0, 1)), mixture.background)
        chance = np.exp(value - top)
        total = np.log(chance.sum((0, 1)) + np.exp(mixture.background - top)) + top
        mixture.log_likelihood = float(total.sum())
        if mixture.log_likelihood - last < 0.05 or round_ == rounds:
            return mixture
        last = mixture.log_likelihood
        share = chance * np.exp(top - total)
        if (share.sum((1, 2)) < least).any():
            return None
        for number in range(len(mixture.families)):
            _maximise(mixture, number, share, pair, contrast)
    return mixture


def _maximise(mixture: Mixture, number: int, share, pair, contrast) -> None:
    """Means, contrasts, offset and scatter of one family, given how much of each column each class and turn has."""
    family = mixture.families[number]
    mine = [k for k, c in enumerate(mixture.classes) if c.family == number]
    turned = [k for k in mine if mixture.classes[k].contrast is not None]
    # contrast = offset + size * turn: least squares in offset (two numbers) and the sizes
    normal, target = np.zeros((2 + len(turned),) * 2), np.zeros(2 + len(turned))
    scatter, count = np.zeros((2, 2)), 0.0
    for k in mine:
        c, part = mixture.classes[k], share[k].sum(0)
        size = part.sum()
        c.weight, c.mean = size / len(pair), part @ pair / size
        off = pair - c.mean
        scatter += (part[:, None] * off).T @ off
        count += size
        together = (part * contrast).sum()
        target[:2] += together.real, together.imag
        normal[0, 0] += size
        normal[1, 1] += size
        if c.contrast is not None:
            place = 2 + turned.index(k)
            direction = TURNS @ share[k].sum(1)
            normal[0, place] = normal[place, 0] = direction.real
            normal[1, place] = normal[place, 1] = direction.imag
            normal[place, place] = size
            target[place] = (TURNS.conj() @ (share[k] @ contrast)).real
    solved = np.linalg.lstsq(normal, target, rcond=1e-9)[0]  # all members in one orientation: size or offset, the same
    family.offset = complex(solved[0], solved[1])
    for k, value in zip(turned, solved[2:], strict=True):
        mixture.classes[k].contrast = float(value)
    left = 0.0
    for k in mine:
        middle = family.offset + (mixture.classes[k].contrast or 0.0) * TURNS[:, None]
        left += (share[k] * _square(contrast - middle)).sum()
    family.scatter, family.spread = scatter / count + _FLOOR * np.eye(2), float(left / (2 * count)) + _FLOOR


def joint(own: np.ndarray, beside: np.ndarray, group: np.ndarray) -> Iterator[dict[int, Mixture]]:
    """Mixtures of all groups (n,) together, by rising number of classes: the group that gains most grows first.

    Groups of fewer than 20 columns have no class.
    """
    n = len(own)
    names = [int(g) for g in np.unique(group) if (group == g).sum() >= 2 * _LEAST]
    growing = {g: search(own[group == g], beside[group == g], n) for g in names}
    now = {g: next(found) for g, found in growing.items()}
    following = {g: next(found, None) for g, found in growing.items()}
    while now:
        yield dict(now)
        better = {g: m for g, m in following.items() if m is not None}
        if not better:
            return
        gain = {g: bic(m, n) - bic(now[g], n) for g, m in better.items()}
        g = min(gain, key=lambda name: gain[name])
        now[g], following[g] = better[g], next(growing[g], None)


def size(mixtures: dict[int, Mixture]) -> int:
    """Number of classes of all groups."""
    return sum(len(m.classes) for m in mixtures.values())


def assign(
    mixtures: dict[int, Mixture], own: np.ndarray, beside: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(class (n,) counted through all groups, -1 for none; orientation (n,), -1 where the class has none)."""
    label, turn, first = np.full(len(own), -1), np.full(len(own), -1), 0
    for g, mixture in mixtures.items():
        mine = np.flatnonzero(group == g)
        if len(mine):
            found, turn[mine] = mixture.assign(own[mine], beside[mine])
            label[mine] = np.where(found >= 0, found + first, -1)
        first += len(mixture.classes)
    return label, turn
