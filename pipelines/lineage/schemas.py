"""The columns that tables have at present, from the Iceberg catalog and from Postgres."""

from __future__ import annotations

from collections.abc import Iterable

from pyiceberg.exceptions import NoSuchTableError
from sqlalchemy import text

from iotops.database import engine
from iotops.lake import iceberg_catalog
from iotops.settings import Settings
from pipelines.lineage.datasets import Dataset

Columns = tuple[tuple[str, str], ...]
POSTGRES_COLUMNS = text("""
    SELECT table_schema || '.' || table_name AS name, column_name, data_type
    FROM information_schema.columns WHERE table_schema || '.' || table_name = ANY(:names)
    ORDER BY name, ordinal_position""")


def columns(settings: Settings, names: Iterable[str]) -> dict[str, Columns]:
    """Name and type of each column of the tables `acme.telemetry` or `gold.device_health` that exist."""
    wanted = set(names)
    postgres = sorted(name for name in wanted if Dataset(name).store == "postgres")
    found: dict[str, Columns] = {}
    if postgres:
        with engine(settings.database).connect() as connection:
            for row in connection.execute(POSTGRES_COLUMNS, {"names": postgres}):
                found[row.name] = (*found.get(row.name, ()), (row.column_name, row.data_type))
    if iceberg := wanted.difference(postgres):
        catalog = iceberg_catalog(settings.lake, settings.database)
        for name in iceberg:
            try:
                fields = catalog.load_table(name).schema().fields
            except NoSuchTableError:
                continue
            found[name] = tuple((field.name, str(field.field_type)) for field in fields)
    return found
