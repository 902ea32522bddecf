"""Training from start, or from a checkpoint, to the finished model: `train_and_evaluate(cfg)`."""

import contextlib
import dataclasses
import logging
import signal
import sys
import time

import jax
import numpy as np
from tqdm import tqdm

from stemdefects import command_line, config, devices, schema
from stemdefects.errors import UserError
from stemdefects.io import locks, runs, tracking
from stemdefects.messages import LOG
from stemdefects.training import corrections, movie, resume, task
from stemdefects.training.checkpoints import Checkpoints
from stemdefects.training.outcome import results, validation
from stemdefects.training.update import processes, state, step

PATIENCE_NOT_FINITE = 3  # updates in a row


@dataclasses.dataclass
class Progress:
    """What a checkpoint remembers besides the arrays."""

    best_score: float = -1.0
    best_step: int = -1
    stale: int = 0  # validations since the best one
    seconds: float = 0.0  # spent training, over all sittings

    def see(self, score: float, at_step: int) -> None:
        """Take note of a validation; of equal scores the later weights count, but they are no progress."""
        self.stale = 0 if score > self.best_score else self.stale + 1
        if score >= self.best_score:
            self.best_score, self.best_step = score, at_step


class Stop:
    """Turns the first Ctrl-C (or SIGTERM) into a request to stop after the step; a second one interrupts at once."""

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self._before = {}
        for which in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[which] = signal.signal(which, self._ask)
            except ValueError:  # not the main thread (a notebook's worker): Ctrl-C stays what it was
                break
        return self

    def __exit__(self, *_):
        for which, handler in self._before.items():
            signal.signal(which, handler)

    def _ask(self, which, _frame):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def train_and_evaluate(cfg: schema.TrainRoot, overrides: list[str] | None = None) -> runs.Run:
    """Train the network of `cfg`, score it on fresh simulated images and write `runs/<id>/model/`. Returns the run.

    With `cfg.run` the run goes on from its newest checkpoint under its own stored config; `overrides` (command-line
    `key=value`) that contradict it are refused. The first Ctrl-C saves and raises KeyboardInterrupt; a loss that is not
    finite raises UserError naming the step, the learning rate and the last good checkpoint.
    """
    logging.getLogger("absl").setLevel(logging.WARNING)  # Orbax tells of every file
    devices.use_compilation_cache()
    devices.keep_memory()
    processes.join(cfg.training)
    devices.check()
    with contextlib.ExitStack() as holding:
        return _train_and_evaluate(cfg, overrides or [], holding)


def _train_and_evaluate(cfg: schema.TrainRoot, overrides: list[str], holding: contextlib.ExitStack) -> runs.Run:
    """See `train_and_evaluate`; `holding` keeps the run's lock."""
    # what was corrected names runs too; a training that is gone on with has that in its own config
    unfinished = None if cfg.labels.source == "corrections" else cfg.run
    resumed = unfinished is not None
    if unfinished is not None:
        run = runs.resolve(cfg.runs_dir, unfinished)
        cfg = resume.stored_config(run, cfg, overrides)
        if processes.primary():
            holding.enter_context(locks.held(run, "train"))
    else:
        run = None
    prepare = corrections.prepare if cfg.labels.source == "corrections" else movie.prepare
    cfg, source, params = prepare(cfg, resumed)
    the_task = task.from_config(cfg, source, params)
    for line in task.doubts(cfg):
        LOG.warning("%s", line)
    indices = step.sample_indices(cfg.training.batch_size)
    if run is None and processes.primary():  # nothing is left behind by a config that cannot train
        run = runs.create(cfg.runs_dir)
        holding.enter_context(locks.held(run, "train"))
        run.write_config(cfg, "train")
        run.write_summary({"command": command_line.command()})
    run = processes.same_run(run, cfg)
    writes = processes.primary()
    tracked = tracking.start(cfg.logging, run, "train", config.to_plain(cfg)) if writes else processes.Silent(run)
    with tracked as tracker:
        checkpoints = Checkpoints(run.checkpoints_dir) if writes else processes.Silent(run)
        if writes and source is not None:
            source.report(run, tracker)
        try:
            trained = _train(cfg, run, tracker, the_task, checkpoints, indices, resumed)
            if isinstance(checkpoints, Checkpoints):
                try:
                    results.finish(cfg, run, tracker, the_task, checkpoints, trained)
                except OSError as error:
                    raise UserError(
                        f"run {run.id} is trained, but its model could not be written ({error.strerror or error}); "
                        f"make room and finish it with: python train.py run={run.id}"
                    ) from None
            processes.any_process(False)  # the others wait until the model is there
        finally:
            checkpoints.close()
    return run


