"""Hydra's plug-ins for sweeps, which are an extra of this package: named before Hydra looks for them in vain."""

import importlib.util

from stemdefects.errors import UserError

PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "optuna": "hydra-optuna-sweeper",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "slurm": "hydra-submitit-launcher",
}
# what a sweep of trainings wants, where the plug-in's own default is another (it minimises); the user's choice wins
DEFAULTS = {
    "optuna": {"direction": "maximize", "max_failure_rate": "0.5", "n_jobs": "1", "sampler.seed": "0"},
}


def available(name: str) -> bool:
    """Whether the launcher or sweeper `name` can be used here."""
    module = PACKAGES[name].replace("-", "_")
    try:
        return importlib.util.find_spec(f"hydra_plugins.{module}") is not None
    except ModuleNotFoundError:  # no plug-in at all
        return False


def defaults(arguments: list[str]) -> list[str]:
    """Overrides that the chosen plug-ins need besides the user's `arguments`."""
    given = {argument.split("=", 1)[0].lstrip("+") for argument in arguments}
    extra = []
    for argument in arguments:
        group, _, name = argument.partition("=")
        for key, value in DEFAULTS.get(name, {}).items() if group.startswith("hydra/") else ():
            key = f"{group.replace('/', '.')}.{key}"
            if key not in given:
                extra.append(f"{key}={value}")
    return extra


def check(key: str, name: str) -> None:
    """Raise UserError when the choice `key=name` (hydra/launcher=joblib) needs a package that is not installed."""
    if name in PACKAGES and not available(name):
        raise UserError(
            f"{key}={name}: needs the package {PACKAGES[name]}, which is not installed; "
            f'pip install "stemdefects[sweeps]" brings it'
        )
