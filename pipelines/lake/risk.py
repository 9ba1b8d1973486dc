"""The probability that a component fails soon, learned from a fleet's own past: no history, no probability.

A model per horizon reads the values of the health score's components (`FEATURES`) and never a later day. Each
may only raise the risk (monotone gradient boosting: Friedman 2001, "Greedy function approximation"), so that
a small history cannot teach it noise, and its probability is calibrated on devices that it was not trained on
(Platt 1999, "Probabilistic outputs for support vector machines").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from pipelines.lake.daily import UTC_US

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FEATURES = ("anomaly", "surge", "slow_drift", "drift", "errors", "alerts", "maintenance", "wear")
HORIZONS_H = (24, 72, 168)
LEAST_FAILURES = 10
LEAST_FAILED_DEVICES = 5
FOLDS = 5
CLIP = 1e-6
ONE_THREAD = 1
"""Threads of OpenMP wait by spinning: on a node whose cores are busy two take six times as long as one."""
UNKNOWN = -1.0
"""Stands for a component without a value, below every other: what is not known does not raise the risk."""


@dataclass(frozen=True)
class History:
    """Device-days: `features` [rows, FEATURES], `UNKNOWN` where there is none; `ends` [rows], when each day
    ended (epoch hours); the device of each row; and `weights` [rows], how many such rows each stands for."""

    features: Floats
    ends: Floats
    devices: npt.NDArray[np.str_]
    weights: Floats

    def __getitem__(self, rows: Bools) -> History:
        return History(self.features[rows], self.ends[rows], self.devices[rows], self.weights[rows])


@dataclass(frozen=True)
class RiskModel:
    """One horizon: the trees, and the line through their log-odds that calibrates them."""

    trees: HistGradientBoostingClassifier
    slope: float
    intercept: float

    def probability(self, features: Floats) -> Floats:
        """Probability of a failure within the horizon, [rows]."""
        odds = self.slope * _log_odds(self.trees, features) + self.intercept
        return np.asarray(1 / (1 + np.exp(-odds)))


Failures = dict[str, Floats]
"""When each device failed: sorted epoch hours."""


def until_failure(history: History, failures: Failures) -> Floats:
    """Hours from each row's end to its device's next failure, [rows]; infinite where none is known."""
    hours = np.full(len(history.ends), np.inf)
    for device in set(history.devices.tolist()) & set(failures):
        rows = np.flatnonzero(history.devices == device)
        times = np.append(failures[device], np.inf)
        hours[rows] = times[np.searchsorted(times, history.ends[rows])] - history.ends[rows]
    return hours


def enough(history: History, failures: Failures) -> bool:
    """Whether enough failures, on enough devices, fall into the history for a model to learn from."""
    first, last = (history.ends.min(), history.ends.max()) if len(history.ends) else (0.0, 0.0)
    counts = [int(((times >= first) & (times <= last)).sum()) for times in failures.values()]
    return sum(counts) >= LEAST_FAILURES and sum(count > 0 for count in counts) >= LEAST_FAILED_DEVICES


def train(history: History, failures: Failures, horizon_h: int, until: float) -> RiskModel | None:
    """A calibrated model from what was known by `until` (epoch hours), or none where that is too little.

    A row whose horizon runs past `until` is left out: whether it fails is not yet known.
    """
    from sklearn.linear_model import LogisticRegression  # takes two seconds: not where nothing is learned
    from sklearn.model_selection import GroupKFold

    if not enough(history, failures):
        return None
    known = history[history.ends + horizon_h <= until]
    fails = until_failure(known, failures) < horizon_h
    folds = min(FOLDS, len(set(known.devices[fails].tolist())))
    if folds < 2:
        return None
    held_out = np.empty(len(fails))
    for seen, unseen in GroupKFold(folds, shuffle=True, random_state=0).split(fails, groups=known.devices):
        if len(np.unique(fails[seen])) < 2:  # all of it fails within the horizon, or nothing does
            return None
        trees = _fitted(known[seen], fails[seen])
        held_out[unseen] = _log_odds(trees, known.features[unseen])
    line = LogisticRegression(C=1e6).fit(held_out[:, None], fails, known.weights)
    slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
    if slope <= 0:  # what it learned says nothing about other devices: the rate at which they fail does
        rate = float(np.average(fails, weights=known.weights))
        slope, intercept = 0.0, float(np.log(rate / (1 - rate)))
    return RiskModel(_fitted(known, fails), slope, intercept)


def version(history: History, failures: Failures) -> str:
    """Names what a model was trained on: the same history has the same version."""
    digest = hashlib.sha256()
    for part in (history.features, history.ends, history.weights, *(failures[k] for k in sorted(failures))):
        digest.update(np.ascontiguousarray(part).tobytes())
    return f"boosted-{digest.hexdigest()[:12]}"


def values_query(components: str) -> str:
    """SQL (of Postgres and DuckDB) for `FEATURES` per device and day, from a relation like the gold table."""
    columns = ", ".join(f"max(value) FILTER (WHERE component = '{name}') AS {name}" for name in FEATURES)
    return (
        f"SELECT device_id, day, {columns} FROM {components} GROUP BY device_id, day ORDER BY device_id, day"
    )


VALUES = pa.schema(
    [("device_id", pa.string()), ("day", pa.date32()), *((name, pa.float64()) for name in FEATURES)]
)


def history(values: pa.Table, shift: timedelta = timedelta(0), weights: Mapping[str, float] | None = None
            ) -> History:  # fmt: skip
    """A `History` of `VALUES` whose days ended `shift` before midnight; a device weighs 1 unless told."""
    devices = np.array(values["device_id"].to_pylist(), str)
    ends = (values["day"].cast(pa.int32()).to_numpy() + 1) * 24.0 - shift / timedelta(hours=1)
    columns = [pc.fill_null(values[name], UNKNOWN).to_numpy() for name in FEATURES]
    features = np.column_stack(columns).astype(float)
    weight = np.array([(weights or {}).get(device, 1.0) for device in devices.tolist()])
    return History(features.reshape(-1, len(FEATURES)), ends, devices, weight)


def failure_times(services: pa.Table) -> Failures:
    """`Failures` from rows with `device_id` and `occurred_at`."""
    hours = services["occurred_at"].cast(UTC_US).cast(pa.int64()).to_numpy() / 3.6e9
    devices = np.array(services["device_id"].to_pylist(), str)
    return {str(device): np.sort(hours[devices == device]) for device in np.unique(devices)}


def _fitted(history: History, fails: Bools) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.06,
        max_leaf_nodes=6,
        l2_regularization=5,
        min_samples_leaf=10,
        monotonic_cst=[1] * len(FEATURES),
        random_state=0,
    )
    whole = (history.weights == 1).all()  # scikit-learn's weighted quantiles take longer than all the rest
    with threadpool_limits(ONE_THREAD, "openmp"):
        return trees.fit(history.features, fails, None if whole else history.weights)


def _log_odds(trees: Any, features: Floats) -> Floats:
    with threadpool_limits(ONE_THREAD, "openmp"):
        chance = np.clip(trees.predict_proba(features)[:, 1], CLIP, 1 - CLIP)
    return np.asarray(np.log(chance / (1 - chance)))
