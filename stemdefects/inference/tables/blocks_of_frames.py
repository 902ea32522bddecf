"""From what the network says of each frame of a block to the rows of its tables."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from stemdefects.crystal.lattice import same_lattice
from stemdefects.inference import hidden as hiding
from stemdefects.inference.columns import site_columns, trust
from stemdefects.inference.columns.defects import REGIONS, FrameDefects, find_defects
from stemdefects.inference.network import bragg_map, region_map
from stemdefects.inference.network.engine import FrameOutput
from stemdefects.inference.setup import SAME_FIELD
from stemdefects.inference.specimen import composition, grains, phases
from stemdefects.inference.tables.partial_results import Block
from stemdefects.io.movie import FrameError
from stemdefects.io.tables import quality_flags, table

COARSE = 0.08  # relative, beyond what the network was trained on, that is said


class Finished(NamedTuple):
    """One frame: its defects, what of them to believe, its own lattice, the area fractions of `REGIONS` and their
    map; what invalid pixels hide."""

    found: FrameDefects
    verdict: trust.Verdict
    lattice: bragg_map.LocalLattice | None
    fraction: np.ndarray
    regions: np.ndarray
    hidden: hiding.Hidden | None


class BlockMaker:
    """Makes the blocks of one movie (setup: `setup.Setup`)."""

    def __init__(self, setup: Any):
        self.setup = setup
        self._beyond = 0
        if setup.straighten is not None:
            self._beyond = int(setup.straighten.invalid(None, setup.raw_shape).sum())
        self._limits = replace(trust.limits(setup.model), lattice_nm=setup.lattice_nm, quarters=setup.second_lattice)

    def finish(self, output: FrameOutput) -> Finished:
        """Defects of one frame, and how far they are to be believed."""
        setup = self.setup
        model_px_nm = setup.calibration.pixel_size_nm / output.scale
        material = setup.model.material
        if setup.straighten is not None and output.hidden is not None:  # what lies beyond the frame's border is no loss
            lost = max(output.hidden.n_invalid - self._beyond, 0)
            output = output._replace(hidden=output.hidden._replace(n_invalid=lost))
        found = find_defects(output, material, setup.rules, setup.reference_px, model_px_nm, told_apart=True)
        output = phases.checked(output, found.columns, found.sites, found.promised, material, model_px_nm)
        regions = output.regions
        assert regions is not None  # the engine makes one of every frame
        if output.hidden is not None:
            regions, fraction = hiding.regions(output.hidden, regions, setup.engine.region_step_px)
            output = output._replace(regions=regions, region_fraction=fraction)
        verdict = trust.assess(output, found, self._limits, material.kind_names)
        return Finished(found, verdict, output.lattice, output.region_fraction, regions, output.hidden)

    @property
    def _coarse(self) -> bool:
        """Are the frames sampled more coarsely than anything the network was trained on?"""
        setup, (_, coarsest) = self.setup, self.setup.model.samplings_nm
        crystal = setup.model.material.a_nm / float(np.linalg.norm(setup.lattice_nm[0]))
        return setup.calibration.sampling_nm * crystal > coarsest * (1 + COARSE)

    @property
    def _beside_px(self) -> float:
        """How close to an invalid pixel nothing is said, as at the border of a frame."""
        return self.setup.settings.edge_nm / self.setup.calibration.pixel_size_nm

    def block(
        self, number: int, indices: np.ndarray, results: list[Finished | None], errors: dict[int, FrameError]
    ) -> Block:
        """Tables of a block. results: per frame, None where `errors` says what was wrong with it."""
        setup = self.setup
        frames = table.empty_frames(len(indices))
        frames["frame"] = indices
        if setup.times_s is not None:
            frames["time_s"] = setup.times_s[indices]
        elif setup.frame_time_s is not None:
            frames["time_s"] = indices * setup.frame_time_s
        all_rows, all_patches = [table.empty(0)], [np.zeros((0, table.PATCH_PX, table.PATCH_PX), np.float16)]
        all_columns = [np.zeros(0, site_columns.column_dtype(setup.model.material.n_states))]
        all_hidden = [np.zeros(0, hiding.site_dtype())]
        weak_rows, weak_patches = all_rows[:], all_patches[:]
        lattices = np.full((len(indices), 3, 2), np.nan)
        regions = np.full((len(indices), *setup.region_shape), region_map.UNKNOWN, np.uint8)
        shown = grains.around([None if one is None else one.lattice for one in results]) if self._several else None
        for i, result in enumerate(results):
            row = frames[i : i + 1]
            if result is None:
                row["quality"], row["note"] = errors[i].quality, str(errors[i]).encode()[-table.NOTE_BYTES :]
                continue
            if shown is not None and (own := shown[i]) is not None:
                result = result._replace(found=self._in_grains(row, result.found, own))
            elif shown is None and result.lattice is not None and result.lattice.clear:
                row["n_grains"], row["n_at_boundary"], row["boundary_nm"] = 1, 0, 0.0
            found, regions[i] = result.found, self._raw_regions(result.regions)
            all_rows.append(self._rows(found.rows, frames[i]))
            all_patches.append(found.patches)
            weak_rows.append(self._rows(found.weak_rows, frames[i]))
            weak_patches.append(found.weak_patches)
            self._describe(row, result)
            # a moire repeats from frame to frame as no noise does: all frames together would be sure of it
            moire = result.verdict.flags & quality_flags.SECOND_LATTICE
            if found.sites is not None and not moire and self._same_field(found.sites.vectors_px):
                lattices[i] = [*found.sites.vectors_px, found.sites.origin_px]
                if setup.keeps_columns:
                    all_columns.append(site_columns.pack(found, int(indices[i]), setup.model, setup.rules))
                    if result.hidden is not None:
                        basis = setup.model.material.basis
                        all_hidden.append(
                            hiding.sites(result.hidden, found.sites, basis, self._beside_px, int(indices[i]))
                        )
        parts = (all_rows, all_patches, all_columns, all_hidden, weak_rows, weak_patches)
        rows, patches, columns, hidden, *weak = (np.concatenate(part) for part in parts)
        return Block(number, rows, frames, patches, columns, lattices, regions, hidden, *weak)

    def _same_field(self, vectors_px: np.ndarray) -> bool:
        """Is this the lattice of the movie? A frame of another field has no sites in common with the others."""
        return same_lattice(vectors_px, self.setup.reference_px, SAME_FIELD)

    def _raw_regions(self, regions: np.ndarray) -> np.ndarray:
        """The map of regions of a straightened frame, on the frame as it was read."""
        setup = self.setup
        if setup.straighten is None:
            return regions
        cells = zip(setup.region_shape, setup.region_step_px, strict=True)
        centres = [(np.arange(n) + 0.5) * step - 0.5 for n, step in cells]
        place = np.stack(np.meshgrid(*centres, indexing="ij"), -1)
        at = setup.straighten.straight(place) / setup.engine.region_step_px
        y, x = (at[..., k].astype(int).clip(0, n - 1) for k, n in enumerate(regions.shape))
        return regions[y, x]

    def _rows(self, found: np.ndarray, frame: np.void) -> np.ndarray:
        """Rows with frame, time and nm, in pixels of the original frame."""
        rows = found.copy()
        rows["frame"], rows["time_s"] = frame["frame"], frame["time_s"]
        return in_nm(rows, self.setup)

    @property
    def _several(self) -> bool:
        return self.setup.grains_px is not None

    def _in_grains(self, row: np.ndarray, found: FrameDefects, own: bragg_map.LocalLattice) -> FrameDefects:
        """`found` as it may be called in a frame of several grains, whose lattices are `own`, described in its row."""
        setup = self.setup
        met = grains.meeting(own, setup.shape_px, setup.grains_px)
        along = met.along(np.column_stack([found.rows["y_px"], found.rows["x_px"]]))
        row["n_grains"], row["n_at_boundary"] = met.n_grains, along.sum()
        row["boundary_nm"] = met.length_px * setup.calibration.pixel_size_nm
        return grains.told(found, met, own) if setup.of_movie else found

    def _describe(self, row: np.ndarray, result: Finished) -> None:
        """Fill in one row of the frame table."""
        setup, found = self.setup, result.found
        row["fraction_brighter"] = found.brighter
        row["n_defects"], row["n_withheld"] = len(found.rows), found.n_withheld
        if result.hidden is not None:
            row["n_invalid_px"] = result.hidden.n_invalid
        flags = result.verdict.flags | (quality_flags.COARSE if self._coarse else 0)
        taught = setup.rules.specimen
        if taught is not None and composition.doubtful(taught.levels, setup.model.material):
            flags |= quality_flags.TWO_KINDS
        for name, value in zip(REGIONS, result.fraction, strict=True):
            row[f"fraction_{name}"] = value
        if found.sites is not None:
            missed = found.sites.missed_px
            if result.hidden is not None:
                missed = missed[~result.hidden.near(*missed.T, self._beside_px)]
            row["n_sites"], row["n_missed"] = found.sites.n_sites, len(missed)
            vectors = setup.raw_vectors(found.sites.vectors_px)
            (row["a1_y_px"], row["a1_x_px"]), (row["a2_y_px"], row["a2_x_px"]) = vectors
        vectors = np.full((2, 2), np.nan) if found.sites is None else found.sites.vectors_px
        if result.lattice is not None and result.lattice.clear:
            vectors = result.lattice.vectors_px
        if np.isfinite(vectors).all():
            pixel = setup.calibration.pixel_size_nm
            vectors = setup.raw_vectors(vectors) * (setup.aspect, 1)
            angle, strain = bragg_map.deformation(vectors, setup.lattice_nm, pixel)
            row["pixel_size_nm"] = np.sqrt(abs(np.linalg.det(setup.lattice_nm) / np.linalg.det(vectors)))
            row["angle_deg"] = np.degrees(angle)
            row["strain_yy"], row["strain_xx"], row["strain_xy"] = strain[0, 0], strain[1, 1], strain[0, 1]
            if bragg_map.distortion(strain) > trust.MAX_DISTORTION:
                flags |= quality_flags.DISTORTED
        if found.sites is not None and setup.reference_px is not None and not self._same_field(found.sites.vectors_px):
            flags |= quality_flags.OTHER_FIELD
        row["doubt"] = flags
        row["note"] = "; ".join(quality_flags.words(flags)).encode()[: table.NOTE_BYTES]


def in_nm(rows: np.ndarray, setup: Any) -> np.ndarray:
    """`rows` in square pixels (sigma too) -> nm filled in, pixels those of the original frame; changes `rows`."""
    pixel = setup.calibration.pixel_size_nm
    rows["y_px"], rows["x_px"] = setup.raw_places(np.stack([rows["y_px"], rows["x_px"]], 1)).T
    rows["y_nm"], rows["x_nm"] = rows["y_px"] * (pixel * setup.aspect), rows["x_px"] * pixel
    rows["sigma_nm"] = rows["sigma_nm"] * pixel
    return rows
