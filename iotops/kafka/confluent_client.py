"""confluent-kafka: librdkafka, for the hot paths."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import confluent_kafka as ck

from iotops.kafka.contract import (
    Assigned,
    Batch,
    Consumer,
    KafkaUnavailable,
    Partition,
    Producer,
    Record,
    Revoked,
)
from iotops.settings import KafkaSettings

FETCH_BYTES = 32 * 2**20


class _Delivery:
    """Counts the acknowledgements of one `send_all`."""

    def __init__(self, records: int) -> None:
        self._left, self.error = records, ""
        self._done = threading.Event()

    def __call__(self, error: ck.KafkaError | None, message: ck.Message) -> None:
        """One record's report; they all come on the one polling thread."""
        if error is not None:
            self.error = str(error)
        self._left -= 1
        if self._left == 0:
            self._done.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether every record was reported in time."""
        return self._done.wait(timeout_s)


class _Connection:
    """A librdkafka producer, and the thread that takes its delivery reports until it is retired and empty."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.client = ck.Producer(options)
        self._retired = False
        self._reports = threading.Thread(target=self._take_reports, name="kafka-reports", daemon=True)
        self._reports.start()

    def retire(self) -> threading.Thread:
        """Take no more records; the thread ends with the last report."""
        self._retired = True
        return self._reports

    def _take_reports(self) -> None:
        while not self._retired or len(self.client):
            self.client.poll(0.1)


class ConfluentProducer(Producer):
    """A producer over librdkafka.

    After a record that was not acknowledged, an idempotent producer may be fenced by the broker for good: so
    the connection is replaced by a new one whenever a send fails.
    """

    def __init__(self, settings: KafkaSettings, timeout_s: float, linger_ms: int) -> None:
        self._timeout_s = timeout_s
        self._options = {
            "bootstrap.servers": settings.bootstrap_servers,
            "enable.idempotence": settings.idempotent,
            "acks": "all",
            "max.in.flight": 5 if settings.idempotent else 1,  # else a retry overtakes
            "allow.auto.create.topics": False,
            "linger.ms": linger_ms,
            "request.timeout.ms": int(timeout_s * 500),
            "delivery.timeout.ms": int(timeout_s * 1000),
            "log_level": 2,
        }
        self._lock = threading.Lock()
        self._connection = _Connection(self._options)

    def send_all(self, records: Sequence[Record]) -> None:
        """Produce and wait for every acknowledgement."""
        connection = self._connection
        problem = self._send(connection, records) if records else None
        if problem is not None:
            with self._lock:
                if self._connection is connection:
                    connection.retire()
                    self._connection = _Connection(self._options)
            raise KafkaUnavailable(f"Kafka did not acknowledge {len(records)} records: {problem}")

    def close(self) -> None:
        """Send what is buffered and end the thread."""
        self._connection.retire().join(self._timeout_s)

    def _send(self, connection: _Connection, records: Sequence[Record]) -> str | None:
        """What went wrong; None where every record is acknowledged."""
        delivery, deadline = _Delivery(len(records)), time.monotonic() + self._timeout_s
        for topic, key, value in records:
            while True:
                try:
                    connection.client.produce(topic, value, key, on_delivery=delivery)
                    break
                except BufferError:  # the broker is slower than its senders
                    if time.monotonic() > deadline:
                        return "the queue is full"
                    time.sleep(0.01)
                except ck.KafkaException as error:
                    return str(error)
        # librdkafka reports what it cannot deliver in time; the wait is longer by its own precision.
        if not delivery.wait(self._timeout_s + 2):
            return f"no report within {self._timeout_s:.0f} s"
        return delivery.error or None


class ConfluentConsumer(Consumer):
    """A consumer over librdkafka."""

    def __init__(
        self, settings: KafkaSettings, group: str, topics: str, on_assigned: Assigned, on_revoked: Revoked
    ) -> None:
        super().__init__(settings, group, topics, on_assigned, on_revoked)
        self._assigned: list[ck.TopicPartition] = []
        self._client = ck.Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": settings.session_timeout_ms,
                "heartbeat.interval.ms": settings.session_timeout_ms // 3,
                "max.poll.interval.ms": settings.max_poll_interval_ms,
                "fetch.max.bytes": FETCH_BYTES,
                "queued.max.messages.kbytes": FETCH_BYTES // 1024,
                "log_level": 2,
            }
        )

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Commit synchronously."""
        self._client.commit(offsets=[ck.TopicPartition(*partition, next_offset)], asynchronous=False)

    def lag(self) -> dict[Partition, int]:
        """By the latest fetch's high watermark."""
        lags = {}
        for tp in self._client.position(self._assigned):
            high = self._client.get_watermark_offsets(tp, cached=True)[1]
            if high >= 0 and tp.offset >= 0:
                lags[Partition(tp.topic, tp.partition)] = max(0, high - tp.offset)
        return lags

    def _leave(self) -> None:
        self._client.close()

    def _poll(self, timeout_ms: int, max_records: int) -> list[Batch]:
        batches = []
        messages: list[Any] = self._client.consume(max_records, timeout_ms / 1000)
        good = [message for message in messages if message.error() is None]
        good.sort(key=_place)  # a stable sort: within a partition the order of offsets stays
        for (topic, number), group in groupby(good, key=_place):
            records = list(group)
            batches.append(
                Batch(
                    Partition(topic, number),
                    [record.offset() for record in records],
                    [record.timestamp()[1] for record in records],
                    [record.key() or b"" for record in records],
                    [record.value() or b"" for record in records],
                )
            )
        return batches

    def _list_topics(self) -> set[str]:
        try:
            return set(self._client.list_topics(timeout=10).topics)
        except ck.KafkaException:
            return set(self._topics)  # the broker is away: what was there stays

    def _subscribe(self, topics: list[str]) -> None:
        if topics:
            self._client.subscribe(
                topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke
            )
        else:
            self._come_to_rest()
            self._client.unsubscribe()

    def _assign(self, client: Any, assigned: list[ck.TopicPartition]) -> None:
        starts = self._on_assigned(_partitions(assigned))
        for tp in assigned:
            tp.offset = starts.get(Partition(tp.topic, tp.partition), ck.OFFSET_STORED)
        self._assigned = assigned
        client.assign(assigned)
        self._begin(_partitions(assigned), starts)

    def _seek(self, partition: Partition, offset: int) -> None:
        self._client.seek(ck.TopicPartition(*partition, offset))

    def _committed(self, partition: Partition) -> int | None:
        [found] = self._client.committed([ck.TopicPartition(*partition)], timeout=10)
        return found.offset if found.offset >= 0 else None

    def _revoke(self, client: Any, revoked: list[ck.TopicPartition]) -> None:
        self._assigned = []
        self._end(_partitions(revoked))


def _place(message: Any) -> tuple[str, int]:
    return message.topic(), message.partition()


def _partitions(found: Iterable[ck.TopicPartition]) -> list[Partition]:
    return [Partition(tp.topic, tp.partition) for tp in found]
