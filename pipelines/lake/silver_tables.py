"""The silver tables: the declared columns, and a tenant's tables brought to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, HourTransform
from pyiceberg.types import (
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from iotops.settings import LakeSettings
from iotops.tenancy import Tenant
from pipelines.lake.evolution import Columns, apply, compare, refuse_breaking

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

POSITION: dict[str, IcebergType] = {
    "arrival_hour": TimestamptzType(),
    "topic": StringType(),
    "kafka_partition": IntegerType(),
    "kafka_offset": LongType(),
}
"""Where a row came from; `arrival_hour` is the hour of its bronze object, the unit that a re-run replaces."""

TABLES: dict[str, dict[str, IcebergType]] = {
    # One row per metric of a reading.
    "telemetry": {
        "device_id": StringType(),
        "ts": TimestamptzType(),
        "metric": StringType(),
        "value": DoubleType(),
        "seq": LongType(),
        "model": StringType(),
        "firmware": StringType(),
        **POSITION,
    },
    "events": {
        "device_id": StringType(),
        "ts": TimestamptzType(),
        "type": StringType(),
        "severity": StringType(),
        "error_code": StringType(),
        "message": StringType(),
        **POSITION,
    },
    # What breaks the contract: the text as it came, why it was refused, and the line of which object it is.
    "quarantine": {
        "raw": StringType(),
        "reason": StringType(),
        "object": StringType(),
        "line": LongType(),
        **POSITION,
    },
}
PROPERTIES = {
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    # A load adds a manifest, and whoever reads the table reads them all: a hundred become one (the default).
    "commit.manifest-merge.enabled": "true",
    # Whoever finds that another has changed the table since has lost the tenant's lock: it must not go on.
    "commit.retry.num-retries": "0",
}


def table_name(tenant: Tenant, table: str) -> str:
    """Identifier of a silver table in the catalog, e.g. `acme.telemetry`."""
    return f"{tenant.id}.{table}"


def open_tables(
    catalog: Catalog, lake: LakeSettings, tenant: Tenant, fields: dict[str, IcebergType] | None = None
) -> dict[str, Table]:
    """The tenant's tables by name, under `<tenant>/silver/`: made where they lack, evolved to `TABLES`.

    `fields` are the columns of telemetry that `configs/readings.yaml` adds.

    They are partitioned by the day of the event time, which readers prune by, and by the arrival hour, so
    that replacing an hour drops whole files and rewrites none. Raises `LakeError` for a breaking change of
    any table before one is changed.
    """
    location = f"s3://{lake.bucket}/{tenant.prefix('silver')}"
    catalog.create_namespace_if_not_exists(tenant.id, {"location": location})
    declared = TABLES | {"telemetry": TABLES["telemetry"] | (fields or {})}
    existing = {identifier[-1] for identifier in catalog.list_tables(tenant.id)}
    tables = {name: catalog.load_table(table_name(tenant, name)) for name in declared if name in existing}
    changes = {
        table_name(tenant, name): compare(table.schema(), declared[name]) for name, table in tables.items()
    }
    refuse_breaking(changes)
    for name, table in tables.items():
        apply(table, changes[table_name(tenant, name)])
        if not PROPERTIES.items() <= table.properties.items():
            with table.transaction() as transaction:
                transaction.set_properties(PROPERTIES)
    for name in declared.keys() - existing:
        schema = _schema(declared[name])
        tables[name] = catalog.create_table_if_not_exists(
            table_name(tenant, name),
            schema,
            location=f"{location}/{name}",
            partition_spec=_partitions(schema),
            properties=PROPERTIES,
        )
    return tables


def _schema(columns: Columns) -> Schema:
    numbered = enumerate(columns.items(), start=1)
    return Schema(*(NestedField(number, name, kind, required=False) for number, (name, kind) in numbered))


def _partitions(schema: Schema) -> PartitionSpec:
    arrived = PartitionField(schema.find_field("arrival_hour").field_id, 1001, HourTransform(), "arrived")
    if "ts" not in schema.column_names:
        return PartitionSpec(arrived)
    return PartitionSpec(
        PartitionField(schema.find_field("ts").field_id, 1000, DayTransform(), "ts_day"), arrived
    )
