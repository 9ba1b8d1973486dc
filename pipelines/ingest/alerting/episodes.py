"""Alerts that are open: one per rule, device and metric for as long as its condition holds."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from iotops.kafka import Partition
from iotops.records import Severity
from pipelines.ingest.alerting.rules import Rule

NAMESPACE = uuid.UUID("8f3dd0a6-5f6c-4f0e-9a3e-0f2a6c1b7d54")


class Key(msgspec.Struct, frozen=True):
    """What an alert is about; `metric` is empty where the rule watches none."""

    rule: str
    device_id: str
    metric: str = ""


class Open(msgspec.Struct):
    """An alert that is open: its id, and when its condition was last seen (epoch ms, on its rule's clock)."""

    alert_id: str
    seen_at: int


@dataclass(frozen=True)
class Opened:
    """An alert begins; `opened_at` is epoch ms, `offset` that of the record that it began with."""

    alert_id: str
    key: Key
    kind: str
    severity: Severity
    opened_at: int
    offset: int
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Resolved:
    """An alert ends at `resolved_at` (epoch ms)."""

    alert_id: str
    resolved_at: int
    because: str


Change = Opened | Resolved


class Episodes:
    """The open alerts of a partition, and what changed since `take_changes`.

    An alert's id follows from the record that it began with: whoever reads the partition again finds the
    same alert.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.open: dict[Key, Open] = {}
        self._changes: list[Change] = []

    def raise_alert(
        self,
        key: Key,
        rule: Rule,
        at_ms: int,
        offset: int,
        evidence: dict[str, Any],
        *,
        seen_at: int | None = None,
    ) -> None:
        """Open an alert at its event time, or see an open one again."""
        seen_at = at_ms if seen_at is None else seen_at
        if found := self.open.get(key):
            found.seen_at = seen_at
            return
        topic, number = self.partition
        name = f"{topic}/{number}/{offset}/{key.rule}/{key.metric}"
        alert_id = str(uuid.uuid5(NAMESPACE, name))
        self.open[key] = Open(alert_id, seen_at)
        self._changes.append(Opened(alert_id, key, rule.kind, rule.severity, at_ms, offset, evidence))

    def resolve(self, key: Key, at_ms: int, because: str) -> None:
        """End an alert where one is open."""
        if found := self.open.pop(key, None):
            self._changes.append(Resolved(found.alert_id, at_ms, because))

    def take_changes(self) -> list[Change]:
        """What changed since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes
