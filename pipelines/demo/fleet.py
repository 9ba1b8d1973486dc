"""A seeded fleet of pumps and compressors as the CSV files of the Azure predictive-maintenance layout.

The models, their nominal readings and the limits of the error codes are those that the manuals and runbooks
in `documents/` state, so that what the data shows is what the documents explain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

MODELS = ("HX-200", "HX-450", "CR-110", "CR-310")
METRICS = ("volt", "rotate", "pressure", "vibration")
COMPONENTS = ("comp1", "comp2", "comp3", "comp4")

# One row per model, one column per metric: volts, rpm, bar, and vibration in tenths of a mm/s.
NOMINAL = np.array([(170, 440, 98, 39), (172, 452, 105, 41), (168, 444, 99, 40), (170, 448, 102, 40)])
NOISE_SD = np.array([15.0, 50.0, 10.0, 5.0])
BASELINE_SD = 0.3 * NOISE_SD  # spread of the machines' own baselines around their model's nominal
FAILURE_DRIFT = 4.0 * NOISE_SD  # how far a metric has drifted when its component fails

FAULTY_SHARE = 0.25
DEGRADING_SHARE = 0.1
LIMIT_CODE_RATE = 0.35  # not 1: a code is raised again only after an operator has acknowledged it
SENSOR_CODE_RATE = 0.15
STRAY_CODES = ("E207", "E313", "E501", "E502")  # they rest on no telemetry, so no reading has to explain them
STRAY_RATE = 0.002
SERVICES_PER_MACHINE = 3
SERVICED_WITHIN_H = 90 * 24

Event = tuple[int, int, str]  # machine (index), hour since the first reading, label


@dataclass(frozen=True)
class FaultMode:
    """How a component fails: the metric that drifts, which way, and the codes raised on the way.

    `limit_code` is raised when the metric stays beyond `limits` (in its unit, one per model of MODELS) for
    `hold_h` consecutive hours; `sensor_code` comes from a sensor that the telemetry does not carry.
    """

    component: str
    metric: int
    direction: int
    limit_code: str
    limits: tuple[float, float, float, float]
    hold_h: int
    sensor_code: str | None = None


FAULT_MODES = (
    FaultMode("comp4", METRICS.index("vibration"), 1, "E421", (52, 55, 53, 54), 2, "E425"),
    FaultMode("comp2", METRICS.index("rotate"), -1, "E204", (330, 345, 335, 340), 3, "E207"),
    FaultMode("comp3", METRICS.index("pressure"), 1, "E310", (122, 132, 124, 128), 2, "E313"),
    FaultMode("comp1", METRICS.index("volt"), 1, "E101", (206, 210, 204, 208), 2),
    FaultMode("comp1", METRICS.index("volt"), -1, "E102", (134, 136, 132, 135), 2),
)


@dataclass(frozen=True)
class Fleet:
    """What was written: the rows of each file, and the machine ids in mid-fault at the end, worst first."""

    machines: int
    readings: int
    errors: int
    failures: int
    maintenance: int
    degrading: tuple[int, ...]


@dataclass(frozen=True)
class Fault:
    """One machine's fault, in hours since the first reading; `repair` may lie after the last."""

    machine: int
    mode: FaultMode
    onset: int
    failure: int
    repair: int

    def progress(self, hours: int) -> NDArray[np.float64]:
        """Share of the drift reached in each hour, [hours], 0 to 1; 0 again from the repair on."""
        hour = np.arange(hours)
        ramp = np.clip((hour - self.onset) / (self.failure - self.onset), 0.0, 1.0)
        return np.where(hour < self.repair, ramp, 0.0)


