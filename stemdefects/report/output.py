"""Everything an analysis leaves on disk: tables, figures, the page, and what goes to the tracker."""

from pathlib import Path

import numpy as np

from stemdefects.analysis import estimates
from stemdefects.analysis.data import scales
from stemdefects.analysis.data import truth as truths
from stemdefects.io import hdf5_output
from stemdefects.io.table import DefectTable
from stemdefects.report import figures, page, style


def tables(result) -> dict:
    """The CSV tables of an analysis by name, as DataFrames with units in their column names."""
    import pandas as pd

    unit, clock, found = result.found.length_unit, result.found.time_unit, result.found
    out = {"estimates": estimates.table(result.estimates)}
    t = result.tracks
    kinds = result.track_kinds()
    out["tracks"] = pd.DataFrame({
        "track": found.rows["track"][t.index], "frame": t.frame, f"time_{clock}": t.time,
        f"y_{unit}": t.yx[:, 0], f"x_{unit}": t.yx[:, 1], "kind": found.kinds[t.index],
        "track_kind": kinds[t.track] if t.n_tracks else [],
    })  # fmt: skip
    events = result.events
    out["events"] = pd.DataFrame({
        "frame": events["frame"], "event": [e.decode() for e in events["event"]], "track": events["track"],
        "other": events["other"], f"y_{unit}": events["y"], f"x_{unit}": events["x"],
    })  # fmt: skip
    out["drift"] = pd.DataFrame({
        "frame": np.arange(found.n_frames), f"time_{clock}": found.times, f"drift_y_{unit}": result.drift.yx[:, 0],
        f"drift_x_{unit}": result.drift.yx[:, 1], f"sigma_{unit}": result.drift.sigma,
        "interpolated": result.drift.filled, "method": result.drift.method,
    })[found.observed]  # fmt: skip
    counts = pd.DataFrame(result.counts.counts, columns=[f"n_{k}" for k in result.counts.kinds])
    counts.insert(0, f"time_{clock}", result.counts.times)
    counts.insert(0, "frame", np.arange(len(counts)))
    if result.counts.area_nm2 is not None:
        counts["area_nm2"] = result.counts.area_nm2
    out["counts"] = counts[found.observed]
    diffusion = [e for e in result.estimates if e.quantity == "D"]
    out["diffusion"] = pd.DataFrame([
        {"kind": e.subject, "method": e.method, f"D_{_name(result.D_unit)}": e.value,
         f"low_{_name(result.D_unit)}": e.low, f"high_{_name(result.D_unit)}": e.high, "n_tracks": e.n,
         "warning": e.warning} for e in diffusion
    ])  # fmt: skip
    out["gate_scan"] = pd.DataFrame(
        [(result.motion.headline, *row, "cve") for row in result.motion.gate_scan],
        columns=[
            "kind",
            f"gate_{unit}",
            *[f"{c}_{_name(result.D_unit)}" for c in ("D", "low", "high")],
            "n_tracks",
            "method",
        ],
    )
    out["diffusion_windows"] = pd.DataFrame(
        [(result.motion.headline, *row, "cve") for row in result.motion.windows],
        columns=["kind", "first_frame", "end_frame", *[f"{c}_{_name(result.D_unit)}" for c in ("D", "low", "high")],
                 "n_tracks", "method"],
    )  # fmt: skip
    flux = scales.dose_per_time(found, result.cfg)
    if flux:
        middle = out["diffusion_windows"][["first_frame", "end_frame"]].mean(axis=1)
        out["diffusion_windows"]["dose_e_per_nm2"] = middle * found.frame_time_s * flux
    out["pair_correlation"] = pd.DataFrame(
        [(kind, *row) for kind, g in result.pairs.items() for row in zip(g.r, g.g, g.low, g.high, strict=True)],
        columns=["kind", f"distance_{unit}", "pairs_over_chance", "chance_low", "chance_high"],
    )
    probability = f"probability_{result.step.replace(' ', '_')}"
    out["transitions"] = pd.DataFrame([
        {"from": m.names[i], "to": m.names[j], probability: m.P[i, j], "low": m.low[i, j],
         "high": m.high[i, j], "n_steps": m.counts[i, j], "method": name}
        for name, m in result.transitions.items() for i, j in np.ndindex(*m.P.shape)
    ])  # fmt: skip
    hmm = result.transitions.get("hmm")
    if hmm is not None:
        out["rates"] = pd.DataFrame([
            {"from": hmm.names[i], "to": hmm.names[j], f"rate_per_{clock}": hmm.extra["rates"][i, j, 0],
             "low": hmm.extra["rates"][i, j, 1], "high": hmm.extra["rates"][i, j, 2], "method": "hmm"}
            for i, j in np.ndindex(*hmm.P.shape) if i != j
        ])  # fmt: skip
        out["chapman_kolmogorov"] = pd.DataFrame(hmm.extra["chapman"])
        out["confusion"] = pd.DataFrame([
            {"state": m.names[i], "label": m.names[j], "probability": m.extra["confusion"][i, j], "method": name}
            for name, m in result.transitions.items() if "confusion" in m.extra for i, j in np.ndindex(*m.P.shape)
        ])  # fmt: skip
    if result.classes is not None:
        c = result.classes
        out["classes"] = pd.DataFrame({"class": np.arange(len(c.counts)), "n_patches": c.counts, "method": c.method})
        if c.light is not None:
            out["classes"]["sublattice"] = [result.material.site_names[g] for g in c.site]
            for k, name in enumerate(("light", "light_bond_1", "light_bond_2", "light_bond_3")):
                out["classes"][name] = c.light[:, k]
        pairs, n_patches = np.unique(
            np.column_stack([c.label.astype(str), result.found.kinds]), axis=0, return_counts=True
        )
        out["class_kinds"] = pd.DataFrame(
            {"class": pairs[:, 0].astype(int), "kind": pairs[:, 1], "n_patches": n_patches}
        )
        out["class_selection"] = pd.DataFrame(c.scores)
    out |= crystal_tables(result) | evolution_tables(result)
    for stage in result.stages:
        out |= stage.tables
    if result.scores:
        out["truth_scores"] = truths.table(result.scores)
    if result.comparison:
        out["truth_comparison"] = pd.DataFrame(result.comparison)
    return {name: table for name, table in out.items() if len(table.columns)}


