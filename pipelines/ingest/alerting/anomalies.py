"""Anomaly rules: the streaming score of every device and metric, and the alerts that follow from it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipelines.ingest.alerting.anomaly import AnomalyDetector
from pipelines.ingest.alerting.episodes import Episodes, Key
from pipelines.ingest.alerting.rules import AnomalyRule

Series = tuple[str, str]
"""Device and metric."""


class Anomalies:
    """One detector over the series of a partition.

    The first rule that covers a device's model and the metric decides; without one a series is not scored.
    """

    def __init__(self, rules: list[AnomalyRule], episodes: Episodes) -> None:
        self._rules, self._episodes = rules, episodes
        self.detector = AnomalyDetector()
        self._series: list[Series] = []
        self._of_rule: list[AnomalyRule] = []
        self._values: list[float] = []
        self._at_ms: list[int] = []
        self._offsets: list[int] = []

    def take(
        self, device_id: str, model: str | None, at_ms: int, offset: int, metrics: dict[str, float]
    ) -> None:
        """Collect a reading; `score` scores what was collected."""
        for metric, value in metrics.items():
            if rule := self._rule_for(model, metric):
                self._series.append((device_id, metric))
                self._of_rule.append(rule)
                self._values.append(value)
                self._at_ms.append(at_ms)
                self._offsets.append(offset)

    def score(self) -> None:
        """Score the collected values, each series in its order, and open and resolve alerts."""
        if not self._series:
            return
        slots = self.detector.slots(self._series)
        values, at_ms = np.array(self._values), np.array(self._at_ms, dtype=np.int64)
        scores = np.zeros(len(slots))
        for turn in _turns(slots):
            scores[turn] = self.detector.step(slots[turn], values[turn], at_ms[turn])
        watched = {(key.device_id, key.metric) for key in self._episodes.open}
        high = scores >= np.array([rule.score for rule in self._of_rule])
        if watched or high.any():
            for index, series in enumerate(self._series):
                if high[index] or series in watched:
                    self._judge(index, series, float(scores[index]))
                    watched.add(series)
        for column in (self._series, self._of_rule, self._values, self._at_ms, self._offsets):
            column.clear()

    def _judge(self, index: int, series: Series, score: float) -> None:
        rule, at_ms = self._of_rule[index], self._at_ms[index]
        key = Key(rule.name, *series)
        found = self._episodes.open.get(key)
        if found and at_ms - found.seen_at > rule.clear_after:
            self._episodes.resolve(key, found.seen_at + rule.clear_after, "nothing unusual since")
        if score >= rule.score:
            value = self._values[index]
            evidence = {"score": round(score, 3), "window": {"to": at_ms}, "values": {"last": value}}
            self._episodes.raise_alert(key, rule, at_ms, self._offsets[index], evidence)

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
