"""Days of a device: readings and events of Arrow batches summed up so that batches can be merged.

A day is the 24 h that end at a UTC midnight less a shift: `shift` 0 is the calendar day, and with the hours
left of a running day as the shift its label stands for the 24 h up to now.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

Rows: TypeAlias = pa.Table | pa.RecordBatchReader
UTC_US = pa.timestamp("us", tz="UTC")
STATS = pa.schema(
    [
        ("device_id", pa.string()),
        ("day", pa.date32()),
        ("metric", pa.string()),
        ("model", pa.string()),
        ("n", pa.int64()),
        ("mean", pa.float64()),
        ("m2", pa.float64()),
        ("late_n", pa.int64()),
        ("late_mean", pa.float64()),
        ("last_ts", UTC_US),
    ]
)
"""Of a metric's values on a day: count, mean, sum of squared differences from the mean; and count and mean of
its last `LATE_HOURS`.

`metric` null stands for the device as a whole: `n` counts readings, `last_ts` is the latest.
"""
LATE_HOURS = 8
EVENT_COUNTS = pa.schema(
    [
        ("device_id", pa.string()),
        ("day", pa.date32()),
        ("type", pa.string()),
        ("severity", pa.string()),
        ("label", pa.string()),
        ("occurred_at", UTC_US),
        ("n", pa.int64()),
    ]
)
"""Error, failure and maintenance events of a day; `label` is the error code, or the component that failed or
was serviced; `occurred_at` is the time of each failure and service, null for errors, which only count."""

DAY = "CAST(make_timestamp(epoch_us(ts) + $shift_us) AS DATE) AS day"
LATE = f"(epoch_us(ts) + $shift_us) % 86400000000 >= {24 - LATE_HOURS} * 3600000000"
# A reading is one Kafka record: a partition has fewer than 2^48 of them.
SUMMARISE = f"""
    WITH placed AS MATERIALIZED (
        SELECT *, {DAY}, {LATE} AS late, kafka_partition * 281474976710656 + kafka_offset AS reading
        FROM rows)
    SELECT device_id, day, metric, max_by(model, ts) AS model, count(*) AS n, avg(value) AS mean,
        var_pop(value) * count(*) AS m2, count(*) FILTER (late) AS late_n,
        avg(value) FILTER (late) AS late_mean, max(ts) AS last_ts
    FROM placed GROUP BY device_id, day, metric
    UNION ALL BY NAME
    SELECT device_id, day, NULL AS metric, max_by(model, ts) AS model, count(DISTINCT reading) AS n,
        max(ts) AS last_ts
    FROM placed GROUP BY device_id, day"""
# Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
MERGE = """
    WITH means AS (
        SELECT *, sum(n * mean) OVER same / sum(n) OVER same AS merged FROM parts
        WINDOW same AS (PARTITION BY device_id, day, metric))
    SELECT device_id, day, metric, max_by(model, last_ts) AS model, sum(n) AS n, any_value(merged) AS mean,
        sum(m2 + n * (mean - merged) ** 2) AS m2, sum(late_n) AS late_n,
        sum(late_n * late_mean) / sum(late_n) AS late_mean, max(last_ts) AS last_ts
    FROM means GROUP BY device_id, day, metric"""
COUNT_EVENTS = f"""
    SELECT device_id, {DAY}, type, severity,
        CASE WHEN type = 'error' THEN error_code ELSE message END AS label,
        CASE WHEN type <> 'error' THEN ts END AS occurred_at, count(*) AS n
    FROM rows WHERE type IN ('error', 'failure', 'maintenance') GROUP BY ALL"""
MERGE_EVENTS = """
    SELECT device_id, day, type, severity, label, occurred_at, sum(n) AS n FROM parts GROUP BY ALL"""


def summarise(rows: Rows, shift: timedelta = timedelta(0)) -> pa.Table:
    """`STATS` of silver telemetry rows; all rows of a reading must be among them to count as one reading."""
    return _query(SUMMARISE, STATS, shift, rows=rows)


def merge(parts: pa.Table) -> pa.Table:
    """One `STATS` row per device, day and metric from those of several batches."""
    return _query(MERGE, STATS, parts=parts)


def count_events(rows: Rows, shift: timedelta = timedelta(0)) -> pa.Table:
    """`EVENT_COUNTS` of silver event rows."""
    return _query(COUNT_EVENTS, EVENT_COUNTS, shift, rows=rows)


def merge_events(parts: pa.Table) -> pa.Table:
    """One `EVENT_COUNTS` row per device, day and kind from those of several batches."""
    return _query(MERGE_EVENTS, EVENT_COUNTS, parts=parts)


def split(table: pa.Table, parts: int) -> list[pa.Table]:
    """The rows of a table in `parts` tables, all of a device in one."""
    if parts == 1:
        return [table]
    numbered = _query(f"SELECT *, md5_number_lower(device_id) % {parts} AS part FROM rows", rows=table)
    whole = numbered.select(table.schema.names).cast(table.schema)
    return [whole.filter(pc.equal(numbered["part"], part)) for part in range(parts)]


def _query(sql: str, schema: pa.Schema = None, shift: timedelta | None = None, **tables: Rows) -> pa.Table:
    with duckdb.connect(config={"threads": 1}) as database:
        for name, table in tables.items():
            database.register(name, table)
        params = {} if shift is None else {"shift_us": shift // timedelta(microseconds=1)}
        result = database.sql(sql, params=params).to_arrow_table()
    return result.select(schema.names).cast(schema) if schema else result
