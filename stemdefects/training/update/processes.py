"""Several processes as one training: joining by jax.distributed, and what only one of them does.

Every process simulates its share of the batch and validates for itself (the same figures, no waiting); process 0
alone writes checkpoints, figures and the model.
"""

import os
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stemdefects import schema
from stemdefects.errors import UserError
from stemdefects.io import runs


def join(cfg: schema.TrainingConfig) -> None:
    """Join the other processes when `training.distributed` is set; must come before anything asks for devices.

    Coordinator, count and id come from the config, else from SLURM's variables (one task per process). Raises UserError
    when they are not known, or when the coordinator does not answer within two minutes.
    """
    if not cfg.distributed or jax.distributed.is_initialized():
        return
    count = _first(cfg.process_count, os.environ.get("SLURM_NTASKS"))
    number = _first(cfg.process_id, os.environ.get("SLURM_PROCID"))
    coordinator = cfg.coordinator or _slurm_coordinator()
    if coordinator is None or count is None or number is None:
        known = {"coordinator": coordinator, "process_count": count, "process_id": number}
        unknown = [name for name, value in known.items() if value is None]
        raise UserError(
            f"training.distributed=true needs {', '.join('training.' + u for u in unknown)} "
            f"(or SLURM's variables: start with srun)"
        )
    if not 0 <= number < count:
        raise UserError(f"training.process_id={number}: must be 0..{count - 1} (training.process_count={count})")
    try:
        jax.distributed.initialize(coordinator, num_processes=count, process_id=number, initialization_timeout=120)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"training.coordinator={coordinator}: process {number} of {count} cannot join ({reason})"
        ) from None


def _first(*values: Any) -> int | None:
    return next((int(v) for v in values if v is not None), None)


def _slurm_coordinator() -> str | None:
    """First host of the job and a port made from its id, as in JAX's own SLURM support."""
    nodes, job = os.environ.get("SLURM_STEP_NODELIST"), os.environ.get("SLURM_JOB_ID")
    if not nodes or not job:
        return None
    first = re.match(r"([^,\[]+)(?:\[(\d+))?", nodes)
    if first is None:
        return None
    return f"{first.group(1)}{first.group(2) or ''}:{int(job) % 2**12 + (65535 - 2**12 + 1)}"


def primary() -> bool:
    """Whether this process writes."""
    return jax.process_index() == 0


def same_run(run: runs.Run | None, cfg: schema.TrainRoot) -> runs.Run:
    """The run of process 0, on every process."""
    if jax.process_count() == 1:
        assert run is not None  # the one process writes
        return run
    text = np.zeros(64, np.uint8)
    if run is not None:
        text[: len(run.id)] = np.frombuffer(run.id.encode(), np.uint8)
    name = bytes(share(text)).rstrip(b"\0").decode()
    return run or runs.Run(Path(cfg.runs_dir).resolve() / name)


def share(tree: Any) -> Any:
    """Host arrays of process 0, on every process."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def any_process(flag: bool) -> bool:
    """Whether `flag` is set on any process; every process must ask at the same step."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(flag)).any())


class Silent:
    """Tracker and checkpoints of the processes that do not write."""

    def __init__(self, run: runs.Run):
        self.run, self.folder = run, run.checkpoints_dir

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def steps(self) -> list[int]:
        """None of its own."""
        return []

    def nothing(self, *_args: object, **_kwargs: object) -> None:
        """Does nothing."""

    log = image = table = artifact = summary = rewind = forget = save = close = nothing
