"""What the sinks share: a consumer-group member that writes first and commits after."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass

from iotops.kafka import Batch, Partition, open_consumer
from iotops.metrics import KAFKA_CONSUMED, KAFKA_LAG
from iotops.settings import Settings

POLL_MS = 500
logger = logging.getLogger(__name__)


@dataclass
class SinkProgress:
    """What a member has done since it started, and its lag: records that are not stored yet."""

    stored: int = 0
    commits: int = 0
    lag: int = 0
    partitions: int = 0


class Sink(ABC):
    """A member of the consumer group `name` over every tenant's topics of some `kinds`.

    A subclass makes `write` idempotent, so that a crash between `write` and `commit` loses and doubles
    nothing: the same records come again and land in the same place.
    """

    name: str
    kinds: tuple[str, ...] = ("telemetry", "events")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.progress = SinkProgress()
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
        lags = {part: unread + self.waiting(part) for part, unread in self.consumer.lag().items()}
        self.progress.lag, self.progress.partitions = sum(lags.values()), len(lags)
        for partition, lag in lags.items():
            tags = {"sink": self.name, "topic": partition.topic, "partition": str(partition.number)}
            KAFKA_LAG.set(lag, tags=tags)


class SinkMember:
    """A sink in its own Ray actor: `max_restarts=-1` makes Ray start it again wherever it dies.

    The loop runs beside the actor's methods; if it fails, the process ends with it, so that the restart is
    Ray's one mechanism for a crash, a kill and an error alike.
    """

    def __init__(self, sink: type[Sink]) -> None:
        from iotops.settings import get_settings

        self._sink = sink(get_settings())
        self._thread = threading.Thread(target=self._run, name=sink.name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        import os

        try:
            self._sink.run()
        except Exception:
            logger.exception("sink %s failed and is started again", self._sink.name)
            time.sleep(1)  # a broker or database that is down must not make a tight loop of restarts
            os._exit(1)

    def progress(self) -> dict[str, int]:
        """What this member has done since it started."""
        return asdict(self._sink.progress)

    def stop(self) -> None:
        """Finish the batch in hand and leave the group."""
        self._sink.stop()
        self._thread.join(timeout=30)
