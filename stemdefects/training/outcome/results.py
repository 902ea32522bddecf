"""What validation and the final test make of the weights: figures, pictures, the model."""

import platform
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from stemdefects import devices
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.tracking import Tracker
from stemdefects.messages import LOG
from stemdefects.models import artifact
from stemdefects.models.probability import emissions, prevalence, states
from stemdefects.schema import TrainRoot
from stemdefects.training import task
from stemdefects.training.checkpoints import Checkpoints
from stemdefects.training.outcome import adaptation, card, corrected_frames, pictures, validation
from stemdefects.training.update import processes, state


def calibration_of(the_task: task.Task, state_counts: np.ndarray, result: validation.Result) -> artifact.Calibration:
    """Prior shift from the columns seen in training, temperature and thresholds from a validation."""
    shift = states.prior_shift(state_counts, the_task.class_weight, the_task.prior, the_task.material.site_of_state)
    return validation.calibrate(result, the_task, shift)


def validate(
    cfg: TrainRoot,
    tracker: Tracker | processes.Silent,
    the_task: task.Task,
    validator: validation.Validator,
    current: state.TrainState,
    done: int,
) -> float:
    """Score the averaged weights after step `done`, log figures and a picture; returns the score."""
    result = validator.run(jax.device_get(current.ema))
    calibration = calibration_of(the_task, np.asarray(current.state_counts), result)
    figures = validation.figures(result, the_task, calibration)
    score = adaptation.score(figures, cfg, the_task)
    row = {f"val/{name}": value for name, value in validation.flat(figures).items()}
    tracker.log(row | {"val/score": score, "val/temperature": calibration.temperature}, step=done)
    if cfg.training.validation.pictures > 0 and processes.primary():
        path = tracker.run.path / "figures" / "validation.png"
        try:
            pictures.draw(validator, result, calibration, path, cfg.training.validation.pictures)
            tracker.image("validation", path, step=done)
        except OSError as error:  # a full disk must not end the training
            LOG.warning("%s could not be written (%s)", path.name, error.strerror)
    return score


class Trained(NamedTuple):
    """What the loop ends with: current: state; progress: of the validations; validator; n_weights: of the network."""

    current: Any
    progress: Any
    validator: validation.Validator
    n_weights: int


def finish(
    cfg: TrainRoot,
    run: runs.Run,
    tracker: Tracker | processes.Silent,
    the_task: task.Task,
    checkpoints: Checkpoints,
    trained: Trained,
) -> None:
    """Score the best weights on fresh images and write the model."""
    current, progress, validator, n_weights = trained
    at_step, chosen = int(current.step), current
    if progress.best_step not in (-1, at_step):
        try:
            at_step, chosen, _ = checkpoints.restore(current, progress.best_step)
        except UserError as error:
            LOG.warning("the best weights are lost (%s); taking the last ones", error)
    params = jax.device_get(chosen.ema)
    validated = validator.run(params)
    calibration = calibration_of(the_task, np.asarray(chosen.state_counts), validated)
    params, validated, calibration, share = adaptation.best_share(
        cfg, the_task, validator, params, validated, calibration
    )
    test = validation.Validator(cfg, the_task, seed_offset=1, like=validator)
    result = test.run(params)
    figures = validation.figures(result, the_task, calibration)
    about: dict[str, Any] = {
        "run": run.id,
        "command": run.read_summary().get("command", "-"),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seed": cfg.seed,
        "steps": at_step,
        "images": at_step * cfg.training.batch_size,
        "seconds": progress.seconds,
        "hardware": devices.describe(),
        "versions": f"Python {platform.python_version()}, jax {jax.__version__}",
        "n_weights": int(n_weights),
        "share_trained": share,
    }
    if the_task.corrected is not None:
        about["corrected_frames"] = corrected_frames.scored(cfg, the_task, params, calibration)
    sites = the_task.material.site_of_state, the_task.material.ideal_states
    confusion = validation.confusion_tables(result, the_task, calibration)
    model_id = artifact.save(
        run.model_dir,
        artifact.Contents(
            params=params,
            sections=artifact.Sections.of(cfg),
            calibration=calibration,
            confusion=confusion,
            record=about | {"test": figures, "prior": [float(p) for p in the_task.prior]},
            card=card.make(cfg, the_task, calibration, figures, about, confusion),
            emitted=emissions.measure([*validated.matched.values(), *result.matched.values()], *sites),
        ),
    )
    if cfg.training.validation.pictures > 0:
        path = run.path / "figures" / "test.png"
        pictures.draw(test, result, calibration, path, cfg.training.validation.pictures)
        tracker.image("test", path)
        tracker.image("calibration", pictures.draw_reliability(figures, run.path / "figures" / "calibration.png"))
        tracker.image("confusion", pictures.draw_confusion(confusion, run.path / "figures" / "confusion.png"))
    score = adaptation.score(figures, cfg, the_task)
    row = {f"test/{k}": v for k, v in validation.flat(figures).items()}
    tracker.forget("test/")
    tracker.log(row | {"test/score": score}, step=at_step)
    tracker.summary(
        {"model_id": model_id, "test_score": score, "steps": at_step, "train_seconds": progress.seconds} | row
    )
    tracker.artifact("model", "model", run.model_dir)
    kinds = [*prevalence.common_kinds(cfg.labels, the_task.material), "defect"]
    print(f"\nF1 on fresh images, at realistic prevalence ({progress.seconds / 60:.1f} min of training):")
    print(card.score_table(figures, kinds))
    if the_task.tested_on:
        print(the_task.tested_on)
    if the_task.corrected is not None:
        print("\n".join(corrected_frames.sentences(about["corrected_frames"])))
        tracker.summary({"corrected_frames": about["corrected_frames"]})
    lost = not_learned(figures, kinds)
    tracker.summary({"not_learned": lost})
    if lost:
        LOG.warning(
            "F1 of %s is 0: the network finds none of them in its validation images; more steps (training.steps), "
            "better labels, or a network trained on simulation",
            ", ".join(lost),
        )
    print(f"model {model_id}: {run.model_dir}", flush=True)


def not_learned(figures: dict[str, Any], kinds: list[str]) -> list[str]:
    """The `kinds` whose F1 is zero at every dose that shows any of them."""
    shown = {kind: [f["kinds"][kind]["f1"] for f in figures.values() if f["kinds"][kind]["n"]] for kind in kinds}
    return [kind for kind, values in shown.items() if values and max(values) == 0]
