"""All rules over one partition: records in, changes of alerts out.

What comes out depends on the records and their order alone, not on how they came in batches nor on when: so
that reading a part again after a crash finds the same alerts. The clock (`at`) only brings forward what the
next record would show as well.
"""

from __future__ import annotations

import logging
from typing import Protocol, cast

import msgspec

from iotops.kafka import Batch, Partition
from iotops.records import UNREADABLE
from iotops.tenancy import tenant_of_topic
from pipelines.ingest.alerting.anomalies import Anomalies, Series
from pipelines.ingest.alerting.bursts import Bursts, Seen
from pipelines.ingest.alerting.devices import Device
from pipelines.ingest.alerting.episodes import Change, Episodes, Key, Open
from pipelines.ingest.alerting.rules import AnomalyRule, BurstRule, RuleSet, SilenceRule, ThresholdRule
from pipelines.ingest.alerting.silence import Silences
from pipelines.ingest.alerting.thresholds import Breach, Thresholds

logger = logging.getLogger(__name__)


class ScoredReading(msgspec.Struct):
    """What alerting reads of a reading; `ts` in epoch ms, as the gateways write it."""

    device_id: str
    ts: int
    metrics: dict[str, float]
    seq: int | None = None
    model: str | None = None


class CountedEvent(msgspec.Struct):
    """What alerting reads of an event."""

    device_id: str
    ts: int
    type: str
    error_code: str | None = None


class State(msgspec.Struct):
    """A partition's state, as a checkpoint keeps it: everything before `next_offset` is in it."""

    next_offset: int
    open: list[tuple[Key, Open]]
    breaches: list[tuple[Key, Breach]] = []
    bursts: list[tuple[Key, list[Seen]]] = []
    devices: dict[str, Device] = {}
    series: list[Series] = []
    scores: list[bytes] = []


class PartitionAlerts(Protocol):
    """The alerts of a partition."""

    episodes: Episodes

    def take(self, batch: Batch) -> list[Change]:
        """Read the next records."""

    def at(self, now_ms: int) -> list[Change]:
        """Look at the clock, once all records are read."""

    def export(self, next_offset: int) -> State:
        """The state before `next_offset`."""

    def restore(self, state: State) -> None:
        """Go on from a state."""


class TelemetryAlerts:
    """Threshold, silence and anomaly rules over readings."""

    def __init__(self, partition: Partition, rules: RuleSet) -> None:
        tenant = tenant_of_topic(partition.topic)
        self.episodes = Episodes(partition)
        self._thresholds = Thresholds(rules.of(ThresholdRule, tenant), self.episodes)
        self._silences = Silences(rules.of(SilenceRule, tenant), self.episodes)
        self._anomalies = Anomalies(rules.of(AnomalyRule, tenant), self.episodes)
        self._devices: dict[str, Device] = {}
        self._decode = msgspec.json.Decoder(ScoredReading).decode

    def take(self, batch: Batch) -> list[Change]:
        """A reading that is older than its device's last, or is that one again, tells only that it lives."""
        for offset, arrived, value in zip(batch.offsets, batch.timestamps, batch.values, strict=True):
            try:
                reading = self._decode(value)
            except UNREADABLE as error:
                logger.warning("%s offset %d breaks the contract: %s", batch.partition, offset, error)
                continue
            device = self._devices.get(reading.device_id)
            if device is None:
                device = self._devices[reading.device_id] = Device(reading.ts, arrived, offset)
                known = False
            else:
                self._silences.take(reading.device_id, device, arrived)
                known = reading.ts < device.ts or (reading.ts == device.ts and reading.seq == device.seq)
            device.arrived, device.offset = max(arrived, device.arrived), offset
            device.model = reading.model or device.model
            if known:
                continue
            device.ts, device.seq = reading.ts, reading.seq
            what = (reading.device_id, device.model, reading.ts, offset, reading.metrics)
            self._thresholds.take(*what)
            self._anomalies.take(*what)
        self._anomalies.score()
        return self.episodes.take_changes()

    def at(self, now_ms: int) -> list[Change]:
        """Find the silent."""
        self._silences.at(now_ms, self._devices)
        return self.episodes.take_changes()

    def export(self, next_offset: int) -> State:
        """The state before `next_offset`."""
        detector = self._anomalies.detector
        series = cast(list[Series], detector.keys())
        return State(
            next_offset,
            list(self.episodes.open.items()),
            breaches=list(self._thresholds.breaches.items()),
            devices=self._devices,
            series=series,
            scores=[detector.export(each) for each in series],
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.episodes.open = dict(state.open)
        self._thresholds.breaches = dict(state.breaches)
        self._devices = state.devices
        for series, record in zip(state.series, state.scores, strict=True):
            self._anomalies.detector.restore(series, record)


class EventAlerts:
    """Burst rules over events."""

    def __init__(self, partition: Partition, rules: RuleSet) -> None:
        self.episodes = Episodes(partition)
        self._bursts = Bursts(rules.of(BurstRule, tenant_of_topic(partition.topic)), self.episodes)
        self._decode = msgspec.json.Decoder(CountedEvent).decode

    def take(self, batch: Batch) -> list[Change]:
        """Count events."""
        for offset, arrived, value in zip(batch.offsets, batch.timestamps, batch.values, strict=True):
            try:
                event = self._decode(value)
            except UNREADABLE as error:
                logger.warning("%s offset %d breaks the contract: %s", batch.partition, offset, error)
                continue
            self._bursts.take(event.device_id, event.type, event.error_code, event.ts, arrived, offset)
        return self.episodes.take_changes()

    def at(self, now_ms: int) -> list[Change]:
        """Resolve what is over."""
        self._bursts.at(now_ms)
        return self.episodes.take_changes()

    def export(self, next_offset: int) -> State:
        """The state before `next_offset`."""
        return State(next_offset, list(self.episodes.open.items()), bursts=list(self._bursts.seen.items()))

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.episodes.open, self._bursts.seen = dict(state.open), dict(state.bursts)


def alerts_of(partition: Partition, rules: RuleSet) -> PartitionAlerts:
    """The evaluation that a partition's topic needs."""
    if partition.topic == tenant_of_topic(partition.topic).events_topic:
        return EventAlerts(partition, rules)
    return TelemetryAlerts(partition, rules)
