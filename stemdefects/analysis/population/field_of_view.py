"""The field of view as a whole: defects relative to each other, the crystal around them, its strain."""

import numpy as np

from stemdefects.analysis.crystallography import displacements as crystallography
from stemdefects.analysis.crystallography import strain
from stemdefects.analysis.data import square_pixels
from stemdefects.analysis.estimates import estimate
from stemdefects.analysis.population import lines, space
from stemdefects.analysis.tracking import registration


def pairs(result, rng) -> None:
    """Pair correlations per kind against random places on the lattice, and uneven motion of the field."""
    found, rows = result.found, result.found.rows
    if len(rows) < 20:
        return
    sites = None
    if result.motion.vectors is not None:
        low, high = found.yx.min(0), found.yx.max(0)
        reach = int(np.ceil(np.linalg.norm(high - low) / result.lattice_constant)) + 2
        cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
        sites = cells @ result.motion.vectors + (low + high) / 2
        sites = sites[((sites >= low) & (sites <= high)).all(1)]
    for kind in result.counts.kinds:
        own = found.kinds == kind
        g = space.pair_correlation(rows["frame"][own], found.yx[own], sites, result.lattice_constant, rng=rng)
        if g is None:
            continue
        result.pairs[kind] = g
        result.estimates.append(estimate(
            "pairs of neighbours against chance", g.ratio_near, None, None, "1",
            "pair correlation, random places on the lattice" if sites is not None else "pair correlation, random "
            "places",
            subject=kind, n=g.n_frames, n_of="frames", warning=f"p = {g.p:.2f} for no correlation."))  # fmt: skip
        if sites is not None:
            _lines(result, kind, own, sites, rng)
    result.deformation = d = space.deformation(result.tracks, rng=rng)
    if d is not None and d.p < 0.01 and d.relative > 0.3 * result.lattice_constant:
        result.notes.append(
            f"The field does not move as one: long-lived defects move apart by up to {d.relative:.2f} "
            f"{found.length_unit} "
            f"over the movie ({100 * d.share:.0f}% of their slow motion is a smooth deformation). Drift "
            f"correction removes "
            "the common part only, so slow motion and long lags of the MSD are not diffusion alone."
        )


def _lines(result, kind, own, sites, rng) -> None:
    """Vacancy lines of one kind against random sites."""
    rows = result.found.rows
    found = lines.find(rows["frame"][own], result.found.yx[own], result.motion.vectors, sites, rng=rng)
    if found is None:
        return
    result.lines[kind] = found
    result.estimates.append(estimate(
        "share of defects in lines of three and more", found.share, None, None, "1", "neighbours in a row",
        subject=kind, n=found.n_frames, n_of="frames",
        warning=f"By chance {found.null_share[0]:.2f}, up to {found.null_share[2]:.2f} in a frame; p = {found.p:.2f}."
    ))  # fmt: skip


def crystal(result, rng) -> None:
    """Displaced neighbours of each class, and strain maps, from the movie's frames."""
    found, cfg = result.found, result.cfg.crystal
    if not cfg.enabled or result.movie is None or found.pixel_size_nm is None or not len(found.rows):
        return
    found, movie = square_pixels.view(found, result.movie)
    result.local = local = crystallography.run(
        found, result.material, movie, result.cfg.transitions.centre, rng, cfg.nearest_columns
    )
    result.notes += local.notes
    for c in local.classes.values():
        result.estimates.append(estimate(
            "outward displacement of the nearest columns", *c.radial_pm, "pm",
            "linear fit of all columns, against ideal ones; tracks resampled", subject=c.name, n=c.n,
            n_of=f"defects in {c.n_tracks} tracks"))  # fmt: skip
    vectors = registration.lattice_px(found, result.material, movie)
    if vectors is None or result.material is None:
        return
    drift_px = result.drift.yx / found.scale_yx
    result.strain = s = strain.from_movie(found, result.material, movie, drift_px, vectors, cfg.strain_frames)
    if s is None:
        result.notes.append("No strain map: too few bright columns could be fitted.")
        return
    parts = (("exx - eyy", s.mean[1, 1] - s.mean[0, 0], np.hypot(s.mean_error[1, 1], s.mean_error[0, 0])),
             ("exy", s.mean[0, 1], s.mean_error[0, 1]))  # fmt: skip
    for name, value, error in parts:
        half = 3.18 * error  # t of four blocks
        result.estimates.append(estimate(
            f"distortion of the mean lattice, {name}", 100 * value, 100 * (value - half), 100 * (value + half), "%",
            "columns fitted by Gaussians, against a perfect lattice", n=s.n_columns, n_of="columns",
            warning="Strain and a distorted scan look the same."))  # fmt: skip
