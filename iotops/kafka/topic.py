"""Reading a topic from its beginning to its present end, outside of any group."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kafka import KafkaConsumer, TopicPartition

from iotops.kafka.contract import Batch, KafkaUnavailable
from iotops.kafka.python_client import batches
from iotops.settings import KafkaSettings

POLL_MS = 500
TIMEOUT_S = 30.0  # without a record


def read_topic(settings: KafkaSettings, topic: str) -> Iterator[Batch]:
    """Every record that the topic holds when it is called, a batch per partition at a time.

    Raises `KafkaUnavailable` where the broker stops answering.
    """
    client = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, group_id=None, enable_auto_commit=False
    )
    try:
        wanted = [TopicPartition(topic, number) for number in client.partitions_for_topic(topic) or ()]
        client.assign(wanted)
        client.seek_to_beginning(*wanted)
        heard = time.monotonic()
        while waiting := [each for each in wanted if not _at_end(client, each)]:
            if found := batches(client.poll(timeout_ms=POLL_MS)):
                heard = time.monotonic()
                yield from found
            elif time.monotonic() - heard > TIMEOUT_S:
                raise KafkaUnavailable(f"{waiting} did not answer for {TIMEOUT_S:.0f} s")
    finally:
        client.close()


def _at_end(client: KafkaConsumer, partition: TopicPartition) -> bool:
    """By the high watermark of the latest fetch: `end_offsets` is wrong on some brokers."""
    high = client.highwater(partition)
    return high is not None and client.position(partition) >= high
