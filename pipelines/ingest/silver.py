"""The silver sink: records to the hot tables of Postgres, rows and offset in one transaction."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, text
from sqlalchemy.exc import NoResultFound

from iotops.database import driver, engine, tenant_transaction
from iotops.errors import IotOpsError
from iotops.kafka import Batch, Partition
from iotops.settings import Settings
from iotops.tenancy import tenant_of_topic
from pipelines.ingest.silver_rows import EVENTS, TELEMETRY, packed, staged
from pipelines.ingest.sink import Sink

LOAD_OFFSETS = text("SELECT topic, partition, next_offset FROM ingest.offsets")  # the tenant's own
MOVE_OFFSET = text("""
    INSERT INTO ingest.offsets (tenant_id, topic, partition, next_offset)
    VALUES (:tenant, :topic, :partition, :next)
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = :next
    WHERE ingest.offsets.next_offset <= :start
    RETURNING next_offset""")
RETENTION_EVERY_S = 3600.0


class OffsetConflict(IotOpsError):
    """Another member has stored these records already: this one is a zombie and must rejoin."""


class SilverSink(Sink):
    """Stages records by binary COPY (which row security refuses on the table itself), merges them, and moves
    the stored offset, all in one transaction; on assignment it starts at the stored offset.

    A record that a device has sent twice within a day (see `HotTable.same`) is stored once.
    """

    name = "silver"

    def __init__(self, settings: Settings) -> None:
        self._engine = engine(settings.database)
        self._days: set[date] = set()
        self._retention_at = float("-inf")
        super().__init__(settings)

    def assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Go on where the database says, whatever the consumer group says."""
        starts = dict.fromkeys(partitions, 0)
        for tenant in {tenant_of_topic(partition.topic) for partition in partitions}:
            with tenant_transaction(self._engine, tenant) as connection:
                for topic, number, offset in connection.execute(LOAD_OFFSETS):
                    if (partition := Partition(topic, number)) in starts:
                        starts[partition] = offset
        return starts

    def tick(self) -> None:
        """Drop the days that are older than the retention."""
        if time.monotonic() - self._retention_at < RETENTION_EVERY_S:
            return
        self._retention_at = time.monotonic()
        oldest = datetime.now(UTC).date() - timedelta(days=self.settings.ingest.hot_days)
        with self._engine.begin() as connection:
            connection.execute(text("SELECT silver.drop_days_before(:day)"), {"day": oldest})
        self._days = {day for day in self._days if day >= oldest}

    def write(self, batch: Batch) -> None:
        """Rows and offset in one transaction."""
        partition = batch.partition
        tenant = tenant_of_topic(partition.topic)
        table = EVENTS if partition.topic == tenant.events_topic else TELEMETRY
        rows = staged(table, batch, time.time_ns() // 1_000_000)
        self._make_days(set(rows["arrival_day"].unique().to_pylist()))
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(text(table.open_staging))
            with driver(connection).cursor().copy(table.copy_staging) as copy:
                copy.write(packed(rows))
            connection.execute(text(table.merge), {"tenant": tenant.id, "partition": partition.number})
            self._move_offset(connection, batch)

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Tell the group as well, for those who watch its lag; the database's offset counts."""
        self.consumer.commit(partition, next_offset)

    def _make_days(self, days: set[date]) -> None:
        for day in days - self._days:
            with self._engine.begin() as connection:
                connection.execute(text("SELECT silver.add_day(:day)"), {"day": day})
            self._days.add(day)

    def _move_offset(self, connection: Connection, batch: Batch) -> None:
        partition, start = batch.partition, batch.offsets[0]
        moved = {
            "tenant": tenant_of_topic(partition.topic).id,
            "topic": partition.topic,
            "partition": partition.number,
            "start": start,
            "next": batch.offsets[-1] + 1,
        }
        try:
            connection.execute(MOVE_OFFSET, moved).one()
        except NoResultFound:
            raise OffsetConflict(f"{partition} is stored beyond offset {start}") from None
