"""Joint fits over runs: through the command on run folders whose truth is known, and what such runs cannot tell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.damage_sets import joint as series
from stemdefects.analysis.damage.series import joint, statements
from stemdefects.analysis.notes import Code, codes
from stemdefects.commands import analyze
from stemdefects.commands.results import configure
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.readers.conventions import dose
from stemdefects.io.tables import table
from stemdefects.report import run_comparison_page

TRUTH = series.Truth(threshold_ev=6.5, excitation_barn=0.2, debye_k=400.0)


def said(told: joint.Joint) -> set[Code]:
    return {code for note in statements.remarks(told) for code in codes(note)}


def folder_of(run: joint.Run, runs_dir: Path, voltage_kv=None) -> str:
    """A run's folder with the tables of its analysis, by the writers that analyses use; returns its id."""
    made = runs.create(str(runs_dir))
    made.analysis_dir.mkdir(exist_ok=True)
    attrs = {"source": f"{run.name}.tif", "voltage_kv": voltage_kv, "pixel_size_nm": 0.03, "frame_time_s": 1.0}
    for path in (made.defects_path, made.analysis_dir / "defects.h5"):
        table.DefectTable(table.empty(0), attrs=attrs).write(path)
    run.estimates.to_csv(made.analysis_dir / "estimates.csv", index=False)
    if run.damage is not None:
        run.damage.to_csv(made.analysis_dir / "damage.csv", index=False)
    (made.analysis_dir / "report.html").write_text("analysed")
    return made.id


def command(names: list[str], runs_dir: Path, **damage) -> Path:
    cfg = configure(damage=damage)
    cfg.run, cfg.runs_dir = f"[{','.join(names)}]", str(runs_dir)
    return analyze.run(cfg).parent


def holds(row, truth: float) -> bool:
    return bool(row["low"] <= truth <= row["high"])


def test_threshold_from_run_folders_by_the_files_voltages(tmp_path, capsys):
    made = series.voltage_runs(np.random.default_rng(3), TRUTH, common=True)
    names = [folder_of(run, tmp_path, run.voltage_kv) for run in made]
    names.append(folder_of(made[0]._replace(name="no rates", damage=None), tmp_path, 60.0))
    names.append(folder_of(made[1], tmp_path, None))
    folder = command(names, tmp_path)  # without damage.joint= nothing is fitted
    assert not (folder / "joint.csv").exists()
    folder = command(names, tmp_path, joint="voltage")
    printed = capsys.readouterr().out
    told = pd.read_csv(folder / "joint.csv").set_index("parameter")
    assert holds(told.loc["emission threshold"], TRUTH.threshold_ev)
    assert holds(told.loc["excitation cross-section at 80 kV"], TRUTH.excitation_barn)
    assert told.loc["emission threshold", "high"] - told.loc["emission threshold", "low"] < 0.6
    assert told["correlation"].notna().all() and (told["runs"] == 5).all()
    assert "first S atom, emission threshold: " in printed and "damage.debye_k=" in printed
    assert f"{names[5]}: its analysis has no damage rates" in printed
    assert f"{names[6]}: its voltage is not known; left out. damage.voltage_kv=[...]" in printed
    page = (folder / "comparison.html").read_text()
    assert "Beam damage against voltage" in page and "emission threshold: " in page
    assert (folder / "figures" / "joint.png").exists() and len(pd.read_csv(folder / "joint_points.csv")) == 5


def test_barrier_from_run_folders_by_stated_temperatures(tmp_path):
    made = series.temperature_runs(np.random.default_rng(5), 0.5)
    names = [folder_of(run, tmp_path) for run in made]
    folder = command(names, tmp_path, joint="temperature", temperature_k=list(series.KELVIN))
    told = pd.read_csv(folder / "joint.csv").set_index("parameter")
    assert holds(told.loc["barrier"], 0.5) and told.loc["barrier", "unit"] == "eV"
    assert told.loc["prefactor", "unit"] == "1/s" and told.loc["barrier", "correlation"] > 0.9


def test_over_temperature_what_the_beam_does_is_taken_per_dose_where_all_doses_are_known():
    rng, made = np.random.default_rng(2), []
    for kelvin in (300.0, 500.0):
        one = [series.found(name, 0.01, 3000.0, rng) for name in ("first atom", "arrival by hopping")]
        one[1] = one[1]._replace(beam=False)
        made.append(joint.Run(f"{kelvin:g} K", *series.tables(one, series.Beam(), rng), 80.0, kelvin))
    told = statements.points(joint.fit(made, "temperature"))
    assert dict(zip(told["process"], told["unit"], strict=True)) == {
        "first S atom": "barn",
        "arrival by hopping": "1/s",
    }
    for one in made:
        one.damage.loc[:, ["cross_section_barn", "low_barn", "high_barn", "flux_e_per_nm2_s"]] = np.nan
    assert set(statements.points(joint.fit(made, "temperature"))["unit"]) == {"1/s"}
    faster = made[1]._replace(damage=made[1].damage.assign(flux_e_per_nm2_s=2e8), voltage_kv=100.0)
    both = joint.fit([made[0]._replace(damage=made[0].damage.assign(flux_e_per_nm2_s=1e8)), faster], "temperature")
    assert sum("differ in" in note for note in statements.remarks(both)) == 2


