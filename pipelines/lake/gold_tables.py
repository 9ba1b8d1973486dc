"""Writing gold: staged by COPY, merged by upsert, in the tenant's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pyarrow as pa
from sqlalchemy import Connection, text

from iotops.database import driver
from iotops.tenancy import Tenant
from pipelines.lake.health import Health

KEYS = {
    "device_health": ("device_id", "day"),
    "device_health_components": ("device_id", "day", "component"),
    "customer_summary": ("day",),
}
COMPUTED_AT = frozenset({"device_health", "customer_summary"})


def write_health(connection: Connection, tenant: Tenant, health: Health, days: Sequence[date]) -> None:
    """Make the gold rows of `days` exactly those of `health`; doing it twice changes only `computed_at`.

    `connection` is in a `tenant_transaction`.
    """
    for name, keys in KEYS.items():
        rows: pa.Table = getattr(health, name)
        _stage(connection, name, rows)
        # A device that no longer belongs to a day, since its readings were replaced, leaves it.
        key = ", ".join(keys)
        connection.execute(
            text(
                f"DELETE FROM gold.{name} WHERE day = ANY(:days) AND ({key}) NOT IN "
                f"(SELECT {key} FROM staging_{name})"
            ),
            {"days": list(days)},
        )
        connection.execute(text(_upsert(name, rows.column_names, keys)), {"tenant": tenant.id})


def _stage(connection: Connection, name: str, rows: pa.Table) -> None:
    columns = ", ".join(rows.column_names)
    connection.execute(text(f"DROP TABLE IF EXISTS staging_{name}"))
    connection.execute(
        text(
            f"CREATE TEMP TABLE staging_{name} ON COMMIT DROP AS "
            f"SELECT {columns} FROM gold.{name} WITH NO DATA"
        )
    )
    with (
        driver(connection).cursor() as cursor,
        cursor.copy(f"COPY staging_{name} ({columns}) FROM STDIN") as copy,
    ):
        for batch in rows.to_batches():
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                copy.write_row(row)


def _upsert(name: str, columns: Sequence[str], keys: Sequence[str]) -> str:
    names = ", ".join(columns)
    changes = [f"{column} = excluded.{column}" for column in columns if column not in keys]
    if name in COMPUTED_AT:
        changes.append("computed_at = clock_timestamp()")
    stamp = ("computed_at, ", "clock_timestamp(), ") if name in COMPUTED_AT else ("", "")
    return (
        f"INSERT INTO gold.{name} (tenant_id, {stamp[0]}{names}) "
        f"SELECT :tenant, {stamp[1]}{names} FROM staging_{name} "
        f"ON CONFLICT (tenant_id, {', '.join(keys)}) DO UPDATE SET {', '.join(changes)}"
    )
