"""Silver to gold: the health of every device and day, from Iceberg to Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from iotops.database import engine, tenant_transaction
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines import ray_data
from pipelines.lake.bronze_to_silver import Progress
from pipelines.lake.daily import EVENT_COUNTS
from pipelines.lake.forecast import write_risks
from pipelines.lake.gold_tables import Staged, read, replace_service_events
from pipelines.lake.health import ALERTS, SERVICES, WINDOW_DAYS, Scored, summary
from pipelines.lake.health_parts import score_here, score_parts
from pipelines.lake.loads import lock_lake, naming_outage
from pipelines.lake.silver_sums import EVENTS, TELEMETRY, fetched, plan, sum_by_part, sum_here

DAY, HOUR = timedelta(days=1), timedelta(hours=1)

# A day that was scored while it was running has to be scored again.
TOUCHED = text("""
    SELECT ARRAY(
            SELECT unnest(days) FROM ingest.lake_hours WHERE NOT in_gold
            UNION SELECT day FROM gold.customer_summary
            WHERE computed_at < CAST(day + 1 AS timestamp) AT TIME ZONE 'UTC') AS changed,
        max(days[cardinality(days)]) AS last, coalesce(sum(telemetry_rows), 0) AS rows
    FROM ingest.lake_hours""")
# The last service of each component before the first day, and every one since.
SERVICED = """
    SELECT * FROM (
        SELECT DISTINCT ON (device_id, component) device_id, component, occurred_at
        FROM gold.service_events WHERE type = 'maintenance' AND occurred_at < :first
        ORDER BY device_id, component, occurred_at DESC) before
    UNION ALL
    SELECT device_id, component, occurred_at FROM gold.service_events
    WHERE type = 'maintenance' AND occurred_at >= :first AND occurred_at < :end"""
ALERTED = """
    SELECT device_id, rule, severity, opened_at, resolved_at FROM silver.alerts
    WHERE opened_at < :end AND (resolved_at IS NULL OR resolved_at >= :first)"""
MOST_DAYS = 400
"""Of a run, the newest: a clock that jumps about would have every day since 2000 computed each night."""
SCORED = text("UPDATE ingest.lake_hours SET in_gold = true WHERE NOT in_gold")


@dataclass(frozen=True)
class Sizes:
    """How much is done where, and how much at a time."""

    here: int = 24_000_000
    """Rows of silver that the driver sums up by itself: workers for them would take longer to start."""
    group: int = 2_000_000
    """Rows of silver that a thread or a task holds."""
    part: int = 4_000_000
    """Rows of silver for each part of a fleet that Ray's tasks score."""
    sums: int = 1_000_000
    """Sums of a device, day and metric for each part that the driver scores."""


SIZES = Sizes()


@dataclass(frozen=True)
class GoldReport:
    """What was computed: the days, and their rows in `gold.device_health`; none if nothing changed.

    `left` are the days that changed and were not computed, since there were more than `MOST_DAYS`.
    """

    days: tuple[date, ...]
    scores: int = 0
    unhealthy: int = 0
    """Devices below the line on the last of the days."""
    forecasts: int = 0
    """Rows in `gold.failure_risk`, all of the last of the days."""
    left: tuple[date, ...] = ()


def build_gold(
    settings: Settings,
    tenant: Tenant,
    days: Sequence[date] | None = None,
    on_progress: Progress = lambda message: None,
    now: datetime | None = None,
    sizes: Sizes = SIZES,
) -> GoldReport:
    """Compute and store the health of the tenant's devices on `days` (UTC, event time).

    By default these are the days that loads since the last run touched, each with those whose past it is
    part of; and the newest again while it is running. The running day is scored on the 24 h up to the end of
    the present hour.
    """
    now = now or datetime.now(UTC)
    with (
        naming_outage(settings.database, f"gold of tenant {tenant.id} was computed"),
        tenant_transaction(engine(settings.database), tenant) as connection,
    ):
        lock_lake(connection, tenant)
        touched = connection.execute(TOUCHED).one()
        if not touched.rows:
            return GoldReport(())
        wanted = sorted(set(days)) if days is not None else stale_days(touched.changed, touched.last)
        wanted = [day for day in wanted if day <= now.date()]
        if not wanted:
            return GoldReport(())
        left = wanted[:-MOST_DAYS] if days is None else []
        wanted = wanted[len(left) :]
        report = GoldReport(tuple(wanted), left=tuple(left))
        for part, shift in passes(wanted, now):
            on_progress(f"reading {part[0]} to {part[-1]} from silver")
            scores, unhealthy = _write_health(settings, connection, tenant, part, shift, sizes, on_progress)
            report = replace(report, scores=report.scores + scores, unhealthy=unhealthy)
        on_progress(f"forecasting failures after {wanted[-1]}")
        forecasts = write_risks(connection, tenant, wanted[-1], shift)
        report = replace(report, forecasts=forecasts)
        if days is None:
            connection.execute(SCORED)
    return report


