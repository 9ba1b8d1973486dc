"""All rules over one partition: records in, changes of alerts out.

What comes out depends on the records and their order alone, not on how they came in batches nor on when: so
that reading a part again after a crash finds the same alerts. The clock (`at`) only brings forward what the
next record would show as well.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Protocol

import msgspec

from iotops.kafka import Batch, Partition
from iotops.records import UNREADABLE
from iotops.tenancy import tenant_of_topic
from pipelines.ingest.alerting.anomalies import Anomalies, Series
from pipelines.ingest.alerting.bursts import Bursts, Seen
from pipelines.ingest.alerting.devices import Device
from pipelines.ingest.alerting.episodes import Change, Episodes, Key, Open
from pipelines.ingest.alerting.limits import LIMITS, Limits
from pipelines.ingest.alerting.rules import AnomalyRule, BurstRule, RuleSet, SilenceRule, ThresholdRule
from pipelines.ingest.alerting.silence import Silences
from pipelines.ingest.alerting.thresholds import Breach, Thresholds
from pipelines.ingest.times import DAY_MS

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
    """A partition's state, as a checkpoint keeps it: everything before `next_offset` is in it.

    `seen` has the days on which the series were last seen; none in a checkpoint of an earlier version.
    """

    next_offset: int
    open: list[tuple[Key, Open]]
    breaches: list[tuple[Key, Breach]] = []
    bursts: list[tuple[Key, list[Seen]]] = []
    devices: dict[str, Device] = {}
    series: list[Series] = []
    scores: list[bytes] = []
    seen: list[int] = []


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

    def __init__(self, partition: Partition, rules: RuleSet, limits: Limits) -> None:
        tenant = tenant_of_topic(partition.topic)
        self.episodes, self._limits = Episodes(partition), limits
        self._thresholds = Thresholds(rules.of(ThresholdRule, tenant), self.episodes)
        self._silences = Silences(rules.of(SilenceRule, tenant), self.episodes)
        self._anomalies = Anomalies(rules.of(AnomalyRule, tenant), self.episodes, limits)
        self._devices: dict[str, Device] = {}
        self._cleared = 0
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
                if not self._has_place(arrived // DAY_MS):
                    continue
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
            self._anomalies.take(*what, arrived // DAY_MS)
        self._anomalies.score()
        return self.episodes.take_changes()

    def at(self, now_ms: int) -> list[Change]:
        """Find the silent."""
        self._silences.at(now_ms, self._devices)
        return self.episodes.take_changes()

    def export(self, next_offset: int) -> State:
        """The state before `next_offset`."""
        scored = self._anomalies.export()
        return State(
            next_offset,
            list(self.episodes.open.items()),
            breaches=list(self._thresholds.breaches.items()),
            devices=self._devices,
            series=[series for series, _, _ in scored],
            scores=[record for _, _, record in scored],
            seen=[day for _, day, _ in scored],
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.episodes.open = dict(state.open)
        self._thresholds.breaches = dict(state.breaches)
        self._devices = state.devices
        seen = state.seen or [0] * len(state.series)
        for scored in zip(state.series, seen, state.scores, strict=True):
            self._anomalies.restore(*scored)

    def _has_place(self, day: int) -> bool:
        """Whether a new device is watched: at the limit only in the place of one unheard for long, which is
        forgotten with its alerts. A second time on a day no more of them would be found."""
        if len(self._devices) < self._limits.devices:
            return True
        if day <= self._cleared:
            return False
        self._cleared, unseen_ms = day, self._limits.unseen_days * DAY_MS
        gone = {
            name: device.arrived
            for name, device in self._devices.items()
            if device.arrived // DAY_MS < day - self._limits.unseen_days
        }
        for key in [key for key in self.episodes.open if key.device_id in gone]:
            self.episodes.resolve(key, gone[key.device_id] + unseen_ms, "the device is not heard of any more")
        breaches = self._thresholds.breaches.items()
        self._thresholds.breaches = {key: each for key, each in breaches if key.device_id not in gone}
        self._devices = {name: each for name, each in self._devices.items() if name not in gone}
        logger.warning(
            "%s has %d devices, the limit: %d unheard for %d days are forgotten, others are not watched",
            self.episodes.partition,
            self._limits.devices,
            len(gone),
            self._limits.unseen_days,
        )
        return bool(gone)


class EventAlerts:
    """Burst rules over events."""

    def __init__(self, partition: Partition, rules: RuleSet, limits: Limits) -> None:
        self.episodes = Episodes(partition)
        tenant = tenant_of_topic(partition.topic)
        self._bursts = Bursts(rules.of(BurstRule, tenant), self.episodes, limits)
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
        self.episodes.open, self._bursts.seen = dict(state.open), OrderedDict(state.bursts)


def alerts_of(partition: Partition, rules: RuleSet, limits: Limits = LIMITS) -> PartitionAlerts:
    """The evaluation that a partition's topic needs."""
    if partition.topic == tenant_of_topic(partition.topic).events_topic:
        return EventAlerts(partition, rules, limits)
    return TelemetryAlerts(partition, rules, limits)
