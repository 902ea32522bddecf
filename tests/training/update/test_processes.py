"""Two processes train as one."""

import socket

import numpy as np
import pytest

from stemdefects import schema
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.training.update import processes


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_two_processes_make_the_updates_of_one(trainings, undisturbed):
    before = set(runs.list_ids(trainings.runs_dir))
    port = free_port()
    children = [
        trainings.new(
            "training.distributed=true",
            f"training.coordinator=127.0.0.1:{port}",
            "training.process_count=2",
            f"training.process_id={i}",
        )
        for i in range(2)
    ]
    outs = [trainings.finish(child)[0] for child in children]
    new = set(runs.list_ids(trainings.runs_dir)) - before
    assert len(new) == 1  # one run, written by process 0
    assert "F1 on fresh" in outs[0] and "F1 on fresh" not in outs[1]
    with np.load(undisturbed / "model" / "weights.npz") as one:
        with np.load(trainings.runs_dir / new.pop() / "model" / "weights.npz") as two:
            for name in one.files:
                np.testing.assert_allclose(two[name], one[name], atol=2e-3, err_msg=name)


@pytest.mark.parametrize(
    "nodes, expected", [("gpu[017-019,022],cpu3", "gpu017"), ("node7", "node7"), ("a,b", "a"), ("n[3,5]", "n3")]
)
def test_the_first_host_of_slurms_list_coordinates(monkeypatch, nodes, expected):
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    host, port = processes._slurm_coordinator().split(":")
    assert host == expected and 61440 <= int(port) <= 65535


def test_what_is_missing_is_named(monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"needs training.coordinator, training.process_count, training.process_id"):
        processes.join(schema.TrainingConfig(name="x", distributed=True))
    with pytest.raises(UserError, match=r"process_id=2: must be 0..1"):
        processes.join(
            schema.TrainingConfig(name="x", distributed=True, coordinator="a:1", process_count=2, process_id=2)
        )
    processes.join(schema.TrainingConfig(name="x"))  # alone: nothing to do
