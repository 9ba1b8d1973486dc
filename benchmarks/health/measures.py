"""What a ranking of device-hours is worth for predicting failures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from pipelines.lake.risk import Bools, Failures, Floats

RESAMPLES, BINS = 100, 10


@dataclass(frozen=True)
class Ranking:
    """ROC-AUC and average precision, and the AUC's 95 % interval from resampling whole devices."""

    auc: float
    auc_low: float
    auc_high: float
    average_precision: float


@dataclass(frozen=True)
class Alerting:
    """The threshold that gives one alert per true failure: what share of alerts is false, what share of the
    failures is announced, and how many hours ahead (median over those)."""

    alerts: int
    failures: int
    false_share: float
    caught_share: float
    warning_hours: float


@dataclass(frozen=True)
class Calibration:
    """Brier score, beside that of the base rate; expected calibration error; and the reliability table's
    rows: predictions, mean probability, share that failed."""

    brier: float
    brier_of_base_rate: float
    ece: float
    table: list[tuple[int, float, float]]


def ranking(scores: Floats, fails: Bools, devices: np.ndarray) -> Ranking:
    """How well `scores` rank rows that fail above those that do not."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(devices == device) for device in np.unique(devices)]
    resampled = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([rows[index] for index in rng.integers(len(rows), size=len(rows))])
        if 0 < fails[chosen].sum() < len(chosen):
            resampled.append(roc_auc_score(fails[chosen], scores[chosen]))
    low, high = np.percentile(resampled, [2.5, 97.5])
    auc = roc_auc_score(fails, scores)
    return Ranking(float(auc), float(low), float(high), float(average_precision_score(fails, scores)))


def alerting(
    scores: Floats, ends: Floats, devices: np.ndarray, failures: Failures, horizon_h: int, until: float
) -> Alerting:
    """An alert begins where a device's score comes to the threshold from below it; it is true if the device
    fails within the horizon. The threshold is the highest that gives as many alerts as there are failures.
    Rows are ordered by device and time."""
    first_end = ends.min()
    due = {name: times[(times >= first_end) & (times < until)] for name, times in failures.items()}
    total = sum(map(len, due.values()))
    start = np.r_[True, devices[1:] != devices[:-1]]
    before = np.where(start, -np.inf, np.r_[-np.inf, scores[:-1]])
    falling = _some(np.unique(scores))[::-1]
    counts = np.array([((scores >= level) & (before < level)).sum() for level in falling])
    level = falling[np.argmax(counts >= total) if counts.max() >= total else np.argmax(counts)]
    begun = (scores >= level) & (before < level)
    true, warnings = 0, dict[tuple[str, float], float]()
    for device, end in zip(devices[begun].tolist(), ends[begun].tolist(), strict=True):
        coming = [time for time in due.get(device, []) if 0 <= time - end < horizon_h]
        true += bool(coming)
        for time in coming:
            warnings[device, time] = max(warnings.get((device, time), 0.0), time - end)
    alerts = int(begun.sum())
    hours = float(np.median(list(warnings.values()))) if warnings else 0.0
    return Alerting(alerts, total, 1 - true / alerts, len(warnings) / max(total, 1), hours)


def calibration(probability: Floats, fails: Bools) -> Calibration:
    """How true the probabilities are, over ten groups of equal size."""
    base = float(fails.mean())
    order = np.argsort(probability, kind="stable")
    groups = [group for group in np.array_split(order, BINS) if len(group)]
    table = [(len(g), float(probability[g].mean()), float(fails[g].mean())) for g in groups]
    ece = sum(count * abs(mean - share) for count, mean, share in table) / len(fails)
    brier = float(np.mean((probability - fails) ** 2))
    return Calibration(brier, base * (1 - base), ece, table)


def _some(levels: Floats) -> Floats:
    """At most a thousand levels, denser where scores are high, since failures are rare."""
    if len(levels) <= 1000:
        return levels
    picked = len(levels) - 1 - np.unique(np.geomspace(1, len(levels), 1000).astype(int) - 1)
    return np.asarray(levels[np.sort(picked)])
