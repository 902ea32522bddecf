from pathlib import Path


def wte2() -> Path:
    """The material's YAML file: the same keys as in configs/material/."""
    return Path(__file__).with_name("wte2.yaml")
