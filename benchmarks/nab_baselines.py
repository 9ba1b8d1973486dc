"""What the anomaly detector is compared with on NAB: each scores one series, reading by reading."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from river.anomaly import HalfSpaceTrees, StandardAbsoluteDeviation
from river.preprocessing import MinMaxScaler
from scipy.special import erfc

from benchmarks.nab_scoring import Floats

GAUSSIAN_WINDOW = (
    6400  # readings: the window and the step that were tuned on NAB for its own windowed Gaussian
)
GAUSSIAN_STEP = 100


def windowed_gaussian(values: Floats) -> Floats:
    """One minus the tail probability of a reading under a Gaussian fitted to the window before it."""
    scores = np.zeros(len(values))
    for i in range(1, len(values)):
        start = max(0, (i - GAUSSIAN_WINDOW) // GAUSSIAN_STEP * GAUSSIAN_STEP)
        window = values[start : min(i, start + GAUSSIAN_WINDOW)]
        deviations = abs(values[i] - window.mean()) / (window.std() or 1e-6)
        scores[i] = 1 - 0.5 * erfc(deviations / np.sqrt(2))
    return scores


def river_absolute_deviation(values: Floats) -> Floats:
    """Standard deviations from the mean so far, river's defaults."""
    scorer = StandardAbsoluteDeviation()
    scores = np.zeros(len(values))
    for i, value in enumerate(values.tolist()):
        scores[i] = abs(scorer.score_one(None, value))
        scorer.learn_one(None, value)
    return np.nan_to_num(scores)


def river_half_space_trees(values: Floats) -> Floats:
    """Half-space trees (Tan, Ting and Liu, IJCAI 2011) on the value in its range so far, river's defaults."""
    scaler, trees = MinMaxScaler(), HalfSpaceTrees(seed=42)
    scores = np.zeros(len(values))
    for i, value in enumerate(values.tolist()):
        scaler.learn_one({"value": value})
        scaled = scaler.transform_one({"value": value})
        scores[i] = trees.score_one(scaled)
        trees.learn_one(scaled)
    return scores


BASELINES: dict[str, Callable[[Floats], Floats]] = {
    "windowed Gaussian": windowed_gaussian,
    "river absolute deviation": river_absolute_deviation,
    "river half-space trees": river_half_space_trees,
}