def test_lists_of_another_length_and_single_runs_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"damage.voltage_kv=\[60.0, 80.0\]: 2 for 3 runs"):
        command(["a", "b", "c"], tmp_path, joint="voltage", voltage_kv=[60.0, 80.0])
    with pytest.raises(UserError, match=r"damage.temperature_k=\[300.0\]: 1 for 2 runs"):
        command(["a", "b"], tmp_path, temperature_k=[300.0])
    with pytest.raises(UserError, match=r"damage.joint=voltage: is fitted to several runs"):
        cfg = configure(damage={"joint": "voltage"})
        cfg.run = "a"
        analyze.run(cfg)


def test_intervals_cover_in_simulated_series():
    """95% intervals of threshold and barrier; the benchmark does more (`benchmarks/damage.py joint=`)."""
    held = np.zeros(2, int)
    for k in range(8):
        fit, threshold, _ = series.voltage_series(np.random.default_rng([7, k]), k % 2 == 0, True)
        held[0] += series.held(fit.parameters[0], threshold)
    for k in range(40):
        fit, barrier, _ = series.temperature_series(np.random.default_rng([7, k]))
        held[1] += series.held(fit.parameters[0], barrier)
    assert held[0] >= 6 and held[1] >= 35  # fewer: below 1% at 95%
    of_both = np.zeros(2, int)
    for k in range(40):
        fit, *truth = series.dose_rate_series(np.random.default_rng([8, k]))
        of_both += [series.held(p, t) for p, t in zip(fit.parameters, truth, strict=True)]
    assert (of_both >= 35).all()


def test_what_happens_per_electron_and_per_second_is_told_apart_by_dose_rates(tmp_path):
    rng = np.random.default_rng(4)
    made = series.dose_rate_runs(rng, 1.0, 0.01)
    names = [folder_of(run, tmp_path) for run in made]
    folder = command(names, tmp_path, joint="dose_rate")
    told = pd.read_csv(folder / "joint.csv").set_index("parameter")
    assert holds(told.loc["cross-section per electron"], 1.0) and holds(told.loc["rate at any dose rate"], 0.01)
    assert told["unit"].tolist() == ["barn", "1/s"] and (told["correlation"] < 0).all()
    assert "Beam damage against dose rate" in (folder / "comparison.html").read_text()
    points = pd.read_csv(folder / "joint_points.csv")
    assert points["flux_e_per_nm2_s"].is_monotonic_increasing and set(points["unit"]) == {"1/s"}
    beam = statements.parameters(joint.fit(series.dose_rate_runs(rng, 1.0, 0.0), "dose_rate")).set_index("parameter")
    assert beam.loc["rate at any dose rate", "said"] == "upper limit"
    heat = joint.fit(series.dose_rate_runs(rng, 0.0, 0.01), "dose_rate")
    assert statements.parameters(heat).loc[0, "said"] == "upper limit" and Code.JOINT_LIMIT in said(heat)
    assert Code.NO_DOSE in said(
        joint.fit([run._replace(damage=run.damage.assign(flux_e_per_nm2_s=np.nan)) for run in made], "dose_rate")
    )
    alike = joint.fit([made[0], made[0]._replace(name="again")], "dose_rate")
    assert said(alike) == {Code.JOINT_ALIKE}
    hotter = made[1]._replace(temperature_k=700.0, voltage_kv=60.0)
    assert sum("differ in" in note for note in statements.remarks(joint.fit([made[0], hotter], "dose_rate"))) == 2


