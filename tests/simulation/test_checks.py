"""Impossible settings are refused with their key's name before any work is done."""

import copy

import pytest

from stemdefects import config
from stemdefects.crystal import material
from stemdefects.errors import UserError
from stemdefects.simulation import checks, files, preview

WS2 = material.load("ws2_mo")
TRAIN = config.load_group("simulation", "train")
MOVIE = config.load_group("simulation", "movie")


def test_every_preset_is_possible_for_every_material():
    presets = [config.load_group("simulation", name) for name in config.group_names("simulation")]
    for crystal in config.group_names("material"):
        stuff = material.load(crystal)
        for cfg in presets:
            checks.check(stuff, cfg, cfg.view.size_px)
            checks.check_movie(stuff, cfg)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("detector", "dose_e_per_px", [-1.0, 10.0]),
        ("detector", "dose_e_per_px", [100.0, 10.0]),
        ("detector", "dose_e_per_px", [100.0]),
        ("detector", "dose_e_per_px", [float("nan"), 1.0]),
        ("detector", "saturation", -1.0),
        ("defects", "density", {"V_S": [0.5, 1.5]}),
        ("defects", "density", {"V_Q": [0.0, 0.1]}),
        ("defects", "density", {"V_S": [0.0, 0.6], "V_S2": [0.0, 0.6]}),
        ("defects", "density_scale", 100.0),
        ("defects", "complexes", {"Re_W+V_S": [0.0, 0.1]}),
        ("defects", "line_kind", "V_Q"),
        ("view", "pixel_size_nm", [0.0, 0.03]),
        ("view", "pixel_size_nm", [0.5, 0.5]),
        ("regions", "hole_probability", 1.5),
        ("regions", "hole_fraction", [0.5, 1.2]),
        ("probe", "semi_angle_mrad", [-30.0, 30.0]),
    ],
)
def test_impossible_settings_are_refused_by_name(group, name, value):
    cfg = copy.deepcopy(TRAIN)
    setattr(getattr(cfg, group), name, value)
    with pytest.raises(UserError, match=f"simulation.{group}.{name}"):
        checks.check(WS2, cfg, (64, 64))


@pytest.mark.parametrize("size", [(64,), (64, 0), (8, 64), (64.5, 64)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(UserError, match=r"view\.size_px"):
        checks.check(WS2, TRAIN, size)


def test_a_field_smaller_than_a_cell_is_refused():
    cfg = copy.deepcopy(TRAIN)
    cfg.view.pixel_size_nm = [0.012, 0.012]
    with pytest.raises(UserError, match="smaller than one cell"):
        checks.check(WS2, cfg, (20, 64))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_frames", 0),
        ("frame_time_s", 0.0),
        ("hop_rate_per_s", -1.0),
        ("mobile_kind", "V_Q"),
        ("drift_px_per_frame", [1.0]),
        ("damage_cross_section_nm2", -1e-9),
    ],
)
def test_impossible_movies_are_refused_by_name(name, value):
    cfg = copy.deepcopy(MOVIE)
    setattr(cfg.movie, name, value)
    with pytest.raises(UserError, match=f"simulation.movie.{name}"):
        checks.check_movie(WS2, cfg)


@pytest.mark.parametrize("check", [files.check_output, preview.check_output])
def test_a_folder_is_no_output(tmp_path, check):
    for folder in (tmp_path, tmp_path / "movie.h5", tmp_path / "sheet.png"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(UserError, match="is a folder; name the"):
            check(str(folder), overwrite=True)


def test_the_library_refuses_as_the_command_does(tmp_path):
    import stemdefects as sd

    path = tmp_path / "movie.h5"
    path.write_text("something")
    with pytest.raises(UserError, match="exists already; add overwrite=true"):
        sd.simulate(path)
    with pytest.raises(UserError, match="simulation=nothing: no such config"):
        sd.simulate(tmp_path / "new.h5", "nothing")
    with pytest.raises(UserError, match="n_frame"):
        sd.simulate(tmp_path / "new.h5", movie={"n_frame": 3})
    assert path.read_text() == "something" and not (tmp_path / "new.h5").exists()