def generate(
    directory: Path, machines: int = 50, days: int = 14, seed: int = 7, end: datetime | None = None
) -> Fleet:
    """Write the five `PdM_*.csv` files of a fleet into `directory`: hourly readings, times in UTC.

    The last reading is of the hour of `end` (timezone-aware; now by default). The same arguments write the
    same bytes. Needs at least 4 machines (one of each model) and 7 days (a fault, its failure and repair).
    """
    if machines < 4 or days < 7:
        raise ValueError(f"{machines} machines over {days} days: use at least 4 machines and 7 days")
    last_hour = np.datetime64((end or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None), "h")
    hours = days * 24
    time = last_hour - np.arange(hours)[::-1]
    rng = np.random.default_rng(seed)
    model = rng.permutation(np.arange(machines) % len(MODELS))
    degrading, failed = draw_faults(rng, machines, hours)

    baseline = NOMINAL[model] + BASELINE_SD * rng.standard_normal((machines, len(METRICS)))
    readings = baseline[:, None, :] + NOISE_SD * rng.standard_normal((machines, hours, len(METRICS)))
    for fault in degrading + failed:
        drift = fault.mode.direction * FAILURE_DRIFT[fault.mode.metric] * fault.progress(hours)
        readings[fault.machine, :, fault.mode.metric] += drift

    errors = list(raise_errors(rng, model, readings, degrading + failed))
    failures = [(fault.machine, fault.failure, fault.mode.component) for fault in failed]
    repairs = [(fault.machine, fault.repair, fault.mode.component) for fault in failed]
    serviced = np.repeat(np.arange(machines), SERVICES_PER_MACHINE)
    service_hour = rng.integers(-SERVICED_WITHIN_H, 0, serviced.size)
    serviced_component = rng.choice(COMPONENTS, serviced.size)
    services = list(zip(serviced.tolist(), service_hour.tolist(), serviced_component.tolist(), strict=True))

    directory.mkdir(parents=True, exist_ok=True)
    ids = np.arange(1, machines + 1)
    ages = rng.integers(1, 21, machines)
    write_csv(directory / "PdM_machines.csv", machineID=ids, model=np.array(MODELS)[model], age=ages)
    values = {name: readings[:, :, i].round(3).ravel() for i, name in enumerate(METRICS)}
    stamps = np.tile(time.astype("datetime64[s]"), machines)
    write_csv(directory / "PdM_telemetry.csv", datetime=stamps, machineID=np.repeat(ids, hours), **values)
    write_events(directory / "PdM_errors.csv", "errorID", errors, time[0])
    write_events(directory / "PdM_failures.csv", "failure", failures, time[0])
    write_events(directory / "PdM_maint.csv", "comp", repairs + services, time[0])
    ill = tuple(fault.machine + 1 for fault in degrading)
    return Fleet(machines, machines * hours, len(errors), len(failures), len(repairs + services), ill)


def draw_faults(rng: np.random.Generator, machines: int, hours: int) -> tuple[list[Fault], list[Fault]]:
    """The faults still developing at the end, worst first, and those that failed and were repaired."""
    degrading_count = max(1, round(DEGRADING_SHARE * machines))
    faulty = rng.permutation(machines)[: max(degrading_count, round(FAULTY_SHARE * machines))].tolist()
    degrading, failed = [], []
    # Slow faults well on their way, so that the whole last day shows them.
    for i, reached in enumerate(np.linspace(0.95, 0.65, degrading_count)):
        drift_h = int(rng.integers(60, 97))
        onset = hours - 1 - round(reached * drift_h)
        mode = FAULT_MODES[i % len(FAULT_MODES)]
        degrading.append(Fault(faulty[i], mode, onset, failure=onset + drift_h, repair=onset + drift_h + 12))
    for i, machine in enumerate(faulty[degrading_count:]):
        failure = int(rng.integers(96, hours - 24))
        onset, repair = failure - int(rng.integers(24, 97)), failure + int(rng.integers(4, 13))
        failed.append(Fault(machine, FAULT_MODES[i % len(FAULT_MODES)], onset, failure, repair))
    return degrading, failed


def raise_errors(
    rng: np.random.Generator, model: NDArray[np.int64], readings: NDArray[np.float64], faults: list[Fault]
) -> Iterator[Event]:
    """The codes of passed limits, those of the faults' own sensors, and a few stray ones on sound machines.

    `model` is [machines], an index into MODELS; `readings` is [machines, hours, metrics].
    """
    machines, hours, _ = readings.shape
    for mode in FAULT_MODES:
        limit = np.array(mode.limits)[model, None]
        beyond = mode.direction * (readings[:, :, mode.metric] - limit) > 0
        held = sliding_window_view(beyond, mode.hold_h, axis=1).all(axis=2)
        machine, window = np.nonzero(held & (rng.random(held.shape) < LIMIT_CODE_RATE))
        yield from zip(machine.tolist(), (window + mode.hold_h - 1).tolist(), repeat(mode.limit_code))
    sound = np.ones((machines, 1), dtype=bool)
    for fault in faults:
        sound[fault.machine] = False
        if fault.mode.sensor_code:
            (hour,) = np.nonzero(rng.random(hours) < SENSOR_CODE_RATE * fault.progress(hours) ** 3)
            yield from zip(repeat(fault.machine), hour.tolist(), repeat(fault.mode.sensor_code))
    machine, hour = np.nonzero((rng.random((machines, hours)) < STRAY_RATE) & sound)
    yield from zip(
        machine.tolist(), hour.tolist(), rng.choice(STRAY_CODES, machine.size).tolist(), strict=True
    )


def write_events(path: Path, label: str, events: list[Event], first_hour: np.datetime64) -> None:
    """Write events by machine and time, their label in a column of that name."""
    machine, hour, labels = np.array(sorted(events), dtype=object).reshape(-1, 3).T
    stamps = (first_hour + hour.astype(np.int64)).astype("datetime64[s]")
    write_csv(path, datetime=stamps, machineID=machine.astype(np.int64) + 1, **{label: labels})


def write_csv(path: Path, **columns: NDArray[np.generic]) -> None:
    """Write equally long columns, whole-second times as `%Y-%m-%d %H:%M:%S`, quoting nothing."""
    options = pa_csv.WriteOptions(quoting_style="none", quoting_header="none")
    pa_csv.write_csv(pa.table({name: pa.array(column) for name, column in columns.items()}), path, options)
