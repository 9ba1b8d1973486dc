"""Silver and gold in one DuckDB connection, under a tenant's own database role and storage key.

What the role may not see is not there, and SQL in the connection reaches nothing outside of it. A notebook
uses it as `iotops sql` does:

    connection = connect(read_credentials(Path("acme.json")))
    connection.sql("SELECT device_id, score FROM gold.device_health").df()
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from adbc_driver_manager import Error as AdbcError
from adbc_driver_postgresql import dbapi
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy.exc import OperationalError

from iotops.errors import IotOpsError
from iotops.lake import iceberg_catalog, storage_filesystem
from iotops.lake_dataset import Stream, lake_dataset
from iotops.outages import Unanswered, outage
from iotops.settings import DatabaseSettings, LakeSettings, Settings, get_settings

ENVIRONMENT = "IOTOPS_TENANT_"
MEMORY_LIMIT = "2GB"
SPILL_LIMIT = "20GB"
POSTGRES_TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_schema = 'gold' OR (table_schema, table_name) = ('silver', 'alerts') ORDER BY 1, 2"""
Source: TypeAlias = ds.Dataset | Stream


class Credentials(BaseModel):
    """What a tenant's analyst logs in with: what `iotops tenant create --json` printed."""

    model_config = ConfigDict(frozen=True)

    tenant_id: str = Field(description="The tenant.")
    database_role: str = Field(description="Its role in Postgres.")
    database_password: SecretStr = Field(description="The role's password.")
    storage_access_key: str = Field(description="Its access key id in the object store.")
    storage_secret_key: SecretStr = Field(description="Its secret access key.")


def read_credentials(file: Path | None = None) -> Credentials:
    """The credentials in a JSON file, or else in `IOTOPS_TENANT_ID`, `IOTOPS_TENANT_DATABASE_PASSWORD` ..."""
    variables = {
        name: ENVIRONMENT + name.removeprefix("tenant_").upper() for name in Credentials.model_fields
    }
    try:
        if file:
            return Credentials.model_validate(json.loads(file.read_text()))
        return Credentials.model_validate(
            {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
        )
    except (OSError, json.JSONDecodeError) as error:
        raise IotOpsError(f"the credentials in {file} cannot be read: {error}") from None
    except ValidationError as error:
        missing = ", ".join(str(problem["loc"][0]) for problem in error.errors(include_input=False))
        raise IotOpsError(
            f"no {missing} in {file}: it is what `iotops tenant create --json` printed"
            if file
            else "no credentials: name a file that `iotops tenant create --json` printed with --credentials, "
            f"or set {', '.join(variables.values())}"
        ) from None


def connect(credentials: Credentials, settings: Settings | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the tenant's `silver.*`, `gold.*` and `<tenant>.*` as read-only views.

    Tables of the lake are as they are now for as long as the connection lives, and read by need; a table of
    Postgres is read whole whenever a query names it. Raises `IotOpsError` where the role or the key is
    refused.
    """
    settings = settings or get_settings()
    sources = _lake_sources(credentials, settings) | _postgres_sources(credentials, settings.database)
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "max_temp_directory_size": SPILL_LIMIT,
            "temp_directory": str(Path(tempfile.gettempdir()) / f"iotops-sql-{os.getpid()}"),
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    for (schema, table), source in sources.items():
        connection.register(f"{schema}_{table}", source)
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        connection.execute(f'CREATE VIEW "{schema}"."{table}" AS FROM temp."{schema}_{table}"')
    # From here on SQL can neither read a file nor reach out, nor lift that again.
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def table_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The views of a connection, e.g. `gold.device_health`."""
    return [
        f"{schema}.{table}"
        for schema, table in connection.execute(
            "SELECT schema_name, view_name FROM duckdb_views() "
            "WHERE NOT internal AND database_name = 'memory' ORDER BY 1, 2"
        ).fetchall()
    ]


def _lake_sources(credentials: Credentials, settings: Settings) -> dict[tuple[str, str], Source]:
    """The tenant's Iceberg tables, as `silver.*` and by the catalog's own names."""
    own = settings.lake.model_copy(
        update={"access_key": credentials.storage_access_key, "secret_key": credentials.storage_secret_key}
    )
    try:
        datasets = _lake_datasets(credentials, own, _own_database(credentials, settings.database))
    except (OperationalError, OSError) as error:
        if isinstance(told := outage(error, settings), Unanswered):
            raise told from None
        if isinstance(error, OperationalError):
            raise _refused_role(credentials, settings.database, str(error.orig)) from None
        raise IotOpsError(
            f"the object store at {own.endpoint} refuses the key {own.access_key!r} of "
            f"{credentials.tenant_id}: {error}. {_renew(credentials)}"
        ) from None
    return {
        (schema, table): source
        for table, source in datasets.items()
        for schema in ("silver", credentials.tenant_id)
    }


def _lake_datasets(
    credentials: Credentials, lake: LakeSettings, database: DatabaseSettings
) -> dict[str, Source]:
    filesystem = storage_filesystem(lake, lake.access_key, lake.secret_key.get_secret_value())
    catalog = iceberg_catalog(lake, database)
    try:
        return {
            name[-1]: lake_dataset(catalog.load_table(name), filesystem, lake.bucket)
            for name in catalog.list_tables(credentials.tenant_id)
        }
    finally:
        catalog.close()


def _postgres_sources(credentials: Credentials, database: DatabaseSettings) -> dict[tuple[str, str], Source]:
    """The tables of Postgres that analysts may read; row security leaves the tenant's rows."""
    uri = _own_database(credentials, database).url(driver="postgresql").render_as_string(hide_password=False)

    def read(table: str) -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            with dbapi.connect(uri) as connection, connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {table}")
                yield from cursor.fetch_record_batch()

        return pa.RecordBatchReader.from_batches(schemas[table], batches())

    try:
        with dbapi.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute(POSTGRES_TABLES)
            names = cursor.fetchall()
            schemas = {
                f"{schema}.{table}": cursor.adbc_execute_schema(f"SELECT * FROM {schema}.{table}")
                for schema, table in names
            }
    except AdbcError as error:
        raise _refused_role(credentials, database, str(error)) from None
    return {
        (schema, table): Stream(columns, partial(read, name))
        for (schema, table), (name, columns) in zip(names, schemas.items(), strict=True)
    }


def _own_database(credentials: Credentials, database: DatabaseSettings) -> DatabaseSettings:
    return database.model_copy(
        update={"user": credentials.database_role, "password": credentials.database_password}
    )


def _refused_role(credentials: Credentials, database: DatabaseSettings, reason: str) -> IotOpsError:
    return IotOpsError(
        f"Postgres at {database.host}:{database.port} refuses the login of {credentials.database_role}: "
        f"{' '.join(reason.split())}. {_renew(credentials)}"
    )


def _renew(credentials: Credentials) -> str:
    return f"`iotops tenant credentials {credentials.tenant_id} --json` gives new credentials"
