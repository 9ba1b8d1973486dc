"""The alerting sink: a consumer-group member that turns records into alerts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from iotops.database import engine, tenant_transaction
from iotops.kafka import Batch, KafkaUnavailable, Partition, open_producer
from iotops.lake import lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant, tenant_of_topic
from pipelines.ingest.alerting import checkpoint, store
from pipelines.ingest.alerting.episodes import Change, Resolved
from pipelines.ingest.alerting.evaluate import PartitionAlerts, alerts_of
from pipelines.ingest.alerting.publish import publish
from pipelines.ingest.alerting.rules import load_rules
from pipelines.ingest.sink import Sink

CLOCK_S = 1.0
PUBLISH_S = 10.0  # how often messages are looked for that another member left behind
logger = logging.getLogger(__name__)


class AlertSink(Sink):
    """Evaluates the rules, stores what changed, and publishes it.

    State lives in memory, with a checkpoint per partition in the lake. After a crash the records since the
    checkpoint are read again and yield the same alerts, which are stored already: see `evaluate`.
    """

    name = "alerts"

    def __init__(self, settings: Settings) -> None:
        self._rules = load_rules(settings.configs)
        self._engine = engine(settings.database)
        self._lake = lake_filesystem(settings.lake)
        self._producer = open_producer(settings.kafka)
        self._partitions: dict[Partition, PartitionAlerts] = {}
        self._next: dict[Partition, int] = {}
        self._unchecked: set[Partition] = set()
        self._due: set[Tenant] = set()
        self._clock_at = self._publish_at = float("-inf")
        self._checkpoint_at = time.monotonic() + settings.ingest.alert_checkpoint_seconds
        super().__init__(settings)

    def run(self) -> None:
        """Consume until `stop`, then keep the state."""
        super().run()
        self._keep(list(self._partitions))
        self._producer.close()

    def assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Go on from the checkpoint; without one, where the group is."""
        starts = {}
        for partition in partitions:
            alerts = self._partitions[partition] = alerts_of(partition, self._rules)
            if state := checkpoint.load(self._lake, partition):
                alerts.restore(state)
                starts[partition] = self._next[partition] = state.next_offset
            self._unchecked.add(partition)
        return starts

    def revoked(self, partitions: list[Partition]) -> None:
        """Keep the state for the next member."""
        self._keep([partition for partition in partitions if partition in self._partitions])
        for partition in partitions:
            self._partitions.pop(partition, None)
            self._next.pop(partition, None)
            self._unchecked.discard(partition)

    def write(self, batch: Batch) -> None:
        """Store what the records changed."""
        self._apply(batch.partition, lambda alerts: alerts.take(batch), batch.offsets[-1] + 1)

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Nothing yet: the next checkpoint covers it, and tells the group."""

    def tick(self) -> None:
        """Look at the clock, publish what is due, and keep the state now and then."""
        now = time.monotonic()
        if now - self._clock_at < CLOCK_S and now < self._checkpoint_at:
            return
        self.drain()  # the clock may only speak where every record that was read is evaluated
        if now - self._clock_at >= CLOCK_S:
            self._clock_at = now
            self._look_at_clock()
            self._publish()
        if now >= self._checkpoint_at:
            self._keep(list(self._partitions))
            for partition, next_offset in self._next.items():
                self.consumer.commit(
                    partition, next_offset
                )  # for those who watch the group, and as a fall-back
            self._checkpoint_at = time.monotonic() + self.settings.ingest.alert_checkpoint_seconds

    def _look_at_clock(self) -> None:
        """Only where every record has been read: else a device seems silent whose readings wait."""
        now_ms = time.time_ns() // 1_000_000
        for partition, unread in self.consumer.lag().items():
            if unread or partition not in self._partitions:
                continue
            self._apply(partition, lambda alerts: alerts.at(now_ms), self._next.get(partition))
            if partition in self._unchecked:
                self._record(partition, self._orphans(partition, now_ms))
                self._unchecked.discard(partition)

    def _orphans(self, partition: Partition, now_ms: int) -> list[Change]:
        """Stored alerts that no rule holds open any more: a rule was taken away, or a clock differed."""
        with tenant_transaction(self._engine, tenant_of_topic(partition.topic)) as connection:
            stored = store.still_open(connection, partition)
        open_now = {found.alert_id for found in self._partitions[partition].episodes.open.values()}
        because = "its rule does not hold it open any more"
        return [Resolved(alert_id, now_ms, because) for alert_id in sorted(stored - open_now)]

    def _apply(
        self,
        partition: Partition,
        change: Callable[[PartitionAlerts], list[Change]],
        next_offset: int | None,
    ) -> None:
        """Move the state on and store what changed. Until that is stored no checkpoint may have the state: a
        member that goes on from it would not find the changes again."""
        self._next.pop(partition, None)
        self._record(partition, change(self._partitions[partition]))
        if next_offset is not None:
            self._next[partition] = next_offset

    def _record(self, partition: Partition, changes: list[Change]) -> None:
        if changes:
            tenant = tenant_of_topic(partition.topic)
            with tenant_transaction(self._engine, tenant) as connection:
                store.record(connection, tenant, partition, changes)
            self._due.add(tenant)

    def _publish(self) -> None:
        if time.monotonic() - self._publish_at >= PUBLISH_S:
            self._publish_at = time.monotonic()
            self._due |= {tenant_of_topic(partition.topic) for partition in self._partitions}
        for tenant in list(self._due):
            try:
                while publish(self._engine, self.settings.kafka, self._producer, tenant):
                    pass
                self._due.discard(tenant)
            except KafkaUnavailable as error:
                logger.warning("alerts of %s wait: %s", tenant.id, error)

    def _keep(self, partitions: list[Partition]) -> None:
        for partition in partitions:
            if (next_offset := self._next.get(partition)) is not None:
                checkpoint.save(self._lake, partition, self._partitions[partition].export(next_offset))
