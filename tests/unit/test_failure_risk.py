"""The learned failure risk: what it may learn from, that it is monotone and true, how well it predicts."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.health.__main__ import measure
from benchmarks.health.fleet import scored
from benchmarks.health.measures import alerting
from pipelines.lake.risk import FEATURES, UNKNOWN, Failures, History, train, until_failure

DAYS, DEVICES = 80, 16
ANOMALY = FEATURES.index("anomaly")


def fleet(seed: int = 0) -> tuple[History, Failures]:
    """Devices without any service: the anomaly grows for four days, not always to the end in a failure."""
    rng = np.random.default_rng(seed)
    features = np.full((DEVICES, DAYS, len(FEATURES)), UNKNOWN)
    features[:, :, ANOMALY] = rng.gamma(2.0, 0.15, (DEVICES, DAYS))
    failures: Failures = {}
    for device in range(DEVICES):
        faults = np.array([20, 50]) + rng.integers(0, 20, 2)
        for day in faults:
            features[device, day - 4 : day, ANOMALY] += (0.5, 1.0, 1.5, 2.0)
        failures[f"d{device}"] = faults[rng.random(2) < 0.7] * 24.0 + 12
    ends = np.tile(np.arange(DAYS) * 24.0 + 24, DEVICES)
    names = np.repeat([f"d{device}" for device in range(DEVICES)], DAYS)
    return History(features.reshape(-1, len(FEATURES)), ends, names, np.ones(len(ends))), failures


def test_a_short_history_teaches_nothing() -> None:
    history, failures = fleet()
    four = {name: failures[name] for name in [f"d{number}" for number in range(4)]}
    assert train(history, four, 72, DAYS * 24) is None, "failures of four devices only"
    assert train(history, failures, 72, 48) is None, "no horizon has ended"
    daily: Failures = {name: np.arange(DAYS) * 24.0 + 36 for name in failures}
    assert train(history, daily, 72, DAYS * 24) is None, "every device fails within every horizon"


def test_each_component_may_only_raise_the_risk() -> None:
    history, failures = fleet()
    model = train(history, failures, 72, DAYS * 24)
    assert model is not None
    for row in history.features[:40]:
        rising = np.tile(row, (50, 1))
        rising[:, ANOMALY] = np.linspace(0, 4, 50)
        probability = model.probability(rising)
        assert (np.diff(probability) >= 0).all()
        assert 0 <= probability[0] < 0.1 < probability[-1] <= 1


def test_probabilities_hold_on_a_fleet_not_seen() -> None:
    model = train(*fleet(), 72, DAYS * 24)
    assert model is not None
    history, failures = fleet(seed=1)
    fails, probability = until_failure(history, failures) < 72, model.probability(history.features)
    assert probability.mean() == pytest.approx(fails.mean(), abs=0.02)
    sure = probability > 0.4
    assert fails[sure].mean() == pytest.approx(probability[sure].mean(), abs=0.15)


def test_what_happens_later_is_not_learned() -> None:
    history, failures = fleet()
    until = 60 * 24.0
    past = history[history.ends <= until]
    known = {name: times[times < until] for name, times in failures.items()}
    knowing = train(history, failures, 72, until)
    honest = train(past, known, 72, until)
    assert knowing is not None
    assert honest is not None
    assert (knowing.probability(history.features) == honest.probability(history.features)).all()


def test_alerts_are_counted_by_their_beginning() -> None:
    # d fails at hour 30 and is announced at 12, which is 18 h ahead; e has a false alert at 6.
    ends = np.array([0.0, 6, 12, 18, 0, 6, 12, 18])
    devices = np.array(["d"] * 4 + ["e"] * 4)
    scores = np.array([0.0, 0, 9, 9, 0, 8, 0, 0])
    failures = {"d": np.array([30.0]), "e": np.array([40.0])}
    found = alerting(scores, ends, devices, failures, 24, 48)
    assert (found.alerts, found.failures, found.false_share) == (2, 2, 0.5)
    assert (found.caught_share, found.warning_hours) == (0.5, 18)


def test_it_predicts_the_failures_of_machines_not_seen(pdm: Path) -> None:
    found = measure(scored(pdm), folds=5)
    for horizon, risk, score in (("24h", 0.985, 0.93), ("72h", 0.88, 0.82), ("168h", 0.75, 0.70)):
        assert found[horizon]["failure_risk"]["auc"] > risk
        assert found[horizon]["health_score"]["auc"] > score
        assert found[horizon]["calibration"]["ece"] < 0.08
        assert found[horizon]["calibration"]["brier"] < found[horizon]["calibration"]["brier_of_base_rate"]
