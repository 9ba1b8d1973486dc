"""Upkeep of the silver tables: snapshots that nobody goes back to, and files that no snapshot holds; and of
what Postgres keeps of runs and alerts.

Each load leaves a snapshot with the files that it replaced, and a killed one leaves files that no table knows
of. Both only cost storage until they are removed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import iceberg_catalog, lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake.bronze_objects import TRANSFERS
from pipelines.lake.bronze_to_silver import Progress
from pipelines.lake.loads import locked_lake, naming_outage
from pipelines.lake.silver_tables import TABLES, table_name

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

SNAPSHOT_AGE = timedelta(days=7)
"""How far analysts can go back, and how long a query on an old snapshot may take."""
SNAPSHOTS = 10
"""The newest snapshots, which stay whatever their age."""
ORPHAN_AGE = timedelta(days=3)
"""A younger file may be that of a run which has yet to commit it."""
OLD_ROWS = {
    "pipeline_runs": text("DELETE FROM gold.pipeline_runs WHERE started_at < :before"),
    "alert_messages": text("DELETE FROM ingest.alert_messages WHERE published_at < :before"),
}


@dataclass(frozen=True)
class Upkeep:
    """What was removed from a table: snapshots, and files with their size."""

    table: str
    snapshots: int
    files: int
    bytes: int


def maintain(
    settings: Settings,
    tenant: Tenant,
    on_progress: Progress = lambda message: None,
    now: datetime | None = None,
) -> list[Upkeep]:
    """Expire old snapshots of the tenant's silver tables, then remove what no snapshot holds.

    It waits for a load of the tenant to end, and loads wait for it. Doing it again changes nothing.
    """
    now = now or datetime.now(UTC)
    with (
        naming_outage(settings.database, f"silver of tenant {tenant.id} was maintained"),
        locked_lake(engine(settings.database), tenant),
    ):
        catalog = iceberg_catalog(settings.lake, settings.database)
        return [
            _upkeep(settings, catalog, name, on_progress, now)
            for table in TABLES
            if catalog.table_exists(name := table_name(tenant, table))
        ]


def expire_rows(settings: Settings, tenant: Tenant) -> dict[str, int]:
    """Delete the tenant's runs that are older than the audit's calls may be, and the messages of alerts that
    Kafka has had for longer than the hot tables keep; how many of each."""
    kept = {"pipeline_runs": settings.audit.keep_days, "alert_messages": settings.ingest.hot_days}
    now = datetime.now(UTC)
    with tenant_transaction(engine(settings.database), tenant) as connection:
        return {
            name: connection.execute(OLD_ROWS[name], {"before": now - timedelta(days=days)}).rowcount
            for name, days in kept.items()
        }


def _upkeep(settings: Settings, catalog: Catalog, name: str, on_progress: Progress, now: datetime) -> Upkeep:
    on_progress(f"expiring snapshots of {name}")
    table = catalog.load_table(name)
    expired = expire_snapshots(table, now - SNAPSHOT_AGE)
    on_progress(f"looking for files of {name} that no snapshot holds")
    filesystem, root = lake_filesystem(settings.lake), f"s3://{settings.lake.bucket}/"
    # Listed before the snapshots are read: a file that a commit brings in between is not among them.
    old = list(_files(filesystem, table.location().removeprefix(root), now - ORPHAN_AGE))
    held = set(held_files(catalog.load_table(name)))
    orphans = [info for info in old if f"{root}{info.path}" not in held]
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(filesystem.delete_file, (info.path for info in orphans)))
    return Upkeep(name, expired, len(orphans), sum(info.size for info in orphans))


def expire_snapshots(table: Table, before: datetime) -> int:
    """Forget the snapshots from before a time, but the newest `SNAPSHOTS` and any with a name; how many."""
    named = {ref.snapshot_id for ref in table.metadata.refs.values()}
    newest_first = sorted(table.snapshots(), key=lambda snapshot: -snapshot.timestamp_ms)
    expired = [
        snapshot.snapshot_id
        for snapshot in newest_first[SNAPSHOTS:]
        if snapshot.timestamp_ms < before.timestamp() * 1000 and snapshot.snapshot_id not in named
    ]
    if expired:
        table.maintenance.expire_snapshots().by_ids(expired).commit()
    return len(expired)


def held_files(table: Table) -> Iterator[str]:
    """The location of every file that the table's metadata or one of its snapshots needs; some repeatedly."""
    metadata = table.metadata
    yield table.metadata_location
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (statistics.statistics_path for statistics in metadata.statistics)
    yield from (statistics.statistics_path for statistics in metadata.partition_statistics)
    yield from (snapshot.manifest_list for snapshot in metadata.snapshots)
    manifests = {
        manifest.manifest_path: manifest
        for snapshot in metadata.snapshots
        for manifest in snapshot.manifests(table.io)
    }
    yield from manifests
    with ThreadPoolExecutor(TRANSFERS) as pool:
        for entries in pool.map(lambda each: each.fetch_manifest_entry(table.io), manifests.values()):
            yield from (entry.data_file.file_path for entry in entries)


def _files(filesystem: FileSystem, folder: str, before: datetime) -> Iterator[FileInfo]:
    for info in filesystem.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True)):
        if info.type == FileType.File and info.mtime < before:
            yield info
