"""What both Kafka clients do."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from iotops.errors import IotOpsError

TOPICS_REFRESH_S = 5.0


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
        columns = (self.offsets, self.timestamps, self.keys, self.values)
        return Batch(self.partition, *(column[part] for column in columns))  # type: ignore[arg-type]

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
    without a restart.
    """

    def __init__(self, topics: str) -> None:
        self._pattern = re.compile(topics)
        self._topics: frozenset[str] = frozenset()
        self._checked_at = float("-inf")

    def poll(self, *, timeout_ms: int, max_records: int) -> list[Batch]:
        """Records that arrived, a batch per partition; none after the time-out."""
        self._follow_topics()
        if not self._topics:
            time.sleep(timeout_ms / 1000)
            return []
        return self._poll(timeout_ms, max_records)

    @abstractmethod
    def commit(self, partition: Partition, next_offset: int) -> None:
        """Store in the group that everything before `next_offset` is done."""

    @abstractmethod
    def lag(self) -> dict[Partition, int]:
        """Records not yet read, by assigned partition.

        By the high watermark of the latest fetch: a broker may have taken that before records that the same
        fetch carries, and does not mention a partition again until more arrive.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave the group, without committing."""

    @abstractmethod
    def _poll(self, timeout_ms: int, max_records: int) -> list[Batch]: ...

    @abstractmethod
    def _list_topics(self) -> set[str]: ...

    @abstractmethod
    def _subscribe(self, topics: list[str]) -> None: ...

    def _follow_topics(self) -> None:
        if time.monotonic() - self._checked_at < TOPICS_REFRESH_S:
            return
        self._checked_at = time.monotonic()
        wanted = frozenset(filter(self._pattern.fullmatch, self._list_topics()))
        if wanted != self._topics:
            self._topics = wanted
            self._subscribe(sorted(wanted))
