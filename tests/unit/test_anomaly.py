from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from iotops.errors import IotOpsError
from pipelines.ingest.alerting.anomaly import ALERT, WARM_UP, AnomalyDetector
from pipelines.ingest.alerting.novelty import SERIES

FIVE_MINUTES = 300_000
START = 1_700_000_000_000
Floats = npt.NDArray[np.float64]


def times(length: int) -> npt.NDArray[np.int64]:
    return START + FIVE_MINUTES * np.arange(length)


def run(series: Floats, detector: AnomalyDetector | None = None, first: int = 0) -> Floats:
    """Scores of `series` (length, n), all in each step; keys are 0 to n-1, `first` the index in time."""
    detector = AnomalyDetector() if detector is None else detector
    slots = detector.slots(range(series.shape[1]))
    scores = []
    for i, values in enumerate(series, start=first):
        scores.append(detector.step(slots, values, np.full(len(values), START + FIVE_MINUTES * i)))
    return np.array(scores)


def fleet(length: int = 900) -> Floats:
    """Six unlike series: noise, counts, a daily rhythm, spikes, a drift and a constant."""
    rng = np.random.default_rng(5)
    i = np.arange(length)
    return np.stack(
        (
            20 + rng.standard_normal(length),
            rng.poisson(3, length).astype(float),
            50 + 30 * np.sin(2 * np.pi * i / 288) + rng.standard_normal(length),
            np.where(rng.random(length) < 0.02, 90.0, 2.0) + 0.1 * rng.standard_normal(length),
            1e9 + 0.05 * i + rng.standard_normal(length),
            np.full(length, 7.0),
        ),
        axis=1,
    )


def alerts(values: Floats) -> npt.NDArray[np.intp]:
    return np.flatnonzero(run(values[:, None])[:, 0] >= ALERT)


def test_scores_lie_between_0_and_1_whatever_comes() -> None:
    wild = fleet(300)
    wild[100, :] = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-300)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        scores = run(wild)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert (scores[:WARM_UP] == 0).all()


def test_a_reading_that_is_no_number_leaves_its_series_as_it_was() -> None:
    values = fleet(300)
    holes = np.insert(values, 150, np.nan, axis=0)
    detector = AnomalyDetector()
    slots = detector.slots(range(6))
    at = np.insert(times(300), 150, START)
    scores = np.array([detector.step(slots, v, np.full(6, t)) for v, t in zip(holes, at, strict=True)])
    assert (scores[150] == 0).all()
    np.testing.assert_array_equal(np.delete(scores, 150, axis=0), run(values))


def test_what_comes_later_changes_no_score() -> None:
    values = fleet(600)
    other = values.copy()
    other[400:] = other[400:] * -3 + 1000
    np.testing.assert_array_equal(run(values)[:400], run(other)[:400])


def test_many_series_score_as_each_alone() -> None:
    values = fleet()
    together = run(values)
    alone = np.column_stack([run(values[:, [column]])[:, 0] for column in range(values.shape[1])])
    np.testing.assert_array_equal(together, alone)


def test_a_state_continues_elsewhere_bit_by_bit_at_constant_size() -> None:
    values = fleet()
    whole, before = AnomalyDetector(), AnomalyDetector()
    run(values[:500], before)
    moved = AnomalyDetector()
    moved.slots(["another series"])
    for key in range(6):
        record = before.export(key)
        assert len(record) == SERIES.itemsize < 8 * 1024
        moved.restore(key, record)
    np.testing.assert_array_equal(run(values, whole)[500:], run(values[500:], moved, first=500))
    assert [moved.export(key) for key in range(6)] == [whole.export(key) for key in range(6)]


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(IotOpsError, match="12 bytes"):
        AnomalyDetector().restore("a", b"\0" * 12)


def test_slots_stay_when_the_detector_grows() -> None:
    detector = AnomalyDetector()
    early = detector.slots([("pump-1", "vibration")])
    detector.step(early, np.array([5.0]), times(1))
    state = detector.export(("pump-1", "vibration"))
    many = detector.slots([(f"device-{i}", "vibration") for i in range(500)])
    assert len(set(many.tolist())) == 500
    assert len(detector) == 501
    assert detector.export(("pump-1", "vibration")) == state


@pytest.mark.parametrize("seed", range(3))
def test_noise_alerts_rarely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = np.column_stack([10 + rng.standard_normal(4000) for _ in range(8)])
    assert (run(noise)[600:] >= ALERT).mean() < 0.0025


@pytest.mark.parametrize("seed", range(3))
def test_a_spike_is_found_at_once(seed: int) -> None:
    values = 40 + np.random.default_rng(seed).standard_normal(3000)
    values[2500] += 12
    assert 2500 in alerts(values)


@pytest.mark.parametrize("seed", range(3))
def test_a_level_shift_is_found(seed: int) -> None:
    values = 40 + np.random.default_rng(seed).standard_normal(3000)
    values[2500:] -= 5
    found = alerts(values)
    assert ((found >= 2500) & (found < 2520)).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_sensor_that_is_stuck_is_found(seed: int) -> None:
    i = np.arange(4000)
    values = 50 + 30 * np.sin(2 * np.pi * i / 288) + np.random.default_rng(seed).standard_normal(4000)
    values[3200:3488] = values[3200]
    found = alerts(values)
    assert ((found >= 3200) & (found < 3488)).any()


def test_an_alert_hushes_the_next_one_that_is_no_stronger() -> None:
    values = 40 + np.random.default_rng(1).standard_normal(3000)
    values[2500:2600:10] += 12
    found = alerts(values)
    assert 1 <= ((found >= 2500) & (found < 2600)).sum() <= 3
