"""What a replica of the reranker makes of requests that meet: one reading for each model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ray_apps.reranker import Wanted, scores_of


class Lengths:
    """Scores a text by its length, in a unit of its own; keeps what it read at once."""

    def __init__(self, unit: float) -> None:
        self._unit = unit
        self.read: list[list[tuple[str, str]]] = []

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        self.read.append(list(pairs))
        return np.array([len(text) * self._unit for _, text in pairs], np.float32)


def test_requests_of_one_model_are_read_together_and_each_gets_its_own_scores() -> None:
    plain, tuned = Lengths(1), Lengths(10)
    wanted = [
        Wanted(plain, [("one", "a"), ("one", "bb")]),
        Wanted(tuned, [("two", "a"), ("two", "ccc")]),
        Wanted(plain, []),
        Wanted(plain, [("three", "dddd")]),
    ]
    assert scores_of(wanted) == [[1, 2], [10, 30], [], [4]]
    assert plain.read == [[("one", "a"), ("one", "bb"), ("three", "dddd")]]
    assert tuned.read == [[("two", "a"), ("two", "ccc")]]
