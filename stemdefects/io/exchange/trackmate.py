"""TrackMate's XML (Ershov et al., Nat. Methods 19, 829 (2022)): spots with their frames, tracks as edges."""

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.exchange.frames import UNKNOWN
from stemdefects.io.readers.conventions.units import to_nm, to_s
from stemdefects.io.tables.table_columns import empty

VERSION = "7.11.1"  # of the layout
WHOLE = ("FRAME", "VISIBILITY", "SPOT_SOURCE_ID", "SPOT_TARGET_ID", "TRACK_INDEX", "TRACK_ID")
RADIUS_NM = 0.15  # a mark that leaves the neighbouring columns free
SPOT_FEATURES = (
    ("QUALITY", "Quality", "NONE"),
    ("POSITION_X", "X", "POSITION"),
    ("POSITION_Y", "Y", "POSITION"),
    ("POSITION_Z", "Z", "POSITION"),
    ("POSITION_T", "T", "TIME"),
    ("FRAME", "Frame", "NONE"),
    ("RADIUS", "Radius", "LENGTH"),
    ("VISIBILITY", "Visibility", "NONE"),
)


def write(table: Any, path: str | Path) -> Path:
    """Write the rows; positions in nm where the pixel size is known, else px; a spot's name is its kind."""
    rows, size = table.rows, table.pixel_size_nm
    unit, scale = ("nm", size) if size else ("pixel", 1.0)
    step = table.frame_time_s
    root = ET.Element("TrackMate", version=VERSION)
    model = ET.SubElement(root, "Model", spatialunits=unit, timeunits="sec" if step else "frame")
    declared = ET.SubElement(model, "FeatureDeclarations")
    _declare(declared, "SpotFeatures", SPOT_FEATURES)
    _declare(declared, "EdgeFeatures", [(n, n, "NONE") for n in ("SPOT_SOURCE_ID", "SPOT_TARGET_ID")])
    _declare(declared, "TrackFeatures", [(n, n, "NONE") for n in ("TRACK_INDEX", "TRACK_ID")])
    everything = ET.SubElement(model, "AllSpots", nspots=str(len(rows)))
    for frame in np.unique(rows["frame"]):
        here = ET.SubElement(everything, "SpotsInFrame", frame=str(frame))
        for i in np.flatnonzero(rows["frame"] == frame):
            r = rows[i]
            ET.SubElement(
                here,
                "Spot",
                {
                    "ID": str(i),
                    "name": r["kind"].decode(),
                    "QUALITY": f"{r['score']:.6g}",
                    "POSITION_T": f"{frame * (step or 1):.9g}",
                    "FRAME": str(frame),
                    "VISIBILITY": "1",
                    "POSITION_X": f"{r['x_px'] * scale:.9g}",
                    "POSITION_Y": f"{r['y_px'] * scale:.9g}",
                    "POSITION_Z": "0.0",
                    "RADIUS": f"{RADIUS_NM if size else 5.0:g}",
                },
            )
    tracks = ET.SubElement(model, "AllTracks")
    kept = ET.SubElement(model, "FilteredTracks")
    for number in np.unique(rows["track"][rows["track"] >= 0]):
        members = np.flatnonzero(rows["track"] == number)
        members = members[np.argsort(rows["frame"][members], kind="stable")]
        if len(members) < 2:
            continue
        names = {"name": f"Track_{number}", "TRACK_INDEX": str(number), "TRACK_ID": str(number)}
        track = ET.SubElement(tracks, "Track", names)
        for a, b in itertools.pairwise(members):
            ET.SubElement(track, "Edge", SPOT_SOURCE_ID=str(a), SPOT_TARGET_ID=str(b))
        ET.SubElement(kept, "TrackID", TRACK_ID=str(number))
    shape = table.attrs.get("source_shape") or (table.n_frames, 0, 0)
    settings = ET.SubElement(root, "Settings")
    ET.SubElement(
        settings,
        "ImageData",
        {
            "filename": Path(str(table.attrs.get("source", ""))).name,
            "folder": "",
            "width": str(shape[-1]),
            "height": str(shape[-2]),
            "nslices": "1",
            "nframes": str(shape[0]),
            "pixelwidth": f"{scale:.9g}",
            "pixelheight": f"{scale:.9g}",
            "voxeldepth": "1.0",
            "timeinterval": f"{step or 1:.9g}",
        },
    )
    ET.SubElement(settings, "InitialSpotFilter", feature="QUALITY", value="0.0", isabove="true")
    ET.SubElement(settings, "SpotFilterCollection")
    ET.SubElement(settings, "TrackFilterCollection")
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)
    return Path(path)


def _declare(parent: ET.Element, group: str, features: Any) -> None:
    """Say which features spots, edges or tracks have; TrackMate reads no others."""
    element = ET.SubElement(parent, group)
    for feature, name, dimension in features:
        whole = str(feature in WHOLE).lower()
        ET.SubElement(element, "Feature", feature=feature, name=name, shortname=name, dimension=dimension, isint=whole)


def read(path: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """(rows, attributes: pixel_size_nm and frame_time_s where they are stated) of a TrackMate file; kinds are the names
    of the spots where they were named, else `defect`.

    Raises UserError for what is no such file, or branches, which a defect cannot do.
    """
    path = Path(path)
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        raise UserError(f"{path}: cannot be read as TrackMate's XML ({error})") from None
    model, image = root.find("Model"), root.find("Settings/ImageData")
    if root.tag != "TrackMate" or model is None:
        raise UserError(f"{path}: is not a TrackMate file (its root is <{root.tag}>); save it by TrackMate's Save")
    scale = float(image.get("pixelwidth", "1")) if image is not None else 1.0
    size = to_nm(scale, model.get("spatialunits"))
    step = None if image is None else to_s(image.get("timeinterval"), model.get("timeunits"))
    spots = list(model.iter("Spot"))
    rows = empty(len(spots))
    number = {spot.get("ID"): i for i, spot in enumerate(spots)}
    for i, spot in enumerate(spots):
        name = spot.get("name") or ""
        rows["kind"][i] = (UNKNOWN if not name or name.startswith(("ID", "Spot")) else name).encode()
        rows["frame"][i] = round(float(spot.get("FRAME", "0")))
        for axis in ("y", "x"):
            rows[f"{axis}_px"][i] = float(spot.get(f"POSITION_{axis.upper()}", "nan")) / scale
    rows["score"] = rows["kind_prob"] = 1
    for track in model.iter("Track"):
        ends = [(number[e.get("SPOT_SOURCE_ID")], number[e.get("SPOT_TARGET_ID")]) for e in track.iter("Edge")]
        for side in (0, 1):
            if len({pair[side] for pair in ends}) < len(ends):
                raise UserError(f"{path}: {track.get('name')} branches; turn off splitting and merging in TrackMate")
        for end in {i for pair in ends for i in pair}:
            rows["track"][end] = int(float(track.get("TRACK_ID", "-1")))
    if size:
        rows["y_nm"], rows["x_nm"] = rows["y_px"] * size, rows["x_px"] * size
    source = "" if image is None else image.get("filename", "")
    attrs: dict[str, Any] = {"pixel_size_nm": size, "frame_time_s": step, "source": source}
    return rows[np.argsort(rows["frame"], kind="stable")], {k: v for k, v in attrs.items() if v}
