"""The bronze sink: raw records to the lake, one object per commit."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime

import orjson

from iotops.kafka import Message, Partition
from iotops.lake import lake_filesystem, put
from iotops.settings import Settings
from iotops.tenancy import tenant_of_topic
from pipelines.ingest.sink import Sink

HOUR_MS = 3_600_000


class BronzeSink(Sink):
    """Writes `<tenant>/bronze/raw/YYYY-MM-DD/HH/<topic>-<partition>-<start offset>.jsonl.gz`, then commits.

    The hour is the arrival hour of the object's first record, as Kafka stamped it, and an object never
    crosses an hour: so the key follows from the start offset alone, and a crash between write and commit
    overwrites the same key.
    """

    name = "bronze"

    def __init__(self, settings: Settings) -> None:
        self._lake = lake_filesystem(settings.lake)
        self._waiting: dict[Partition, list[Message]] = {}
        self._since: dict[Partition, float] = {}
        super().__init__(settings)

    def receive(self, partition: Partition, messages: list[Message]) -> None:
        """Keep the records until the object is full, old or the hour ends."""
        waiting = self._waiting.setdefault(partition, [])
        self._since.setdefault(partition, time.monotonic())
        waiting.extend(messages)
        while (size := self._closed(waiting)) > 0:
            self._roll(partition, size)
            waiting = self._waiting.get(partition, [])

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

    def write(self, partition: Partition, messages: list[Message]) -> None:
        """Put one object whose key follows from the first record."""
        put(self._lake, object_key(partition, messages[0]), encode(partition, messages))

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Commit in the consumer group."""
        self.consumer.commit(partition, next_offset)

    def _closed(self, waiting: list[Message]) -> int:
        """How many of the first records make a complete object; 0 when none does yet."""
        if not waiting:
            return 0
        full = self.settings.ingest.bronze_roll_records
        hour = waiting[0].timestamp_ms // HOUR_MS
        if waiting[-1].timestamp_ms // HOUR_MS != hour or len(waiting) >= full:
            same = (i for i, message in enumerate(waiting) if message.timestamp_ms // HOUR_MS != hour)
            return min(next(same, len(waiting)), full)
        return 0

    def _roll(self, partition: Partition, size: int) -> None:
        waiting = self._waiting[partition]
        self.store(partition, waiting[:size])
        rest = waiting[size:]
        if rest:
            self._waiting[partition], self._since[partition] = rest, time.monotonic()
        else:
            del self._waiting[partition], self._since[partition]


def object_key(partition: Partition, first: Message) -> str:
    """The key of the object that begins with this record."""
    arrived = datetime.fromtimestamp(first.timestamp_ms / 1000, UTC)
    prefix = tenant_of_topic(partition.topic).prefix("bronze")
    name = f"{partition.topic}-{partition.number}-{first.offset:020d}.jsonl.gz"
    return f"{prefix}/raw/{arrived:%Y-%m-%d/%H}/{name}"


def encode(partition: Partition, messages: list[Message]) -> bytes:
    """Gzip JSONL, a line per record: its Kafka position, its arrival (epoch ms) and the record's text."""
    lines = (
        orjson.dumps(
            {
                "topic": partition.topic,
                "partition": partition.number,
                "offset": message.offset,
                "timestamp": message.timestamp_ms,
                "value": message.value.decode(errors="replace"),
            }
        )
        for message in messages
    )
    return gzip.compress(b"\n".join(lines) + b"\n", compresslevel=3, mtime=0)
