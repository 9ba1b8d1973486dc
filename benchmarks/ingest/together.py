"""All groups and both gateways running, a fleet at a steady rate: how far each group is behind."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time

from kafka import KafkaConsumer, TopicPartition

from iotops.errors import IotOpsError
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest import members
from pipelines.ingest.simulate import Fleet, Progress, over_http

DEVICES = 10_000
RATE = 5000.0
SECONDS = 40.0
WARM_S = 10.0  # the first batches come while connections are still made
EVERY_S = 0.5
GROUPS = {"bronze": 1, "silver": 1, "alerts": 1}


def lags(settings: Settings, tenant: Tenant) -> dict[str, float]:
    """Readings accepted per second, and per group the messages in Kafka that it has not read or not stored.

    The topics must be empty before: what a member has stored since it started is then all that is stored.
    """
    members.start(settings, {**GROUPS, "mqtt": 1})
    behind: dict[str, list[int]] = {
        f"{group} {what}": [] for group in GROUPS for what in ("unread", "unstored")
    }
    ended, sent = threading.Event(), Sent()
    watcher = threading.Thread(target=_watch, args=(settings, tenant, sent, behind, ended))
    watcher.start()
    try:
        fleet = Fleet(DEVICES)
        done = asyncio.run(
            over_http(settings, tenant, fleet, rate=RATE, seconds=SECONDS, on_progress=sent.see)
        )
    finally:
        ended.set()
        watcher.join()
        members.stop()
    if done.report.rejected:
        raise IotOpsError(f"{done.report.rejected} readings were rejected: {done.report.errors[:3]}")
    found = {"accepted": done.taken / SECONDS}
    for name, values in behind.items():
        found |= {f"{name} median": statistics.median(values), f"{name} most": max(values)}
    return found


class Sent:
    """How many readings the gateway has accepted."""

    accepted = 0

    def see(self, progress: Progress) -> None:
        """Told while they are sent."""
        self.accepted = progress.taken


def _watch(
    settings: Settings, tenant: Tenant, sent: Sent, behind: dict[str, list[int]], ended: threading.Event
) -> None:
    """Sample until the end. Kafka is asked for its end, since a busy member's own figure would be old; what
    the gateway has accepted is in Kafka too, where the broker's answer is old itself."""
    topic = tenant.telemetry_topic
    client = KafkaConsumer(bootstrap_servers=settings.kafka.bootstrap_servers)
    partitions = [TopicPartition(topic, number) for number in client.partitions_for_topic(topic)]
    warm = time.monotonic() + WARM_S
    while not ended.wait(EVERY_S):
        now = members.status()
        end = max(sent.accepted, sum(client.end_offsets(partitions).values()))
        if time.monotonic() < warm:
            continue
        for group, count in GROUPS.items():
            mine = [now[f"{group}-{number}"] for number in range(count)]
            unstored = end - sum(each.stored for each in mine)
            behind[f"{group} unstored"].append(unstored)
            behind[f"{group} unread"].append(max(0, unstored - sum(each.waiting for each in mine)))
    client.close(autocommit=False)
