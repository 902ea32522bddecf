"""What does not change from image to image of one simulator: columns, optics, sizes (numpy, host)."""

from typing import NamedTuple

import numpy as np

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material
from stemdefects.schema import SimulationConfig
from stemdefects.simulation import checks
from stemdefects.simulation.optics import probe
from stemdefects.simulation.specimen import fields, population

PAD_PX = 12  # beyond the frame, whose columns still reach into it


class Stage(NamedTuple):
    """Constants of one simulator: columns, optics, sizes. Made once, closed over by the jitted function."""

    material: Material
    cfg: SimulationConfig
    size_px: tuple[int, int]
    slots: population.Slots
    twin: population.Slots | None
    rows: np.ndarray  # (n,) number of the close-packed row of each column, for the twin boundary
    split_nm: np.ndarray | None  # (n, 2) place of the other half of a 1T column
    table: probe.Optics
    upsampling: tuple[np.ndarray, np.ndarray]
    n_truth: int
    reach_nm: float


def make_stage(
    material: Material, cfg: SimulationConfig, size_px: tuple[int, int], lattice: geometry.Lattice | None = None
) -> Stage:
    """Everything about a simulator that does not change from image to image (numpy, host).

    `lattice`: the columns to draw, for a view that is known; by default enough of them for every view of the config.
    """
    checks.check(material, cfg, size_px)
    view = cfg.view
    largest = view.pixel_size_nm[1]
    stretch = 1.0 + max(map(abs, view.strain)) + max(map(abs, view.shear))
    padded = np.array(size_px) + 2 * PAD_PX
    reach_nm = 0.5 * float(np.hypot(*padded)) * largest * stretch + 1.2 * material.a_nm
    if lattice is None:
        lattice = geometry.disc(material, reach_nm)
    else:
        reach_nm = float(np.linalg.norm(lattice.position_nm, axis=1).max())
    slots = population.slots(material, lattice)
    twin = None
    if cfg.regions.twin_probability > 0 and material.phase_1T is not None:
        twin = population.slots(material, geometry.build(material, lattice.cell[:: material.n_sites], mirrored=True))
    split = None
    if cfg.regions.phase_1T_probability > 0 and material.phase_1T is not None:
        rows = np.flatnonzero(lattice.site == material.phase_1T[0])
        basis = geometry.site_positions_nm(material)[material.phase_1T[0]]
        split = np.where((lattice.site == material.phase_1T[0])[:, None], lattice.position_nm - 2 * basis, np.nan)
        split = split[rows].astype(np.float32)
    fine = 2.0 * 1e-3 * cfg.probe.semi_angle_mrad[1] / float(probe.wavelength_nm(view.voltage_kv[1]))  # cut-off
    # above half the sampling rate the probe's transfer folds back; up to 0.65 it is below 1% there before blur
    oversampling = 1 if largest * fine < 0.65 else 2
    window = probe.fast_length(int(np.ceil(2.2 * oversampling / view.pixel_size_nm[0])))
    window = min(window, *(probe.fast_length(n + 2 * PAD_PX) * oversampling for n in size_px))
    table = probe.optics(size_px, PAD_PX, window, oversampling)
    area = float(np.prod(np.array(size_px) * largest * (1 + 2 * (stretch - 1))))
    edge = float(np.sum(np.array(size_px) * largest)) * 2
    n_truth = material.n_sites * int(np.ceil(area / material.cell_area_nm2 + 0.6 * edge / material.a_nm))
    n_truth = min(n_truth, len(lattice.site))
    return Stage(
        material=material,
        cfg=cfg,
        size_px=(size_px[0], size_px[1]),
        slots=slots,
        twin=twin,
        rows=lattice.cell[:, 1],
        split_nm=split,
        table=table,
        upsampling=(fields.upsampling(size_px[0]), fields.upsampling(size_px[1])),
        n_truth=n_truth,
        reach_nm=reach_nm,
    )


def mobile_state(material: Material, cfg: SimulationConfig) -> int:
    """State of the defect that hops: `movie.mobile_kind`, by default the material's first kind."""
    kind = 0 if cfg.movie.mobile_kind is None else material.kind_index(cfg.movie.mobile_kind)
    return material.kinds[kind].state
