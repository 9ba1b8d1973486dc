"""The one place that knows the Kafka client: producing, consuming and topic administration."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata

from iotops.errors import IotOpsError
from iotops.settings import KafkaSettings

TOPICS_REFRESH_S = 5.0


class KafkaUnavailable(IotOpsError):
    """The broker did not acknowledge in time; nothing may be taken as accepted."""


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Message:
    """One consumed record; `timestamp_ms` is when the producer sent it."""

    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


def create_topics(settings: KafkaSettings, topics: Iterable[str]) -> None:
    """Create topics that are missing, with the configured partitions and replication."""
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        present = set(admin.list_topics())
        missing = [
            NewTopic(topic, settings.partitions, settings.replication_factor)
            for topic in topics
            if topic not in present
        ]
        if missing:
            admin.create_topics(missing)
    except TopicAlreadyExistsError:
        pass  # another process was faster: that is what was asked for
    finally:
        admin.close()


class Producer:
    """Sends records with acknowledgement from all in-sync replicas; safe to use from several threads."""

    def __init__(self, settings: KafkaSettings, *, timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._client = KafkaProducer(
            bootstrap_servers=settings.bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            linger_ms=5,
            request_timeout_ms=int(timeout_s * 500),
            delivery_timeout_ms=int(timeout_s * 1000),
            max_block_ms=int(timeout_s * 1000),
        )

    def send_all(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        """Produce `(key, value)` records and return when every one is acknowledged.

        Raises `KafkaUnavailable` if any is not within the time-out: the caller must not accept the batch.
        """
        try:
            sent = [self._client.send(topic, key=key.encode(), value=value) for key, value in records]
            for future in sent:
                future.get(timeout=self._timeout_s)
        except KafkaError as error:
            raise KafkaUnavailable(f"Kafka did not acknowledge {len(records)} records: {error!r}") from error

    def close(self) -> None:
        """Send what is buffered and disconnect."""
        self._client.close(timeout=self._timeout_s)


class Consumer:
    """One member of a consumer group; offsets are committed only when asked.

    `topics` is a regular expression. A member that sees the matching topics change joins anew with a fresh
    client, so that a new tenant's topics are picked up without a restart.
    `on_assigned` may seek; `on_revoked` must drop what was read and not committed.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        group: str,
        topics: str,
        on_assigned: Callable[[list[Partition]], None],
        on_revoked: Callable[[list[Partition]], None],
    ) -> None:
        self._settings, self._group, self._pattern = settings, group, re.compile(topics)
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._topics: frozenset[str] = frozenset()
        self._checked_at = float("-inf")
        self._client = self._join()

    def _join(self) -> KafkaConsumer:
        settings = self._settings
        client = KafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 3,
            max_poll_interval_ms=300_000,
        )
        if self._topics:
            listener = _Listener(self._on_assigned, self._on_revoked)
            client.subscribe(topics=sorted(self._topics), listener=listener)
        return client

    def _follow_topics(self) -> None:
        """Join anew where the matching topics have changed."""
        if time.monotonic() - self._checked_at < TOPICS_REFRESH_S:
            return
        self._checked_at = time.monotonic()
        wanted = frozenset(topic for topic in self._client.topics() if self._pattern.fullmatch(topic))
        if wanted != self._topics:
            self._on_revoked([Partition(tp.topic, tp.partition) for tp in self._client.assignment()])
            self._client.close(autocommit=False)
            self._topics = wanted
            self._client = self._join()

    def poll(self, *, timeout_ms: int, max_records: int) -> dict[Partition, list[Message]]:
        """Records that arrived, by partition, in offset order; empty after the time-out."""
        self._follow_topics()
        if not self._topics:
            time.sleep(timeout_ms / 1000)
            return {}
        polled = self._client.poll(timeout_ms=timeout_ms, max_records=max_records)
        return {
            Partition(tp.topic, tp.partition): [
                Message(record.offset, record.timestamp, record.key or b"", record.value or b"")
                for record in records
            ]
            for tp, records in polled.items()
        }

    def seek(self, partition: Partition, offset: int) -> None:
        """Read the partition on from this offset."""
        self._client.seek(TopicPartition(*partition), offset)

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Store in the group that everything before `next_offset` is done."""
        self._client.commit({TopicPartition(*partition): OffsetAndMetadata(next_offset, "", -1)})

    def lag(self) -> dict[Partition, int]:
        """Records not yet read, by assigned partition.

        By the high watermark of the latest fetch: a broker may have taken that before records that the same
        fetch carries, and does not mention a partition again until more arrive.
        """
        lags = {}
        for tp in self._client.assignment():
            if (high := self._client.highwater(tp)) is not None:
                lags[Partition(tp.topic, tp.partition)] = max(0, high - self._client.position(tp))
        return lags

    def close(self) -> None:
        """Leave the group, without committing."""
        self._client.close(autocommit=False)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(
        self,
        on_assigned: Callable[[list[Partition]], None],
        on_revoked: Callable[[list[Partition]], None],
    ) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._on_assigned([Partition(tp.topic, tp.partition) for tp in assigned])

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._on_revoked([Partition(tp.topic, tp.partition) for tp in revoked])
