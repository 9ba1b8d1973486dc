"""Fusion of rankings into one score: pure functions over scores that are aligned by candidate.

A ranking is an array of shape (n,), one entry per candidate, NaN where it did not return that candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
RECIPROCAL_RANK_K = 60


def scaled(scores: ArrayLike, floor: float | None = None) -> Scores:
    """Scores mapped to 0..1 between the floor (default: their minimum) and their maximum; NaN becomes 0.

    All equal maps to 1: each was returned, and none is better. A floor, such as BM25's 0 for "no match",
    keeps a short list of close scores close (Bruch, Gai, Ingber 2023, "An Analysis of Fusion Functions for
    Hybrid Retrieval", section 4: theoretical minimum-maximum scaling).
    """
    values = np.asarray(scores, np.float64)
    present = ~np.isnan(values)
    result = np.zeros(values.shape)
    if present.any():
        low = float(values[present].min()) if floor is None else floor
        high = float(values[present].max())
        result[present] = 1.0 if high <= low else np.clip((values[present] - low) / (high - low), 0, 1)
    return result


def min_max(
    rankings: Sequence[ArrayLike], weights: Sequence[float], floors: Sequence[float | None] | None = None
) -> Scores:
    """Weighted mean of the scaled scores, in 0..1; the default fusion."""
    floors = floors or [None] * len(rankings)
    parts = [scaled(ranking, floor) for ranking, floor in zip(rankings, floors, strict=True)]
    return _weighted_mean(parts, weights)


def reciprocal_rank(
    rankings: Sequence[ArrayLike], weights: Sequence[float], k: int = RECIPROCAL_RANK_K
) -> Scores:
    """Weighted mean of (k + 1) / (k + rank), in 0..1; equal scores share the better rank.

    Cormack, Clarke, Buettcher 2009, "Reciprocal Rank Fusion outperforms Condorcet", scaled so that first
    in every ranking is 1.
    """
    return _weighted_mean([_reciprocal(np.asarray(ranking, np.float64), k) for ranking in rankings], weights)


def blend(fused: ArrayLike, reranked: ArrayLike, weight: float) -> Scores:
    """Fused scores moved towards the reranker's, each scaled over the pool; weight 0 keeps, 1 replaces."""
    if not 0 <= weight <= 1:
        raise ValueError(f"reranker weight {weight} is outside 0..1")
    return _weighted_mean([scaled(fused), scaled(reranked)], [1 - weight, weight])


def _weighted_mean(parts: Sequence[Scores], weights: Sequence[float]) -> Scores:
    if len(parts) != len(weights) or min(weights, default=0) < 0 or sum(weights) <= 0:
        raise ValueError(f"{len(parts)} rankings need as many weights, none negative, not all 0: {weights}")
    total = np.asarray(weights, np.float64) / sum(weights)
    return np.asarray(sum(part * weight for part, weight in zip(parts, total, strict=True)), np.float64)


def _reciprocal(scores: Scores, k: int) -> Scores:
    present = ~np.isnan(scores)
    ordered = np.sort(-scores[present])
    result = np.zeros(scores.shape)
    result[present] = (k + 1) / (k + 1 + np.searchsorted(ordered, -scores[present]))
    return result
