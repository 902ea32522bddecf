"""One picture of how the labels came about: frame, transform with masks, residual, labels."""

from pathlib import Path

import numpy as np

from stemdefects.crystal import bragg
from stemdefects.labels.fourier import findings
from stemdefects.labels.fourier.label import MovieLabels
from stemdefects.labels.fourier.points.certainty import DISC


def draw(labels: MovieLabels, test: np.ndarray, path: Path, scale: float = 1.0) -> Path:
    """Write the picture of all steps for the first frame to `path` (PNG). test: (N, H, W) held-out part; scale: pixels
    of the labelled frames per pixel of the file, which the axes count."""
    from matplotlib.figure import Figure

    frame = labels.steps["frame"]
    figure = Figure(figsize=(15, 10), layout="constrained")
    axes = figure.subplots(2, 3)
    _image(axes[0, 0], frame, f"frame {int(labels.indices[0])}")
    _transform(axes[0, 1], frame, labels, scale)
    _image(axes[0, 2], labels.steps["periodic"], "what repeats with the lattice", like=frame)
    z = axes[1, 0].imshow(labels.steps["z"], cmap="RdBu_r", vmin=-8, vmax=8)
    axes[1, 0].set_title(f"the rest, in units of its noise (threshold {labels.levels[0].lowest:.1f})")
    figure.colorbar(z, ax=axes[1, 0], shrink=0.8, label="significance")
    _image(axes[1, 1], frame, "dark (blue) and bright (red); dotted: unsure")
    _labels(axes[1, 1], labels)
    shown = np.where(labels.regions[0] < 0, 3, labels.regions[0])
    axes[1, 2].imshow(shown, cmap=_region_colours(), vmin=-0.5, vmax=3.5)
    axes[1, 2].set_title("hole black, amorphous orange, unknown grey, boundary red", fontsize=10)
    if labels.seam is not None and labels.seam[0].any():
        axes[1, 2].contour(labels.seam[0], levels=[0.5], colors=["#e8452c"], linewidths=1.0)
    found = findings.boundary_rings(labels)
    if found is not None:
        for number, colour in ((5, "#3b8eea"), (7, "#e8452c")):
            axes[1, 1].plot(*found.yx[found.neighbours == number].T[::-1], "p", mfc="none", mec=colour, ms=6)
    edge = np.flatnonzero(test[0].any(0))
    if len(edge) and not test[0].all():
        axes[1, 2].axvline(edge[0], color="k", linestyle="--")
        axes[1, 2].text(edge[0] + 3, 0.04 * len(frame), "validation", va="top")
    for ax in axes.ravel():
        if not ax.get_xlabel():
            ax.set_xlabel("x (px)")
            ax.set_ylabel("y (px)")
            for axis, size in ((ax.xaxis, frame.shape[1]), (ax.yaxis, frame.shape[0])):
                _count(axis, 0.0, size - 1.0, 1.0 / scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _image(ax, image: np.ndarray, title: str, like: np.ndarray | None = None) -> None:
    low, high = np.quantile(image if like is None else like, (0.005, 0.998))
    ax.imshow(image, cmap="gray", vmin=low, vmax=high)
    ax.set_title(title)


def _count(axis, low: float, high: float, unit: float) -> None:
    """Ticks from `low` to `high` (in what the axis is drawn in) at round numbers of another unit, in which one of the
    axis is `unit`."""
    from matplotlib.ticker import MaxNLocator

    ticks = np.asarray(MaxNLocator(6).tick_values(low * unit, high * unit))
    ticks = ticks[(ticks >= low * unit - 1e-9) & (ticks <= high * unit + 1e-9)]
    axis.set_ticks(ticks / unit, [f"{tick:g}" for tick in np.round(ticks, 9)])


def _transform(ax, frame: np.ndarray, labels: MovieLabels, scale: float) -> None:
    power = np.abs(np.fft.fftshift(np.fft.fft2(bragg.apply_window(frame))))
    extent = (-0.5, 0.5, 0.5, -0.5)
    ax.imshow(np.log(power + np.median(power)), cmap="magma", extent=extent)
    g = labels.lattice.peaks @ labels.lattice.reciprocal
    ax.plot(*np.concatenate([g, -g]).T[::-1], "o", mfc="none", mec="c", ms=9)
    reach = min(0.5, 1.3 * np.abs(g).max())
    ax.set(xlim=(-reach, reach), ylim=(reach, -reach), xlabel="frequency x (1/px)", ylabel="frequency y (1/px)")
    for axis in (ax.xaxis, ax.yaxis):
        _count(axis, -reach, reach, scale)
    ax.set_title(f"Bragg peaks: {len(g)} pairs, lattice {labels.lattice.spacing_px / scale:.2f} px of the file")


def _labels(ax, labels: MovieLabels) -> None:
    from matplotlib.collections import EllipseCollection

    size = 2 * DISC * labels.lattice.spacing_px
    for state, colour in ((0, "#3b8eea"), (1, "#e8452c")):
        for sure, style in ((True, "-"), (False, ":")):
            chosen = (labels.defects.state == state) & (labels.sure[0] == sure)
            points = labels.yx[0][chosen][:, ::-1]
            ring = EllipseCollection(
                [size] * len(points),
                [size] * len(points),
                [0] * len(points),
                units="xy",
                offsets=points,
                offset_transform=ax.transData,
                facecolors="none",
                edgecolors=colour,
                linewidths=1.5,
                linestyles=style,
            )
            ax.add_collection(ring)


def _region_colours():
    from matplotlib.colors import ListedColormap

    return ListedColormap(["#ffffff", "#202020", "#e0a030", "#b0b0b0"])
