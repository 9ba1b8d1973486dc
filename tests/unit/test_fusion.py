from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes.fusion import blend, min_max, reciprocal_rank, scaled

NAN = float("nan")
SCORES = st.lists(st.floats(-1e3, 1e3) | st.just(NAN), min_size=1, max_size=20)


def test_scaling_spans_what_was_returned_and_absence_is_zero() -> None:
    assert scaled([3, 1, 2, NAN]).tolist() == [1, 0, 0.5, 0]
    assert scaled([7, 7, NAN]).tolist() == [1, 1, 0]
    assert scaled([NAN, NAN]).tolist() == [0, 0]


def test_a_floor_keeps_close_scores_close() -> None:
    assert scaled([5.0, 4.9], floor=0).tolist() == [1, pytest.approx(0.98)]


def test_min_max_weighs() -> None:
    vector, words = [0.9, 0.1, NAN], [NAN, 10.0, 5.0]
    assert min_max([vector, words], [0.5, 0.5], [None, 0.0]).tolist() == [0.5, 0.5, 0.25]
    assert min_max([vector, words], [1, 0]).tolist() == [1, 0, 0]
    assert min_max([vector, words], [1, 3], [None, 0.0]).tolist() == [0.25, 0.75, 0.375]


def test_reciprocal_rank_sees_order_only() -> None:
    first = reciprocal_rank([[9, 5, 1], [2, 3, NAN]], [0.5, 0.5], k=60)
    assert first.tolist() == pytest.approx([0.5 + 0.5 * 61 / 62, 0.5 * 61 / 62 + 0.5, 0.5 * 61 / 63])
    assert np.array_equal(first, reciprocal_rank([[900, 5, 4], [2, 300, NAN]], [0.5, 0.5], k=60))


def test_equal_scores_share_a_rank() -> None:
    assert reciprocal_rank([[2, 2, 1]], [1], k=1).tolist() == [1, 1, 0.5]


def test_blend_moves_from_the_fused_to_the_reranked_order() -> None:
    fused, reranked = [0.9, 0.5, 0.1], [-8.0, 2.0, 5.0]
    assert np.argsort(-blend(fused, reranked, 0)).tolist() == [0, 1, 2]
    assert np.argsort(-blend(fused, reranked, 1)).tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match=r"1\.5 is outside"):
        blend(fused, reranked, 1.5)


@given(SCORES, st.floats(0, 1))
def test_any_fusion_stays_between_0_and_1(scores: list[float], weight: float) -> None:
    other = list(reversed(scores))
    weights = [weight, 1 - weight]
    for fused in (min_max([scores, other], weights), reciprocal_rank([scores, other], weights)):
        assert ((fused >= 0) & (fused <= 1 + 1e-9)).all()


@pytest.mark.parametrize("weights", [[1], [0, 0], [-1, 2]])
def test_senseless_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="as many weights"):
        min_max([[1, 2], [2, 1]], weights)
