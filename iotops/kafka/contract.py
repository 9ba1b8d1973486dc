"""What both Kafka clients do."""

from __future__ import annotations

import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from iotops.errors import IotOpsError
from iotops.kafka.admin import is_stable
from iotops.settings import KafkaSettings

TOPICS_REFRESH_S = 5.0
REST_S = 20.0  # a rebalance takes a session time-out and a join
GAP_S = 10.0  # then what is missing was never stored
GAP_PAUSE_S = 0.05
logger = logging.getLogger(__name__)


class KafkaUnavailable(IotOpsError):
    """The broker did not acknowledge in time; nothing may be taken as accepted."""


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition in offset order, as columns of equal length.

    `timestamps` are epoch milliseconds, as the producer stamped them.
    """

    partition: Partition
    offsets: list[int]
    timestamps: list[int]
    keys: list[bytes]
    values: list[bytes]

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, part: slice) -> Batch:
        """Some of the records."""
        offsets, timestamps = self.offsets[part], self.timestamps[part]
        return Batch(self.partition, offsets, timestamps, self.keys[part], self.values[part])

    def __add__(self, later: Batch) -> Batch:
        """These records and those that follow them."""
        return Batch(
            self.partition,
            self.offsets + later.offsets,
            self.timestamps + later.timestamps,
            self.keys + later.keys,
            self.values + later.values,
        )


Record = tuple[str, str, bytes]
"""Topic, key and value of a record to send."""

Assigned = Callable[[list[Partition]], dict[Partition, int]]
"""Told of the partitions that became this member's; returns offsets to start at, else the group's hold."""

Revoked = Callable[[list[Partition]], None]
"""Told of the partitions that another member gets: what was read and not committed must be dropped."""


class Producer(ABC):
    """Sends records with acknowledgement from all in-sync replicas; safe to use from several threads."""

    @abstractmethod
    def send_all(self, records: Sequence[Record]) -> None:
        """Produce records and return when every one is acknowledged.

        Raises `KafkaUnavailable` if any is not within the time-out: the caller must not accept the batch.
        """

    @abstractmethod
    def close(self) -> None:
        """Send what is buffered and disconnect."""


class Consumer(ABC):
    """One member of a consumer group; offsets are committed only when asked.

    A member that sees the matching topics change subscribes anew, so that a new tenant's topics are picked up
    without a restart. Offsets follow each other without a gap: a broker that stores batches side by side may
    show a later one first, so a gap is waited for, and passed over only when nothing fills it.
    """

    def __init__(
        self, settings: KafkaSettings, group: str, topics: str, on_assigned: Assigned, on_revoked: Revoked
    ) -> None:
        self._settings, self._group = settings, group
        self._pattern = re.compile(topics)
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._topics: frozenset[str] = frozenset()
        self._subscribed = False
        self._placed = False  # the group has said which partitions are this member's
        self._checked_at = float("-inf")
        self._next: dict[Partition, int] = {}
        self._gap_since: dict[Partition, float] = {}
        self._unplaced: set[Partition] = set()

    def poll(self, *, timeout_ms: int, max_records: int) -> list[Batch]:
        """Records that arrived, a batch per partition; none after the time-out."""
        self._follow_topics()
        if not self._topics:
            time.sleep(timeout_ms / 1000)
            return []
        polled = self._poll(timeout_ms, max_records)
        self._find_starts()
        return [batch for found in polled if len(batch := self._until_gap(found))]

    @abstractmethod
    def commit(self, partition: Partition, next_offset: int) -> None:
        """Store in the group that everything before `next_offset` is done."""

    @abstractmethod
    def lag(self) -> dict[Partition, int]:
        """Records not yet read, by assigned partition.

        By the high watermark of the latest fetch: a broker may have taken that before records that the same
        fetch carries, and does not mention a partition again until more arrive.
        """

    def close(self) -> None:
        """Leave the group, without committing: between its rebalances, so up to `REST_S` seconds later."""
        try:
            self._come_to_rest()
        finally:
            self._leave()

    @abstractmethod
    def _leave(self) -> None: ...

    @abstractmethod
    def _poll(self, timeout_ms: int, max_records: int) -> list[Batch]: ...

    @abstractmethod
    def _seek(self, partition: Partition, offset: int) -> None: ...

    @abstractmethod
    def _committed(self, partition: Partition) -> int | None: ...

    @abstractmethod
    def _list_topics(self) -> set[str]: ...

    @abstractmethod
    def _subscribe(self, topics: list[str]) -> None: ...

    def _come_to_rest(self) -> None:
        """Take part until the group has its partitions shared out; what is read meanwhile is let go.

        The embedded broker takes a member that leaves before that for the group's leader for ever, and gives
        nobody any partition again.
        """
        deadline = time.monotonic() + REST_S
        while self._subscribed and time.monotonic() < deadline:
            if self._placed and is_stable(self._settings, self._group):
                return
            self._poll(timeout_ms=100, max_records=1)

    def _begin(self, partitions: Iterable[Partition], starts: Mapping[Partition, int]) -> None:
        """Partitions are read from here on: from `starts`, else from where the group is."""
        self._placed = True
        for partition in partitions:
            self._gap_since.pop(partition, None)
            self._next.pop(partition, None)
            if partition in starts:
                self._next[partition] = starts[partition]
            else:
                self._unplaced.add(partition)

    def _end(self, partitions: list[Partition]) -> None:
        """Partitions are no longer this member's, until the group has shared them out anew."""
        self._placed = False
        self._on_revoked(partitions)

    def _find_starts(self) -> None:
        """Ask for the group's offsets, which a client does not let a rebalance callback do."""
        for partition in self._unplaced:
            if (start := self._committed(partition)) is not None:
                self._next[partition] = start
        self._unplaced.clear()

    def _until_gap(self, batch: Batch) -> Batch:
        """The records before the first gap; what follows is read again."""
        partition, first, last = batch.partition, batch.offsets[0], batch.offsets[-1]
        expected = min(self._next.get(partition, first), first)
        self._next[partition] = last + 1
        if last - expected + 1 == len(batch):
            self._gap_since.pop(partition, None)
            return batch
        whole = next(i for i, offset in enumerate(batch.offsets) if offset != expected + i)
        now = time.monotonic()
        if whole:
            self._gap_since[partition] = now
        elif now - self._gap_since.setdefault(partition, now) > GAP_S:
            del self._gap_since[partition]
            logger.warning("%s has no records from %d to %d", partition, expected, first - 1)
            return self._until_gap(batch)
        self._next[partition] = expected + whole
        self._seek(partition, expected + whole)
        time.sleep(GAP_PAUSE_S)
        return batch[:whole]

    def _follow_topics(self) -> None:
        if time.monotonic() - self._checked_at < TOPICS_REFRESH_S:
            return
        self._checked_at = time.monotonic()
        wanted = frozenset(filter(self._pattern.fullmatch, self._list_topics()))
        if wanted != self._topics:
            self._topics = wanted
            self._subscribe(sorted(wanted))
            self._subscribed = bool(wanted)
