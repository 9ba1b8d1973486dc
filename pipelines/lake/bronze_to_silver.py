"""Bronze to silver: the objects of the arrival hours that changed, to Iceberg tables, on Ray Data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from iotops.database import engine
from iotops.lake import iceberg_catalog, lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines import ray_data
from pipelines.lake.bronze_objects import BronzeHour, list_hours
from pipelines.lake.loads import (
    OWED,
    HourLoad,
    announce_loads,
    hour_load,
    listings,
    locked_lake,
    naming_outage,
    owe_loads,
    record_loads,
)
from pipelines.lake.reading_rules import load_reading_rules
from pipelines.lake.refusal import RefusedHour, exceeds, quarantine_error, refused_hour
from pipelines.lake.silver_files import Written, replace_hours
from pipelines.lake.silver_tables import open_tables, table_name
from pipelines.lake.silver_task import Work, run_tasks

if TYPE_CHECKING:
    from pyiceberg.table import Table

Progress = Callable[[str], None]
JOB_BYTES = 32 * 2**20
"""Compressed bronze that one job reads at most, unless a single hour has more: about a million readings."""
REVISIT = timedelta(days=2)
"""How far before the newest loaded hour bronze is looked at again: no sink lags for longer."""


def load_silver(
    settings: Settings,
    tenant: Tenant,
    hours: Sequence[datetime] | None = None,
    on_progress: Progress = lambda message: None,
) -> list[HourLoad]:
    """Bring the silver tables to the state of bronze; returns the hours that were loaded, in order.

    An hour is loaded when its objects are not those of its last load; `hours` (UTC) loads just those, changed
    or not. Loading replaces exactly the rows of the hour, so it can be repeated and broken off at will: what
    was recorded when a run broke off stays, the next run does what is left. An hour whose objects are all
    gone is left alone: bronze may expire before silver does.

    Raises `QuarantineError` when it has loaded all hours but those with too many refused records, and
    `LakeError` for a breaking change of the schema or when Postgres goes away.
    """
    ray_data.prepare(settings.ray)
    with (
        naming_outage(settings.database, f"silver of tenant {tenant.id} was loaded"),
        locked_lake(engine(settings.database), tenant) as book,
    ):
        run = _Run(settings, tenant, book, on_progress)
        loads = [load for job in jobs(run.changed_hours(hours)) for load in run.load(job)]
    if run.refused:
        raise quarantine_error(tenant, run.refused, settings.lake.max_quarantine_share)
    return loads


def changed(found: Iterable[BronzeHour], book: dict[datetime, str]) -> list[BronzeHour]:
    """The hours whose objects are not those of their last load."""
    return [hour for hour in found if book.get(hour.arrival_hour) != hour.listing]


def look_from(book: dict[datetime, str], now: datetime) -> datetime | None:
    """Since when bronze is looked at: from the oldest hour that is owed, or a little before the newest.

    An hour that lies ahead was stamped by a wrong clock, and says nothing of what is loaded.
    """
    come = [hour for hour in book if hour <= now]
    if not come:
        return None
    owed = (hour for hour, listing in book.items() if listing == OWED)
    return min(chain([max(come) - REVISIT], owed))


def jobs(hours: Iterable[BronzeHour]) -> Iterator[list[BronzeHour]]:
    """The hours, in order, as jobs of at most `JOB_BYTES`."""
    job: list[BronzeHour] = []
    for hour in hours:
        if job and sum(each.bytes for each in job) + hour.bytes > JOB_BYTES:
            yield job
            job = []
        job.append(hour)
    if job:
        yield job


class _Run:
    """A run that holds the tenant's lock."""

    def __init__(self, settings: Settings, tenant: Tenant, book: Connection, on_progress: Progress) -> None:
        self.settings, self.tenant, self.book, self.on_progress = settings, tenant, book, on_progress
        self.catalog = iceberg_catalog(settings.lake, settings.database)
        self.rules = load_reading_rules(settings.configs)
        self.refused: list[RefusedHour] = []

    def changed_hours(self, hours: Sequence[datetime] | None) -> list[BronzeHour]:
        """The hours to load."""
        self.on_progress("listing bronze")
        filesystem = lake_filesystem(self.settings.lake)
        if hours is not None:
            wanted = {hour.astimezone(UTC) for hour in hours}
            found = list_hours(filesystem, self.tenant, min(wanted)) if wanted else []
            return [hour for hour in found if hour.arrival_hour in wanted]
        book = listings(self.book, self.tenant)
        return changed(list_hours(filesystem, self.tenant, look_from(book, datetime.now(UTC))), book)

    def load(self, job: list[BronzeHour]) -> list[HourLoad]:
        """Load the hours of a job but those with too many refused records, which go to quarantine only."""
        tables = open_tables(self.catalog, self.settings.lake, self.tenant, self.rules.columns)
        hours = [hour.arrival_hour for hour in job]
        self.on_progress(
            f"parsing {sum(len(hour.objects) for hour in job):,} objects of {len(job)} arrival hours"
        )
        work = Work(
            self.settings.lake,
            self.tenant,
            {name: table.metadata_location for name, table in tables.items()},
            hours,
            self.rules,
            self.settings.ingest.max_future_s,
        )
        written = run_tasks(work, job)
        loads = [
            hour_load(hour.arrival_hour, len(hour.objects), written.get(hour.arrival_hour, []))
            for hour in job
        ]
        refused = [load for load in loads if exceeds(load, self.settings.lake.max_quarantine_share)]
        if refused:
            self._refuse(refused, tables["quarantine"], written)
            # Again without them: a record that came in a refused hour too is not a duplicate of that one.
            kept = [hour for hour in job if hour.arrival_hour not in {load.arrival_hour for load in refused}]
            return self.load(kept) if kept else []
        announce_loads(self.book, self.tenant, loads)
        for name, table in tables.items():
            self._replace(name, table, hours, written)
        record_loads(self.book, self.tenant, zip(loads, (hour.listing for hour in job), strict=True))
        return loads

    def _refuse(self, loads: list[HourLoad], quarantine: Table, written: Written) -> None:
        hours = [load.arrival_hour for load in loads]
        owe_loads(self.book, self.tenant, hours)
        self._replace("quarantine", quarantine, hours, written)
        self.refused += [refused_hour(quarantine, load) for load in loads]

    def _replace(self, name: str, table: Table, hours: list[datetime], written: Written) -> None:
        mine = [row for hour in hours for row in written.get(hour, []) if row["kind"] == name]
        count = sum(row["rows"] for row in mine)
        self.on_progress(f"writing {count:,} rows to {table_name(self.tenant, name)}")
        replace_hours(table, hours, [file for row in mine for file in row["files"]])
