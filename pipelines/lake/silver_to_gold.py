"""Silver to gold: the health of every device and day, from Iceberg on Ray Data to Postgres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pyarrow as pa
from pyiceberg.expressions.parser import parse
from sqlalchemy import Connection, text

from iotops.database import engine, tenant_transaction
from iotops.lake import CATALOG, catalog_properties
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines import ray_data
from pipelines.lake.bronze_to_silver import BLOCK_ROWS, Progress
from pipelines.lake.daily import count_events, merge, merge_events, summarise
from pipelines.lake.gold_tables import write_health
from pipelines.lake.health import WINDOW_DAYS, Health, score
from pipelines.lake.known import event_times
from pipelines.lake.loads import lock_lake
from pipelines.lake.silver_tables import table_name

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TELEMETRY_COLUMNS = ("device_id", "ts", "metric", "value", "model", "kafka_partition", "kafka_offset")
EVENT_COLUMNS = ("device_id", "ts", "type", "severity", "error_code", "message")
Summarise = Callable[..., pa.Table]

# A day that was scored while it was running has to be scored again.
TOUCHED = text("""
    SELECT min(first_day) FILTER (WHERE NOT in_gold) AS first, max(last_day) AS last,
        coalesce(sum(telemetry_rows), 0) AS rows,
        (SELECT min(day) FROM gold.customer_summary
            WHERE computed_at < CAST(day + 1 AS timestamp) AT TIME ZONE 'UTC') AS unfinished
    FROM ingest.lake_hours""")
SCORED = text("UPDATE ingest.lake_hours SET in_gold = true WHERE NOT in_gold")


@dataclass(frozen=True)
class GoldReport:
    """What was computed: the days, and their rows in `gold.device_health`; none if nothing changed."""

    days: tuple[date, ...]
    scores: int = 0
    unhealthy: int = 0
    """Devices below the line on the last of the days."""


def build_gold(
    settings: Settings,
    tenant: Tenant,
    days: Sequence[date] | None = None,
    on_progress: Progress = lambda message: None,
    now: datetime | None = None,
) -> GoldReport:
    """Compute and store the health of the tenant's devices on `days` (UTC, event time).

    By default these are the days that loads since the last run touched, and all later ones, since a day is
    part of its followers' past; and the newest again while it is running. The running day is scored on the
    24 h up to the end of the present hour.
    """
    ray_data.prepare(settings.ray)
    now = now or datetime.now(UTC)
    with tenant_transaction(engine(settings.database), tenant) as connection:
        lock_lake(connection, tenant)
        wanted = sorted(set(days)) if days is not None else stale_days(connection)
        wanted = [day for day in wanted if day <= now.date()]
        rows = connection.execute(TOUCHED).one().rows
        if not wanted or not rows:
            return GoldReport(())
        tasks = max(2, int(rows) // BLOCK_ROWS)
        report = GoldReport(tuple(wanted))
        for part, shift in passes(wanted, now):
            on_progress(f"reading {part[0]} to {part[-1]} from silver")
            health = _health(settings, tenant, part, shift, tasks)
            on_progress(f"writing {health.device_health.num_rows:,} scores of {len(part)} days")
            write_health(connection, tenant, health, part)
            unhealthy = health.customer_summary.filter(pa.compute.field("day") == part[-1])[
                "unhealthy_devices"
            ]
            report = GoldReport(
                report.days, report.scores + health.device_health.num_rows, sum(unhealthy.to_pylist())
            )
        if days is None:
            connection.execute(SCORED)
    return report


def stale_days(connection: Connection) -> list[date]:
    """The days whose scores are missing or rest on silver as it no longer is, in order."""
    touched = connection.execute(TOUCHED).one()
    firsts = [day for day in (touched.first, touched.unfinished) if day is not None]
    if not firsts or touched.last is None:
        return []
    return [min(firsts) + DAY * ahead for ahead in range((touched.last - min(firsts)).days + 1)]


def passes(days: Sequence[date], now: datetime) -> list[tuple[list[date], timedelta]]:
    """The finished days, unshifted; and the running one, shifted so that it ends with the present hour."""
    finished, running = [day for day in days if day < now.date()], [day for day in days if day == now.date()]
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + DAY
    hour = now.replace(minute=0, second=0, microsecond=0) + HOUR
    return [(part, shift) for part, shift in ((finished, timedelta(0)), (running, midnight - hour)) if part]


def _health(settings: Settings, tenant: Tenant, days: list[date], shift: timedelta, tasks: int) -> Health:
    first = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC) - DAY * WINDOW_DAYS - shift
    end = datetime(days[-1].year, days[-1].month, days[-1].day, tzinfo=UTC) + DAY - shift
    stats = _summed(settings, tenant, "telemetry", TELEMETRY_COLUMNS, summarise, (first, end), shift, tasks)
    events = _summed(settings, tenant, "events", EVENT_COLUMNS, count_events, (first, end), shift, tasks)
    return score(merge(stats), merge_events(events), days, shift)


def _summed(
    settings: Settings,
    tenant: Tenant,
    table: str,
    columns: tuple[str, ...],
    function: Summarise,
    period: tuple[datetime, datetime],
    shift: timedelta,
    tasks: int,
) -> pa.Table:
    """The batches' sums by `function` over a table's rows of a period of event time."""
    import ray

    rows = ray.data.read_iceberg(
        table_identifier=table_name(tenant, table),
        row_filter=parse(event_times(*period)),
        selected_fields=columns,
        catalog_kwargs={"name": CATALOG, **catalog_properties(settings.lake, settings.database)},
        override_num_blocks=tasks,
        **ray_data.TASK,
    )
    sums = rows.map_batches(
        partial(function, shift=shift), batch_size=None, batch_format="pyarrow", **ray_data.TASK
    )
    parts = ray.get(sums.to_arrow_refs())
    empty = function(pa.schema(FIELDS[name] for name in columns).empty_table(), shift)
    return pa.concat_tables([empty, *(part for part in parts if part.num_rows)])


FIELDS = {
    field.name: field
    for field in pa.schema(
        [(name, pa.string()) for name in ("device_id", "metric", "model", *EVENT_COLUMNS[2:])]
        + [("ts", pa.timestamp("us", tz="UTC")), ("value", pa.float64())]
        + [("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())]
    )
}
