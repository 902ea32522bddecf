import numpy as np
import pytest
from PIL import Image

from stemdefects.io.tables import table
from stemdefects.report import animation
from stemdefects.report import frames as pictures

KINDS = ["V_S", "V_S2", "V_W", "Mo_W", "S2_W", "W_S2", "Ad_W", "Ad_S", "one_more"]


def some_rows(places, kinds):
    rows = table.empty(len(places))
    rows["y_px"], rows["x_px"] = np.reshape(places, (-1, 2)).T
    rows["kind"], rows["score"] = kinds, np.linspace(0.5, 0.9, len(places))
    return rows


def colour_of(kind):
    text = pictures.style(KINDS)[kind][0]
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)])


def test_kinds_differ_in_colour_or_shape():
    looks = pictures.style(KINDS)
    assert len(set(looks.values())) == len(KINDS)
    assert looks == pictures.style(KINDS), "the same in every picture"


@pytest.mark.parametrize("size", [(100, 160), (512, 512), (2000, 1800)])
def test_marks_are_where_the_defects_are(size):
    image = np.random.default_rng(0).poisson(5, size).astype(float)
    image[0, 0] = np.nan
    rows = some_rows([(size[0] * 0.3, size[1] * 0.7), (size[0] * 0.6, size[1] * 0.2)], [b"V_S", b"Mo_W"])
    picture = pictures.annotate(image, rows, 0.03, KINDS)
    zoom = picture.shape[1] / size[1]
    assert picture.dtype == np.uint8 and picture.shape[1] <= max(1200, size[1])
    for row in rows:
        hit = np.argwhere((picture[: int(size[0] * zoom)] == colour_of(row["kind"].decode())).all(-1))
        centre = (hit.min(0) + hit.max(0)) / 2
        assert abs(centre - (np.array([row["y_px"], row["x_px"]]) + 0.5) * zoom).max() < 0.12 / 0.03 * zoom


def test_scale_bar_has_the_stated_length():
    picture = pictures.annotate(np.random.default_rng(0).normal(size=(500, 500)), some_rows([], []), 0.03, KINDS)
    zoom = picture.shape[1] / 500
    white = (picture == 255).all(-1)
    longest = 0
    for row in white:
        starts = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        longest = max([longest, *(starts[1::2] - starts[::2])])
    assert longest * 0.03 / zoom == pytest.approx(2, rel=0.02)


def test_complexes_are_joined_and_no_defects_is_a_picture_too():
    image = np.random.default_rng(0).normal(size=(200, 200))
    rows = some_rows([(50, 50), (50, 120)], [b"Mo_W", b"V_S"])
    apart = pictures.annotate(image, rows, 0.03, KINDS)
    rows["complex"] = 0
    joined = pictures.annotate(image, rows, 0.03, KINDS)
    zoom = apart.shape[1] / 200
    changed = np.argwhere((apart != joined).any(-1))
    assert len(changed) and abs(changed[:, 0].mean() - 50.5 * zoom) < 2 * zoom
    assert pictures.annotate(image, some_rows([], []), 0.03, KINDS).shape[1] == apart.shape[1]


def test_contact_sheet_and_animation(tmp_path):
    rng = np.random.default_rng(0)
    rows = some_rows(rng.uniform(0, 100, (50, 2)), rng.choice([b"V_S", b"Mo_W"], 50))
    patches = rng.normal(size=(50, 32, 32)).astype("f2")
    sheet = pictures.contact_sheet(patches, rows, KINDS, 0.96)
    assert sheet.ndim == 3 and sheet.std() > 10
    assert pictures.contact_sheet(patches[:0], rows[:0], KINDS, 0.96).ndim == 3
    stills = (pictures.annotate(rng.normal(size=(60, 60)), rows[:3], 0.03, KINDS, f"{i}") for i in range(4))
    with Image.open(animation.save_animation(stills, tmp_path / "a.gif", 5)) as movie:
        assert movie.n_frames == 4 and movie.info["duration"] == 200
    assert animation.save_animation(iter([]), tmp_path / "b.gif") is None


@pytest.mark.skipif(not animation.has_mp4(), reason="no imageio-ffmpeg")
def test_mp4_keeps_frames_and_colours(tmp_path):
    import imageio_ffmpeg

    stills = [np.full((61, 80, 3), (0, 0, 0), np.uint8) for _ in range(3)]
    for i, still in enumerate(stills):
        still[:, 20 * i : 20 * i + 20] = (230, 159, 0)
    path = animation.save_animation(iter(stills), tmp_path / "a.mp4", 5)
    reader = imageio_ffmpeg.read_frames(str(path))
    info = next(reader)
    shown = [np.frombuffer(f, np.uint8).reshape(info["size"][1], info["size"][0], 3) for f in reader]
    assert len(shown) == 3 and info["size"] == (80, 60) and info["fps"] == pytest.approx(5)
    for i, picture in enumerate(shown):
        assert np.abs(picture[30, 20 * i + 10].astype(int) - (230, 159, 0)).max() < 30
        assert picture[30, (20 * i + 50) % 80].max() < 30
