"""Run folders: ids, prefixes, latest, nearest."""

import json
import re

import pytest
import yaml

from stemdefects.errors import UserError
from stemdefects.io import runs


def make(root, *ids):
    for name in ids:
        (root / name).mkdir(parents=True)


def test_id_is_never_a_number_to_yaml(tmp_path):
    for _ in range(50):
        run = runs.create(tmp_path)
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", run.id), "W&B takes no other characters"
        for end in range(1, len(run.id) + 1):
            value = yaml.safe_load(run.id[:end])
            assert end <= 10 or isinstance(value, str)
        assert isinstance(yaml.safe_load(run.id), str)


def test_resolve_exact_prefix_latest(tmp_path):
    ids = ["2026-01-01_10-00-00_aaaa", "2026-01-01_10-00-00_abbb", "2026-02-01_10-00-00_cccc"]
    make(tmp_path, *ids, "sweeps", "notes")
    assert runs.list_ids(tmp_path) == ids
    assert runs.resolve(tmp_path, ids[0]).id == ids[0]
    assert runs.resolve(tmp_path, "2026-02").id == ids[2]
    assert runs.resolve(tmp_path, "latest").id == ids[2]
    with pytest.raises(UserError, match="2 runs begin with that"):
        runs.resolve(tmp_path, "2026-01")
    with pytest.raises(UserError, match=ids[2]):
        runs.resolve(tmp_path, "2026-02-01_10-00-00_cccd")


def test_latest_that_holds_what_is_needed(tmp_path):
    make(tmp_path, "2026-01-01_10-00-00_aaaa/model", "2026-02-01_10-00-00_bbbb")
    assert runs.resolve(tmp_path, "latest").id == "2026-02-01_10-00-00_bbbb"
    assert runs.resolve(tmp_path, "latest", having="model").id == "2026-01-01_10-00-00_aaaa"
    with pytest.raises(UserError, match=r"defects\.h5"):
        runs.resolve(tmp_path, "latest", having="defects.h5")


def test_no_runs_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match=r"train\.py"):
        runs.resolve(tmp_path / "nothing", "latest")


def test_runs_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="runs_dir"):
        runs.create(tmp_path / "file" / "runs")


def test_config_and_summary(tmp_path):
    from stemdefects.schema import LoggingConfig

    run = runs.create(tmp_path)
    assert run.write_config(LoggingConfig(name="offline"), "train").name == "config.yaml"
    assert run.write_config(LoggingConfig(name="offline"), "train").name == "config.yaml"
    assert run.write_config(LoggingConfig(name="offline"), "infer").name == "config_infer.yaml"
    assert yaml.safe_load((run.path / "config.yaml").read_text())["mode"] == "offline"
    run.write_summary({"train": {"f1": 0.5}})
    run.write_summary({"infer": {"defects": 3}})
    assert json.loads((run.path / "summary.json").read_text()) == {"train": {"f1": 0.5}, "infer": {"defects": 3}}


@pytest.mark.parametrize("name", ["my best run", "2026-01-01_10-00-00_aaaa (copy)", "~t", "[3] a=b, µ", "it's ${x}"])
def test_a_run_that_was_renamed_or_moved_is_reached(tmp_path, monkeypatch, name):
    make(tmp_path / "runs", "2026-01-01_10-00-00_aaaa/model", f"{name}/model", "empty")
    make(tmp_path / "elsewhere", f"{name}/model")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert runs.resolve(tmp_path / "runs", name).path == tmp_path / "runs" / name
    for text in (str(tmp_path / "elsewhere" / name), f"./{name}", f"../elsewhere/{name}/"):
        assert runs.resolve(tmp_path / "runs", text).path == tmp_path / "elsewhere" / name
    assert runs.resolve(tmp_path / "nothing", name).path == tmp_path / "elsewhere" / name
    assert runs.resolve(tmp_path / "runs", "latest").id == "2026-01-01_10-00-00_aaaa"
    with pytest.raises(UserError, match="holds no run"):
        runs.resolve(tmp_path / "runs", "../runs/empty")
    with pytest.raises(UserError, match="no such folder"):
        runs.resolve(tmp_path / "runs", "./nothing")
    with pytest.raises(UserError, match="nearest"):
        runs.resolve(tmp_path / "runs", "empty")
