"""A fleet in the Azure predictive-maintenance layout, scored by the product's own functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.replay import METRICS, device_id, read_table
from pipelines.lake.daily import UTC_US, count_events, merge, merge_events, summarise
from pipelines.lake.health import Health, score
from pipelines.lake.risk import FEATURES, Failures, Floats, History, failure_times, history, values_query

HOURS_OF_DAY = (0, 6, 12, 18)
LEAST_PAST = timedelta(days=4)


@dataclass(frozen=True)
class Scored:
    """Every device at several hours of each day: the model's features, the score, the baselines; [rows]."""

    history: History
    score: Floats
    errors_24h: Floats
    maintenance_age: Floats
    failures: Failures
    end: float
    """The hour after the last reading (epoch hours)."""


def read(directory: Path) -> tuple[pa.Table, pa.Table]:
    """Silver's telemetry and event rows of the fleet in `directory`."""
    machines = read_table(directory / "PdM_machines.csv")
    models = dict(zip(machines["machineID"].to_pylist(), machines["model"].to_pylist(), strict=True))
    readings = read_table(directory / "PdM_telemetry.csv")
    names = _names(readings)
    shared = {
        "device_id": names,
        "ts": readings["datetime"].cast(UTC_US),
        "model": _mapped(readings["machineID"], {key: str(value) for key, value in models.items()}),
        "kafka_partition": pa.repeat(pa.scalar(0, pa.int32()), len(readings)),
        "kafka_offset": pa.array(np.arange(len(readings))),
    }
    telemetry = pa.concat_tables(
        pa.table(
            shared
            | {"metric": pa.repeat(metric, len(readings)), "value": readings[metric].cast(pa.float64())}
        )
        for metric in METRICS
    )
    return telemetry, pa.concat_tables(_events(directory))


def _events(directory: Path) -> list[pa.Table]:
    files = (("errors", "error", "error", "errorID"), ("failures", "failure", "critical", "failure"),
             ("maint", "maintenance", "info", "comp"))  # fmt: skip
    found = []
    for name, kind, severity, column in files:
        rows = read_table(directory / f"PdM_{name}.csv")
        label, none = rows[column].cast(pa.string()), pa.nulls(len(rows), pa.string())
        found.append(
            pa.table(
                {
                    "device_id": _names(rows),
                    "ts": rows["datetime"].cast(UTC_US),
                    "type": pa.repeat(kind, len(rows)),
                    "severity": pa.repeat(severity, len(rows)),
                    "error_code": label if kind == "error" else none,
                    "message": none if kind == "error" else label,
                }
            )
        )
    return found


def scored(directory: Path, hours: tuple[int, ...] = HOURS_OF_DAY) -> Scored:
    """The fleet at each of `hours` of each day, from its fifth day on."""
    telemetry, events = read(directory)
    first, last = (pc.min_max(telemetry["ts"]).as_py()[edge] for edge in ("min", "max"))
    histories, scores, errors = [], [], []
    for hour in hours:
        shift = timedelta(hours=(24 - hour) % 24)
        health = _health(telemetry, events, shift, first, last)
        with duckdb.connect() as database:
            database.register("components", health.device_health_components)
            values = database.sql(values_query("components")).to_arrow_table()
        histories.append(history(values, shift))
        rows = health.device_health.sort_by([("device_id", "ascending"), ("day", "ascending")])
        scores.append(rows["score"].to_numpy())
        errors.append(rows["errors"].to_numpy())
    whole = History(
        *(
            np.concatenate([getattr(each, name) for each in histories])
            for name in ("features", "ends", "devices", "weights")
        )
    )
    age = whole.features[:, FEATURES.index("maintenance")]
    end = last.timestamp() // 3600 + 1
    failed = events.filter(pc.equal(events["type"], "failure")).rename_columns({"ts": "occurred_at"})
    return Scored(
        whole, np.concatenate(scores), np.concatenate(errors).astype(float), age, failure_times(failed), end
    )


def _health(
    telemetry: pa.Table, events: pa.Table, shift: timedelta, first: datetime, last: datetime
) -> Health:
    start, stop = first + LEAST_PAST + shift, last + timedelta(hours=1) + shift
    days = [start.date() + timedelta(days=n) for n in range((stop.date() - start.date()).days)]
    stats, counts = merge(summarise(telemetry, shift)), merge_events(count_events(events, shift))
    return score(stats, counts, days, shift)


def _names(rows: pa.Table) -> pa.Array:
    ids = pc.unique(rows["machineID"]).to_pylist()
    return _mapped(rows["machineID"], {machine: device_id(machine) for machine in ids})


def _mapped(column: pa.ChunkedArray, names: dict[int, str]) -> pa.ChunkedArray:
    keys = pa.array(list(names), column.type)
    return pa.array(list(names.values())).take(pc.index_in(column.combine_chunks(), keys))
