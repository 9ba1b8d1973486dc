"""What a fleet report says, as tables: from gold under row security, and from silver in the lake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import duckdb
import pyarrow as pa
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import iceberg_catalog, lake_filesystem
from iotops.lake_dataset import lake_dataset
from iotops.settings import Settings
from iotops.tenancy import Tenant

HORIZONS_H = (24, 72, 168)


@dataclass(frozen=True)
class Period:
    """Days (UTC), both included."""

    first: date
    last: date

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """From the first moment to the first after."""
        start = datetime.combine(self.first, time(), UTC)
        return start, datetime.combine(self.last + timedelta(days=1), time(), UTC)


DEVICES = f"""
    WITH newest AS (SELECT max(day) AS day FROM gold.device_health WHERE day BETWEEN :first AND :last),
    oldest AS (
        SELECT DISTINCT ON (device_id) device_id, score FROM gold.device_health
        WHERE day BETWEEN :first AND :last ORDER BY device_id, day),
    reasons AS (
        SELECT DISTINCT ON (device_id) device_id, component, penalty, detail
        FROM gold.device_health_components JOIN newest USING (day)
        ORDER BY device_id, penalty DESC, weight DESC),
    totals AS (
        SELECT device_id, sum(readings)::bigint AS readings, sum(errors)::bigint AS errors
        FROM gold.device_health WHERE day BETWEEN :first AND :last GROUP BY device_id),
    risk_day AS (SELECT max(day) AS day FROM gold.failure_risk WHERE day BETWEEN :first AND :last),
    risks AS (
        SELECT device_id, {
    ", ".join(
        f"max(probability) FILTER (WHERE horizon_hours = {hours}) AS risk_{hours}h" for hours in HORIZONS_H
    )
}
        FROM gold.failure_risk JOIN risk_day USING (day) GROUP BY device_id)
    SELECT h.device_id, h.model, h.day, h.score, h.score - oldest.score AS change,
        totals.readings, totals.errors, reasons.component AS reason, reasons.penalty, reasons.detail,
        {", ".join(f"risk_{hours}h" for hours in HORIZONS_H)}
    FROM gold.device_health h JOIN newest USING (day) JOIN totals USING (device_id)
    JOIN oldest USING (device_id) LEFT JOIN reasons USING (device_id) LEFT JOIN risks USING (device_id)
    ORDER BY h.score, h.device_id"""
DEVICE_FIELDS = pa.schema(
    [("device_id", pa.string()), ("model", pa.string()), ("day", pa.date32())]
    + [("score", pa.float64()), ("change", pa.float64())]
    + [("readings", pa.int64()), ("errors", pa.int64())]
    + [("reason", pa.string()), ("penalty", pa.float64()), ("detail", pa.string())]
    + [(f"risk_{hours}h", pa.float64()) for hours in HORIZONS_H]
)
TREND = """
    SELECT day, devices, mean_score, unhealthy_devices, readings, errors, failures, mtbf_hours
    FROM gold.customer_summary WHERE day BETWEEN :first AND :last ORDER BY day"""
TREND_FIELDS = pa.schema(
    [("day", pa.date32()), ("devices", pa.int64()), ("mean_score", pa.float64())]
    + [(name, pa.int64()) for name in ("unhealthy_devices", "readings", "errors", "failures")]
    + [("mtbf_hours", pa.float64())]
)
COMPONENTS = """
    SELECT component, avg(penalty) AS mean_penalty, count(*) FILTER (WHERE penalty > 0) AS devices
    FROM gold.device_health_components
    WHERE day = (SELECT max(day) FROM gold.device_health WHERE day BETWEEN :first AND :last)
    GROUP BY component ORDER BY mean_penalty DESC, component"""
COMPONENT_FIELDS = pa.schema(
    [("component", pa.string()), ("mean_penalty", pa.float64()), ("devices", pa.int64())]
)
ARTICLES = """
    SELECT DISTINCT ON (error_code) error_code, title, uri, section, method, confidence
    FROM gold.error_knowledge ORDER BY error_code, confidence DESC, title"""
ARTICLE_FIELDS = pa.schema(
    [(name, pa.string()) for name in ("error_code", "title", "uri", "section", "method")]
    + [("confidence", pa.float64())]
)
CODES = """
    SELECT error_code, count(*) AS events, count(DISTINCT device_id) AS devices,
        CAST(min(ts) AS VARCHAR) AS first_seen, CAST(max(ts) AS VARCHAR) AS last_seen,
        arg_max(message, ts) AS message, any_value(title) AS title, any_value(uri) AS uri,
        any_value(section) AS section, any_value(method) AS method, any_value(confidence) AS confidence
    FROM events LEFT JOIN articles USING (error_code)
    WHERE ts >= $start AND ts < $end AND error_code IS NOT NULL AND type = 'error'
    GROUP BY error_code ORDER BY events DESC, error_code"""
QUARANTINE = """
    SELECT split_part(reason, ':', 1) AS code, count(*) AS rows, count(DISTINCT object) AS objects,
        CAST(min(arrival_hour) AS VARCHAR) AS first_hour, CAST(max(arrival_hour) AS VARCHAR) AS last_hour,
        min(reason) AS example
    FROM quarantine WHERE arrival_hour >= $start AND arrival_hour < $end
    GROUP BY code ORDER BY rows DESC, code"""
STATE = """
    SELECT (SELECT max(computed_at) FROM gold.device_health),
           (SELECT max(day) || ' ' || count(*) FROM gold.failure_risk),
           (SELECT md5(string_agg(doc_id || section || confidence, ',' ORDER BY error_code, doc_id, section))
            FROM gold.error_knowledge)"""

Section = Callable[[Settings, Tenant, Period], pa.Table]


def data_version(settings: Settings, tenant: Tenant) -> str:
    """Changes when a report would: what gold was computed from, and the snapshots of silver."""
    with tenant_transaction(engine(settings.database), tenant) as connection:
        gold = connection.execute(text(STATE)).one()
    catalog = iceberg_catalog(settings.lake, settings.database)
    names = [name for name in catalog.list_tables(tenant.id) if name[-1] in ("events", "quarantine")]
    snapshots = [catalog.load_table(name).metadata.current_snapshot_id for name in sorted(names)]
    return " ".join(map(str, (*gold, *snapshots)))


def days_in_gold(settings: Settings, tenant: Tenant, period: Period) -> int:
    """How many days of the period have scores."""
    query = text("SELECT count(*) FROM gold.customer_summary WHERE day BETWEEN :first AND :last")
    with tenant_transaction(engine(settings.database), tenant) as connection:
        return int(connection.execute(query, {"first": period.first, "last": period.last}).scalar_one())


def _gold(query: str, fields: pa.Schema) -> Section:
    def read(settings: Settings, tenant: Tenant, period: Period) -> pa.Table:
        parameters = {"first": period.first, "last": period.last} if ":first" in query else {}
        with tenant_transaction(engine(settings.database), tenant) as connection:
            rows = connection.execute(text(query), parameters).mappings()
            return pa.Table.from_pylist([dict(row) for row in rows], schema=fields)

    return read


def _silver(query: str, table: str) -> Section:
    def read(settings: Settings, tenant: Tenant, period: Period) -> pa.Table:
        catalog = iceberg_catalog(settings.lake, settings.database)
        start, end = period.bounds
        with duckdb.connect(config={"memory_limit": "1GB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("articles", articles(settings, tenant, period))
            connection.register(
                table,
                lake_dataset(
                    catalog.load_table(f"{tenant.id}.{table}"),
                    lake_filesystem(settings.lake),
                    settings.lake.bucket,
                ),
            )
            return connection.execute(query, {"start": start, "end": end}).to_arrow_table()

    return read


articles = _gold(ARTICLES, ARTICLE_FIELDS)
SECTIONS: dict[str, Section] = {
    "devices": _gold(DEVICES, DEVICE_FIELDS),
    "trend": _gold(TREND, TREND_FIELDS),
    "components": _gold(COMPONENTS, COMPONENT_FIELDS),
    "error_codes": _silver(CODES, "events"),
    "quarantine": _silver(QUARANTINE, "quarantine"),
}
"""The tables of a report, which are its CSV files too."""
