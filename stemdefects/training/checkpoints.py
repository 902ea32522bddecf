"""Resumable training state on disk, by Orbax: the two newest checkpoints and the best one are kept."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from stemdefects.errors import UserError
from stemdefects.messages import LOG

NEWEST = 2  # a damaged one leaves another


class Checkpoints:
    """Checkpoints of one run. Each holds the state (arrays) and a small dict of plain values.

    Saving is synchronous and atomic: after kill -9 the newest complete checkpoint is found. Only whole host copies are
    written, so the number of devices may change between a save and a restore.
    """

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        best = keep.BestN(get_metric_fn=lambda m: m["score"], n=1, keep_checkpoints_without_metrics=False)
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="alone"
        )
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(NEWEST), best]),
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
                create=False,
                # with several processes this one alone saves, and must not wait for the others
                multiprocessing_options=alone,
            ),
        )

    def save(self, step: int, state: Any, values: dict[str, Any], score: float | None = None) -> None:
        """Write a checkpoint; `score` (greater is better) marks those of a validation. An existing step is left."""
        import orbax.checkpoint as ocp

        if step in self.steps():
            return
        arrays = jax.tree.map(np.asarray, jax.device_get(state))
        self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(arrays), values=ocp.args.JsonSave(values)),
            # of equal scores the later is kept, on every machine and in every order of saving
            metrics=None if score is None else {"score": float(score) + 1e-9 * step},
        )
        self._manager.wait_until_finished()

    def steps(self) -> list[int]:
        """Steps of the checkpoints there are, oldest first."""
        return sorted(self._manager.all_steps())

    def restore(self, like: Any, step: int | None = None) -> tuple[int, Any, dict[str, Any]]:
        """(step, state, values) of checkpoint `step`, or of the newest that can be read.

        like: a state with the shapes and types expected; the result has numpy leaves. An unreadable checkpoint is
        reported on stderr, deleted (its step will be made again), and the one before is tried. Raises UserError when
        none is left, and when a checkpoint belongs to another network (both shapes named).
        """
        import orbax.checkpoint as ocp

        wanted = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), like)
        steps = [step] if step is not None else sorted(self.steps(), reverse=True)
        for candidate in steps:
            try:
                stored = self._manager.restore(
                    candidate,
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(), values=ocp.args.JsonRestore()),
                )
                state = self._as_like(stored["state"], wanted, candidate)
                return candidate, state, stored["values"]
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes of itself
                reason = str(error).strip().splitlines()
                why = f"{type(error).__name__}: {reason[0][:120] if reason else ''}"
                LOG.warning(
                    "checkpoint %s in %s cannot be read (%s); trying the one before", candidate, self.folder, why
                )
                if step is None:
                    self._discard(candidate)
        raise UserError(f"no readable checkpoint in {self.folder}; start a new run without run=")

    def _discard(self, step: int) -> None:
        import shutil

        shutil.rmtree(self.folder / str(step), ignore_errors=True)
        self._manager.reload()

    def _as_like(self, stored: Any, wanted: Any, step: int) -> Any:
        found = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(stored)}
        leaves, structure = jax.tree_util.tree_flatten_with_path(wanted)
        values = []
        for path, spec in leaves:
            name = _name(path)
            if name not in found:
                raise UserError(
                    f"checkpoint {step} in {self.folder} has no {name}: it belongs to another model or optimiser; "
                    f"resume with the config of that run"
                )
            value = np.asarray(found[name])
            if value.shape != spec.shape:
                raise UserError(
                    f"checkpoint {step} in {self.folder}: {name} has shape {value.shape}, the config makes "
                    f"{spec.shape}; resume with the config of that run"
                )
            values.append(value.astype(spec.dtype))
        if len(found) > len(leaves):
            extra = sorted(set(found) - {_name(path) for path, _ in leaves})[0]
            raise UserError(
                f"checkpoint {step} in {self.folder} has {extra}, which the config does not make; "
                f"resume with the config of that run"
            )
        return jax.tree_util.tree_unflatten(structure, values)

    def close(self) -> None:
        """Release Orbax's threads."""
        self._manager.close()


def _name(path) -> str:
    """Key path as text, the same for attributes, dict keys and positions (Orbax stores them all as dicts)."""
    return "/".join(str(getattr(p, "name", getattr(p, "key", getattr(p, "idx", p)))) for p in path)
