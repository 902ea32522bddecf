"""Growth laws of areas and counts: constant, straight, exponential or Avrami, chosen by AIC and BIC, or honestly not.

Values of neighbouring frames are alike, so that n frames say less than n independent ones: likelihoods, and the errors
of parameters, count the frames as n (1 - r) / (1 + r), r being the correlation of neighbouring residuals.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats
from scipy.optimize import least_squares

LEVEL = 0.95  # of all intervals
CLEAR = 4.0  # AIC and BIC differences below this do not tell laws apart
MIN_FRAMES = 12  # three for each parameter of the richest law
LAWS = ("constant", "straight line", "exponential", "Avrami")
CONTAINS = {"straight line": ("constant",), "exponential": ("constant",), "Avrami": ("constant", "straight line")}


@dataclass
class Law:
    """One law fitted to a series: `parameters` name -> (value, low, high) with 95% intervals, NaN where the data do not
    determine it; `curve` (n,); `aic`, `bic` relative to the best law."""

    name: str
    curve: np.ndarray
    parameters: dict[str, tuple[float, float, float]]
    n_parameters: int
    log_likelihood: float
    aic: float = np.nan
    bic: float = np.nan


@dataclass
class Growth:
    """Laws of one series, by name. `chosen` is empty when they cannot be told apart; `rivals` are those that remain."""

    subject: str
    unit: str
    times: np.ndarray
    values: np.ndarray
    laws: dict[str, Law] = field(default_factory=dict)
    chosen: str = ""
    rivals: tuple[str, ...] = ()
    n_effective: float = 0.0

    def verdict(self) -> str:
        """In a sentence, what the series tells."""
        if self.chosen:
            return (
                f"{self.subject}: {self.chosen} (by AIC and BIC; other laws are at least {CLEAR:g} worse, or hold it "
                "as a special case and fit no better)."
            )
        laws = " and ".join(self.rivals)
        return (
            f"{self.subject}: cannot tell between {laws} (AIC or BIC differ by less than {CLEAR:g}; {len(self.times)} "
            f"frames worth {self.n_effective:.0f} independent ones)."
        )


def _curve(law: str, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """t is 0..1 over the series. Positive parameters are given as logarithms."""
    if law == "constant":
        return np.full(len(t), x[0])
    if law == "straight line":
        return x[0] + x[1] * t
    if law == "exponential":
        return np.exp(np.clip(x[0] + x[1] * t, -50, 50))
    rate, order = np.exp(np.clip(x[2], -6, 6)), np.exp(np.clip(x[3], -3, 3))
    return x[0] + np.exp(np.clip(x[1], -50, 50)) * (1 - np.exp(-((rate * t) ** order)))


def fit(
    times: np.ndarray, values: np.ndarray, subject: str = "", unit: str = "", counts: bool = False
) -> Growth | None:
    """Laws of a series.

    Avrami: y0 + A (1 - exp(-(k t)^n)), t since the first frame (J. Chem. Phys. 7, 1103 (1939)).

    Args:
        times: (n,); values: (n,), NaN left out.
        counts: errors grow with the root of the value (fitted on the root scale).

    Returns:
        None with fewer than MIN_FRAMES values, or values that are all alike.
    """
    ok = np.isfinite(values)
    t, y = np.asarray(times, float)[ok], np.asarray(values, float)[ok]
    if len(t) < MIN_FRAMES or np.ptp(y) <= 0 or np.ptp(t) <= 0:
        return None
    duration = float(np.ptp(t))
    u = (t - t[0]) / duration
    scale = max(np.abs(y).max(), 1e-300)
    z = y / scale
    root = (lambda v: np.sign(v) * np.sqrt(np.abs(v))) if counts else (lambda v: v)
    fits = {name: _best(name, u, z, root) for name in LAWS}
    flexible = min(fits.values(), key=lambda f: f.cost)
    left = flexible.fun - flexible.fun.mean()
    r = float(np.clip((left[1:] @ left[:-1]) / max(left @ left, 1e-300), 0.0, 0.95))
    n = len(t)
    n_eff = max(n * (1 - r) / (1 + r), 6.0)
    out = Growth(subject, unit, t, y, n_effective=n_eff)
    for name, found in fits.items():
        p = len(found.x) + 1
        rss = max(2 * found.cost, 1e-14 * n)
        likelihood = -0.5 * n_eff * np.log(rss / n)
        correction = 2 * p * (p + 1) / max(n_eff - p - 1, 1.0)
        law = Law(name, _curve(name, u, found.x) * scale, {}, p, likelihood)
        law.aic, law.bic = 2 * p - 2 * likelihood + correction, p * np.log(n_eff) - 2 * likelihood
        law.parameters = _parameters(name, found, n, n_eff, duration, scale)
        out.laws[name] = law
    for key in ("aic", "bic"):
        least = min(getattr(law, key) for law in out.laws.values())
        for law in out.laws.values():
            setattr(law, key, getattr(law, key) - least)
    best = [name for name, law in out.laws.items() if law.aic < CLEAR or law.bic < CLEAR]

    # a law that holds a simpler one as a special case, and is no better, says nothing more
    def idle(name):
        parts = [out.laws[p] for p in CONTAINS.get(name, ()) if p in best]
        return any(p.aic <= out.laws[name].aic and p.bic <= out.laws[name].bic for p in parts)

    best = [name for name in best if not idle(name)]
    out.rivals = tuple(best)
    out.chosen = best[0] if len(best) == 1 else ""
    return out


def _best(name, u, z, root):
    """Least squares from several starts."""
    slope, level = np.polyfit(u, z, 1)
    low = max(float(z.min()), 1e-3)
    starts = {
        "constant": [[z.mean()]],
        "straight line": [[level, slope]],
        "exponential": [[np.log(max(z.mean(), 1e-3)), s] for s in (0.0, np.log(max(z[-3:].mean(), 1e-3) / low))],
        "Avrami": [
            [z[:3].mean(), np.log(max(np.ptp(z), 1e-3)), np.log(k), np.log(order)]
            for k in (1.0, 2.5)
            for order in (1.0, 2.5)
        ],
    }[name]
    target = root(z)
    fits = [least_squares(lambda x: root(_curve(name, u, x)) - target, x0, max_nfev=60) for x0 in starts]
    return min(fits, key=lambda f: f.cost)


def _parameters(name, found, n, n_eff, duration, scale) -> dict[str, tuple[float, float, float]]:
    """Parameters in the units of the series with intervals from the curvature, widened for alike neighbours."""
    p = len(found.x)
    variance = 2 * found.cost / max(n - p, 1) * n / n_eff
    try:
        covariance = np.linalg.inv(found.jac.T @ found.jac) * variance
        half = np.sqrt(np.maximum(np.diag(covariance), 0)) * stats.t.ppf(0.5 + LEVEL / 2, max(n_eff - p, 1))
    except np.linalg.LinAlgError:
        half = np.full(p, np.nan)
    x = found.x
    if name == "straight line":
        return {"rate": tuple(v * scale / duration for v in (x[1], x[1] - half[1], x[1] + half[1]))}
    if name == "exponential":
        return {"growth rate": tuple(v / duration for v in (x[1], x[1] - half[1], x[1] + half[1]))}
    if name == "Avrami":
        out = {}
        for key, k, unit in (("Avrami rate", 2, 1 / duration), ("Avrami exponent", 3, 1.0)):
            known = np.isfinite(half[k]) and half[k] < 2.0
            value = float(np.exp(x[k])) * unit
            out[key] = (value, *(value * np.exp(s * half[k]) for s in (-1, 1))) if known else (np.nan,) * 3
        return out
    return {}
