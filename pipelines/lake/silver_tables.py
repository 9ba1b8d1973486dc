"""The silver tables: their schemas, and their creation in a tenant's Iceberg namespace."""

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

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

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
}


def table_name(tenant: Tenant, table: str) -> str:
    """Identifier of a silver table in the catalog, e.g. `acme.telemetry`."""
    return f"{tenant.id}.{table}"


def create_tables(catalog: Catalog, lake: LakeSettings, tenant: Tenant) -> None:
    """Make the tables that the tenant lacks, under `<tenant>/silver/`.

    They are partitioned by the day of the event time, which readers prune by, and by the arrival hour, so
    that replacing an hour drops whole files and rewrites none.
    """
    location = f"s3://{lake.bucket}/{tenant.prefix('silver')}"
    catalog.create_namespace_if_not_exists(tenant.id, {"location": location})
    existing = {identifier[-1] for identifier in catalog.list_tables(tenant.id)}
    for table, columns in TABLES.items():
        if table not in existing:
            schema = _schema(columns)
            catalog.create_table_if_not_exists(
                table_name(tenant, table),
                schema,
                location=f"{location}/{table}",
                partition_spec=_partitions(schema),
                properties=PROPERTIES,
            )


def _schema(columns: dict[str, IcebergType]) -> Schema:
    numbered = enumerate(columns.items(), start=1)
    return Schema(*(NestedField(number, name, kind, required=False) for number, (name, kind) in numbered))


def _partitions(schema: Schema) -> PartitionSpec:
    arrived = PartitionField(schema.find_field("arrival_hour").field_id, 1001, HourTransform(), "arrived")
    if "ts" not in schema.column_names:
        return PartitionSpec(arrived)
    return PartitionSpec(
        PartitionField(schema.find_field("ts").field_id, 1000, DayTransform(), "ts_day"), arrived
    )
