"""The bronze sink: raw records to the lake, one object per commit."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import orjson
from isal import igzip

from iotops.kafka import Batch, Partition
from iotops.lake import lake_filesystem, put
from iotops.settings import Settings
from iotops.tenancy import tenant_of_topic
from pipelines.ingest.sink import Sink

HOUR_MS = 3_600_000
LEVEL = 2  # of 0 to 3


class BronzeSink(Sink):
    """Writes `<tenant>/bronze/raw/YYYY-MM-DD/HH/<topic>-<partition>-<start offset>.jsonl.gz`, then commits;
    dead letters go to `<tenant>/deadletter/raw/...` the same way.

    The hour is the arrival hour of the object's first record, as Kafka stamped it, and an object never
    crosses an hour: so the key follows from the start offset alone, and a crash between write and commit
    overwrites the same key.
    """

    name = "bronze"
    kinds = ("telemetry", "events", "deadletter")

    def __init__(self, settings: Settings) -> None:
        self._lake = lake_filesystem(settings.lake)
        self._waiting: dict[Partition, Batch] = {}
        self._since: dict[Partition, float] = {}
        super().__init__(settings)

    def receive(self, batch: Batch) -> None:
        """Keep the records until the object is full, old or the hour ends."""
        waiting = self._waiting.get(batch.partition)
        self._keep(waiting + batch if waiting else batch)
        while size := self._closed(batch.partition):
            self._roll(batch.partition, size)

    def tick(self) -> None:
        """Roll the objects whose first record is old enough."""
        horizon = time.monotonic() - self.settings.ingest.bronze_roll_seconds
        for partition in [partition for partition, since in self._since.items() if since <= horizon]:
            self._roll(partition, len(self._waiting[partition]))

    def waiting(self, partition: Partition) -> int:
        """Records of the object that is not closed yet."""
        return len(self._waiting.get(partition, ()))

    def revoked(self, partitions: list[Partition]) -> None:
        """Forget what is not committed: the next member reads it again."""
        for partition in partitions:
            self._waiting.pop(partition, None)
            self._since.pop(partition, None)

    def write(self, batch: Batch) -> None:
        """Put one object whose key follows from the first record."""
        put(self._lake, object_key(batch), encode(batch))

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Commit in the consumer group."""
        self.consumer.commit(partition, next_offset)

    def _keep(self, batch: Batch) -> None:
        self._waiting[batch.partition] = batch
        self._since.setdefault(batch.partition, time.monotonic())

    def _closed(self, partition: Partition) -> int:
        """How many of the first records make a complete object; 0 when none does yet."""
        waiting = self._waiting.get(partition)
        if waiting is None:
            return 0
        stamps, full = waiting.timestamps, self.settings.ingest.bronze_roll_records
        hour = stamps[0] // HOUR_MS
        if stamps[-1] // HOUR_MS == hour and len(stamps) < full:
            return 0
        return min(next((i for i, ms in enumerate(stamps) if ms // HOUR_MS != hour), len(stamps)), full)

    def _roll(self, partition: Partition, size: int) -> None:
        waiting = self._waiting[partition]
        self.store(waiting[:size])
        self.revoked([partition])
        if rest := waiting[size:]:
            self._keep(rest)


def object_key(batch: Batch) -> str:
    """The key of the object that begins with this record."""
    topic, number = batch.partition
    arrived = datetime.fromtimestamp(batch.timestamps[0] / 1000, UTC)
    name = f"{topic}-{number}-{batch.offsets[0]:020d}.jsonl.gz"
    area = "deadletter" if topic.startswith("deadletter_") else "bronze"
    return f"{tenant_of_topic(topic).prefix(area)}/raw/{arrived:%Y-%m-%d/%H}/{name}"


def encode(batch: Batch) -> bytes:
    """Gzip JSONL, a line per record: its Kafka position, its arrival (epoch ms) and the record's text.

    Text that is no UTF-8 has U+FFFD in its place: no gateway lets such a record through.
    """
    topic, number = batch.partition
    place = f'{{"topic":"{topic}","partition":{number},"offset":'.encode()
    lines = [
        b'%b%d,"timestamp":%d,"value":%b}' % (place, offset, timestamp, _text(value))
        for offset, timestamp, value in zip(batch.offsets, batch.timestamps, batch.values, strict=True)
    ]
    packed: bytes = igzip.compress(b"\n".join(lines) + b"\n", compresslevel=LEVEL, mtime=0)
    return packed


def _text(value: bytes) -> bytes:
    return orjson.dumps(value.decode(errors="replace"))
