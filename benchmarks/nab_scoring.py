"""The score of the Numenta Anomaly Benchmark (NAB), standard profile.

Source: A. Lavin, S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark", ICMLA 2015, arXiv:1510.03336, section III; the edge cases (probation, width of a window, the far
cut) are those of NAB's own scorer. Only the best, which is the earliest, detection in a window counts; each
detection outside of windows costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TP_WEIGHT = 1.0
FP_WEIGHT = 0.11
FN_WEIGHT = 1.0
PROBATION_SHARE = 0.15
PROBATION_CAP = 5000  # readings; beyond, probation does not grow with the length of a series
FAR = 3.0  # window widths past a window's end, where a false positive costs its whole weight


@dataclass(frozen=True)
class Labelled:
    """One series with its anomaly windows.

    `windows` are inclusive index pairs, ascending and disjoint; `scores` are in [0, 1], one per reading.
    """

    windows: Sequence[tuple[int, int]]
    scores: Floats


@dataclass(frozen=True)
class Outcome:
    """What a detector earned at a threshold. `raw` is NAB's points; `score` is 0 for silence, 100 at best."""

    raw: float
    windows: int
    found: int
    false_positives: int

    @property
    def score(self) -> float:
        """The normalised score (section III-C); NaN without windows, where silence is already perfect."""
        if not self.windows:
            return float("nan")
        silent = -FN_WEIGHT * self.windows
        return 100 * (self.raw - silent) / (TP_WEIGHT * self.windows - silent)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.raw + other.raw,
            self.windows + other.windows,
            self.found + other.found,
            self.false_positives + other.false_positives,
        )


def probation(length: int) -> int:
    """Count of first readings whose detections neither earn nor cost."""
    return int(min(np.floor(PROBATION_SHARE * length), PROBATION_SHARE * PROBATION_CAP))


def sigmoid(position: Floats) -> Floats:
    """NAB's scaled sigmoid: near +1 at a window's left edge (-1), 0 at its right edge (0), -1 far past it."""
    value = 2 / (1 + np.exp(5 * position)) - 1
    return np.where(position > FAR, -1.0, value)


def reading_points(length: int, windows: Sequence[tuple[int, int]]) -> Floats:
    """Points that a detection at each reading would earn (in a window) or cost (outside), shape (length,)."""
    index = np.arange(length, dtype=np.float64)
    points = np.full(length, -FP_WEIGHT)
    best = float(sigmoid(np.array([-1.0]))[0])
    for start, end in windows:
        width = end - start + 1
        # A window of one reading has no width to measure distance by: all after it is far.
        past = (index[end + 1 :] - end) / (width - 1) if width > 1 else np.full(length - end - 1, np.inf)
        points[end + 1 :] = sigmoid(past) * FP_WEIGHT
        points[start : end + 1] = sigmoid(-(end - index[start : end + 1] + 1) / width) * TP_WEIGHT / best
    return points


def outcome(series: Labelled, threshold: float) -> Outcome:
    """Score one series: a detection is a reading after probation whose score is at least `threshold`."""
    length = len(series.scores)
    points = reading_points(length, series.windows)
    detected = series.scores >= threshold
    detected[: probation(length)] = False
    outside = detected.copy()
    raw, found = 0.0, 0
    for start, end in series.windows:
        hits = points[start : end + 1][detected[start : end + 1]]
        outside[start : end + 1] = False
        found += bool(hits.size)
        raw += float(hits.max()) if hits.size else -FN_WEIGHT
    return Outcome(raw + float(points[outside].sum()), len(series.windows), found, int(outside.sum()))


def best_threshold(corpus: Sequence[Labelled]) -> float:
    """The one threshold with the highest summed score over the corpus, as NAB picks it for its detectors.

    It has seen the labels: a detector scored at it is favoured over one whose threshold is fixed beforehand.
    """
    scores: list[Floats] = []
    gains: list[Floats] = []
    for series in corpus:
        length = len(series.scores)
        points = reading_points(length, series.windows)
        scored = np.arange(length) >= probation(length)
        outside = scored.copy()
        for start, end in series.windows:
            outside[start : end + 1] = False
            inside = np.flatnonzero(scored[start : end + 1]) + start
            order = inside[np.argsort(-series.scores[inside], kind="stable")]
            reached = np.maximum.accumulate(np.concatenate(([-FN_WEIGHT], points[order])))
            scores.append(series.scores[order])
            gains.append(np.diff(reached))
        scores.append(series.scores[outside])
        gains.append(points[outside])
    flat, gain = np.concatenate(scores), np.concatenate(gains)
    order = np.argsort(-flat, kind="stable")
    flat, total = flat[order], np.cumsum(gain[order])
    last_of_tie = np.append(flat[1:] != flat[:-1], True)
    candidates, totals = flat[last_of_tie], total[last_of_tie]
    # Silence, one step above the highest score, earns 0 on this scale.
    return float(candidates[totals.argmax()]) if totals.max() > 0 else float(np.nextafter(flat[0], np.inf))