def stale_days(changed: Iterable[date], last: date) -> list[date]:
    """The days whose scores rest on those that changed, up to the last with data, in order."""
    stale = {day + DAY * ahead for day in changed for ahead in range(WINDOW_DAYS + 1)}
    return sorted(day for day in stale if day <= last)


def passes(days: Sequence[date], now: datetime) -> list[tuple[list[date], timedelta]]:
    """The finished days, unshifted, those far from each other apart: a pass reads all that lies between its
    days. And the running one, shifted so that it ends with the present hour."""
    parts: list[list[date]] = []
    for day in (day for day in days if day < now.date()):
        if not parts or day - parts[-1][-1] > DAY * WINDOW_DAYS:
            parts.append([])
        parts[-1].append(day)
    finished = [(part, timedelta(0)) for part in parts]
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + DAY
    hour = now.replace(minute=0, second=0, microsecond=0) + HOUR
    return [*finished, *([([now.date()], midnight - hour)] if now.date() in days else [])]


def _write_health(
    settings: Settings,
    connection: Connection,
    tenant: Tenant,
    days: list[date],
    shift: timedelta,
    sizes: Sizes,
    on_progress: Progress,
) -> tuple[int, int]:
    """Score `days` and make gold's rows of them so; the scores, and the unhealthy devices of the last."""
    first_day = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC) - shift
    end = datetime(days[-1].year, days[-1].month, days[-1].day, tzinfo=UTC) + DAY - shift
    period = (first_day - DAY * WINDOW_DAYS, end)
    telemetry, events = (plan(settings, tenant, sums, period, sizes.group) for sums in (TELEMETRY, EVENTS))
    rows = telemetry.rows + events.rows
    scoring: Callable[..., Iterator[Scored]]
    if rows <= sizes.here:
        stats, counts = (sum_here(each, shift) for each in (telemetry, events))
        parts = stats.num_rows // sizes.sums + 1
        happened, scoring = iter([counts]), partial(score_here, stats, counts, parts=parts)
    else:
        ray_data.prepare(settings.ray)
        parts = max(2, rows // sizes.part)
        sums, counts_by_part = (sum_by_part(each, shift, parts) for each in (telemetry, events))
        happened, scoring = fetched(counts_by_part), partial(score_parts, sums, counts_by_part)
    replace_service_events(connection, tenant, _service_events(happened), period)
    times = {"first": first_day, "end": end}
    serviced = read(connection, SERVICED, SERVICES, **times)
    alerts = read(connection, ALERTED, ALERTS, **times)
    staged = {name: Staged(connection, name) for name in ("device_health", "device_health_components")}
    shares = []
    for scored in scoring(serviced, alerts, days, shift):
        for name, target in staged.items():
            target.add(getattr(scored, name))
        shares.append(scored.share)
        on_progress(f"{staged['device_health'].rows:,} scores of {len(days)} days")
    customers = summary(shares)
    staged["customer_summary"] = Staged(connection, "customer_summary")
    staged["customer_summary"].add(customers)
    for target in staged.values():
        target.replace(tenant, days)
    unhealthy = customers.filter(pc.field("day") == days[-1])["unhealthy_devices"]
    return staged["device_health"].rows, sum(unhealthy.to_pylist())


def _service_events(counts: Iterator[pa.Table]) -> pa.Table:
    """The failures and services among the events' sums."""
    kept = (rows.filter(pc.not_equal(rows["type"], "error")) for rows in counts)
    return pa.concat_tables([EVENT_COUNTS.empty_table(), *kept])