def evolution_tables(result) -> dict:
    """Growth laws, vacancy lines and D by region, where there are any."""
    import pandas as pd

    out = {}
    if result.growth:
        out["growth_laws"] = pd.DataFrame([
            {"series": g.subject, "unit": g.unit, "law": law.name, "delta_aic": law.aic, "delta_bic": law.bic,
             "possible": law.name in g.rivals, "parameter": name, "value": v[0], "low": v[1], "high": v[2],
             "time_unit": result.found.time_unit}
            for g in result.growth.values() for law in g.laws.values()
            for name, v in (law.parameters or {"": (np.nan,) * 3}).items()
        ])  # fmt: skip
    if result.lines:
        out["lines"] = pd.DataFrame([
            {"kind": kind, "defects_in_line": k, "lines_per_frame": n, "by_chance": chance}
            for kind, found in result.lines.items() for k, (n, chance) in found.histogram.items()
        ])  # fmt: skip
    if result.regions:
        name = _name(result.D_unit)
        out["diffusion_regions"] = pd.DataFrame([
            {"kind": result.motion.headline, "region": place, f"D_{name}": d.D, f"low_{name}": d.low,
             f"high_{name}": d.high, "n_tracks": d.n_tracks, "method": "cve"}
            for place, d in result.regions.items()
        ])  # fmt: skip
    return out


def crystal_tables(result) -> dict:
    """Displacements, their components, and strain, where there are any."""
    import pandas as pd

    out = {}
    if result.local is not None and result.local.classes:
        classes = result.local.classes
        sites = [s.name for s in result.material.sites]
        out["displacements"] = pd.DataFrame([
            {"class": name, "column": k, "site": sites[c.site[k]], "y_nm": c.position_nm[k, 0],
             "x_nm": c.position_nm[k, 1], "moved_y_pm": c.mean_pm[k, 0], "low_y_pm": c.low_pm[k, 0],
             "high_y_pm": c.high_pm[k, 0], "moved_x_pm": c.mean_pm[k, 1], "low_x_pm": c.low_pm[k, 1],
             "high_x_pm": c.high_pm[k, 1], "n_defects": c.n, "n_tracks": c.n_tracks}
            for name, c in classes.items() for k in range(len(c.site))
        ])  # fmt: skip
        out["displacement_components"] = pd.DataFrame([
            {"class": name, "component": k + 1, "explained": c.explained[k], "shuffled_95": c.chance[k],
             "ideal_columns": c.ideal[k] if k < len(c.ideal) else np.nan}
            for name, c in classes.items() for k in range(len(c.explained))
        ])  # fmt: skip
    if result.strain is not None:
        s = result.strain
        values = {"exx": s.exx, "eyy": s.eyy, "exy": s.exy, "rotation_rad": s.rotation}
        errors = {f"{name}_error": s.error[:, k] for k, name in enumerate(values)}
        out["strain"] = pd.DataFrame({"y_nm": s.yx_nm[:, 0], "x_nm": s.yx_nm[:, 1]} | values | errors)
    return out


def _name(unit: str) -> str:
    return unit.replace("^2", "2").replace("/", "_per_")


