"""Tables for other programs and back, with the real libraries where they are installed."""

import warnings
import zipfile

import numpy as np
import pytest

import stemdefects as sd
from stemdefects.crystal import lattice
from stemdefects.crystal import material as materials
from stemdefects.errors import UserError
from stemdefects.io.exchange import atoms, napari_reader
from stemdefects.io.tables.evidence import SITE_DTYPE, Evidence
from stemdefects.io.tables.table import DefectTable, empty, empty_frames

PIXEL_NM = 0.03


@pytest.fixture
def table():
    """Three defects in four frames, one of them without a track."""
    rows = empty(12)
    rows["frame"] = np.repeat(np.arange(4), 3)
    rows["y_px"], rows["x_px"] = np.tile([10.25, 50, 90], 4), np.tile([20.5, 60, 100], 4) + rows["frame"]
    rows["y_nm"], rows["x_nm"] = rows["y_px"] * PIXEL_NM, rows["x_px"] * PIXEL_NM
    rows["kind"], rows["score"], rows["kind_prob"] = np.tile([b"V_S", b"Mo_W", b"V_S"], 4), 0.75, 0.5
    rows["track"] = np.tile([7, 2, -1], 4)
    attrs = {"pixel_size_nm": PIXEL_NM, "frame_time_s": 2.0, "source": "movie.h5", "source_shape": [4, 128, 160]}
    return DefectTable(rows, empty_frames(4), attrs=attrs)


def same(made, table, names=("frame", "y_px", "x_px", "kind", "track"), tolerance=1e-3):
    rows = table.rows
    for name in names:
        if rows.dtype[name].kind == "f":
            assert made.rows[name] == pytest.approx(rows[name], abs=tolerance)
        else:
            assert made.rows[name].tolist() == rows[name].tolist(), name


def test_dataframes_and_trackpy(table):
    theirs = table.to_trackpy()
    assert list(theirs)[:4] == ["y", "x", "frame", "particle"] and len(theirs) == 8
    back = sd.DefectTable.from_dataframe(table.to_pandas(), PIXEL_NM, 2.0)
    same(back, table)
    assert back.rows["y_nm"] == pytest.approx(table.rows["y_nm"]) and back.frame_time_s == 2.0
    again = sd.DefectTable.from_dataframe(theirs)
    assert again.rows["track"].tolist() == [7, 2] * 4 and again.attrs["linked"]
    with pytest.raises(UserError, match="no column x_px"):
        sd.DefectTable.from_dataframe(theirs.drop(columns="x"))
    tp = pytest.importorskip("trackpy", reason="trackpy is not installed")
    tp.quiet()
    loose = DefectTable(table.rows.copy())
    loose.rows["track"] = -1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trackpy's own, of newer versions of pandas
        linked = tp.link(loose.to_trackpy(), 5, memory=1)
        moved = tp.compute_drift(theirs)
    assert linked.groupby("particle").size().tolist() == [4, 4, 4]
    assert moved["x"].to_numpy() == pytest.approx([1, 2, 3])
    assert len(np.unique(sd.DefectTable.from_dataframe(linked).rows["track"])) == 3


def test_trackmate(table, tmp_path):
    path = table.to_trackmate_xml(tmp_path / "t.xml")
    back = sd.DefectTable.from_trackmate_xml(path)
    same(back, table)
    assert back.pixel_size_nm == pytest.approx(PIXEL_NM) and back.frame_time_s == 2.0 and back.attrs["linked"]
    bare = DefectTable(table.rows.copy())
    unscaled = sd.DefectTable.from_trackmate_xml(bare.to_trackmate_xml(tmp_path / "px.xml"))
    same(unscaled, table)
    assert unscaled.pixel_size_nm is None
    for text, said in [("<a/>", "not a TrackMate file"), ("nonsense", "cannot be read")]:
        (tmp_path / "bad.xml").write_text(text)
        with pytest.raises(UserError, match=said):
            sd.DefectTable.from_trackmate_xml(tmp_path / "bad.xml")
    edge = '<Edge SPOT_SOURCE_ID="0" SPOT_TARGET_ID="3" />'
    text = path.read_text()
    assert edge in text
    (tmp_path / "split.xml").write_text(text.replace(edge, edge + '<Edge SPOT_SOURCE_ID="0" SPOT_TARGET_ID="4" />'))
    with pytest.raises(UserError, match="Track_7 branches"):
        sd.DefectTable.from_trackmate_xml(tmp_path / "split.xml")
    reader = pytest.importorskip("pytrackmate", reason="pytrackmate is not installed")
    spots = reader.trackmate_peak_import(str(path))
    assert len(spots) == 12 and sorted(spots["x"]) == pytest.approx(sorted(table.rows["x_nm"]))


