"""What the sinks share: a consumer-group member that writes first and commits after."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor, wait

from iotops.kafka import Batch, Partition, open_consumer
from iotops.metrics import KAFKA_CONSUMED, KAFKA_LAG
from iotops.settings import Settings
from pipelines.ingest.worker import Progress

POLL_MS = 100
READ_AHEAD = 4  # times the largest write, of all partitions together


class Sink(ABC):
    """A member of the consumer group `name` over every tenant's topics of some `kinds`.

    A subclass makes `write` idempotent, so that a crash between `write` and `commit` loses and doubles
    nothing: the same records come again and land in the same place. `write` runs in a thread, one at a time
    and in order, while the next records are read; the rest runs where `run` does. What was read meanwhile is
    written together: a batch is as small as the load allows.
    """

    name: str
    kinds: tuple[str, ...] = ("telemetry", "events")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.progress = Progress()
        self._stop = threading.Event()
        self._waiting: dict[Partition, Batch] = {}
        self._since: dict[Partition, float] = {}  # when the first waiting record was read
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._writing: tuple[Batch, Future[None]] | None = None
        self.consumer = open_consumer(
            settings.kafka,
            group=self.name,
            topics=self.topics,
            on_assigned=self.assigned,
            on_revoked=self._let_go,
        )

    @property
    def topics(self) -> str:
        """Regular expression of the topics to read."""
        return rf"^({'|'.join(self.kinds)})_[a-z0-9_]+$"

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Store records that follow each other in one partition; doing it twice changes nothing."""

    @abstractmethod
    def commit(self, partition: Partition, next_offset: int) -> None:
        """Record that everything before `next_offset` is stored."""

    @property
    def largest(self) -> int:
        """Records of one write at most."""
        return self.settings.ingest.batch_records

    def ready(self, waiting: Batch, since: float) -> int:
        """How many of a partition's waiting records to write now; they wait since (monotonic clock, s)."""
        return min(len(waiting), self.largest)

    def tick(self) -> None:
        """Do what is due beside the records."""

    def assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Partitions became this member's; the offsets to start at where the group's are not to be used."""
        return {}

    def revoked(self, partitions: list[Partition]) -> None:
        """Partitions go to another member; nothing of theirs is being written."""

    def run(self) -> None:
        """Consume until `stop`; an error ends the member, which its supervisor starts again."""
        try:
            while not self._stop.is_set():
                self.step()
            self._settle()
        finally:
            self.consumer.close()
            self._writer.shutdown()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stop.set()

    def step(self) -> None:
        """Read what is there, and store what is ready."""
        batches = self.consumer.poll(timeout_ms=POLL_MS, max_records=self.settings.ingest.batch_records)
        for batch in batches:
            self.receive(batch)
        while not self._busy() and self._begin():
            pass
        if not batches:
            self._settle()
        self.tick()
        self._report()

    def receive(self, batch: Batch) -> None:
        """Put the next records of a partition behind those that wait."""
        waiting = self._waiting.get(batch.partition)
        self._waiting[batch.partition] = waiting + batch if waiting else batch
        self._since.setdefault(batch.partition, time.monotonic())

    def drain(self) -> None:
        """Store all that is ready, and return when it is stored."""
        while self._begin():
            pass
        self._settle()

    def _busy(self) -> bool:
        """Whether a write is under way and there is room to read on."""
        if self._writing is None or self._writing[1].done():
            return False
        sizes = [len(waiting) for waiting in self._waiting.values()]
        return max(sizes, default=0) < self.largest and sum(sizes) < READ_AHEAD * self.largest

    def _begin(self) -> bool:
        """Write of the partition that waits longest, after the write under way; whether one was ready."""
        self._settle()
        for partition, since in sorted(self._since.items(), key=lambda item: item[1]):
            waiting = self._waiting[partition]
            if size := self.ready(waiting, since):
                self._drop(partition)
                if rest := waiting[size:]:
                    self.receive(rest)
                first = waiting[:size]
                self._writing = first, self._writer.submit(self.write, first)
                return True
        return False

    def _settle(self) -> None:
        """Wait for the write under way and commit it; raises what it raised."""
        if self._writing is None:
            return
        (batch, written), self._writing = self._writing, None
        written.result()
        self.commit(batch.partition, batch.offsets[-1] + 1)
        self.progress.stored += len(batch)
        self.progress.commits += 1
        KAFKA_CONSUMED.inc(len(batch), tags={"sink": self.name, "topic": batch.partition.topic})

    def _let_go(self, partitions: list[Partition]) -> None:
        """Within a poll, where nothing can be committed. What is being written comes again and lands in the
        same place, but not after what the next member writes there."""
        if self._writing is not None and self._writing[0].partition in partitions:
            wait([self._writing[1]])
            self._writing = None
        for partition in partitions:
            self._drop(partition)
        self.revoked(partitions)

    def _drop(self, partition: Partition) -> None:
        self._waiting.pop(partition, None)
        self._since.pop(partition, None)

    def _report(self) -> None:
        lags = self.consumer.lag()
        writing = len(self._writing[0]) if self._writing else 0
        self.progress.lags, self.progress.waiting = lags, writing + sum(map(len, self._waiting.values()))
        for partition, lag in lags.items():
            tags = {"sink": self.name, "topic": partition.topic, "partition": str(partition.number)}
            KAFKA_LAG.set(lag, tags=tags)
