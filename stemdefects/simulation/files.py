"""Writing movies: HDF5 with `/frames` and `/truth`, or TIFF with the truth as CSV and JSON beside it."""

import contextlib
import json
from pathlib import Path

import numpy as np

from stemdefects import __version__, config
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.io.runs import write_atomically
from stemdefects.io.tables import hdf5_output
from stemdefects.io.tables.table import DEFECT_DTYPE, UNITS
from stemdefects.schema import SimulationConfig
from stemdefects.simulation import checks

SUFFIXES = (".h5", ".hdf5", ".tif", ".tiff")


def check_output(output: str | None, overwrite: bool) -> Path:
    """The path to write, or `UserError`: no output, an unknown suffix, a missing folder, a file already there."""
    if not output:
        raise UserError("output: say where the movie goes, e.g. output=movie.h5")
    return checks.output_path(output, "movie.h5", SUFFIXES, overwrite)


def write_movie(
    path: str | Path, material: Material, cfg: SimulationConfig, seed: int = 0, progress: bool = True
) -> Path:
    """Simulate a movie and write it with its truth, block by block; returns the path.

    On Ctrl-C what is done so far stays as a whole, shorter movie; on any other failure, a full disk say, a file that
    was there before stays as it is.
    """
    from stemdefects.messages import progress_bar
    from stemdefects.simulation.movies import Scene

    path = Path(path)
    scene = Scene(material, cfg, seed)
    part = path.with_name(path.name + ".part")
    writer = (_Tiff if path.suffix.lower().startswith(".tif") else _Hdf5)(part, path, scene)
    try:
        with progress_bar()(total=cfg.movie.n_frames, unit="frame", desc=path.name, disable=not progress) as bar:
            for block in scene.blocks():
                writer.append(block)
                bar.update(len(block.frames))
        writer.close()
    except KeyboardInterrupt:
        writer.close()
        raise
    except BaseException:
        writer.abandon()
        raise
    return path


def _attributes(scene) -> dict:
    """Everything about the truth that is not an array."""
    roles, kinetics = scene.kinetics.roles, scene.kinetics
    return {
        "material": scene.material.name,
        "state_names": json.dumps(scene.material.state_names),
        "site_names": json.dumps(scene.material.site_names),
        "kind_names": json.dumps(scene.material.kind_names),
        "generator_per_s": kinetics.matrix,
        "state_labels": json.dumps(scene.state_labels),
        "mobile_kind": scene.material.kind_names[scene.material.kind_of_state[roles.mobile]],
        "hop_rate_per_s": scene.rates.hop,
        "hop_ways": scene.lattice.hops.shape[1],
        "hop_length_nm": scene.material.a_nm,
        "D_nm2_per_s": scene.D_nm2_per_s,
        "rates_per_s": json.dumps(scene.rates.__dict__),
        "damage_barn": json.dumps(scene.damage_barn),
        "affine": np.asarray(scene.conditions.affine),
        "a_nm": scene.material.a_nm,
        "seed": scene.seed,
        "config": json.dumps(config.to_plain(scene.cfg)),
        "units": json.dumps(UNITS),
    }


def _frame_dtype(cfg: SimulationConfig) -> np.dtype:
    detector = cfg.detector
    if not detector.integer:
        return np.dtype(np.float32)
    return np.dtype(np.uint16 if detector.saturation and detector.saturation <= 65535 else np.uint32)


