"""Validation images with what was found in them."""

from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.models.artifact import Calibration
from stemdefects.scoring import columns
from stemdefects.training.outcome.validation import Result, Validator
from stemdefects.training.task import Task


def decisions(prob: np.ndarray, task: Task, thresholds: dict[str, float]) -> np.ndarray:
    """(R,) kind index called for each column, -1 for none: the kind furthest above its threshold."""
    if not task.material.kinds:
        return np.full(len(prob), -1)
    ratio = np.stack([prob[:, k.state] / thresholds.get(k.name, 0.5) for k in task.material.kinds], 1)
    return np.where(ratio.max(1) >= 1, ratio.argmax(1), -1)


def draw_reliability(figures: dict[str, dict], path: Path) -> Path:
    """PNG of the observed against the stated probability of a defect, a line per dose; returns `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", lw=1)
    for dose, values in figures.items():
        curve = values["reliability"]
        seen = np.asarray(curve["weight"]) > 0
        stated, observed = np.asarray(curve["predicted"])[seen], np.asarray(curve["observed"])[seen]
        axes.plot(stated, observed, marker="o", ms=4, label=f"{dose} (ECE {values['defect_ece']:.3f})")
    axes.set(xlabel="stated probability of a defect", ylabel="fraction that are defects", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def draw_confusion(confusion: dict[str, Any], path: Path) -> Path:
    """PNG of the confusion matrices (`validation.confusion_tables`), one per dose: of the columns of each true state,
    the share that is said to be which; returns `path`."""
    from matplotlib.figure import Figure

    doses = confusion["doses"]
    figure = Figure(figsize=(5.4 * len(doses), 4.8), layout="constrained")
    for axes, (dose, table) in zip(figure.subplots(1, len(doses), squeeze=False)[0], doses.items(), strict=True):
        share, counts = np.asarray(table["probability"]), np.asarray(table["counts"])
        axes.imshow(np.where(counts.any(1, keepdims=True), share, np.nan), cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(counts > 0):
            axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=6, color="w" if share[i, j] > 0.6 else "k")
        axes.set_xticks(range(len(confusion["said"])), confusion["said"], rotation=90, fontsize=7)
        axes.set_yticks(range(len(confusion["true"])), confusion["true"], fontsize=7)
        axes.set(xlabel="said", ylabel="true state", title=f"{dose}: columns, shade: share of the row")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def draw(validator: Validator, result: Result, calibration: Calibration, path: Path, n_images: int = 2) -> Path:
    """PNG of the `n_images` images with the most errors at each dose, worst first; returns `path`.

    Circle: defect found (its kind in the legend); square: missed; cross: false alarm. Frame in nm.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    task, material = validator.task, validator.task.material
    names = material.kind_names
    palette = [f"C{i}" for i in range(10)]
    doses = list(result.matched)
    figure = Figure(figsize=(4.6 * n_images + 1.6, 4.4 * len(doses)), layout="constrained")
    axes = figure.subplots(len(doses), n_images, squeeze=False)
    for row, dose in enumerate(doses):
        matched, data = result.matched[dose], validator.sets[dose]
        prob = columns.posterior(matched, material, calibration.log_prior_shift, calibration.temperature)
        said = decisions(prob, task, calibration.thresholds)
        true = np.where(matched.state >= 0, material.kind_of_state[np.maximum(matched.state, 0)], -1)
        wrong = np.bincount(matched.image, (said != true), minlength=len(data.frames))
        for axis, image in zip(axes[row], np.argsort(-wrong, kind="stable")[:n_images], strict=False):
            truth = data.truth
            pixel = float(truth.pixel_size_nm[image])
            frame = data.frames[image][..., data.frames.shape[-1] // 2]
            low, high = np.quantile(frame, [0.01, 0.995])
            side = np.array(frame.shape)[::-1] * pixel
            axis.imshow(frame, cmap="gray", vmin=low, vmax=high, extent=(0, side[0], side[1], 0))
            here = matched.image == image
            for mark, who, kinds in (
                ("o", here & (said >= 0) & (said == true), said),
                ("s", here & (true >= 0) & (said != true), true),
                ("x", here & (said >= 0) & (said != true), said),
            ):
                for kind in np.unique(kinds[who]):
                    y, x = (matched.yx_px[who & (kinds == kind)].T + 0.5) * pixel
                    colour = palette[kind % 10]
                    face = {"facecolors": "none", "edgecolors": colour} if mark != "x" else {"color": colour}
                    axis.scatter(x, y, s=46, marker=mark, linewidths=1.1, **face)
            axis.set(xlabel="x (nm)", ylabel="y (nm)")
            axis.set_title(
                f"{dose}: {float(truth.dose_e_per_px[image]):.0f} e/px, {int(wrong[image])} errors", fontsize=9
            )
    keys = [Line2D([], [], color="0.3", marker=m, ls="", mfc="none") for m in "osx"]
    keys += [Line2D([], [], color=palette[i % 10], marker="o", ls="") for i in range(len(names))]
    figure.legend(keys, ["found", "missed", "false", *names], loc="outside right center", fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    return path
