"""Summing up silver: Ray tasks that stream Parquet files into sums, parted by device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow

from iotops.lake import iceberg_catalog
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines import ray_data
from pipelines.lake.daily import EVENT_COUNTS, STATS, count_events, split, summarise
from pipelines.lake.known import event_times
from pipelines.lake.silver_tables import table_name

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask

Refs = Sequence[Any]


@dataclass(frozen=True)
class Sums:
    """What is summed up of a silver table, and how."""

    table: str
    columns: tuple[str, ...]
    function: Callable[[pa.RecordBatchReader, timedelta], pa.Table]
    schema: pa.Schema


TELEMETRY = Sums(
    "telemetry",
    ("device_id", "ts", "metric", "value", "model", "kafka_partition", "kafka_offset"),
    summarise,
    STATS,
)
EVENTS = Sums(
    "events", ("device_id", "ts", "type", "severity", "error_code", "message"), count_events, EVENT_COUNTS
)


def sums_by_part(
    settings: Settings,
    tenant: Tenant,
    sums: Sums,
    period: tuple[datetime, datetime],
    shift: timedelta,
    *,
    tasks: int,
    parts: int,
) -> list[Refs]:
    """References to the sums over a period of event time: for each part of the devices, those of each task.

    A task holds a batch of rows at a time. The sums of one part are still to be merged.
    """
    import ray

    table = iceberg_catalog(settings.lake, settings.database).load_table(table_name(tenant, sums.table))
    wanted = event_times(*period)
    scan = table.scan(row_filter=wanted, selected_fields=sums.columns)
    groups = _groups(list(scan.plan_files()), tasks)
    if not groups:
        return [[ray.put(sums.schema.empty_table())]] * parts
    reader = ray.put(ArrowScan(table.metadata, table.io, scan.projection(), wanted))
    schema = schema_to_pyarrow(scan.projection())
    task = ray.remote(_sum).options(num_returns=parts, **ray_data.TASK)
    found = [task.remote(reader, schema, group, sums.function, shift, parts) for group in groups]
    return list(zip(*found, strict=True)) if parts > 1 else [found]


def _groups(files: list[FileScanTask], count: int) -> list[list[FileScanTask]]:
    """The files in at most `count` groups of about as many rows each: the largest first, to the smallest."""
    groups: list[tuple[int, list[FileScanTask]]] = [(0, []) for _ in range(count)]
    for file in sorted(files, key=lambda each: -each.file.record_count):
        rows, group = groups.pop(0)
        group.append(file)
        groups.append((rows + file.file.record_count, group))
        groups.sort(key=lambda each: each[0])
    return [group for _, group in groups if group]


def _sum(
    scan: ArrowScan,
    schema: pa.Schema,
    files: list[FileScanTask],
    function: Callable[[pa.RecordBatchReader, timedelta], pa.Table],
    shift: timedelta,
    parts: int,
) -> Any:
    """A table for each part, as Ray wants the returns of a task."""
    rows = pa.RecordBatchReader.from_batches(schema, scan.to_record_batches(files)).cast(schema)
    found = split(function(rows, shift), parts)
    return found if parts > 1 else found[0]
