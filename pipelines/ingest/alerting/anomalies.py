"""Anomaly rules: the streaming score of every device and metric, and the alerts that follow from it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipelines.ingest.alerting.anomaly import AnomalyDetector
from pipelines.ingest.alerting.episodes import Episodes, Key
from pipelines.ingest.alerting.limits import Limits
from pipelines.ingest.alerting.rules import AnomalyRule

Series = tuple[str, str]
"""Device and metric."""
TOGETHER = 4096
"""Series that are scored at once: each takes four times its state meanwhile."""
logger = logging.getLogger(__name__)


class Anomalies:
    """One detector over the series of a partition.

    The first rule that covers a device's model and the metric decides; without one, or without a place within
    the limits, a series is not scored.
    """

    def __init__(self, rules: list[AnomalyRule], episodes: Episodes, limits: Limits) -> None:
        self._rules, self._episodes, self._limits = rules, episodes, limits
        self._detector = AnomalyDetector()
        self._seen: dict[Series, int] = {}
        self._of_device: Counter[str] = Counter()
        self._told: set[str] = set()
        self._cleared = 0
        self._series: list[Series] = []
        self._of_rule: list[AnomalyRule] = []
        self._values: list[float] = []
        self._at_ms: list[int] = []
        self._offsets: list[int] = []

    def take(
        self, device_id: str, model: str | None, at_ms: int, offset: int, metrics: dict[str, float], day: int
    ) -> None:
        """Collect a reading that arrived on a day (since 1970); `score` scores what was collected."""
        for metric, value in metrics.items():
            series = device_id, metric
            if (rule := self._rule_for(model, metric)) and self._has_place(series, day):
                self._series.append(series)
                self._of_rule.append(rule)
                self._values.append(value)
                self._at_ms.append(at_ms)
                self._offsets.append(offset)

    def score(self) -> None:
        """Score the collected values, each series in its order, and open and resolve alerts."""
        if not self._series:
            return
        slots = self._detector.slots(self._series)
        values, at_ms = np.array(self._values), np.array(self._at_ms, dtype=np.int64)
        scores = np.zeros(len(slots))
        for turn in _turns(slots):
            for part in np.array_split(turn, len(turn) // TOGETHER + 1):
                scores[part] = self._detector.step(slots[part], values[part], at_ms[part])
        watched = {(key.device_id, key.metric) for key in self._episodes.open}
        high = scores >= np.array([rule.score for rule in self._of_rule])
        if watched or high.any():
            for index, series in enumerate(self._series):
                if high[index] or series in watched:
                    self._judge(index, series, float(scores[index]))
                    watched.add(series)
        for column in (self._series, self._of_rule, self._values, self._at_ms, self._offsets):
            column.clear()

    def export(self) -> list[tuple[Series, int, bytes]]:
        """Each series with the day on which it was last seen and its state."""
        return [(series, day, self._detector.export(series)) for series, day in self._seen.items()]

    def restore(self, series: Series, day: int, record: bytes) -> None:
        """Go on with a series from what `export` gave."""
        if self._has_place(series, day):
            self._detector.restore(series, record)

    def _has_place(self, series: Series, day: int) -> bool:
        if series not in self._seen:
            full = self._full(series[0])
            if full and day > self._cleared:
                self._clear(day)
                full = self._full(series[0])
            if full and full not in self._told:
                self._told.add(full)
                logger.warning("%s scored metrics, the limit: its new ones are not scored", full)
            if full:
                return False
            self._of_device[series[0]] += 1
        self._seen[series] = day
        return True

    def _full(self, device_id: str) -> str:
        """What has all the series that it may have; empty where there is room."""
        partition, limits = self._episodes.partition, self._limits
        if self._of_device[device_id] >= limits.device_series:
            return f"device {device_id} of {partition.topic} has {limits.device_series}"
        return f"{partition} has {limits.series}" if len(self._seen) >= limits.series else ""

    def _clear(self, day: int) -> None:
        """Forget the series that were not seen for long; a second time on a day it would find no more."""
        self.score()  # what is collected may be theirs
        gone = [series for series, seen in self._seen.items() if seen < day - self._limits.unseen_days]
        for series in gone:
            del self._seen[series]
            for rule in self._rules:
                self._expire(rule, Key(rule.name, *series))
        self._detector.forget(gone)
        self._of_device = Counter(device_id for device_id, _ in self._seen)
        self._told.clear()
        self._cleared = day

    def _judge(self, index: int, series: Series, score: float) -> None:
        rule, at_ms = self._of_rule[index], self._at_ms[index]
        key = Key(rule.name, *series)
        found = self._episodes.open.get(key)
        if found and at_ms - found.seen_at > rule.clear_after:
            self._expire(rule, key)
        if score >= rule.score:
            value = self._values[index]
            evidence = {"score": round(score, 3), "window": {"to": at_ms}, "values": {"last": value}}
            self._episodes.raise_alert(key, rule, at_ms, self._offsets[index], evidence)

    def _expire(self, rule: AnomalyRule, key: Key) -> None:
        if found := self._episodes.open.get(key):
            self._episodes.resolve(key, found.seen_at + rule.clear_after, "nothing unusual since")

    def _rule_for(self, model: str | None, metric: str) -> AnomalyRule | None:
        for rule in self._rules:
            if (rule.metrics is None or metric in rule.metrics) and rule.covers(model):
                return rule
        return None


def _turns(slots: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    """Indices of the first value of every slot, then of the second, and so on: distinct slots in each."""
    order = np.argsort(slots, kind="stable")
    ranked = slots[order]
    begins = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    lengths = np.diff(np.r_[begins, len(ranked)])
    nth = np.arange(len(ranked)) - np.repeat(begins, lengths)
    by_turn = np.argsort(nth, kind="stable")
    yield from np.split(order[by_turn], np.cumsum(np.bincount(nth))[:-1])
