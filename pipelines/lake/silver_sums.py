"""Summing up silver: its Parquet files, some millions of rows at a time, here or in Ray tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow

from iotops.lake import iceberg_catalog
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines import ray_data
from pipelines.lake.daily import EVENT_COUNTS, STATS, count_events, merge, merge_events, split, summarise
from pipelines.lake.known import event_times
from pipelines.lake.silver_tables import table_name

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask

Refs = Sequence[Any]
MOST_THREADS = 4


@dataclass(frozen=True)
class Sums:
    """What is summed up of a silver table, and how."""

    table: str
    columns: tuple[str, ...]
    function: Callable[[pa.RecordBatchReader, timedelta], pa.Table]
    merged: Callable[[pa.Table], pa.Table]
    schema: pa.Schema


TELEMETRY = Sums(
    "telemetry",
    ("device_id", "ts", "metric", "value", "model", "kafka_partition", "kafka_offset"),
    summarise,
    merge,
    STATS,
)
EVENTS = Sums(
    "events",
    ("device_id", "ts", "type", "severity", "error_code", "message"),
    count_events,
    merge_events,
    EVENT_COUNTS,
)


@dataclass(frozen=True)
class Source:
    """How a table's files are read and summed up."""

    sums: Sums
    scan: ArrowScan
    schema: pa.Schema

    def summed(self, files: list[FileScanTask], shift: timedelta) -> pa.Table:
        """The sums of some files, whose rows are in memory meanwhile."""
        batches = self.scan.to_record_batches(files)
        rows = pa.RecordBatchReader.from_batches(self.schema, batches).cast(self.schema)
        return self.sums.function(rows, shift)


@dataclass(frozen=True)
class Planned:
    """A table's files with rows of a period of event time, in groups that are read at once."""

    source: Source
    groups: list[list[FileScanTask]]

    @property
    def rows(self) -> int:
        """Rows of the files, those of other times included."""
        return sum(file.file.record_count for group in self.groups for file in group)


def plan(
    settings: Settings, tenant: Tenant, sums: Sums, period: tuple[datetime, datetime], group_rows: int
) -> Planned:
    """What there is to sum up over a period, from the table's metadata, in groups of `group_rows` at most.

    A file with more is a group of its own.
    """
    table = iceberg_catalog(settings.lake, settings.database).load_table(table_name(tenant, sums.table))
    wanted = event_times(*period)
    scan = table.scan(row_filter=wanted, selected_fields=sums.columns)
    reader = ArrowScan(table.metadata, table.io, scan.projection(), wanted)
    source = Source(sums, reader, schema_to_pyarrow(scan.projection()))
    return Planned(source, _groups(list(scan.plan_files()), group_rows))


def sum_here(planned: Planned, shift: timedelta) -> pa.Table:
    """The sums, in threads of this process."""
    source, groups = planned.source, planned.groups
    with ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), MOST_THREADS)) as pool:
        found = list(pool.map(partial(source.summed, shift=shift), groups))
    return source.sums.merged(pa.concat_tables([source.sums.schema.empty_table(), *found]))


def sum_by_part(planned: Planned, shift: timedelta, parts: int) -> list[Refs]:
    """References to the sums, a Ray task for each group: for each part of the devices, those of each task.

    The sums of one part are still to be merged; there are at least two parts.
    """
    import ray

    if not planned.groups:
        return [[ray.put(planned.source.sums.schema.empty_table())]] * parts
    source = ray.put(planned.source)
    task = ray.remote(_summed_parts).options(num_returns=parts, **ray_data.TASK)
    return list(zip(*(task.remote(source, group, shift, parts) for group in planned.groups), strict=True))


def fetched(sums: Sequence[Refs]) -> Iterator[pa.Table]:
    """What they refer to, one table at a time."""
    import ray

    return (ray.get(ref) for part in sums for ref in part)


def _groups(files: list[FileScanTask], rows: int) -> list[list[FileScanTask]]:
    """The files in order of their days, cut where a group is full: most of a day's sums are of one group."""
    groups: list[list[FileScanTask]] = []
    held = rows
    for file in sorted(files, key=lambda each: (str(each.file.partition), each.file.file_path)):
        if held + file.file.record_count > rows:
            groups.append([])
            held = 0
        groups[-1].append(file)
        held += file.file.record_count
    return groups


def _summed_parts(source: Source, files: list[FileScanTask], shift: timedelta, parts: int) -> list[pa.Table]:
    return split(source.summed(files, shift), parts)
