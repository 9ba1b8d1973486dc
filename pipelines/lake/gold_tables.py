"""Writing gold: staged by binary COPY from Arrow, merged, in the tenant's own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from sqlalchemy import Connection, text

from iotops.database import driver
from iotops.tenancy import Tenant
from pipelines.lake.daily import UTC_US

KEYS = {
    "device_health": ("device_id", "day"),
    "device_health_components": ("device_id", "day", "component"),
    "customer_summary": ("day",),
    "failure_risk": ("device_id", "day", "horizon_hours"),
}
COMPUTED_AT = frozenset({"device_health", "customer_summary"})
JSON = frozenset({"worst_devices", "top_error_codes"})
COPY_ROWS = 50_000
POSTGRES = {
    pa.string(): "text",
    pa.date32(): "date",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    UTC_US: "timestamptz",
}


class Staged:
    """Rows of a gold table on their way into it, for as long as the transaction."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self.name, self._columns = connection, name, list[str]()
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Copy rows beside the table; the first ones say which columns there are."""
        if not self._columns:
            self._columns = rows.column_names
            definition = ", ".join(f"{field.name} {POSTGRES[field.type]}" for field in rows.schema)
            self._connection.execute(text(f"DROP TABLE IF EXISTS staging_{self.name}"))
            self._connection.execute(
                text(f"CREATE TEMP TABLE staging_{self.name} ({definition}) ON COMMIT DROP")
            )
        self.rows += rows.num_rows
        encoder = ArrowToPostgresBinaryEncoder(rows.schema)
        statement = f"COPY staging_{self.name} ({', '.join(self._columns)}) FROM STDIN (FORMAT BINARY)"
        with driver(self._connection).cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(encoder.write_header())
            for batch in rows.to_batches(max_chunksize=COPY_ROWS):
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())

    def replace(self, tenant: Tenant, days: Sequence[date]) -> None:
        """Make the table's rows of `days` exactly the staged ones; twice changes only `computed_at`."""
        keys = KEYS[self.name]
        # A device that no longer belongs to a day, since its readings were replaced, leaves it.
        same = " AND ".join(f"s.{key} = t.{key}" for key in keys)
        self._connection.execute(text(f"ANALYZE staging_{self.name}"))
        self._connection.execute(
            text(
                f"DELETE FROM gold.{self.name} t WHERE day = ANY(:days) "
                f"AND NOT EXISTS (SELECT FROM staging_{self.name} s WHERE {same})"
            ),
            {"days": list(days)},
        )
        self._connection.execute(text(_merge(self.name, self._columns, keys)), {"tenant": tenant.id})


def replace_service_events(
    connection: Connection, tenant: Tenant, events: pa.Table, period: tuple[datetime, datetime]
) -> None:
    """Make the record of a period's failures and services what `events` (`daily.EVENT_COUNTS`) say."""
    staged = Staged(connection, "service_events")
    staged.add(events.select(["device_id", "occurred_at", "type", "label"]))
    connection.execute(
        text("DELETE FROM gold.service_events WHERE occurred_at >= :first AND occurred_at < :end"),
        dict(zip(("first", "end"), period, strict=True)),
    )
    connection.execute(
        text(
            "INSERT INTO gold.service_events (tenant_id, device_id, occurred_at, type, component) "
            "SELECT DISTINCT :tenant, device_id, occurred_at, type, coalesce(label, 'component not named') "
            "FROM staging_service_events"
        ),
        {"tenant": tenant.id},
    )


def read(connection: Connection, query: str, schema: pa.Schema, **parameters: object) -> pa.Table:
    """A query's rows as Arrow."""
    found = connection.execute(text(query), parameters)
    parts: Iterable[pa.Table] = (
        pa.table(dict(zip(schema.names, zip(*rows, strict=True), strict=True)), schema=schema)
        for rows in found.partitions(COPY_ROWS)
    )
    return pa.concat_tables([schema.empty_table(), *parts])


def _merge(name: str, columns: Sequence[str], keys: Sequence[str]) -> str:
    values = {column: f"s.{column}::jsonb" if column in JSON else f"s.{column}" for column in columns}
    if name in COMPUTED_AT:
        values["computed_at"] = "clock_timestamp()"
    stored = {column: value for column, value in values.items() if column not in keys}
    changed = (
        f"({', '.join(f't.{column}' for column in stored)}) IS DISTINCT FROM ({', '.join(stored.values())})"
    )
    updates = ", ".join(f"{column} = {value}" for column, value in stored.items())
    same = " AND ".join(f"t.{key} = s.{key}" for key in keys)
    return (
        f"MERGE INTO gold.{name} t USING staging_{name} s ON t.tenant_id = :tenant AND {same} "
        f"WHEN MATCHED AND {changed} THEN UPDATE SET {updates} "
        f"WHEN NOT MATCHED THEN INSERT (tenant_id, {', '.join(values)}) "
        f"VALUES (:tenant, {', '.join(values.values())})"
    )