def test_napari_layers(table, tmp_path):
    movie = np.zeros((4, 128, 160))
    image, points, tracks = table.to_napari(movie)
    assert [layer[2] for layer in (image, points, tracks)] == ["image", "points", "tracks"]
    assert tracks[0][:, 0].tolist() == [2] * 4 + [7] * 4 and tracks[0][4:, 1].tolist() == [0, 1, 2, 3]
    same(sd.DefectTable.from_napari(points), table)
    plain = sd.DefectTable.from_napari(np.array([[1.0, 3, 4], [0, 1, 2]]), PIXEL_NM)
    assert plain.rows["frame"].tolist() == [0, 1] and plain.rows["kind"].tolist() == [b"defect"] * 2
    with pytest.raises(UserError, match="shape"):
        sd.DefectTable.from_napari(np.zeros((2, 5)))
    path = table.write(tmp_path / "defects.h5")
    read = napari_reader.get_reader(str(path))
    assert [layer[2] for layer in read(str(path))] == ["points", "tracks"]
    (tmp_path / "no.h5").write_bytes(b"no")
    assert napari_reader.get_reader(str(tmp_path / "no.h5")) is None
    layers = pytest.importorskip("napari.layers", reason="napari is not installed")
    made = [layers.Layer.create(*layer) for layer in (image, points, tracks)]
    assert made[1].data[:, 1:] == pytest.approx(np.column_stack([table.rows["y_px"], table.rows["x_px"]]))
    same(sd.DefectTable.from_napari(made[1]), table)


def test_hyperspy(table, tmp_path):
    hs = pytest.importorskip("hyperspy.api", reason="hyperspy is not installed")
    signal = hs.signals.Signal2D(np.random.default_rng(0).poisson(9, (4, 128, 160)))
    for axis, scale in zip(signal.axes_manager.signal_axes, (0.3, 0.3), strict=True):
        axis.scale, axis.units = scale, "Å"
    signal.axes_manager.navigation_axes[0].scale, signal.axes_manager.navigation_axes[0].units = 500, "ms"
    movie = sd.read(signal)
    assert movie.shape == (4, 128, 160) and movie.pixel_size_nm == pytest.approx(0.03)
    assert movie.frame_time_s == pytest.approx(0.5) and (movie.frame(2) == signal.data[2]).all()
    first, second = table.to_hyperspy_markers(signal)
    signal.add_marker([first, second], permanent=True)
    assert len(signal.metadata.Markers) == 2
    offsets = second.get_current_kwargs(only_variable_length=False)["offsets"]
    mine = table.rows[(table.rows["kind"] == b"V_S") & (table.rows["frame"] == 0)]
    assert np.asarray(offsets) == pytest.approx(np.column_stack([mine["x_px"], mine["y_px"]]) * 0.3)
    with pytest.raises(UserError, match="navigation"):
        sd.read(hs.signals.Signal1D(np.zeros((3, 4, 5))))


def test_arrays_are_read():
    movie = sd.read(np.ones((3, 20, 30)))
    assert movie.shape == (3, 20, 30) and movie.pixel_size_nm is None


