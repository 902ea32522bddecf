"""Child process of test_launchers.py: `train.py` with a score that is known beforehand in place of a training."""

import math

from stemdefects.command_line import command
from stemdefects.entry import hydra_main
from stemdefects.errors import UserError
from stemdefects.schema import TrainRoot


def run(cfg: TrainRoot) -> float:
    """The score of a job: best at a learning rate of 1e-3."""
    from stemdefects.commands import sweep

    if cfg.training.learning_rate > 10:
        raise UserError(f"training.learning_rate={cfg.training.learning_rate}: refused")
    score = -abs(math.log10(cfg.training.learning_rate / 1e-3))
    print(f"job: {command()}", flush=True)
    sweep.record(f"run-of-{cfg.training.learning_rate:g}", score)
    return score


if __name__ == "__main__":
    hydra_main("train", TrainRoot, run)
