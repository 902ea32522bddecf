"""One number with its interval, method and warnings: what every part of the analysis hands on."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


LEVEL = 0.95  # of all intervals
METHODS = {  # the short names of tables, for people
    "cve": "covariance estimator",
    "msd": "mean squared displacement",
    "sites": "hidden Markov model on lattice sites",
    "hops": "counted hops",
    "hmm": "hidden Markov model",
    "hmm_model": "hidden Markov model, the network's own confusion",
    "hmm_estimate": "hidden Markov model, confusion estimated",
    "pooled": "pooled counts, labels at face value",
    "paper": "published formula",
}


@dataclass(frozen=True)
class Estimate:
    """A quantity that was (or could not be) computed.

    `value` is None when it could not; `warning` then says why. `low`/`high` bound the 95% interval, None when
    no interval can be given. `n` counts what the interval rests on (tracks, steps, frames, as `n_of` says).
    """

    quantity: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    method: str
    subject: str = ""
    n: int = 0
    n_of: str = "tracks"
    warning: str = ""
    headline: bool = False
    code: str = ""  # what the answer is worth, where its method says so (`kinetics.Code`)

    def row(self) -> dict:
        """The estimate as one row of a CSV table."""
        return asdict(self) | {"level": LEVEL}

    @property
    def how(self) -> str:
        """The method in words."""
        return in_words(self.method)

    @property
    def basis(self) -> str:
        """What the interval rests on, in words: `12 tracks`, `1 frame`."""
        return f"{self.n} {self.n_of.removesuffix('s') if self.n == 1 else self.n_of}"

    def interval(self, before: str = "") -> str:
        """The interval in words, empty where there is none: `before` and both ends, or the one end that holds."""
        if self.low is None:
            return ""
        return f"{before}{number(self.low)} to {number(self.high)}" if self.high is not None else "at least that"

    def sentence(self) -> str:
        """The number in plain words, with interval, method and warning."""
        what = f"{self.quantity} of {self.subject}" if self.subject else self.quantity
        if self.value is None:
            return f"{what}: not computed. {self.warning}".strip()
        text = f"{what} = {number(self.value)} {self.unit if self.unit != '1' else ''}".rstrip()
        text += f", {self.interval('95% interval ') or 'no interval'}"
        text += f" ({self.how}; {self.basis})."
        return f"{text} {self.warning}".strip()


def estimate(
    quantity: str, value: float | None, low: float | None, high: float | None, unit: str, method: str, **rest: Any
) -> Estimate:
    """An `Estimate` in which no NaN or infinity survives: such a value becomes 'not computed' with a reason."""
    if value is None or not np.isfinite(value):
        rest["warning"] = rest.get("warning") or "The data do not determine it."
        return Estimate(quantity, None, None, None, unit, method, **rest)
    low, high = (float(v) if v is not None and np.isfinite(v) else None for v in (low, high))
    if low is None or high is None:
        low = high = None
    return Estimate(quantity, float(value), low, high, unit, method, **rest)


def in_words(method: str) -> str:
    """A method as people call it, `METHODS` where the table's name is a short one."""
    short, comma, rest = method.partition(", ")
    return METHODS.get(short, short) + comma + rest


def number(value: float | None) -> str:
    """Three significant digits, readable: 0.000512 -> '5.12e-04', 12.345 -> '12.3'."""
    if value is None:
        return "not computed"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-2 <= size < 1e4:
        digits = max(0, 2 - int(np.floor(np.log10(size))))
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def table(estimates: list[Estimate]) -> "pd.DataFrame":
    """The estimates as a pandas DataFrame, one row each, in the order given."""
    import pandas as pd

    columns = [*Estimate.__dataclass_fields__, "level"]
    return pd.DataFrame([e.row() for e in estimates], columns=columns)


def of_diffusion(estimates: list[Estimate], unit: str) -> "pd.DataFrame":
    """D by kind and method as a DataFrame, whichever stage it comes from; unit: of D."""
    import pandas as pd

    name = column_name(unit)
    return pd.DataFrame(
        [
            {
                "kind": e.subject,
                "method": e.method,
                f"D_{name}": e.value,
                f"low_{name}": e.low,
                f"high_{name}": e.high,
                "n_tracks": e.n,
                "warning": e.warning,
            }
            for e in estimates
            if e.quantity == "D"
        ]
    )


def column_name(unit: str) -> str:
    """A unit as part of a column's name: `nm^2/s` -> `nm2_per_s`."""
    return unit.replace("^2", "2").replace("/", "_per_")
