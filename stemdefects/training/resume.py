"""Going on with a run: its stored config holds, and nothing on the command line may contradict it."""

from typing import Any

from omegaconf import OmegaConf

from stemdefects import config, schema
from stemdefects.errors import UserError
from stemdefects.io.runs import Run

FREE = (
    "run",
    "runs_dir",
    "logging",
    "verbose",
    "training.checkpoint_minutes",
    "training.log_every",
    "training.distributed",
    "training.coordinator",
    "training.process_count",
    "training.process_id",
)


def stored_config(run: Run, cfg: schema.TrainRoot, overrides: list[str]) -> schema.TrainRoot:
    """The config `run` was started with; places, and what is free to change, come from `cfg`.

    overrides: `key=value` given on the command line. Raises UserError when the run was not made by training, or when an
    override differs from what is stored, with both values.
    """
    path = run.path / "config.yaml"
    if not path.exists() or not path.read_text().startswith("# train\n"):
        raise UserError(f"run={run.id}: was not made by train.py (no training config in {run.path})")
    given = {override.split("=", 1)[0].lstrip("+~").replace("/", ".") for override in overrides}
    stored = config.to_object(OmegaConf.load(path), schema.TrainRoot)
    plain = {"now": config.to_plain(cfg), "then": config.to_plain(stored)}
    for key in sorted(given):
        if "@" in key or key.startswith("hydra") or any(key == f or key.startswith(f + ".") for f in FREE):
            continue
        now, then = _at(plain["now"], key), _at(plain["then"], key)
        if now != then:
            name, now, then = _first_difference(key, now, then)
            raise UserError(
                f"run={run.id}: {name} was {then} when it started and is {now} now; resume without it "
                f"(`python train.py run={run.id}`), or start a new run"
            )
    stored.runs_dir, stored.run = cfg.runs_dir, cfg.run
    if any(key.split(".")[0] == "logging" for key in given):
        stored.logging = cfg.logging
    for key in (f.removeprefix("training.") for f in FREE if f.startswith("training.")):
        if f"training.{key}" in given:
            setattr(stored.training, key, getattr(cfg.training, key))
    return stored


def _at(plain: Any, key: str) -> Any:
    for part in key.split("."):
        plain = plain.get(part) if isinstance(plain, dict) else None
    return plain


def _first_difference(key: str, now: Any, then: Any) -> tuple[str, Any, Any]:
    if isinstance(now, dict) and isinstance(then, dict):
        for name in [*now, *then]:
            if now.get(name) != then.get(name):
                return _first_difference(f"{key}.{name}", now.get(name), then.get(name))
    return key, now, then