def write(result, folder: Path, title: str, config_yaml: str, earlier: dict | None = None) -> Path:
    """Write tables (CSV, HDF5), figures (PNG, SVG) and `report.html` into `folder`; return the page's path.
    earlier: pictures that the run has from before, by figure name, shown on the page where they exist."""
    folder.mkdir(parents=True, exist_ok=True)
    found = result.found
    attrs = {k: v for k, v in found.attrs.items() if k != "known"}
    attrs |= {
        "pixel_size_nm": found.pixel_size_nm,
        "pixel_size_yx_nm": None if found.pixel_size_yx_nm is None else found.scale_yx.tolist(),
        "frame_time_s": found.frame_time_s,
        "source": found.source,
        "linked": True,
    }
    whole = DefectTable(found.rows, found.frame_table(), found.patches, attrs)
    whole.write(folder / "defects.h5")
    whole.write_csv(folder / "defects.csv")
    frames = tables(result)
    for name, table in frames.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    _write_hdf5(frames, folder / "analysis.h5")
    pictures = {name: picture for name, picture in (earlier or {}).items() if picture.exists()}
    for name, draw in figures.of(result).items():
        figure = draw()
        if figure is not None:
            pictures[name] = style.save(figure, folder / "figures", name)
    return page.write(folder / "report.html", result, pictures, title, config_yaml)


def log(result, folder: Path, tracker, earlier: dict | None = None) -> None:
    """What `write` left in `folder`, to the tracker."""
    pictures = {name: picture for name, picture in (earlier or {}).items() if picture.exists()}
    pictures |= {name: path for name in figures.of(result) if (path := folder / "figures" / f"{name}.png").exists()}
    for name, picture in pictures.items():
        tracker.image(name, picture)
    for name, table in tables(result).items() if tracker.wandb_run else ():
        tracker.table(name, table)
    tracker.artifact("report", "report", folder / "report.html")


def _write_hdf5(frames: dict, path: Path) -> None:
    """The same tables in one HDF5 file, a compound dataset each."""
    with hdf5_output.Output(path) as file:
        for name, table in frames.items():
            kinds, columns = [], []
            for column in table.columns:
                values = table[column]
                if values.dtype.kind in "biuf":
                    columns.append(values.to_numpy())
                else:
                    try:
                        columns.append(values.to_numpy(dtype=float, na_value=np.nan))
                    except (TypeError, ValueError):
                        columns.append(np.array([str(v).encode() if v is not None else b"" for v in values], dtype="S"))
                    if columns[-1].dtype == "S0" or columns[-1].dtype.itemsize == 0:
                        columns[-1] = columns[-1].astype("S1")
                kinds.append((str(column), columns[-1].dtype))
            data = np.empty(len(table), kinds)
            for (column, _), values in zip(kinds, columns, strict=True):
                data[column] = values
            file.create_dataset(name, data=data)


def summary(result) -> dict:
    """The headline figures for summary.json: name -> value, with its interval beside it."""
    out = {
        "n_detections": len(result.found.rows), "n_frames": int(result.found.observed.sum()),
        "n_tracks": result.tracks.n_tracks, "notes": result.notes,
    }  # fmt: skip
    for e in result.estimates:
        if e.headline and e.value is not None:
            name = " ".join(part for part in (e.quantity, e.subject) if part)
            out[name] = {"value": e.value, "low": e.low, "high": e.high, "unit": e.unit, "method": e.method}
    if result.scores:
        out["truth"] = {s.kind: {"precision": s.precision, "recall": s.recall, "f1": s.f1, "n_true": s.n_true}
                        for s in result.scores}  # fmt: skip
    if result.comparison:
        out["against_truth"] = result.comparison
    return {"analysis": out}


def text(result) -> str:
    """What is printed: headline numbers, or found against true when the truth is known."""
    lines = []
    if result.scores:
        lines.append(f"{'kind':<16}{'true':>7}{'found':>7}{'precision':>11}{'recall':>8}{'F1':>7}")
        share = lambda v: "-" if v is None else f"{v:.3f}"  # noqa: E731
        for s in result.scores:
            lines.append(
                f"{s.kind:<16}{s.n_true:>7}{s.n_found:>7}{share(s.precision):>11}{share(s.recall):>8}{share(s.f1):>7}"
            )
        lines.append("")
    if result.comparison:
        lines.append(f"{'quantity':<44}{'true':>10}{'found':>11}   95% interval")
        for c in result.comparison:
            interval = f"{estimates.number(c['low'])} to {estimates.number(c['high'])}" if c["low"] is not None else ""
            lines.append(
                f"{c['quantity']:<44}{estimates.number(c['true']):>10}{estimates.number(c['found']):>11}   {interval}"
            )
        lines.append("")
    lines += [e.sentence() for e in result.estimates if e.headline]
    lines += [f"note: {note}" for note in dict.fromkeys(result.notes)]
    return "\n".join(lines)
