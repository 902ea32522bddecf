"""The model card: `model/README.md`."""

from pathlib import Path
from typing import Any

import numpy as np

from stemdefects import schema
from stemdefects.models.artifact import Calibration
from stemdefects.training.movie import HELD_OUT, OWN_DOSE
from stemdefects.training.outcome import corrected_frames
from stemdefects.training.task import Task


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def score_table(figures: dict[str, dict[str, Any]], kinds: list[str], what: str = "f1") -> str:
    """Markdown table of `what` (f1, ap, precision, recall), a row per kind and a column per dose."""
    doses = list(figures)
    lines = ["| kind | " + " | ".join(doses) + " |", "|---" * (len(doses) + 1) + "|"]
    for kind in kinds:
        cells = [_number(figures[d]["kinds"][kind][what]) for d in doses]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def confusion_table(confusion: dict[str, Any], dose: str) -> str:
    """Markdown table of the counts of `validation.confusion_tables` at `dose`: a row per true state that occurs, a
    column per state said."""
    counts = np.asarray(confusion["doses"][dose]["counts"])
    rows, columns = np.flatnonzero(counts.any(1)), np.flatnonzero(counts.any(0))
    said = [confusion["said"][j] for j in columns]
    lines = ["| " + " | ".join(["true", *said]) + " |", "|---" * (len(said) + 1) + "|"]
    lines += ["| " + " | ".join([confusion["true"][i], *map(str, counts[i, columns])]) + " |" for i in rows]
    return "\n".join(lines)


def reliability_table(figures: dict[str, dict[str, Any]]) -> str:
    """Markdown table of the reliability curves: stated probability of a defect and, per dose, the fraction that are."""
    curves = [f["reliability"] for f in figures.values()]
    n = len(curves[0]["weight"])
    lines = ["| stated | " + " | ".join(figures) + " |", "|---" * (len(curves) + 1) + "|"]
    for i in range(n):
        cells = [f"{c['predicted'][i]:.2f}: {c['observed'][i]:.2f}" if c["weight"][i] > 0 else "-" for c in curves]
        lines.append(f"| {i / n:.1f}-{(i + 1) / n:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _origin(cfg: schema.TrainRoot, share: float, first: str) -> tuple[str, str]:
    """Where the training images came from, and what follows from it.

    share: of trained weights (`adaptation`); first: the kind that is looked for first.
    """
    if cfg.labels.of_movie:
        of = ", ".join(cfg.labels.corrected) or Path(str(cfg.input)).name
        made = f"labels={cfg.labels.name} from {of}"
        scores = (
            "Its scores\nare against labels from the movie's own Fourier analysis, which miss what is too faint for it."
        )
        if cfg.training.init:
            made += f", {share:.0%} of the way from {cfg.training.init}"
        if cfg.labels.source == "corrections":
            scores = "Its scores\nare against what a person corrected in it."
        if OWN_DOSE in cfg.training.validation.doses_e_per_px:
            made += f"; simulation={cfg.simulation.name}"
            scores = f"`{OWN_DOSE}`\nare simulated images as noisy as it, `{HELD_OUT}` parts of it and of its scenes."
        limits = "Made for this movie: other samples, doses, blurs or samplings are outside what it has seen. "
        return made, limits + scores
    if cfg.input is not None:
        made = f"simulated as {Path(str(cfg.input)).name} was taken, {share:.0%} of the way from {cfg.training.init}"
        return made, (
            "Made for these frames: other doses, blurs, films or samplings are outside what it has seen. Its scores\n"
            "are on simulated images drawn around what was measured of the frames (`config.yaml`)."
        )
    return f"simulated, simulation={cfg.simulation.name}", (
        "Trained on simulation only. At doses, blurs or samplings outside `config.yaml`'s ranges the scores do not\n"
        f"hold. A single {first} in a single frame of a typical movie is beyond what one frame tells; use several\n"
        "frames, or look at tracks."
    )


def make(
    cfg: schema.TrainRoot,
    task: Task,
    calibration: Calibration,
    figures: dict[str, dict[str, Any]],
    about: dict[str, Any],
    confusion: dict[str, Any],
) -> str:
    """Markdown card of a model from the figures of its final test and how it was made.

    about: run, command, seed, steps, hardware, versions, seconds, images, n_weights, share_trained; confusion: from
    `validation.confusion_tables` of the same test.
    """
    material, kinds = task.material, [k.name for k in task.material.kinds] + ["defect"]
    doses = cfg.training.validation.doses_e_per_px
    prior = ", ".join(f"{k.name} {task.prior[k.state]:.2%}" for k in material.kinds)
    quality = ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for key, label, scale, digits in (
        ("found", "columns found", 1, 4),
        ("spurious_per_image", "spurious columns per image", 1, 1),
        ("rmse_nm", "position RMSE per axis (pm)", 1000, 1),
        ("sigma_ratio", "error / stated sigma (rms; 1 is honest)", 1, 2),
        ("ece", "calibration error of the state (ECE)", 1, 4),
        ("defect_ece", "the same of the defect score above 0.05", 1, 3),
    ):
        quality.append(f"| {label} | " + " | ".join(_number(f[key] * scale, digits) for f in figures.values()) + " |")
    looked_at = "\n".join(corrected_frames.sentences(about.get("corrected_frames", {})))
    looked_at = f"\nOn the frames that a person corrected:\n\n{looked_at}\n" if looked_at else ""
    thresholds = ", ".join(f"{k} {v:.2f}" for k, v in calibration.thresholds.items())
    frames = "one frame" if cfg.model.frames == 1 else f"{cfg.model.frames} aligned frames, answers for the middle one"
    sets = ", ".join(
        f"{n}: {d:g} incident e/px" if d is not None and d > 0 else f"{n}: held-out parts of the movie"
        for n, d in doses.items()
    )
    source, limits = _origin(cfg, about["share_trained"], kinds[material.headline or 0])
    several = f", an ensemble of {task.n_members}" if task.n_members > 1 else ""
    confused = "\n\n".join(f"{dose}:\n\n{confusion_table(confusion, dose)}" for dose in figures)
    return f"""# {material.name}: {cfg.model.name}, {frames}{several}

Finds the columns of {material.name} in HAADF-STEM images, their state, sub-pixel position with its uncertainty, and the
region they are in. {about["n_weights"] / 1e6:.2f} M weights, sampling {cfg.model.pixel_size_nm} nm/px.

    {about["command"]}

Run {about["run"]}, seed {about["seed"]}, {about["steps"]} steps, {about["images"]:,} images
({source}), {about["seconds"] / 60:.1f} minutes on {about["hardware"]}, {about["versions"]}.

## Scores

On {cfg.training.validation.images} images per set that served neither for training nor for choosing thresholds
({sets}). A detection counts when it lies within
{cfg.training.validation.radius_nm} nm of the true column. Precision is stated for these prevalences: {prior}.
{task.tested_on}

F1 at the model's thresholds:

{score_table(figures, kinds)}

F1 at the threshold that is best for each dose:

{score_table(figures, kinds, "best_f1")}

Average precision:

{score_table(figures, kinds, "ap")}

{chr(10).join(quality)}
{looked_at}
Reliability: in each bin, the mean stated probability of a defect (above 0.05) and the fraction that are defects.

{reliability_table(figures)}

Confusion: columns of each true state by what a table says of them (probabilities per row in `confusion.json`).

{confused}

Thresholds on the posterior (chosen on the validation images): {thresholds}. Temperature {calibration.temperature:.2f}.

## Limits

{limits}
"""
