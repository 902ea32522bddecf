"""Rows of the defect table from the sites of a window and the posteriors of their states."""

import numpy as np

from stemdefects.crystal.complexes import complexes
from stemdefects.inference.evidence import over_time
from stemdefects.inference.evidence.site_window import Window
from stemdefects.inference.tables.blocks_of_frames import in_nm
from stemdefects.io.tables import table
from stemdefects.numerics import state_sums
from stemdefects.numerics.borders import from_border


def rows(window: Window, fits: dict[int, over_time.Fit], start: int, stop: int) -> np.ndarray:
    """Rows of the frames [start, stop): defective sites, where they are or, if missed, where they should be."""
    setup, material = window.setup, window.setup.model.material
    settings = setup.settings.over_time
    kind_of_state = np.asarray(material.kind_of_state)
    names = np.array([k.name.encode() for k in material.kinds], f"S{table.KIND_BYTES}")
    kind = np.full((stop - start, len(window.keys)), -1)
    best = np.zeros(kind.shape, np.float32)
    defect = np.zeros(kind.shape, np.float32)
    inner = slice(start - window.low, stop - window.low)
    for g, found in fits.items():
        mine = window.keys[:, 2] == g
        which, best[:, mine], defect[:, mine] = state_sums.strongest(found.posterior[inner][:, :, 1:])
        kind[:, mine] = kind_of_state[window.states[g][1:]][which]
    near = _near(window.seen, settings.max_gap_frames)[inner]
    expected, spread = window.expected
    edge = setup.settings.edge_nm / setup.calibration.pixel_size_nm
    out = [table.empty(0)]
    for t in range(stop - start):
        number = t + start - window.low
        frame = window.frames[number]
        if np.isnan(frame.lattice).any():
            continue
        place = np.where(window.seen[number][:, None], window.place[number], expected[number])
        inside = from_border(place, setup.shape_px) >= edge
        called = np.flatnonzero((best[t] >= settings.threshold) & near[t] & inside & ~window.hidden[number])
        rows = table.empty(len(called))
        rows["frame"], rows["time_s"] = frame.row["frame"], frame.row["time_s"]
        rows["y_px"], rows["x_px"] = place[called].T
        rows["sigma_nm"] = np.where(window.seen[number][called], window.sigma[number][called], spread)
        rows["score"], rows["kind_prob"] = np.minimum(defect[t, called], 1), np.minimum(best[t, called], 1)
        rows["kind"] = names[kind[t, called]]
        if len(called):
            states = np.array([k.state for k in material.kinds])[kind[t, called]]
            rows["complex"], rows["orientation"] = complexes(
                window.keys[called, :2], window.keys[called, 2], states, material
            )
        out.append(in_nm(rows, setup))
    return np.concatenate(out)


def _near(seen: np.ndarray, gap: int) -> np.ndarray:
    """(T, N) bool: seen within `gap` frames."""
    near = seen.copy()
    for step in range(1, gap + 1):
        near[step:] |= seen[:-step]
        near[:-step] |= seen[step:]
    return near
