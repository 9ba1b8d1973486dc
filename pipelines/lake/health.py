"""The health score of a device on a day: 100 less the penalties of its components.

The formula, its constants and their reasons are in `docs/health-score.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lake.daily import UTC_US
from pipelines.lake.health_sql import DEVICES, FACTS, FLEET, PEERS, TODAY
from pipelines.lake.score_sql import CODES, COMPONENTS, FAILED, SCORES, SUMMARIES, TOTALS, WORST

WINDOW_DAYS = 28
"""Days of its own past that a device is compared with; silent for longer, it has left the fleet."""
LEAST_PAST_DAYS = 3
LEAST_DAYS_BEFORE = 7
"""Days of past that a metric needs before the last week, for its slow drift."""
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
    "surge": Penalty(weight=10, free=1.0, full=3.5),  # standard deviations
    "slow_drift": Penalty(weight=10, free=0.5, full=2.0),  # standard deviations
    "drift": Penalty(weight=10, free=1.0, full=4.0),  # standard deviations
    "errors": Penalty(weight=20, free=0.0, full=8.0),  # decayed severity points
    "alerts": Penalty(weight=10, free=0.0, full=4.0),  # severity points
    "failures": Penalty(weight=20, free=0.0, full=1.0),  # failures
    "staleness": Penalty(weight=30, free=2.0, full=24.0),  # hours
    "maintenance": Penalty(weight=10, free=0.0, full=30.0),  # days
    "wear": Penalty(weight=10, free=0.0, full=240.0),  # days
}
SEVERITY_POINTS = {"info": 0.0, "warning": 0.5, "error": 1.0, "critical": 2.0}

ALERTS = pa.schema(
    [
        ("device_id", pa.string()),
        ("rule", pa.string()),
        ("severity", pa.string()),
        ("opened_at", UTC_US),
        ("resolved_at", UTC_US),
    ]
)
SERVICES = pa.schema([("device_id", pa.string()), ("component", pa.string()), ("occurred_at", UTC_US)])
"""When a component of a device was serviced or replaced."""


@dataclass(frozen=True)
class Health:
    """Scores as Arrow tables, with the columns of the gold tables of the same names, less the tenant's."""

    device_health: pa.Table
    device_health_components: pa.Table
    customer_summary: pa.Table


@dataclass(frozen=True)
class Share:
    """What some devices add to the summary of their fleet, per day."""

    totals: pa.Table
    worst: pa.Table
    codes: pa.Table
    failed: pa.Table


@dataclass(frozen=True)
class Scored:
    """Health of some devices of a fleet, and their share of its summary."""

    device_health: pa.Table
    device_health_components: pa.Table
    share: Share


def score(
    stats: pa.Table,
    events: pa.Table,
    days: Sequence[date],
    shift: timedelta = timedelta(0),
    alerts: pa.Table | None = None,
) -> Health:
    """Health on each of `days` of a whole fleet at once: every device heard of in the `WINDOW_DAYS` up to it.

    `stats` (`daily.STATS`) and `events` (`daily.EVENT_COUNTS`) are merged, both made with `shift`, and hold
    the window before the first day, and services of any age, as far as there is any; `alerts` are `ALERTS`.
    A day's score reads nothing later than that day.
    """
    alerts = ALERTS.empty_table() if alerts is None else alerts
    models = fleet([peers(stats, days)])
    scored = score_devices(stats, events, services(events), alerts, models, days, shift)
    return Health(scored.device_health, scored.device_health_components, summary([scored.share]))


def services(events: pa.Table) -> pa.Table:
    """`SERVICES` among `daily.EVENT_COUNTS`."""
    kept = events.filter(pc.equal(events["type"], "maintenance"))
    component = pc.fill_null(kept["label"], "component not named")
    return pa.table([kept["device_id"], component, kept["occurred_at"]], schema=SERVICES)


def peers(stats: pa.Table, days: Sequence[date]) -> pa.Table:
    """What devices contribute to their models' fleets: the statistics of `days` with the device's model."""
    with _database(days, timedelta(0), stats=stats) as database:
        _execute(database, DEVICES)
        _execute(database, TODAY)
        return database.sql(PEERS).to_arrow_table()


def fleet(contributions: Sequence[pa.Table]) -> pa.Table:
    """Centre and spread of each day, model and metric, from the `peers` of all devices."""
    with _database([], timedelta(0), peers=pa.concat_tables(contributions)) as database:
        return _sql(database, FLEET)


def score_devices(
    stats: pa.Table,
    events: pa.Table,
    serviced: pa.Table,
    alerts: pa.Table,
    models: pa.Table,
    days: Sequence[date],
    shift: timedelta = timedelta(0),
) -> Scored:
    """Health on each of `days` of the devices in `stats`, beside the fleets in `models`; see `score`.

    `serviced` are `SERVICES`; the other tables may hold other devices too, but `events` only these.
    """
    tables = {"stats": stats, "events": events, "services": serviced, "alerts": alerts, "fleet": models}
    with _database(days, shift, **tables) as database:
        for statement in (DEVICES, TODAY, *FACTS, COMPONENTS, SCORES):
            _execute(database, statement, shift)
        share = (_sql(database, statement) for statement in (TOTALS, WORST, CODES, FAILED))
        return Scored(
            database.sql("FROM scores").to_arrow_table(),
            database.sql("FROM components").to_arrow_table(),
            Share(*share),
        )


def summary(shares: Sequence[Share]) -> pa.Table:
    """`gold.customer_summary` of a fleet from the shares of all its devices."""
    names = ("totals", "worst", "codes", "failed")
    tables = {name: pa.concat_tables([getattr(share, name) for share in shares]) for name in names}
    with _database([], timedelta(0), **tables) as database:
        return _sql(database, SUMMARIES)


@contextmanager
def _database(
    days: Sequence[date], shift: timedelta, **tables: pa.Table
) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as database:
        database.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        tables["days"] = pa.table({"day": pa.array(days, pa.date32())})
        points = SEVERITY_POINTS
        tables["severities"] = pa.table({"severity": list(points), "points": list(points.values())})
        tables["penalties"] = pa.table(
            {"component": list(PENALTIES)}
            | {
                column: [float(getattr(penalty, name)) for penalty in PENALTIES.values()]
                for column, name in (("weight", "weight"), ("free", "free"), ("fully", "full"))
            }
        )
        for name, table in tables.items():
            database.register(name, table)
        yield database


def _constants(statement: str, shift: timedelta) -> dict[str, float]:
    """Those that the statement names: DuckDB refuses the others."""
    constants = {
        "window": WINDOW_DAYS,
        "least_past": LEAST_PAST_DAYS,
        "least_before": LEAST_DAYS_BEFORE,
        "least_peers": LEAST_PEERS,
        "shift_us": shift // timedelta(microseconds=1),
        "unhealthy": UNHEALTHY_BELOW,
        **{f"{name}_free": penalty.free for name, penalty in PENALTIES.items()},
    }
    return {name: value for name, value in constants.items() if f"${name}" in statement}


def _execute(database: duckdb.DuckDBPyConnection, statement: str, shift: timedelta = timedelta(0)) -> None:
    database.execute(statement, _constants(statement, shift))


def _sql(database: duckdb.DuckDBPyConnection, statement: str) -> pa.Table:
    return database.sql(statement, params=_constants(statement, timedelta(0))).to_arrow_table()
