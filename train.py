"""Train a network on endless simulation: python train.py model=unet_small"""

from stemdefects.entry import hydra_main
from stemdefects.schema import TrainRoot


def run(cfg: TrainRoot) -> float:
    """Train and return the test score (what a Hydra sweeper maximises)."""
    from hydra.core.hydra_config import HydraConfig

    from stemdefects.training import sweep
    from stemdefects.training.loop import train_and_evaluate

    done = train_and_evaluate(cfg, list(HydraConfig.get().overrides.task))
    score = done.read_summary()["test_score"]
    sweep.record(done.id, score)
    return score


if __name__ == "__main__":
    hydra_main("train", TrainRoot, run)
