"""A contact sheet: what the simulator makes, for the eye of a microscopist."""

from pathlib import Path

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.schema import SimulationConfig
from stemdefects.simulation import checks

DOSES_E_PER_PX = (130.0, 400.0, 2500.0)  # a fast movie, a usual one, a slow scan
_CROP_PX = 40  # a defect and its nearest columns


def check_output(output: str | None, overwrite: bool) -> Path:
    """The picture's path (default preview.png); `UserError` when it cannot or should not be written."""
    return checks.output_path(output or "preview.png", "preview.png", (".png", ".svg", ".pdf"), overwrite)


def write_preview(path: str | Path, material: Material, cfg: SimulationConfig, seed: int = 0) -> Path:
    """Write the contact sheet of a material and a preset; returns the path.

    Each kind and complex at three doses (rows) in the crystal's own surroundings, a whole frame of the preset, its
    Fourier transform, and the same frame with the truth drawn over it.
    """
    import jax
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from stemdefects.simulation import images

    size = int(cfg.view.size_px[0]), int(cfg.view.size_px[1])
    image, truth = jax.device_get(jax.jit(images.make_simulator(material, cfg, size))(jax.random.key(seed)))
    names, crops = _crops(material, cfg, seed)
    columns = max(len(names), 6)
    figure = plt.figure(figsize=(1.6 * columns, 1.75 * 3 + 0.55 * columns + 0.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.75 * 3, 0.55 * columns + 0.3])[:, 0]
    axes = top.subplots(3, len(names), squeeze=False)
    for row, dose in enumerate(DOSES_E_PER_PX):
        for column, name in enumerate(names):
            axis = axes[row, column]
            _show(axis, crops[row][column])
            if row == 0:
                axis.set_title(name, fontsize=8)
            if column == 0:
                axis.set_ylabel(f"{dose:g} e/px", fontsize=8)
    frame, fourier, marked = bottom.subplots(1, 3)
    pixel_nm = float(truth.pixel_size_nm)
    extent = (0, size[1] * pixel_nm, size[0] * pixel_nm, 0)
    _show(frame, image, extent)
    frame.set_title(f"simulation={cfg.name}, {float(truth.dose_e_per_px):.0f} e/px, {pixel_nm:.4f} nm/px", fontsize=8)
    _fourier(fourier, image, pixel_nm)
    _show(marked, image, extent)
    _mark(marked, material, truth, pixel_nm)
    for axis in (frame, marked):
        axis.set_xlabel("x (nm)", fontsize=8)
        axis.set_ylabel("y (nm)", fontsize=8)
        axis.set_xticks(np.linspace(0, extent[1], 4).round(1))
        axis.set_yticks(np.linspace(0, extent[2], 4).round(1))
        axis.tick_params(labelsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return Path(path)


def _show(axis, image, extent=None) -> None:
    low, high = np.percentile(image, [0.5, 99.7])
    axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=extent, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])


def _fourier(axis, image, pixel_nm: float) -> None:
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None, :]
    power = np.log(np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window))) + 1)
    reach = 0.5 / pixel_nm
    axis.imshow(power, cmap="gray", extent=(-reach, reach, reach, -reach), vmin=np.percentile(power, 20))
    limit = min(9.0, reach)
    axis.set_xlim(-limit, limit)
    axis.set_ylim(limit, -limit)
    axis.set_xlabel("1/nm", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_title("Fourier transform (log)", fontsize=8)


def _mark(axis, material: Material, truth, pixel_nm: float) -> None:
    kind = material.kind_of_state[truth.state]
    for index, name in enumerate(material.kind_names):
        chosen = truth.valid & (kind == index)
        if chosen.any():
            x, y = (truth.x_px[chosen] + 0.5) * pixel_nm, (truth.y_px[chosen] + 0.5) * pixel_nm
            axis.plot(x, y, "o", mfc="none", ms=6, mew=1, color=f"C{index}", label=f"{name} ({chosen.sum()})")
    extent = (0, truth.regions.shape[1] * pixel_nm, truth.regions.shape[0] * pixel_nm, 0)
    if truth.regions.any():
        axis.contour(truth.regions > 0, levels=[0.5], colors="w", linewidths=0.8, extent=extent, origin="upper")
    axis.legend(fontsize=6, loc="upper right", framealpha=0.8)
    axis.set_title("truth", fontsize=8)


def _crops(material: Material, cfg: SimulationConfig, seed: int):
    """Names of kinds and complexes, and for each dose a crop (40 x 40) around one of each."""
    import copy

    import jax

    from stemdefects.simulation import images

    cfg = copy.deepcopy(cfg)
    for name in ("hole", "amorphous", "phase_1T", "twin"):
        setattr(cfg.regions, f"{name}_probability", 0.0)
    cfg.defects.line_probability = 0.0
    centers = {group.center for group in material.complexes}
    density = {kind.name: 0.06 if kind.state in centers else 0.015 for kind in material.kinds}
    cfg.defects.density = {name: [value, value] for name, value in density.items()}
    cfg.defects.density_scale = 1.0
    cfg.defects.complexes = {group.name: [0.3, 0.3] for group in material.complexes}
    simulate = jax.jit(images.make_simulator(material, cfg, (256, 256)))
    key = jax.random.key(seed + 1)
    shots = [jax.device_get(simulate(key, dose)) for dose in DOSES_E_PER_PX]
    truth = shots[0][1]
    kind = material.kind_of_state[truth.state]
    inner = truth.valid & (np.abs(truth.y_px - 127.5) < 100) & (np.abs(truth.x_px - 127.5) < 100)
    center = np.isin(truth.state, [g.center for g in material.complexes])
    wanted = [(name, inner & (kind == i) & (truth.complex < 0)) for i, name in enumerate(material.kind_names)]
    wanted += [(g.name, inner & (truth.complex_kind == i) & center) for i, g in enumerate(material.complexes)]
    found = [(name, np.flatnonzero(mask)[0]) for name, mask in wanted if mask.any()]
    half = _CROP_PX // 2
    crops = []
    for image, _ in shots:
        places = [(round(float(truth.y_px[n])), round(float(truth.x_px[n]))) for _, n in found]
        crops.append([image[y - half : y + half + 1, x - half : x + half + 1] for y, x in places])
    return [name for name, _ in found], crops