class _Hdf5:
    def __init__(self, part: Path, path: Path, scene):
        self._part, self._path, self._n_centers = part, path, len(scene.centers)
        self._output = hdf5_output.Output(part)
        self._file = file = self._output.file
        height, width = scene.size_px
        n_sites = len(scene.site)
        whole = scene.cfg.detector.integer
        self._frames = file.create_dataset(
            "frames",
            (0, height, width),
            _frame_dtype(scene.cfg),
            maxshape=(None, height, width),
            chunks=(1, height, width),
            **({"compression": "gzip", "compression_opts": 1} if whole else {}),
        )
        movie = scene.cfg.movie
        attrs = {
            "pixel_size_nm": scene.pixel_size_nm,
            "frame_time_s": movie.frame_time_s,
            "dose_e_per_px": scene.dose_e_per_px,
            "source": f"stemdefects {__version__} simulation={scene.cfg.name}",
        }
        self._frames.attrs.update(attrs)
        file.attrs.update(attrs)
        truth = self._truth = file.create_group("truth")
        truth.attrs.update(_attributes(scene))
        self._defects = truth.create_dataset(
            "defects", (0,), DEFECT_DTYPE, maxshape=(None,), chunks=(1024,), compression="gzip"
        )
        self._states = truth.create_dataset(
            "states", (0, n_sites), np.uint8, maxshape=(None, n_sites), chunks=(1, n_sites), compression="gzip"
        )
        truth["drift_px"] = scene.drift_px
        truth["sites_px"] = scene.sites_px.astype(np.float32)
        truth["site"] = scene.site
        truth["centers"] = scene.centers
        truth["center_identities"] = scene.center_identities
        if self._n_centers:
            self._chain = truth.create_dataset(
                "chain", (0, self._n_centers), np.uint8, maxshape=(None, self._n_centers)
            )
        self._events = truth.create_dataset(
            "events",
            (0,),
            [("time_s", "f8"), ("site", "i4"), ("state", "u1"), ("identity", "i4")],
            maxshape=(None,),
            chunks=(1024,),
            compression="gzip",
        )
        self._initial = scene.initial_state.astype(np.uint8)
        truth["initial_states"] = self._initial
        self._regions = None
        self._size = scene.size_px

    def append(self, block) -> None:
        _grow(self._frames, block.frames.astype(self._frames.dtype))
        _grow(self._states, block.states)
        _grow(self._defects, block.rows)
        if self._n_centers:
            _grow(self._chain, block.chain)
        events = [(e.time_s, e.slot, e.state, e.identity) for e in block.events]
        _grow(self._events, np.array(events, self._events.dtype))
        if block.regions is not None and self._regions is None:
            self._regions = self._truth.create_dataset(
                "regions",
                (block.first, *self._size),
                np.uint8,
                maxshape=(None, *self._size),
                chunks=(1, *self._size),
                compression="gzip",
            )
        if self._regions is not None:
            _grow(self._regions, np.zeros_like(block.frames, np.uint8) if block.regions is None else block.regions)
        self._output.flush()

    def abandon(self) -> None:
        self._output.abandon()
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        n = len(self._frames)
        drift = self._truth["drift_px"][:n]
        del self._truth["drift_px"]
        self._truth["drift_px"] = drift
        self._output.close()
        self._part.replace(self._path) if n else self._part.unlink()


def _grow(dataset, values) -> None:
    start = dataset.shape[0]
    dataset.resize(start + len(values), axis=0)
    if len(values):
        dataset[start:] = values


class _Tiff:
    """An ImageJ TIFF stack; `<name>_truth.csv` has the defect rows, `<name>_truth.json` the rest."""

    def __init__(self, part: Path, path: Path, scene):
        import tifffile

        self._part, self._path, self._scene = part, path, scene
        self._writer = tifffile.TiffWriter(part, bigtiff=scene.cfg.movie.n_frames * np.prod(scene.size_px) * 4 > 2**31)
        self._csv_part = part.with_name(part.name + ".csv")
        self._csv = open(self._csv_part, "w", newline="")
        self._csv.write(",".join(DEFECT_DTYPE.names or ()) + "\n")
        self._n = 0
        resolution = 1.0 / scene.pixel_size_nm
        self._metadata = {
            "resolution": (resolution, resolution),
            "description": json.dumps(
                {
                    "pixel_size_nm": scene.pixel_size_nm,
                    "frame_time_s": scene.cfg.movie.frame_time_s,
                    "dose_e_per_px": scene.dose_e_per_px,
                    "source": f"stemdefects {__version__}",
                }
            ),
        }

    def append(self, block) -> None:
        for frame in block.frames:
            dtype = _frame_dtype(self._scene.cfg)
            dtype = np.uint16 if dtype == np.uint32 and frame.max() <= 65535 else dtype
            self._writer.write(frame.astype(dtype), contiguous=True, **self._metadata)
        for row in block.rows:
            self._csv.write(",".join(_text(value) for value in row) + "\n")
        self._n += len(block.frames)

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._csv.close()
        self._part.unlink(missing_ok=True)
        self._csv_part.unlink(missing_ok=True)

    def close(self) -> None:
        self._writer.close()
        self._csv.close()
        truth = _attributes(self._scene)
        truth["generator_per_s"] = truth["generator_per_s"].tolist()
        truth["affine"] = truth["affine"].tolist()
        truth["drift_px"] = self._scene.drift_px[: self._n].tolist()
        if not self._n:
            self.abandon()
            return
        write_atomically(
            self._path.with_name(self._path.stem + "_truth.json"), json.dumps(truth, indent=1, default=float)
        )
        self._csv_part.replace(self._path.with_name(self._path.stem + "_truth.csv"))
        self._part.replace(self._path)


def _text(value) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return f"{value:.7g}" if isinstance(value, (float, np.floating)) else str(value)
