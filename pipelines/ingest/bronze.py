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
from pipelines.ingest.new_hours import NewHours
from pipelines.ingest.sink import Sink
from pipelines.ingest.times import HOUR_MS

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
        self._hours = NewHours(settings)
        super().__init__(settings)

    def run(self) -> None:
        """Consume until `stop`."""
        try:
            super().run()
        finally:
            self._hours.close()

    @property
    def largest(self) -> int:
        """Records of an object at most."""
        return self.settings.ingest.bronze_roll_records

    def ready(self, waiting: Batch, since: float) -> int:
        """The records of an object that is full, old, or whose hour has ended; 0 while it is none of them."""
        stamps = waiting.timestamps[: self.largest]
        hour = stamps[0] // HOUR_MS
        old = time.monotonic() - since >= self.settings.ingest.bronze_roll_seconds
        if len(stamps) < self.largest and not old and stamps[-1] // HOUR_MS == hour:
            return 0
        return next((i for i, ms in enumerate(stamps) if ms // HOUR_MS != hour), len(stamps))

    def write(self, batch: Batch) -> None:
        """Put one object whose key follows from the first record; a new hour of bronze is told of."""
        put(self._lake, object_key(batch), encode(batch))
        if not batch.partition.topic.startswith("deadletter_"):
            self._hours.stored(tenant_of_topic(batch.partition.topic), batch.timestamps[0])

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Commit in the consumer group."""
        self.consumer.commit(partition, next_offset)


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
