"""Bronze lines to silver rows, in SQL over Arrow batches: validation, quarantine and de-duplication."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from iotops.tenancy import Tenant
from pipelines.lake.validation import BAD_METRICS, LINES, METRICS, RECORDS

UTC_US = pa.timestamp("us", tz="UTC")
OBJECTS = pa.schema([("object", pa.string()), ("arrival_hour", UTC_US), ("content", pa.string())])
"""What is parsed: a bronze object's path, its arrival hour and its decompressed text."""

PARSED = pa.schema(
    [
        ("kind", pa.string()),
        ("leads", pa.bool_()),
        ("device_id", pa.string()),
        ("ts", UTC_US),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("seq", pa.int64()),
        ("model", pa.string()),
        ("firmware", pa.string()),
        ("type", pa.string()),
        ("severity", pa.string()),
        ("error_code", pa.string()),
        ("message", pa.string()),
        ("raw", pa.string()),
        ("reason", pa.string()),
        ("object", pa.string()),
        ("line", pa.int64()),
        ("arrival_hour", UTC_US),
        ("topic", pa.string()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
    ]
)
"""A row of any silver table: `kind` is the table's name, or `duplicate` for a row that is not written.

`leads` is true for exactly one row of each record, so that sums over it count records.
"""

KEYS = {
    "telemetry": ("device_id", "ts", "metric"),
    "events": ("device_id", "ts", "type", "error_code", "message"),
}
"""What makes two rows the same measurement, or the same event, however often they were sent."""

POSITION = "object, line, arrival_hour, topic, kafka_partition, kafka_offset"
ROWS = f"""
    WITH telemetry AS (
        SELECT 'telemetry' AS kind, device_id, make_timestamp(ts_ms * 1000) AS ts, metric, reading AS value,
            seq_number AS seq, model, firmware, {POSITION}, row_number() OVER (
                PARTITION BY device_id, ts_ms, metric
                ORDER BY arrival_hour, kafka_partition, kafka_offset, place DESC) AS copy
        FROM records JOIN metrics USING (object, line) WHERE reason IS NULL),
    events AS (
        SELECT 'events' AS kind, device_id, make_timestamp(ts_ms * 1000) AS ts, type,
            coalesce(severity, 'info') AS severity, error_code, message, {POSITION}, row_number() OVER (
                PARTITION BY device_id, ts_ms, type, error_code, message
                ORDER BY arrival_hour, kafka_partition, kafka_offset) AS copy
        FROM records WHERE reason IS NULL AND NOT seen AND topic = $events),
    quarantine AS (
        SELECT 'quarantine' AS kind, coalesce(value, text) AS raw, reason, {POSITION}
        FROM records WHERE reason IS NOT NULL AND NOT seen),
    seen AS (SELECT 'duplicate' AS kind, {POSITION} FROM records WHERE seen)
    SELECT * REPLACE (CASE WHEN copy > 1 THEN 'duplicate' ELSE kind END AS kind) FROM (
        SELECT * FROM telemetry UNION ALL BY NAME SELECT * FROM events
        UNION ALL BY NAME SELECT * FROM quarantine UNION ALL BY NAME SELECT * FROM seen)"""


def parse(objects: pa.Table, tenant: Tenant, max_future_s: int) -> pa.Table:
    """Rows (`PARSED`) of bronze objects (`OBJECTS`); nothing that can be in an object raises.

    Records of one Kafka position and arrival, and rows of equal `KEYS`, are kept once among the objects, the
    first arrival winning. A timestamp more than `max_future_s` (s) after its arrival is refused.
    """
    names = {"telemetry": tenant.telemetry_topic, "events": tenant.events_topic}
    with _database() as database:
        database.register("objects", objects)
        database.execute(LINES)
        database.execute(RECORDS, names | {"tenant": tenant.id, "max_future_ms": max_future_s * 1000})
        database.execute(METRICS, {"telemetry": tenant.telemetry_topic})
        database.execute(BAD_METRICS)
        return _conform(database.sql(ROWS, params={"events": tenant.events_topic}))


def mark_known(parsed: pa.Table, known: dict[str, pa.Table]) -> pa.Table:
    """Turn rows whose key silver has already into duplicates, and choose the row that leads each record.

    `known` holds, by the name of the silver table, its `KEYS` columns; a table may be left out.
    """
    with _database() as database:
        database.register("parsed", parsed)
        matches = []
        for table, rows in known.items():
            database.register(f"known_{table}", rows)
            equal = " AND ".join(f"p.{key} IS NOT DISTINCT FROM k.{key}" for key in KEYS[table])
            matches.append(
                f"WHEN p.kind = '{table}' AND EXISTS (FROM known_{table} k WHERE {equal}) THEN 'duplicate'"
            )
        kind = f"CASE {' '.join(matches)} ELSE p.kind END" if matches else "p.kind"
        return _conform(
            database.sql(
                f"WITH marked AS (SELECT p.* REPLACE ({kind} AS kind) FROM parsed p) "
                "SELECT * REPLACE (row_number() OVER ("
                "PARTITION BY object, line ORDER BY kind = 'duplicate') = 1 AS leads) FROM marked"
            )
        )


def _database() -> duckdb.DuckDBPyConnection:
    # One thread: the parallelism is Ray's. UTC: Arrow's timestamps must come back as they went in.
    database = duckdb.connect(config={"threads": 1})
    database.execute("SET TimeZone = 'UTC'")
    return database


def _conform(query: duckdb.DuckDBPyRelation) -> pa.Table:
    """The columns of `PARSED`, in its order; those that a query does not have are null."""
    rows = query.to_arrow_table()
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(len(rows), field.type)
        for field in PARSED
    ]
    return pa.table(columns, schema=PARSED)
