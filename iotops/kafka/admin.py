"""Topic administration, with kafka-python whichever client moves the records."""

from __future__ import annotations

from collections.abc import Iterable

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError

from iotops.outages import unanswered
from iotops.settings import KafkaSettings


def create_topics(settings: KafkaSettings, topics: Iterable[str]) -> None:
    """Create topics that are missing, with the configured partitions and replication.

    Raises `Unanswered` where no broker answers.
    """
    servers = settings.bootstrap_servers
    try:
        admin = KafkaAdminClient(bootstrap_servers=servers)
    except KafkaTimeoutError:
        raise unanswered("Kafka", servers, "IOTOPS_KAFKA__BOOTSTRAP_SERVERS") from None
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


def is_stable(settings: KafkaSettings, group: str) -> bool:
    """Whether no member of a consumer group waits for partitions; also where the broker does not answer."""
    try:
        # An answer of a later version has operations that kafka-python does not know, and fails on.
        admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers, api_version=(2, 2))
        try:
            state: str = admin.describe_groups([group])[group]["group_state"]
        finally:
            admin.close()
    except KafkaError:
        return True
    return state == "Stable"