def _train(cfg, run, tracker, the_task, checkpoints, indices, resumed):
    """Run the steps; returns `results.Trained`."""
    training = cfg.training
    key = jax.random.key(cfg.seed)
    tx = state.optimizer(training)
    rate = state.schedule(training)
    # rbg compiles three times as fast as threefry; its numbers need not be the same on every machine here
    current = state.create(the_task.init, tx, the_task.material.n_states, jax.random.key(cfg.seed, impl="rbg"))
    progress, done = Progress(), 0
    if resumed and processes.any_process(bool(checkpoints.steps())):
        arrays, values = jax.device_get(current), dataclasses.asdict(progress)
        if processes.primary():
            done, arrays, values = checkpoints.restore(current)
        done, arrays, values = processes.share((done, arrays, values))
        done = int(done)
        current = jax.device_put(arrays, state.replicated())
        progress = Progress(
            **{name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
        )
        tracker.rewind(done)
    n_weights = sum(a.size for a in jax.tree.leaves(current.params))
    begun = "from scratch" if the_task.params is None else f"from {training.init}"
    where = f"from step {done}" if done else begun
    LOG.info(
        f"run {run.id}: {cfg.model.name} ({n_weights / 1e6:.2f} M weights) on {cfg.material.name}, {where}, "
        f"{training.steps} steps of {training.batch_size} images, {devices.describe()}"
    )

    update = step.make_step(the_task, tx, training, jax.random.fold_in(key, 2))
    validator = None
    started, saved, logged, before = time.time(), time.time(), (done, time.time()), progress.seconds
    bar = tqdm(
        total=training.steps,
        initial=done,
        unit="step",
        desc="training",
        smoothing=0.1,
        mininterval=1.0,
        disable=not processes.primary(),
        postfix="compiling the step",
    )
    enough = training.patience is not None and progress.stale >= training.patience
    with Stop() as stop, bar:
        waiting, stopping = None, False
        while done < training.steps and not stopping and not enough:
            current, metrics = update(current, indices)
            jax.block_until_ready(waiting)  # one step ahead of the device, no more
            waiting = metrics["loss"]
            done += 1
            bar.update()
            last = done == training.steps
            # one process alone sees its own Ctrl-C at once; several agree on it now and then
            if jax.process_count() == 1 or done % training.log_every == 0:
                stopping = processes.any_process(stop.requested)
            if done % training.log_every == 0 or last:
                _check_finite(current, metrics, done, rate, checkpoints)
                now = time.time()
                speed = (done - logged[0]) * training.batch_size / max(now - logged[1], 1e-9)
                row = {k: float(v) for k, v in metrics.items()}
                tracker.log(
                    row | {"learning_rate": float(np.asarray(rate(done - 1))), "images_per_s": speed}, step=done
                )
                bar.set_postfix_str(f"loss {row['loss']:.3f}, {speed:.0f} images/s")
                logged = (done, now)
            if done % training.validation.every == 0 or last:
                validator = validator or validation.Validator(cfg, the_task)
                score = results.validate(cfg, tracker, the_task, validator, current, done)
                progress.see(score, done)
                progress.seconds = before + time.time() - started
                _save(checkpoints, done, current, progress, score)
                saved, logged = time.time(), (done, time.time())
                bar.write(
                    f"step {done}: validation score {score:.3f} (best {progress.best_score:.3f})", file=sys.stderr
                )
                if training.patience is not None and progress.stale >= training.patience and not last:
                    bar.write(f"no better for {progress.stale} validations: stopping at step {done}", file=sys.stderr)
                    enough = True
            elif time.time() - saved > 60 * training.checkpoint_minutes or stopping:
                progress.seconds = before + time.time() - started
                _save(checkpoints, done, current, progress)
                saved = time.time()
    if stopping and done < training.steps and not enough:
        LOG.warning("stopped at step %s, saved; go on with: python train.py run=%s", done, run.id)
        raise KeyboardInterrupt
    return results.Trained(current, progress, validator or validation.Validator(cfg, the_task), n_weights)


def _save(checkpoints, done, current, progress, score=None) -> None:
    try:
        checkpoints.save(done, current, dataclasses.asdict(progress), score)
    except (OSError, ValueError) as error:  # a full disk must not end the training; the one before still stands
        reason = str(error).strip().splitlines() or [type(error).__name__]
        LOG.warning("checkpoint %s could not be written (%s); training continues", done, reason[0])


def _check_finite(current, metrics, done, rate, checkpoints) -> None:
    bad = int(current.skipped)
    if bad < PATIENCE_NOT_FINITE and (np.isfinite(float(metrics["loss"])) or bad == 0):
        return
    if bad < PATIENCE_NOT_FINITE:
        return
    kept = checkpoints.steps()
    good = f"checkpoint {kept[-1]} in {checkpoints.folder}" if kept else "no checkpoint yet"
    raise UserError(
        f"training stopped at step {done}: loss {float(metrics['loss'])} (not finite for {bad} steps), learning rate "
        f"{float(np.asarray(rate(done - 1))):.2e}; last good: {good}; try a smaller training.learning_rate"
    )
