"""A task of a load: a group of bronze objects read, parsed and written as data files of the silver tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from iotops.lake import lake_filesystem, storage_properties
from iotops.settings import LakeSettings
from iotops.tenancy import Tenant
from pipelines import ray_data
from pipelines.lake.bronze_objects import BronzeHour, group_objects, read_objects
from pipelines.lake.decoding import BronzeDecoder
from pipelines.lake.deduplication import silver_rows
from pipelines.lake.known import known_keys
from pipelines.lake.reading_rules import ReadingRules
from pipelines.lake.silver_files import Written, by_hour, write_files

if TYPE_CHECKING:
    from pyiceberg.table import Table

TASK_BYTES = 5 * 2**19
"""Compressed bronze of a task, more or less: a Kafka partition's objects stay together. More needs
more memory and saves no time."""


@dataclass(frozen=True)
class Work:
    """What each task of a job needs to know; no task asks the catalog.

    `locations` are the metadata files of the silver tables: all tasks see the tables as the driver does, who
    replaces the `hours` only if nobody has changed them since.
    """

    lake: LakeSettings
    tenant: Tenant
    locations: dict[str, str]
    hours: list[datetime]
    rules: ReadingRules
    max_future_s: int


def run_tasks(work: Work, job: Sequence[BronzeHour]) -> Written:
    """Run a job on the cluster; what its tasks wrote."""
    import ray.data

    groups = group_objects(job, max(1, sum(hour.bytes for hour in job) // TASK_BYTES))
    written = ray.data.from_arrow(groups).map_batches(
        partial(_load_group, work=work), batch_size=None, batch_format="pyarrow", **ray_data.TASK
    )
    return by_hour(pa.concat_tables(ray.get(written.to_arrow_refs())))


def _load_group(group: pa.Table, work: Work) -> pa.Table:
    tables = _tables(work.locations, work.lake)
    objects = read_objects(lake_filesystem(work.lake), group)
    decoded = BronzeDecoder(work.tenant, work.rules, work.max_future_s).decode(objects)
    return write_files(silver_rows(decoded, known_keys(tables, decoded, work.hours)), tables)


def _tables(locations: Mapping[str, str], lake: LakeSettings) -> dict[str, Table]:
    from pyiceberg.table import StaticTable

    properties = storage_properties(lake)
    return {name: StaticTable.from_metadata(location, properties) for name, location in locations.items()}
