"""kafka-python: pure Python, works wherever Python does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

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


class PythonProducer(Producer):
    """A producer over kafka-python."""

    def __init__(self, settings: KafkaSettings, timeout_s: float, linger_ms: int) -> None:
        self._timeout_s = timeout_s
        self._client = KafkaProducer(
            bootstrap_servers=settings.bootstrap_servers,
            acks="all",
            enable_idempotence=settings.idempotent,
            max_in_flight_requests_per_connection=5 if settings.idempotent else 1,  # else a retry overtakes
            allow_auto_create_topics=False,
            linger_ms=linger_ms,
            request_timeout_ms=int(timeout_s * 500),
            delivery_timeout_ms=int(timeout_s * 1000),
            max_block_ms=int(timeout_s * 1000),
        )

    def send_all(self, records: Sequence[Record]) -> None:
        """Produce and wait for every acknowledgement."""
        try:
            sent = [self._client.send(topic, key=key.encode(), value=value) for topic, key, value in records]
            for future in sent:
                future.get(timeout=self._timeout_s)
        except KafkaError as error:
            raise KafkaUnavailable(f"Kafka did not acknowledge {len(records)} records: {error!r}") from error

    def close(self) -> None:
        """Flush and disconnect."""
        self._client.close(timeout=self._timeout_s)


class PythonConsumer(Consumer):
    """A consumer over kafka-python. A change of topics takes a fresh client: one with a changed subscription
    was seen to stop fetching."""

    def __init__(
        self, settings: KafkaSettings, group: str, topics: str, on_assigned: Assigned, on_revoked: Revoked
    ) -> None:
        super().__init__(settings, group, topics, on_assigned, on_revoked)
        self._client = self._connect()

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Commit synchronously."""
        self._client.commit({TopicPartition(*partition): OffsetAndMetadata(next_offset, "", -1)})

    def lag(self) -> dict[Partition, int]:
        """By the latest fetch's high watermark."""
        lags = {}
        for tp in self._client.assignment():
            if (high := self._client.highwater(tp)) is not None:
                lags[Partition(tp.topic, tp.partition)] = max(0, high - self._client.position(tp))
        return lags

    def _leave(self) -> None:
        self._client.close(autocommit=False)

    def _poll(self, timeout_ms: int, max_records: int) -> list[Batch]:
        return batches(self._client.poll(timeout_ms=timeout_ms, max_records=max_records))

    def _list_topics(self) -> set[str]:
        return set(self._client.topics())

    def _subscribe(self, topics: list[str]) -> None:
        self._come_to_rest()
        self._end(_partitions(self._client.assignment()))
        self._leave()
        self._client = self._connect()
        self._client.subscribe(topics=topics, listener=_Listener(self._assign, self._end))

    def _assign(self, partitions: list[Partition]) -> None:
        starts = self._on_assigned(partitions)
        for partition, offset in starts.items():
            self._seek(partition, offset)
        self._begin(partitions, starts)

    def _seek(self, partition: Partition, offset: int) -> None:
        self._client.seek(TopicPartition(*partition), offset)

    def _committed(self, partition: Partition) -> int | None:
        found: int | None = self._client.committed(TopicPartition(*partition))
        return found

    def _connect(self) -> KafkaConsumer:
        settings = self._settings
        return KafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 3,
            max_poll_interval_ms=settings.max_poll_interval_ms,
        )


def batches(polled: Mapping[TopicPartition, Sequence[Any]]) -> list[Batch]:
    """What a poll brought, as columns."""
    return [
        Batch(
            Partition(tp.topic, tp.partition),
            [record.offset for record in records],
            [record.timestamp for record in records],
            [record.key or b"" for record in records],
            [record.value or b"" for record in records],
        )
        for tp, records in polled.items()
    ]


class _Listener(ConsumerRebalanceListener):
    def __init__(self, on_assigned: Revoked, on_revoked: Revoked) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._on_assigned(_partitions(assigned))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._on_revoked(_partitions(revoked))


def _partitions(found: Iterable[TopicPartition]) -> list[Partition]:
    return [Partition(tp.topic, tp.partition) for tp in found]
