"""The health score of a device on a day: 100 less the penalties of five components.

The formula, its constants and their reasons are in `docs/health-score.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from pipelines.lake.health_sql import COMPONENTS, PREPARE, SCORES, SUMMARIES

WINDOW_DAYS = 28
"""Days of its own past that a device is compared with; silent for longer, it has left the fleet."""
LEAST_PAST_DAYS = 3
LEAST_PEERS = 5
UNHEALTHY_BELOW = 70.0


@dataclass(frozen=True)
class Penalty:
    """Points taken: none up to `free`, then in proportion, `weight` from `full` on."""

    weight: float
    free: float
    full: float


PENALTIES = {
    "anomaly": Penalty(weight=50, free=0.75, full=3.0),  # standard deviations
    "errors": Penalty(weight=20, free=0.0, full=8.0),  # decayed severity points
    "failures": Penalty(weight=20, free=0.0, full=1.0),  # failures
    "drift": Penalty(weight=10, free=1.0, full=4.0),  # standard deviations
    "staleness": Penalty(weight=30, free=2.0, full=24.0),  # hours
}
SEVERITY_POINTS = {"info": 0.0, "warning": 0.5, "error": 1.0, "critical": 2.0}


@dataclass(frozen=True)
class Health:
    """Scores as Arrow tables, with the columns of the gold tables of the same names, less the tenant's."""

    device_health: pa.Table
    device_health_components: pa.Table
    customer_summary: pa.Table


def score(stats: pa.Table, events: pa.Table, days: Sequence[date], shift: timedelta = timedelta(0)) -> Health:
    """Health on each of `days` of every device heard of in the `WINDOW_DAYS` up to it.

    `stats` (`daily.STATS`) and `events` (`daily.EVENT_COUNTS`) are merged, both made with `shift`, and hold
    the window before the first day as far as there is any. A day's score reads nothing later than that day.
    """
    with duckdb.connect(config={"threads": 2}) as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("stats", stats)
        database.register("events", events)
        database.register("days", pa.table({"day": pa.array(days, pa.date32())}))
        database.register("severities", _table("severity", "points", SEVERITY_POINTS))
        constants = {
            "window": WINDOW_DAYS,
            "least_past": LEAST_PAST_DAYS,
            "least_peers": LEAST_PEERS,
            "shift_h": shift / timedelta(hours=1),
            "unhealthy": UNHEALTHY_BELOW,
        }
        for name, penalty in PENALTIES.items():
            constants |= {
                f"{name}_weight": penalty.weight,
                f"{name}_free": penalty.free,
                f"{name}_full": penalty.full,
            }
        for statement in (*PREPARE, COMPONENTS, SCORES):
            _execute(database, statement, constants)
        return Health(
            database.sql("FROM scores").to_arrow_table(),
            database.sql("FROM components").to_arrow_table(),
            _sql(database, SUMMARIES, constants),
        )


def _table(key: str, value: str, rows: dict[str, float]) -> pa.Table:
    return pa.table({key: list(rows), value: list(rows.values())})


def _used(statement: str, constants: dict[str, float]) -> dict[str, float]:
    """Those that the statement names: DuckDB refuses the others."""
    return {name: value for name, value in constants.items() if f"${name}" in statement}


def _execute(database: duckdb.DuckDBPyConnection, statement: str, constants: dict[str, float]) -> None:
    database.execute(statement, _used(statement, constants))


def _sql(database: duckdb.DuckDBPyConnection, statement: str, constants: dict[str, float]) -> pa.Table:
    return database.sql(statement, params=_used(statement, constants)).to_arrow_table()
