"""What the sinks share: a consumer-group member that writes first and commits after."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from iotops.kafka import Batch, Partition, open_consumer
from iotops.metrics import KAFKA_CONSUMED, KAFKA_LAG
from iotops.settings import Settings
from pipelines.ingest.worker import Progress

POLL_MS = 500


class Sink(ABC):
    """A member of the consumer group `name` over every tenant's topics of some `kinds`.

    A subclass makes `write` idempotent, so that a crash between `write` and `commit` loses and doubles
    nothing: the same records come again and land in the same place.
    """

    name: str
    kinds: tuple[str, ...] = ("telemetry", "events")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.progress = Progress()
        self._stop = threading.Event()
        self.consumer = open_consumer(
            settings.kafka,
            group=self.name,
            topics=rf"^({'|'.join(self.kinds)})_[a-z0-9_]+$",
            on_assigned=self.assigned,
            on_revoked=self.revoked,
        )

    @abstractmethod
    def receive(self, batch: Batch) -> None:
        """Take the next records of a partition; store them now or keep them for `tick`."""

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Store records that follow each other in one partition; doing it twice changes nothing."""

    @abstractmethod
    def commit(self, partition: Partition, next_offset: int) -> None:
        """Record that everything before `next_offset` is stored."""

    def tick(self) -> None:
        """Store what has waited long enough."""

    def waiting(self, partition: Partition) -> int:
        """Records of a partition that were read and are not stored."""
        return 0

    def assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Partitions became this member's; the offsets to start at where the group's are not to be used."""
        return {}

    def revoked(self, partitions: list[Partition]) -> None:
        """Partitions go to another member: forget what was read of them and not stored."""

    def store(self, batch: Batch) -> None:
        """Write, then commit."""
        self.write(batch)
        self.commit(batch.partition, batch.offsets[-1] + 1)
        self.progress.stored += len(batch)
        self.progress.commits += 1
        KAFKA_CONSUMED.inc(len(batch), tags={"sink": self.name, "topic": batch.partition.topic})

    def run(self) -> None:
        """Consume until `stop`; an error ends the member, which its supervisor starts again."""
        records = self.settings.ingest.batch_records
        try:
            while not self._stop.is_set():
                for batch in self.consumer.poll(timeout_ms=POLL_MS, max_records=records):
                    self.receive(batch)
                self.tick()
                self._report_lag()
        finally:
            self.consumer.close()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stop.set()

    def _report_lag(self) -> None:
        lags = self.consumer.lag()
        self.progress.lags, self.progress.waiting = lags, sum(map(self.waiting, lags))
        for partition, lag in lags.items():
            tags = {"sink": self.name, "topic": partition.topic, "partition": str(partition.number)}
            KAFKA_LAG.set(lag, tags=tags)
