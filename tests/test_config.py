"""Configs: composed by Hydra, checked by the schema, with errors that name what exists."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from stemdefects import config, schema
from stemdefects.command_line import prepare
from stemdefects.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def run_script(script, *arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], cwd=cwd, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("group", config.GROUPS)
def test_every_config_file_loads_and_begins_with_its_command(group):
    names = config.group_names(group)
    assert names, f"configs/{group} is empty"
    for name in names:
        text = (config.config_dir() / group / f"{name}.yaml").read_text()
        assert text.startswith("# python "), f"{group}/{name}.yaml must begin with the command that uses it"
        loaded = config.load_group(group, name)
        assert loaded.name == name


def test_settings_of_a_library_call_change_the_default_and_nothing_else():
    default = config.load_group("analysis", "default")
    linking = schema.LinkingConfig(memory=4)
    changed = config.default_with("analysis", {"clustering": {"max_classes": 3}, "linking": linking})
    assert changed.clustering.max_classes == 3 and changed.linking == linking
    default.clustering.max_classes, default.linking = 3, linking
    assert changed == default
    with pytest.raises(UserError, match="'max_clases' does not exist"):
        config.default_with("analysis", {"clustering": {"max_clases": 3}})


@pytest.mark.parametrize("root", ["train", "infer", "analyze", "simulate"])
def test_roots_compose_into_their_schema(root):
    from hydra import compose, initialize_config_dir

    cls = {
        "train": schema.TrainRoot,
        "infer": schema.InferRoot,
        "analyze": schema.AnalyzeRoot,
        "simulate": schema.SimulateRoot,
    }[root]
    with initialize_config_dir(str(config.config_dir()), version_base="1.3"):
        obj = config.to_object(compose(root), cls)
    assert isinstance(obj, cls)
    # to plain and back loses nothing
    assert config.to_plain(config.to_object(config.to_plain(obj), cls)) == config.to_plain(obj)


@pytest.mark.parametrize(
    "overrides, training",
    [
        ([], "default"),
        (["labels=fourier"], "movie"),
        (["labels=fourier_paper"], "movie"),
        (["labels=fourier", "training=long"], "long"),
    ],
)
def test_learning_from_a_movie_is_quick_unless_told_otherwise(overrides, training):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config.config_dir()), version_base="1.3"):
        assert compose("train", overrides=overrides).training.name == training


def test_unknown_group_option_lists_what_exists():
    with pytest.raises(UserError, match="unet_small"):
        config.load_group("model", "unet_smal")


def test_unknown_key_is_refused_with_the_list(several_commands):
    overrides = ["training.learning_rat=1e-3", "+training.learning_rat=1", "++lrr=1", "+lrr=1"]
    for override, result in zip(overrides, several_commands([("train.py", o) for o in overrides]), strict=True):
        assert result.returncode == 2, override
        assert "does not exist" in result.stderr and "Traceback" not in result.stderr
        expected = "learning_rate" if "training" in override else "training"
        assert expected in result.stderr


def test_wrong_type_is_refused_fast_without_jax():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run_script("train.py", "training.learning_rate=fast")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 2
    assert "learning_rate" in result.stderr and "fast" in result.stderr and "Traceback" not in result.stderr
    assert after.ru_utime - before.ru_utime < 6, "seconds of the processor, whatever else it does: about one"


MISTYPED = {
    ("train.py", "model=unet_smal"): "Did you mean 'unet_small'?",
    ("train.py", "material=mosse2"): "Did you mean 'mose2'?",
    ("train.py", "experiment=dem"): "Did you mean 'demo'?",
    ("train.py", "model=unet_smal,unet", "-m"): "Did you mean 'unet_small'?",
    ("analyze.py", "analysis/clustering=papr"): "Did you mean 'paper'?",
    ("analyze.py", "analysis/clusterin=paper"): "Did you mean 'clustering'?",
    ("infer.py", "modle=ws2_mo"): "Did you mean 'model'?",
    ("infer.py", "pixel_size_nm=0.03"): "Did you mean 'inference.pixel_size_nm'?",
    ("infer.py", "run=latest", "analysis.table.frame_time_s=2"): "Did you mean 'inference.frame_time_s'?",
    ("analyze.py", "run=latest", "inference.frame_time_s=2"): "Did you mean 'analysis.table.frame_time_s'?",
    ("infer.py", "training=quick"): "'training' does not exist",
    ("train.py", "training.steps", "=", "5"): "write training.steps=5",
    ("train.py", "training.steps=", "5"): "write training.steps=5",
    ("train.py", "training.steps", "=5"): "write training.steps=5",
    ("train.py", "training.steps = 5"): "write training.steps=5",
    ("infer.py", "input", "=", "a b.tif"): "write input='a b.tif'",
    ("train.py", "model=unet_small,unet"): "with -m",
    ("train.py", "training.steps=100,200"): "with -m",
    ("train.py", "training.steps=[1"): "cannot be read",
    ("train.py", "stuff"): "key=value",
    ("train.py", "~nosuch"): "'nosuch' does not exist",
    ("train.py", "hydra/launcher=nosuch", "-m"): "hydra/launcher/nosuch",
    ("train.py", "--config-name", "nosuch"): "nosuch",
    ("train.py", "seed=1.5"): "seed",
}
NAMES = [
    "[0001]_zone.tif",
    "~t.tif",
    "my file (1),b.tif",
    "a=b.tif",
    "µm.tif",
    "it's.tif",
    'say "x".tif',
    "$HOME.tif",
    "${x}.tif",
    "{1}.tif",
    "[a, b].tif",
    "a#b.tif",
    "null.tif",
    "1e5",
    "a: b",
    "back\\slash",
    "end\\",
    r"\${y}",
    "%d *? @ + - ! & ;.tif",
]


def test_what_is_mistyped_is_one_line_with_what_it_may_have_been(several_commands):
    for (command, expected), result in zip(MISTYPED.items(), several_commands(MISTYPED), strict=True):
        [line] = result.stderr.strip().splitlines()
        assert result.returncode == 2 and line.startswith("error: ") and expected in line, (command, line)


IMPOSSIBLE = {
    "analysis.diffusion.method=cvee": "there are: cve, msd, sites, hops; did you mean 'cve'",
    "analysis.clustering.method=mixtur": "there are: mixture, hdbscan",
    "analysis.clustering.features=column": "there are: columns, threefold, zernike, raw",
    "analysis.clustering.covariance=fully": "there are: full",
    "analysis.transitions.states=complex": "there are: auto, complexes, kind, cluster",
    "analysis.drift.method=brag": "there are: auto, table, bragg",
    "analysis.linking.memory=-1": "analysis.linking.memory=-1: must be at least 0",
    "analysis.diffusion.n_bootstrap=0": "must be at least 1",
    "analysis.truth_radius_nm=nan": "must be positive",
    "analysis.clustering.outlier_quantile=1.5": "must lie in 0..1",
    "logging.mode=offlin": "logging.mode=offlin: there are: offline, online, disabled",
}


def test_a_choice_that_does_not_exist_is_told_before_any_work(several_commands):
    results = several_commands([("analyze.py", "table=nothing.csv", one) for one in IMPOSSIBLE])
    for (one, expected), result in zip(IMPOSSIBLE.items(), results, strict=True):
        [line] = result.stderr.strip().splitlines()
        assert result.returncode == 2 and line.startswith("error: ") and expected in line, (one, line)


def test_every_choice_of_the_schema_is_held_to_wherever_it_stands():
    with pytest.raises(UserError, match=r"inference\.symmetries=3: there are: 1, 2, 4, 8"):
        config.default_with("inference", {"symmetries": 3})
    settings = config.load_group("training", "default")
    settings.validation.every = 0
    with pytest.raises(UserError, match=r"training\.validation\.every=0: must be at least 1"):
        config.check(settings)
    kept, left_out = config.known_part({"name": "a", "precision": "float8", "steps": 5}, schema.TrainingConfig)
    assert left_out == ["precision"] and (kept.steps, kept.precision) == (5, "auto")


def test_names_are_taken_as_they_were_typed(tmp_path, monkeypatch):
    from hydra import compose, initialize_config_dir

    from stemdefects.command_line import parts_of_list

    monkeypatch.chdir(tmp_path)
    keys = ["input", "runs_dir", "run", "model", "inference.signal", "scheduler", "inference.frames"]
    with initialize_config_dir(str(config.config_dir()), version_base="1.3"):
        for start in range(0, len(NAMES), len(keys)):
            names = (NAMES + NAMES)[start : start + len(keys)]
            given = [f"{key}={name}" for key, name in zip(keys, names, strict=True)]
            prepared = prepare(given, schema.InferRoot, {"model": "inference.model"})
            cfg = config.to_object(compose("infer", prepared), schema.InferRoot)
            found = [cfg.input, cfg.runs_dir, cfg.run, cfg.inference.model, cfg.inference.signal, cfg.scheduler]
            assert [*found, cfg.inference.frames] == names
            # and stay so in what is stored and sent to workers
            assert config.to_object(config.to_plain(cfg), schema.InferRoot) == cfg
            (tmp_path / "stored.yaml").write_text(config.to_yaml(cfg))
            assert config.to_object(OmegaConf.load(tmp_path / "stored.yaml"), schema.InferRoot) == cfg
        [both] = prepare(["table=[a b.csv, 'c,d.csv',it's.csv]"], schema.AnalyzeRoot, {})
        assert parts_of_list(compose("analyze", [both])["table"]) == ["a b.csv", "c,d.csv", "it's.csv"]
    (tmp_path / "[a,b]").write_text("")
    assert parts_of_list("[a,b]") is None, "a file of this name is one file"


@pytest.mark.parametrize("script", ["train.py", "infer.py", "analyze.py", "simulate.py"])
def test_help_answers_without_jax(script):
    code = (
        "import sys, runpy; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules and 'wandb' not in sys.modules, 'imported for --help'"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / script)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert script in result.stdout


def test_work_goes_on_when_the_reader_of_its_output_goes(tmp_path):
    """`| head -1`: no traceback, and what was begun is done. SIGTERM ends it like Ctrl-C."""
    code = (
        "import sys, time, os, signal\n"
        "from stemdefects import entry, schema\n"
        "def run(cfg):\n"
        "    for n in range(2000): print('line', n, 'x' * 80, flush=n % 7 == 0); print('e', file=sys.stderr)\n"
        "    open(cfg.output, 'w').write('done')\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)\n"
        f"sys.argv = ['simulate.py', 'output={tmp_path}/done.txt', f'hydra.run.dir={tmp_path}']\n"
        "entry.hydra_main('simulate', schema.SimulateRoot, run)\n"
    )
    (tmp_path / "work.py").write_text(code)
    command = f"{sys.executable} work.py 2>err.txt | head -1; echo ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment)
    said = (tmp_path / "err.txt").read_text()
    assert done.stdout.splitlines()[1:] == ["130"] and (tmp_path / "done.txt").read_text() == "done"
    assert said.endswith("interrupted\n") and "Traceback" not in said and "Exception ignored" not in said


def test_ids_and_paths_stay_text():
    arguments = ["run=1e5", "input=my file (1),b.dm3", "inference.calibration=metadata"]
    from hydra.core.override_parser.overrides_parser import OverridesParser

    prepared = prepare(arguments, schema.InferRoot, {})
    values = [o.value() for o in OverridesParser.create().parse_overrides(prepared)]
    assert values == ["1e5", "my file (1),b.dm3", "metadata"]
    prepared = prepare(["run=12_34", "input=it's.tif"], schema.InferRoot, {})
    assert [o.value() for o in OverridesParser.create().parse_overrides(prepared)] == ["12_34", "it's.tif"]


def test_a_path_alone_says_how_to_give_it(tmp_path):
    file = tmp_path / "movie.tif"
    file.write_bytes(b"")
    with pytest.raises(UserError, match="input="):
        prepare([str(file)], schema.InferRoot, {})


def test_an_experiment_decides_also_what_stands_in_the_main_file(tmp_path):
    import hydra

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 5\ntraining: {steps: 7}\n")
    with hydra.initialize_config_dir(str(config.config_dir()), version_base="1.3"):
        overrides = ["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"]
        assert hydra.compose("train", overrides)["seed"] == 5
        composed = hydra.compose("train", [*overrides, "seed=6"])
    assert composed["seed"] == 6 and composed["training"]["steps"] == 7  # the command line wins over it
