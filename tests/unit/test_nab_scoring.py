from __future__ import annotations

import numpy as np
import pytest

from benchmarks.nab_scoring import (
    FP_WEIGHT,
    Labelled,
    Outcome,
    best_threshold,
    outcome,
    probation,
    reading_points,
)

LENGTH = 1000
WINDOWS = [(300, 399), (700, 799)]


def labelled(*detections: int) -> Labelled:
    scores = np.zeros(LENGTH)
    scores[list(detections)] = 1.0
    return Labelled(WINDOWS, scores)


def sigmoid(position: float) -> float:
    return float(2 / (1 + np.exp(5 * position)) - 1)


def test_silence_is_0_and_the_first_reading_of_every_window_is_100() -> None:
    assert outcome(labelled(), 0.5).score == 0
    assert outcome(labelled(300, 700), 0.5).score == pytest.approx(100)


def test_only_the_earliest_detection_in_a_window_counts() -> None:
    alone, twice = outcome(labelled(300), 0.5), outcome(labelled(300, 350, 399), 0.5)
    assert (alone.raw, alone.found, alone.false_positives) == (twice.raw, twice.found, twice.false_positives)
    assert alone.score == pytest.approx(50)


def test_a_window_s_reward_falls_towards_its_right_edge() -> None:
    halfway = outcome(labelled(350), 0.5).raw + 1
    assert halfway == pytest.approx(sigmoid(-0.5) / sigmoid(-1))
    last = outcome(labelled(399), 0.5).raw + 1
    assert last == pytest.approx(sigmoid(-0.01) / sigmoid(-1))


def test_a_false_positive_costs_more_the_farther_it_lies_past_a_window() -> None:
    points = reading_points(LENGTH, WINDOWS)
    assert points[299] == -FP_WEIGHT
    assert points[400] == pytest.approx(FP_WEIGHT * sigmoid(1 / 99))
    assert points[498] == pytest.approx(FP_WEIGHT * sigmoid(1))
    assert points[697] == pytest.approx(-FP_WEIGHT)  # more than three widths past
    assert outcome(labelled(200, 250), 0.5) == Outcome(-2 - 2 * FP_WEIGHT, 2, 0, 2)


def test_probation_neither_earns_nor_costs() -> None:
    assert (probation(1000), probation(5000), probation(20_000), probation(1127)) == (150, 750, 750, 169)
    assert outcome(labelled(0, 149), 0.5).raw == outcome(labelled(), 0.5).raw
    assert outcome(labelled(150), 0.5).false_positives == 1


def test_a_series_without_windows_has_points_and_no_score() -> None:
    clean = outcome(Labelled([], np.ones(200)), 0.5)
    assert clean.raw == pytest.approx(-FP_WEIGHT * (200 - 30))
    assert np.isnan(clean.score)


def test_the_best_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(3)
    corpus = [Labelled(WINDOWS, rng.integers(0, 200, LENGTH) / 200) for _ in range(3)]

    def total(threshold: float) -> float:
        return sum(outcome(series, threshold).raw for series in corpus)

    chosen = best_threshold(corpus)
    assert total(chosen) == pytest.approx(max(total(threshold) for threshold in np.arange(201) / 200))


def test_where_every_detection_costs_the_best_threshold_is_above_all_scores() -> None:
    assert best_threshold([Labelled([], np.full(100, 0.7))]) > 0.7
