"""Consumer groups whose members come and go: whenever one leaves, the next gets its partitions."""

from __future__ import annotations

import time

import pytest

from iotops.kafka import Consumer, Partition, open_consumer
from iotops.kafka.admin import create_topics
from iotops.settings import KafkaSettings, Settings

PATIENCE_S = 120  # a join takes three seconds; beside other tests on a slow machine much longer


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def kafka(settings: Settings, request: pytest.FixtureRequest) -> KafkaSettings:
    """The stack's broker by each client, with a topic to share out."""
    create_topics(settings.kafka, ["shared_out"])
    return settings.kafka.model_copy(update={"client": request.param})


class Member:
    """A member of a group, which notes the partitions that it was given last."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self.partitions: list[int] | None = None
        self.consumer: Consumer = open_consumer(
            kafka,
            group=f"{group}-{kafka.client}",
            topics="^shared_out$",
            on_assigned=self._assigned,
            on_revoked=self._revoked,
        )

    def _assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        self.partitions = [partition.number for partition in partitions]
        return {}

    def _revoked(self, partitions: list[Partition]) -> None:
        self.partitions = None


def poll(members: list[Member], counts: list[int], patience_s: float = PATIENCE_S) -> bool:
    """Let members take part until they have so many partitions each; whether they got them in time."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        for member in members:
            member.consumer.poll(timeout_ms=50, max_records=10)
        if [len(member.partitions or ()) for member in members] == counts:
            return True
    return False


def test_one_that_is_stopped_while_it_joins_leaves_the_group_to_the_next(kafka: KafkaSettings):
    early = Member(kafka, "joining")
    assert not poll([early], [4], patience_s=1)
    early.consumer.close()
    late = Member(kafka, "joining")
    assert poll([late], [4])
    late.consumer.close()


def test_members_that_are_stopped_together_leave_the_group_to_the_next(kafka: KafkaSettings):
    leader = Member(kafka, "stopped")
    assert poll([leader], [4])
    follower = Member(kafka, "stopped")
    assert poll([leader, follower], [2, 2])
    follower.consumer.close()
    leader.consumer.close()
    late = Member(kafka, "stopped")
    assert poll([late], [4])
    late.consumer.close()
