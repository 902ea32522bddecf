"""The defect table: the contract between inference, simulation truth and analysis.

One row per defective column and frame. Positions are column centres in the original frame:
`y_px`/`x_px` in pixels (0 is the centre of the first pixel), `y_nm`/`x_nm` the same times the pixel size.
Simulated truth uses the same columns (`track` is then the defect's identity, `score` is 1).
"""

import numpy as np

SCHEMA_VERSION = 1
KIND_BYTES = 24

DEFECT_DTYPE = np.dtype(
    [
        ("frame", "i4"),
        ("time_s", "f8"),
        ("y_px", "f4"),
        ("x_px", "f4"),
        ("y_nm", "f4"),
        ("x_nm", "f4"),
        ("sigma_nm", "f4"),  # 1-sigma position uncertainty per axis
        ("score", "f4"),  # probability that this is a defect, 0..1
        ("kind", f"S{KIND_BYTES}"),  # material's kind name, e.g. b"V_S", b"Mo_W"
        ("kind_prob", "f4"),  # probability of `kind`, 0..1
        ("cluster", "i4"),  # -1: not clustered
        ("track", "i4"),  # -1: not linked
        ("complex", "i4"),  # same number within a frame: neighbouring rows of one complex; -1: alone
        ("orientation", "i1"),  # 0/1/2: where the vacancy of a complex sits; -1: none or undecided
    ]
)

UNITS = {
    "frame": "1", "time_s": "s", "y_px": "px", "x_px": "px", "y_nm": "nm", "x_nm": "nm", "sigma_nm": "nm",
    "score": "1", "kind": "", "kind_prob": "1", "cluster": "1", "track": "1", "complex": "1", "orientation": "1",
}  # fmt: skip


def empty(n_rows: int = 0) -> np.ndarray:
    """`n_rows` rows with every optional column at its 'unknown' value.

    Returns a structured array of `DEFECT_DTYPE`, shape (n_rows,).
    """
    rows = np.zeros(n_rows, DEFECT_DTYPE)
    for name in ("cluster", "track", "complex", "orientation"):
        rows[name] = -1
    for name in ("time_s", "sigma_nm", "y_nm", "x_nm"):
        rows[name] = np.nan
    return rows
