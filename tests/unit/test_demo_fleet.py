"""The generated fleet: the same for the same arguments, laid out as promised, with faults that show."""

import csv
import filecmp
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import pipelines.demo
from pipelines.demo.fleet import FAULT_MODES, METRICS, MODELS, NOISE_SD, NOMINAL, Fleet, generate

END = datetime(2026, 11, 2, 15, 20, tzinfo=UTC)
REFERENCE = Path(pipelines.demo.__file__).parent / "documents" / "error-code-reference.md"
HEADERS = {
    "PdM_telemetry.csv": ["datetime", "machineID", "volt", "rotate", "pressure", "vibration"],
    "PdM_errors.csv": ["datetime", "machineID", "errorID"],
    "PdM_machines.csv": ["machineID", "model", "age"],
    "PdM_failures.csv": ["datetime", "machineID", "failure"],
    "PdM_maint.csv": ["datetime", "machineID", "comp"],
}


def rows(directory: Path, name: str) -> list[dict[str, str]]:
    with (directory / name).open(newline="") as file:
        return list(csv.DictReader(file))


def telemetry(directory: Path, machines: int) -> np.ndarray:
    """Readings as [machines, hours, metrics]."""
    values = [[float(row[metric]) for metric in METRICS] for row in rows(directory, "PdM_telemetry.csv")]
    return np.array(values).reshape(machines, -1, len(METRICS))


def nominal_by_machine(directory: Path) -> np.ndarray:
    """Nominal readings as [machines, metrics]."""
    return NOMINAL[[MODELS.index(row["model"]) for row in rows(directory, "PdM_machines.csv")]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def fleet(directory: Path) -> Fleet:
    return generate(directory, end=END)


def test_layout_and_counts(fleet: Fleet, directory: Path) -> None:
    for name, header in HEADERS.items():
        assert (directory / name).read_text().splitlines()[0].split(",") == header
    counted = {name: len(rows(directory, name)) for name in HEADERS}
    assert counted == {
        "PdM_telemetry.csv": fleet.readings,
        "PdM_errors.csv": fleet.errors,
        "PdM_machines.csv": fleet.machines,
        "PdM_failures.csv": fleet.failures,
        "PdM_maint.csv": fleet.maintenance,
    }
    assert (fleet.machines, fleet.readings) == (50, 16_800)
    assert {row["model"] for row in rows(directory, "PdM_machines.csv")} == set(MODELS)


def test_readings_are_hourly_and_end_in_the_hour_of_end(fleet: Fleet, directory: Path) -> None:
    stamps = [row["datetime"] for row in rows(directory, "PdM_telemetry.csv") if row["machineID"] == "1"]
    hours = [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S") for stamp in stamps]
    assert hours[-1] == datetime(2026, 11, 2, 15)
    assert {later - earlier for earlier, later in pairwise(hours)} == {timedelta(hours=1)}


def test_same_arguments_write_the_same_bytes(fleet: Fleet, directory: Path, tmp_path: Path) -> None:
    assert generate(tmp_path, end=END) == fleet
    assert all(filecmp.cmp(directory / name, tmp_path / name, shallow=False) for name in HEADERS)


def test_another_seed_writes_other_readings(fleet: Fleet, directory: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=8, end=END)
    assert not filecmp.cmp(directory / "PdM_telemetry.csv", tmp_path / "PdM_telemetry.csv", shallow=False)


def test_degrading_machines_stand_out_and_the_others_do_not(fleet: Fleet, directory: Path) -> None:
    last_day = telemetry(directory, fleet.machines)[:, -24:].mean(axis=1)
    drift = np.abs(last_day - nominal_by_machine(directory)) / NOISE_SD
    ill = np.array(fleet.degrading) - 1
    assert 4 <= ill.size <= 6
    assert drift[ill].max(axis=1).min() > 1.5
    assert len({int(metric) for metric in drift[ill].argmax(axis=1)}) == len(METRICS)
    healthy = np.delete(drift, ill, axis=0)
    assert (healthy.max(axis=1) > 1.5).sum() == 0


def test_every_failure_is_announced_by_its_codes_and_repaired(fleet: Fleet, directory: Path) -> None:
    readings = telemetry(directory, fleet.machines)
    baseline = nominal_by_machine(directory)
    first = datetime.fromisoformat(rows(directory, "PdM_telemetry.csv")[0]["datetime"])
    errors, repairs = rows(directory, "PdM_errors.csv"), rows(directory, "PdM_maint.csv")
    failures = rows(directory, "PdM_failures.csv")
    assert failures
    for failure in failures:
        modes = [mode for mode in FAULT_MODES if mode.component == failure["failure"]]
        own = [row for row in errors if row["machineID"] == failure["machineID"]]
        announced = {row["errorID"] for row in own if row["datetime"] <= failure["datetime"]}
        assert announced & {mode.limit_code for mode in modes}
        repaired = [
            row["datetime"]
            for row in repairs
            if row["machineID"] == failure["machineID"]
            and row["comp"] == failure["failure"]
            and row["datetime"] > failure["datetime"]
        ]
        assert len(repaired) == 1
        machine, metric = int(failure["machineID"]) - 1, modes[0].metric
        hour = int((datetime.fromisoformat(repaired[0]) - first).total_seconds() // 3600)
        after = readings[machine, hour:, metric].mean() - baseline[machine, metric]
        assert abs(after) < 1.5 * NOISE_SD[metric]


def test_codes_come_more_often_towards_the_failure(tmp_path: Path) -> None:
    fleet = generate(tmp_path, machines=400, end=END)
    errors = rows(tmp_path, "PdM_errors.csv")
    early = late = 0
    for failure in rows(tmp_path, "PdM_failures.csv"):
        failed = datetime.fromisoformat(failure["datetime"])
        for row in (row for row in errors if row["machineID"] == failure["machineID"]):
            before_h = (failed - datetime.fromisoformat(row["datetime"])).total_seconds() / 3600
            late += 0 <= before_h < 12
            early += 12 <= before_h < 24
    assert fleet.failures > 30
    assert late > 1.5 * early > 0


def test_every_code_is_in_the_reference_with_the_limits_the_fleet_uses(fleet: Fleet, directory: Path) -> None:
    reference = REFERENCE.read_text()
    documented = set(re.findall(r"^\| (E\d{3}) \|", reference, flags=re.MULTILINE))
    assert {row["errorID"] for row in rows(directory, "PdM_errors.csv")} <= documented
    for mode in FAULT_MODES:
        side = "above" if mode.direction > 0 else "below"
        limits = " | ".join(f"{limit:g}" for limit in mode.limits)
        row = rf"^\| {mode.limit_code} \| {side} \| [^|]+ \| {re.escape(limits)} \|"
        assert re.search(row, reference, flags=re.MULTILINE), mode.limit_code


def test_a_fleet_too_small_for_a_failure_still_has_every_file(tmp_path: Path) -> None:
    fleet = generate(tmp_path, machines=4, days=7, end=END)
    assert (fleet.failures, len(fleet.degrading)) == (0, 1)
    assert (tmp_path / "PdM_failures.csv").read_text() == "datetime,machineID,failure\n"


@pytest.mark.parametrize(("machines", "days"), [(3, 14), (50, 6)])
def test_a_fleet_that_cannot_hold_a_fault_is_refused(tmp_path: Path, machines: int, days: int) -> None:
    with pytest.raises(ValueError, match="at least 4 machines and 7 days"):
        generate(tmp_path, machines=machines, days=days, end=END)
