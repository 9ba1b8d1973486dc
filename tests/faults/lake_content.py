"""What a tenant's silver and gold hold, as one digest per table; and emptying them for another run."""

from __future__ import annotations

import duckdb
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import iceberg_catalog, lake_filesystem, objects
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake.maintenance import held_files
from pipelines.lake.silver_tables import TABLES, table_name

GOLD = ("device_health", "device_health_components", "customer_summary", "failure_risk", "service_events")
CLOCK = frozenset({"computed_at"})
"""Columns that say when a row was written, which no two runs have in common."""
COLUMNS = text(
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_schema = 'gold' AND table_name = :table ORDER BY ordinal_position"
)
DIGEST = "SELECT count(*), md5(string_agg(row_digest, '' ORDER BY row_digest)) FROM {rows}"

Content = dict[str, tuple[int, str]]


def content(settings: Settings, tenant: Tenant) -> Content:
    """By table the number of its rows and the digest of all their values, in whatever order they lie."""
    return silver(settings, tenant) | gold(settings, tenant)


def silver(settings: Settings, tenant: Tenant) -> Content:
    """The content of the Iceberg tables."""
    found: Content = {}
    catalog = iceberg_catalog(settings.lake, settings.database)
    with duckdb.connect() as database:
        for name in TABLES:
            rows = catalog.load_table(table_name(tenant, name)).scan().to_arrow()
            database.register("stored", rows)
            digests = "(SELECT md5(stored::VARCHAR) AS row_digest FROM stored)"
            (found[name],) = database.execute(DIGEST.format(rows=digests)).fetchall()
    return found


def gold(settings: Settings, tenant: Tenant) -> Content:
    """The content of the tables in Postgres."""
    found: Content = {}
    with tenant_transaction(engine(settings.database), tenant) as connection:
        for name in GOLD:
            columns = connection.execute(COLUMNS, {"table": name}).scalars()
            kept = ", ".join(column for column in columns if column not in CLOCK)
            digests = f"(SELECT md5(s::text) AS row_digest FROM (SELECT {kept} FROM gold.{name}) s) d"
            count, digest = connection.execute(text(DIGEST.format(rows=digests))).one()
            found[name] = count, digest
    return found


def empty(settings: Settings, tenant: Tenant) -> None:
    """Drop silver, its book of loads and gold's rows: the next run finds bronze only."""
    catalog = iceberg_catalog(settings.lake, settings.database)
    for _, name in catalog.list_tables(tenant.id):
        catalog.drop_table(table_name(tenant, name))
    with tenant_transaction(engine(settings.database), tenant) as connection:
        for table in ("ingest.lake_hours", *(f"gold.{name}" for name in GOLD)):
            connection.execute(text(f"DELETE FROM {table}"))


def files(settings: Settings, tenant: Tenant) -> set[str]:
    """The location of every object of silver, also of those that no table knows."""
    found = objects(lake_filesystem(settings.lake), tenant.prefix("silver"))
    return {f"s3://{settings.lake.bucket}/{path}" for path in found}


def held(settings: Settings, tenant: Tenant) -> set[str]:
    """The location of every file that silver's tables need."""
    catalog = iceberg_catalog(settings.lake, settings.database)
    names = catalog.list_tables(tenant.id)
    return {location for name in names for location in held_files(catalog.load_table(name))}
