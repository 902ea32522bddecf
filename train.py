"""Train a network on endless simulation: python train.py model=unet_small"""

from stemdefects.entry import hydra_main
from stemdefects.schema import TrainRoot


def run(cfg: TrainRoot) -> float:
    """Train and return the test score (what a Hydra sweeper maximises)."""
    from hydra.core.hydra_config import HydraConfig

    from stemdefects.training.loop import train_and_evaluate

    overrides = list(HydraConfig.get().overrides.task)
    return train_and_evaluate(cfg, overrides).read_summary()["test_score"]


if __name__ == "__main__":
    hydra_main("train", TrainRoot, run)