@pytest.fixture
def crystal_table():
    """A field of WS2 that has drifted, with one vacancy, one Mo, and one vacancy away from any column."""
    ws2 = materials.load("ws2_mo")
    disc = lattice.disc(ws2, 1.5)
    yx = disc.position_nm + 2.0
    sites = np.zeros(len(yx), SITE_DTYPE)
    sites["y_nm"], sites["x_nm"], sites["sublattice"] = *yx.T, disc.site
    names = [{"name": site.name} for site in ws2.sites]
    frames = empty_frames(2)
    frames["drift_y_px"], frames["drift_x_px"] = 3, -2
    sulphur, metal = (
        next(g for g, s in enumerate(ws2.sites) if ws2.states[s.ideal].atoms[0][0] == a) for a in ("S", "W")
    )
    at = [yx[np.flatnonzero(disc.site == g)[0]] / PIXEL_NM + [3, -2] for g in (sulphur, metal)]
    rows = empty(2)
    rows["frame"], rows["kind"] = 1, [b"V_S2", b"Mo_W"]
    rows["y_px"], rows["x_px"] = np.transpose(at) + 0.5
    attrs = {"pixel_size_nm": PIXEL_NM, "source_shape": [2, 200, 200]}
    return DefectTable(rows, frames, attrs=attrs, evidence=Evidence(sites, {"sublattices": names})), disc, ws2, sulphur


def test_atoms(crystal_table, tmp_path):
    table, disc, ws2, sulphur = crystal_table
    n_s, n_w = int((disc.site == sulphur).sum()), int((disc.site != sulphur).sum())
    made = atoms.atoms(table, ws2, 1)
    count = {one: made.species.count(one) for one in set(made.species)}
    assert count == {"S": 2 * (n_s - 1), "W": n_w - 1, "Mo": 1} and made.kind.count("Mo_W") == 1
    ideal = atoms.atoms(table, ws2, 0)
    assert ideal.species.count("S") == 2 * n_s and not any(ideal.kind)
    tungsten = ideal.positions[np.array(ideal.species) == "W"]
    near = np.sort(np.hypot(*(tungsten[:, None, :2] - tungsten[None, :, :2]).T), 0)[1]
    assert near.min() == pytest.approx(ws2.a_nm, rel=1e-3)
    path = table.to_xyz(tmp_path / "a.xyz", ws2, 1)
    assert int(path.read_text().split("\n")[0]) == len(made.species)
    with pytest.raises(UserError, match="knows no lattice sites"):
        DefectTable(table.rows, attrs=table.attrs).to_xyz(tmp_path / "b.xyz", ws2)
    corrected = DefectTable(table.rows[1:], attrs={"source": "a.tif"})  # as an analysis writes it: without sites
    fewer = corrected.to_xyz(tmp_path / "c.xyz", ws2, 1, sites_of=table).read_text().split("\n")
    assert sum(line.startswith("S ") for line in fewer) == 2 * n_s and fewer.count("") == 1
    with pytest.raises(UserError, match="another movie"):
        other = DefectTable(table.rows, table.frames, attrs=table.attrs | {"source": "b.tif"}, evidence=table.evidence)
        corrected.to_xyz(tmp_path / "d.xyz", ws2, 1, sites_of=other)
    ase = pytest.importorskip("ase", reason="ase is not installed")
    own = table.to_ase(ws2, 1)
    from ase.io import read

    for one in (own, read(path)):
        assert isinstance(one, ase.Atoms) and one.get_chemical_formula() == f"Mo1S{2 * (n_s - 1)}W{n_w - 1}".replace(
            "Mo1", "Mo"
        )
        assert one.positions == pytest.approx(10 * made.positions, abs=1e-5)
        assert one.cell.lengths()[:2] == pytest.approx([60, 60])


def test_imagej(table, tmp_path):
    roifile = pytest.importorskip("roifile", reason="roifile is not installed")
    path = table.to_imagej(tmp_path / "r.zip")
    assert len(zipfile.ZipFile(path).namelist()) == 12
    rois = roifile.roiread(path)
    one = rois[4]
    assert one.position == 2 and one.name.startswith("Mo_W")
    assert one.coordinates()[0] == pytest.approx([table.rows["x_px"][4] + 0.5, table.rows["y_px"][4] + 0.5])
    with pytest.raises(UserError, match=r"reads a \.zip"):
        table.to_imagej(tmp_path / "r.roi")


def test_what_is_missing_is_said(table, monkeypatch):
    import importlib

    def none(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", none)
    with pytest.raises(UserError, match="pip install hyperspy"):
        table.to_hyperspy_markers()
