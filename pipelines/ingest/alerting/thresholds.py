"""Threshold rules: a metric beyond a value for a time, with hysteresis."""

from __future__ import annotations

from typing import Any

import msgspec

from pipelines.ingest.alerting.episodes import Episodes, Key
from pipelines.ingest.alerting.rules import ThresholdRule


class Breach(msgspec.Struct):
    """A value has been beyond its threshold since (epoch ms), in so many readings; the last and the worst."""

    since: int
    readings: int
    last: float
    worst: float


class Thresholds:
    """The state of every rule, device and metric whose value is beyond a threshold now."""

    def __init__(self, rules: list[ThresholdRule], episodes: Episodes) -> None:
        self._rules, self._episodes = rules, episodes
        self.breaches: dict[Key, Breach] = {}

    def take(
        self, device_id: str, model: str | None, at_ms: int, offset: int, metrics: dict[str, float]
    ) -> None:
        """A reading of a device, in order of its time."""
        for rule in self._rules:
            value = metrics.get(rule.metric)
            if value is None or not rule.covers(model):
                continue
            if rule.breached(value):
                self._breached(rule, Key(rule.name, device_id, rule.metric), at_ms, offset, value)
            elif self.breaches or self._episodes.open:
                key = Key(rule.name, device_id, rule.metric)
                self.breaches.pop(key, None)
                if rule.cleared(value):
                    self._episodes.resolve(key, at_ms, f"{rule.metric} is {value:g}")

    def _breached(self, rule: ThresholdRule, key: Key, at_ms: int, offset: int, value: float) -> None:
        breach = self.breaches.get(key)
        if breach is None:
            breach = self.breaches[key] = Breach(at_ms, 0, value, value)
        breach.readings += 1
        breach.last = value
        breach.worst = (max if rule.above is not None else min)(breach.worst, value)
        if at_ms - breach.since >= rule.held_for:
            evidence = self._evidence(rule, breach, at_ms)
            self._episodes.raise_alert(key, rule, at_ms, offset, evidence)

    @staticmethod
    def _evidence(rule: ThresholdRule, breach: Breach, at_ms: int) -> dict[str, Any]:
        side = "above" if rule.above is not None else "below"
        return {
            side: getattr(rule, side),
            "window": {"from": breach.since, "to": at_ms, "readings": breach.readings},
            "values": {"last": breach.last, "worst": breach.worst},
        }
