"""Burst rules: several events of a device within a time."""

from __future__ import annotations

from collections import OrderedDict

from pipelines.ingest.alerting.episodes import Episodes, Key
from pipelines.ingest.alerting.limits import Limits
from pipelines.ingest.alerting.rules import BurstRule

Seen = tuple[int, str]
"""When an event was (epoch ms) and its error code or type."""


class Bursts:
    """The last events of each rule and device: as many as the rule counts; the longest unseen come first."""

    def __init__(self, rules: list[BurstRule], episodes: Episodes, limits: Limits) -> None:
        self._rules, self._episodes, self._limits = rules, episodes, limits
        self.seen: OrderedDict[Key, list[Seen]] = OrderedDict()

    def take(
        self, device_id: str, kind: str, code: str | None, at_ms: int, arrived_ms: int, offset: int
    ) -> None:
        """An event of a device: counted by its own time, seen when it arrived."""
        for rule in self._rules:
            if kind not in rule.types:
                continue
            key = Key(rule.name, device_id)
            self._expire(rule, key, arrived_ms)
            seen = sorted([*self.seen.get(key, ()), (at_ms, code or kind)])
            seen = [each for each in seen if seen[-1][0] - each[0] <= rule.within][-rule.count :]
            self.seen[key] = seen
            self.seen.move_to_end(key)
            while len(self.seen) > self._limits.bursts:
                self.seen.popitem(last=False)
            if len(seen) >= rule.count:
                window = {"from": seen[0][0], "to": seen[-1][0], "events": len(seen)}
                evidence = {"count": rule.count, "window": window, "values": [code for _, code in seen]}
                at_ms = seen[-1][0]
                self._episodes.raise_alert(key, rule, at_ms, offset, evidence, seen_at=arrived_ms)

    def at(self, now_ms: int) -> None:
        """Resolve what has not been seen for the rule's time."""
        for rule in self._rules:
            for key in [key for key in self._episodes.open if key.rule == rule.name]:
                self._expire(rule, key, now_ms)

    def _expire(self, rule: BurstRule, key: Key, now_ms: int) -> None:
        """The same whether the clock or the next event finds it, so that reading again finds it too."""
        found = self._episodes.open.get(key)
        if found and now_ms - found.seen_at > rule.within:
            end = found.seen_at + rule.within
            self._episodes.resolve(key, end, f"no {'/'.join(sorted(rule.types))} since")
