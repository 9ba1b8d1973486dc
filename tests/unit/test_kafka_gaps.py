"""A broker that shows a later batch before an earlier one must not make a consumer pass over it."""

from __future__ import annotations

import pytest

from iotops.kafka import contract
from iotops.kafka.contract import Batch, Consumer, Partition
from iotops.settings import KafkaSettings

PLACE = Partition("telemetry_acme", 0)


class Scripted(Consumer):
    """Polls what the test says; notes where it is told to read again."""

    def __init__(self, *polls: list[int], committed: int | None = None) -> None:
        super().__init__(KafkaSettings(), "readers", ".*", lambda partitions: {}, lambda partitions: None)
        self.polls, self.seeks, self.committed = list(polls), [], committed

    def commit(self, partition: Partition, next_offset: int) -> None: ...

    def lag(self) -> dict[Partition, int]:
        return {}

    def _leave(self) -> None: ...

    def _poll(self, timeout_ms: int, max_records: int) -> list[Batch]:
        offsets = self.polls.pop(0)
        return [Batch(PLACE, offsets, offsets, [b""] * len(offsets), [b""] * len(offsets))]

    def _seek(self, partition: Partition, offset: int) -> None:
        self.seeks.append(offset)

    def _committed(self, partition: Partition) -> int | None:
        return self.committed

    def _list_topics(self) -> set[str]:
        return {PLACE.topic}

    def _subscribe(self, topics: list[str]) -> None:
        self._begin([PLACE], {})

    def read(self) -> list[int]:
        return [offset for batch in self.poll(timeout_ms=1, max_records=10) for offset in batch.offsets]


def test_records_without_a_gap_pass() -> None:
    consumer = Scripted([5, 6], [7], committed=5)
    assert [consumer.read(), consumer.read(), consumer.seeks] == [[5, 6], [7], []]


def test_what_follows_a_gap_is_read_again() -> None:
    consumer = Scripted([0, 1, 4, 5], [4, 5], [2, 3, 4, 5], [6])
    assert [consumer.read() for _ in range(4)] == [[0, 1], [], [2, 3, 4, 5], [6]]
    assert consumer.seeks == [2, 2]


def test_a_gap_at_the_very_start_is_seen_from_the_groups_offset() -> None:
    consumer = Scripted([12], [10, 11, 12], committed=10)
    assert [consumer.read(), consumer.read(), consumer.seeks] == [[], [10, 11, 12], [10]]


def test_a_gap_that_nothing_fills_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "GAP_S", -1.0)
    consumer = Scripted([0, 3, 5], [3, 5], [5, 6])
    assert [consumer.read() for _ in range(3)] == [[0], [3], [5, 6]]


def test_going_back_is_no_gap() -> None:
    consumer = Scripted([4, 5], [2, 3, 4], committed=4)
    assert [consumer.read(), consumer.read(), consumer.seeks] == [[4, 5], [2, 3, 4], []]
