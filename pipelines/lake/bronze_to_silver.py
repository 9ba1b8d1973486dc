"""Bronze to silver: the objects of the arrival hours that changed, to Iceberg tables, on Ray Data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from iotops.database import engine, tenant_transaction
from iotops.lake import CATALOG, catalog_properties, iceberg_catalog, lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines import ray_data
from pipelines.lake.bronze_objects import BronzeHour, group_objects, list_hours, read_objects
from pipelines.lake.known import arrived_in, known_keys
from pipelines.lake.loads import HourLoad, hour_load, loaded_listings, lock_lake, record_load
from pipelines.lake.parsing import mark_known, parse
from pipelines.lake.silver_tables import TABLES, create_tables, table_name

if TYPE_CHECKING:
    from ray.data import Dataset

Progress = Callable[[str], None]
JOB_BYTES = 64 * 2**20
"""Compressed bronze that one job reads at most, unless a single hour has more: about two million readings."""
TASK_BYTES = 4 * 2**20
BLOCK_ROWS = 2_000_000
REVISIT = timedelta(days=2)
"""How far before the newest loaded hour bronze is looked at again: no sink lags for longer."""
ROW_ORDER = {
    "telemetry": ("device_id", "metric", "ts"),
    "events": ("device_id", "ts"),
    "quarantine": ("object",),
}


def load_silver(
    settings: Settings,
    tenant: Tenant,
    hours: Sequence[datetime] | None = None,
    on_progress: Progress = lambda message: None,
) -> list[HourLoad]:
    """Bring the silver tables to the state of bronze; returns the hours that were loaded, in order.

    An hour is loaded when its objects are not those of its last load; `hours` (UTC) loads just those, changed
    or not. Loading replaces exactly the rows of the hour, so it can be repeated and broken off at will. An
    hour whose objects are all gone is left alone: bronze may expire before silver does.
    """
    ray_data.prepare(settings.ray)
    filesystem, catalog = lake_filesystem(settings.lake), iceberg_catalog(settings.lake, settings.database)
    loads = []
    with tenant_transaction(engine(settings.database), tenant) as connection:
        lock_lake(connection, tenant)
        on_progress("listing bronze")
        loaded = loaded_listings(connection)
        since = min(hours) if hours else max(loaded) - REVISIT if loaded else None
        found = list_hours(filesystem, tenant, since)
        if hours:
            wanted = {hour.astimezone(UTC) for hour in hours}
            changed = [hour for hour in found if hour.arrival_hour in wanted]
        else:
            changed = [hour for hour in found if loaded.get(hour.arrival_hour) != hour.listing]
        if changed:
            create_tables(catalog, settings.lake, tenant)
        for job in _jobs(changed):
            listings = {hour.arrival_hour: hour.listing for hour in job}
            for load in _run(settings, tenant, job, on_progress):
                record_load(connection, tenant, load, listings[load.arrival_hour])
                loads.append(load)
    return loads


def _jobs(hours: Iterable[BronzeHour]) -> Iterator[list[BronzeHour]]:
    job: list[BronzeHour] = []
    for hour in hours:
        if job and sum(each.bytes for each in job) + hour.bytes > JOB_BYTES:
            yield job
            job = []
        job.append(hour)
    if job:
        yield job


def _run(settings: Settings, tenant: Tenant, job: list[BronzeHour], on_progress: Progress) -> list[HourLoad]:
    import ray.data

    objects, hours = sum(len(hour.objects) for hour in job), [hour.arrival_hour for hour in job]
    on_progress(f"parsing {objects:,} objects of {len(job)} arrival hours")
    tasks = max(2, sum(hour.bytes for hour in job) // TASK_BYTES)
    rows = (
        ray.data.from_arrow(group_objects(job, tasks))
        .map_batches(
            partial(_read_group, settings=settings, tenant=tenant, hours=hours),
            batch_size=None,
            batch_format="pyarrow",
            **ray_data.TASK,
        )
        .materialize()
    )
    counts = _counts(rows)
    for table in TABLES:
        count = sum(row["rows"] for row in counts if row["kind"] == table)
        on_progress(f"writing {count:,} rows to {table_name(tenant, table)}")
        _replace(settings, tenant, table, rows, count, hours)
    return [
        hour_load(
            hour.arrival_hour,
            len(hour.objects),
            [row for row in counts if row["arrival_hour"] == hour.arrival_hour],
        )
        for hour in job
    ]


def _read_group(group: pa.Table, settings: Settings, tenant: Tenant, hours: list[datetime]) -> pa.Table:
    content = read_objects(lake_filesystem(settings.lake), group)
    parsed = parse(content, tenant, settings.ingest.max_future_s)
    catalog = iceberg_catalog(settings.lake, settings.database)
    return mark_known(parsed, known_keys(catalog, tenant, parsed, hours))


def _counts(rows: Dataset) -> list[dict[str, Any]]:
    """By arrival hour and kind: rows, the records that they lead, and the first and last event time."""
    import ray

    by, sums = ["arrival_hour", "kind"], [("leads", "sum"), ("kind", "count"), ("ts", "min"), ("ts", "max")]
    partial_counts = rows.map_batches(
        lambda block: block.group_by(by).aggregate(sums),
        batch_size=None,
        batch_format="pyarrow",
        **ray_data.TASK,
    )
    table = pa.concat_tables(ray.get(partial_counts.to_arrow_refs()))
    merged = table.group_by(by).aggregate(
        [("leads_sum", "sum"), ("kind_count", "sum"), ("ts_min", "min"), ("ts_max", "max")]
    )
    return merged.rename_columns([*by, "records", "rows", "first", "last"]).to_pylist()  # type: ignore[no-any-return]


def _replace(
    settings: Settings, tenant: Tenant, table: str, rows: Dataset, count: int, hours: list[datetime]
) -> None:
    """Put the rows of a table in the place of the hours' earlier ones, in one commit."""
    from ray.data import SaveMode
    from ray.data.expressions import col, lit

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Delete operation did not match any records")
        if count == 0:  # write_iceberg commits nothing when nothing is written, not even the deletion
            catalog = iceberg_catalog(settings.lake, settings.database)
            catalog.load_table(table_name(tenant, table)).delete(arrived_in(hours))
            return
        mine = rows.filter(expr=col("kind") == lit(table), **ray_data.TASK).select_columns(
            list(TABLES[table]), **ray_data.TASK
        )
        # Few blocks, each of few days: a block becomes a file for each of its days and arrival hours.
        mine = (
            mine.repartition(1)
            if count <= BLOCK_ROWS
            else mine.sort("arrival_hour" if table == "quarantine" else "ts")
        )
        order = [(column, "ascending") for column in ROW_ORDER[table]]
        mine.map_batches(
            lambda block: block.sort_by(order), batch_size=None, batch_format="pyarrow", **ray_data.TASK
        ).write_iceberg(
            table_name(tenant, table),
            catalog_kwargs={"name": CATALOG, **catalog_properties(settings.lake, settings.database)},
            mode=SaveMode.OVERWRITE,
            overwrite_filter=col("arrival_hour").is_in(hours),
            ray_remote_args=ray_data.TASK,
        )