def test_what_runs_cannot_tell_is_said_and_gets_no_number(tmp_path):
    rng = np.random.default_rng(0)
    made = series.voltage_runs(rng, TRUTH, common=False)
    alike = joint.fit([made[0], made[1]._replace(voltage_kv=60.0)], "voltage")
    assert (
        said(alike) == {Code.JOINT_ALIKE} and not len(statements.parameters(alike)) and not statements.sentences(alike)
    )
    run_comparison_page._joint(tmp_path, alike)
    assert len(pd.read_csv(tmp_path / "joint.csv")) == len(pd.read_csv(tmp_path / "joint_points.csv")) == 0
    blind = joint.fit([run._replace(voltage_kv=None) for run in made], "voltage")
    assert Code.JOINT_NO_CONDITION in said(blind) and not blind.series
    two = joint.fit([made[2], made[4]], "voltage", 400.0)
    assert Code.JOINT_UNTESTED in said(two) and len(statements.parameters(two)) == 2
    five = statements.parameters(joint.fit(made, "voltage", 400.0))
    width = [t.loc[0, "high"] - t.loc[0, "low"] for t in (statements.parameters(two), five)]
    assert not width[0] < width[1]  # NaN: a limit alone
    low = joint.fit(series.voltage_runs(rng, TRUTH, True, (30.0, 40.0, 50.0)), "voltage", 400.0)
    threshold = statements.parameters(low).iloc[0]
    assert threshold["said"] == "lower limit" and threshold["low"] < TRUTH.threshold_ev and np.isnan(threshold["high"])
    assert Code.JOINT_LIMIT in said(low)
    other = made[1].damage.assign(atom="Se")
    mixed = joint.fit([made[0], made[1]._replace(damage=other), made[2]], "voltage")
    assert Code.JOINT_ATOM in said(mixed) and not len(statements.parameters(mixed))
    lacking = made[3]._replace(damage=made[3].damage.assign(process="filling"))  # it does not tell of first atoms
    assert statements.parameters(joint.fit([*made[:3], lacking], "voltage", 400.0))["runs"].tolist() == [3, 3]
    undosed = series.temperature_runs(rng, 0.5)
    assert Code.NO_DOSE in said(joint.fit(undosed, "voltage"))


def test_runs_that_contradict_the_model_give_no_parameters():
    """A cross-section that falls a hundredfold between 60 and 100 kV: neither channel does that."""
    rng, made = np.random.default_rng(1), []
    for kv, barn in zip((60.0, 70.0, 80.0, 90.0, 100.0), (50.0, 20.0, 5.0, 2.0, 0.5), strict=True):
        rate = series.barn_per_s(barn)
        one = series.found("first atom", rate, 40 / rate, rng)
        made.append(joint.Run(f"{kv:g}", *series.tables([one], series.Beam(), rng), kv, 295.0))
    told = joint.fit(made, "voltage", 400.0)
    table_ = statements.parameters(told)
    assert Code.JOINT_REFUSED in said(told) and table_["value"].isna().all() and table_["low"].isna().all()
    assert not statements.sentences(told)


def test_a_dose_that_is_wrong_for_all_runs_moves_the_level_and_not_the_threshold():
    made = series.voltage_runs(np.random.default_rng(3), TRUTH, common=True)
    exact = [run._replace(damage=run.damage.assign(dose_relative_sigma=0.0)) for run in made]
    rough = [run._replace(damage=run.damage.assign(dose_relative_sigma=0.4)) for run in made]
    one, other = (statements.parameters(joint.fit(runs_, "voltage", 400.0)) for runs_ in (exact, rough))
    assert np.log(other["high"] / other["low"])[1] > np.log(one["high"] / one["low"])[1] + 0.3
    assert abs(other.loc[0, "value"] - one.loc[0, "value"]) < 0.15


def test_hop_rates_of_the_lattice_model_give_their_barrier():
    made = []
    for kelvin in (300.0, 350.0, 400.0):
        rate = 0.02 * np.exp(0.4 / 8.617333e-5 * (1 / 350 - 1 / kelvin))
        row = {
            "quantity": "hop rate",
            "method": "lattice model",
            "subject": "V_S",
            "value": rate,
            "low": rate / 1.2,
            "high": 1.2 * rate,
            "code": "ok",
        }
        damage = series.temperature_runs(np.random.default_rng(0), 0.5, (kelvin,))[0].damage
        made.append(joint.Run(f"{kelvin:g}", damage, pd.DataFrame([row]), 80.0, kelvin))
    told = statements.parameters(joint.fit(made, "temperature")).set_index("process").loc["hop rate of V_S"]
    barrier = told[told["parameter"] == "barrier"].iloc[0]
    assert barrier["value"] == pytest.approx(0.4, abs=0.01)
    # of a straight line through logarithms that are known to 9.3% each
    z = -1 / (8.617333e-5 * np.array([300.0, 350.0, 400.0]))
    half = 1.96 * (np.log(1.2) / 1.96) / np.sqrt(((z - z.mean()) ** 2).sum())
    assert barrier["high"] - barrier["low"] == pytest.approx(2 * half, rel=0.1)


def test_voltages_of_files():
    rosetta = {"general": {"Acquisition_instrument": {"TEM": {"beam_energy": 80.0}}}}
    velox = {"vendor": {"Optics": {"AccelerationVoltage": "60000"}}}
    assert dose.of_file(rosetta).voltage_kv == 80 and dose.of_file(velox).voltage_kv == pytest.approx(60)
    assert dose.of_file({}).voltage_kv is None
