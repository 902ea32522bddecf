from pathlib import Path


def mote2() -> Path:
    """The material's YAML file: the same keys as in configs/material/."""
    return Path(__file__).with_name("mote2.yaml")
