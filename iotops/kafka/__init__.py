"""The one place that knows the Kafka clients: producing, consuming and topic administration.

`kafka-python` always works. `confluent-kafka` (librdkafka) is several times faster and taken where it is
installed; both stand behind the same two classes and pass the same tests.
"""

from __future__ import annotations

from importlib.util import find_spec

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
from iotops.kafka.topic import read_topic
from iotops.settings import KafkaSettings

__all__ = [
    "LINGER_MS",
    "Batch",
    "Consumer",
    "KafkaUnavailable",
    "Partition",
    "Producer",
    "Record",
    "open_consumer",
    "open_producer",
    "read_topic",
]


LINGER_MS = 5  # of a producer with one sender: no longer than it takes to hand over a batch


def open_producer(
    settings: KafkaSettings, *, timeout_s: float = 10.0, linger_ms: int = LINGER_MS
) -> Producer:
    """A producer that is safe to use from several threads; a send fails after `timeout_s` seconds.

    It waits `linger_ms` for what other threads send, so that it goes to Kafka together.
    """
    if _fast(settings):
        from iotops.kafka.confluent_client import ConfluentProducer

        return ConfluentProducer(settings, timeout_s, linger_ms)
    from iotops.kafka.python_client import PythonProducer

    return PythonProducer(settings, timeout_s, linger_ms)


def open_consumer(
    settings: KafkaSettings,
    *,
    group: str,
    topics: str,
    on_assigned: Assigned = lambda partitions: {},
    on_revoked: Revoked = lambda partitions: None,
) -> Consumer:
    """A member of a consumer group over the topics that match a regular expression."""
    if _fast(settings):
        from iotops.kafka.confluent_client import ConfluentConsumer

        return ConfluentConsumer(settings, group, topics, on_assigned, on_revoked)
    from iotops.kafka.python_client import PythonConsumer

    return PythonConsumer(settings, group, topics, on_assigned, on_revoked)


def _fast(settings: KafkaSettings) -> bool:
    if settings.client == "auto":
        return find_spec("confluent_kafka") is not None
    return settings.client == "confluent-kafka"
