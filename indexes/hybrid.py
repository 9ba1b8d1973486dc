"""Hybrid search over one or more snapshots: vectors and BM25 fused, codes lifted, fresh documents first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from indexes.filters import Filters
from indexes.fusion import Scores, min_max, reciprocal_rank
from indexes.hits import Hit, HitScores, best_first, distinct
from indexes.snapshot import Fusion, Snapshot
from indexes.text import TermStatistics
from indexes.vector import Vectors


@dataclass(frozen=True)
class Ranking:
    """How candidates are found and ordered, besides what the manifest says."""

    candidates: int = 50
    """Taken from each of the vector and the BM25 ranking of each index."""
    freshness: float = 1.2
    """Factor for documents updated within the window."""
    fresh_for: timedelta = timedelta(days=90)
    near_duplicate: float = 0.9
    """Jaccard similarity of word triples from which two chunks say the same."""


@dataclass
class Timings:
    """Milliseconds spent in each stage."""

    vector: float = 0.0
    bm25: float = 0.0
    fuse: float = 0.0


@dataclass(frozen=True)
class _Candidates:
    snapshot: Snapshot
    rows: NDArray[np.int64]
    vector: Scores
    bm25: Scores
    exact: Scores


@dataclass(frozen=True)
class HybridIndex:
    """One snapshot, searchable."""

    snapshot: Snapshot
    ranking: Ranking = field(default_factory=Ranking)
    comparable: bool = True
    """Whether queries are embedded by the model that made the vectors; if not, words alone are searched."""

    def search(
        self, query: str, vector: Vectors | None, limit: int, filters: Filters | None = None
    ) -> list[Hit]:
        """The best chunks of this index alone; see `search_all`."""
        return search_all([self], query, vector, limit, filters)

    def candidates(
        self, query: str, vector: Vectors | None, filters: Filters, statistics: TermStatistics, spent: Timings
    ) -> _Candidates:
        """Everything that either ranking or a code brings in, with the scores each gave (NaN for none)."""
        clock = _Stopwatch()
        snapshot, count = self.snapshot, self.ranking.candidates
        vector = vector if self.comparable else None
        near = np.empty(0, np.int64)
        if vector is not None:
            _, found = snapshot.vectors.search(vector[np.newaxis, :], count, filters.mask(snapshot.chunks))
            near = found[0][found[0] >= 0]
        spent.vector += clock.lap()
        bm25, worded = snapshot.text.search(query, count, filters, statistics)
        shares, coded = snapshot.text.exact(query, count, filters, statistics)
        spent.bm25 += clock.lap()
        rows = np.union1d(np.union1d(near, worded), coded)
        # BM25's and the codes' candidates get their cosine too: a ranking cut at 50 is not a score of 0.
        cosine = np.full(len(rows), np.nan)
        if vector is not None:
            cosine = snapshot.vectors.scores(vector, rows).astype(np.float64)
        spent.vector += clock.lap()
        return _Candidates(
            snapshot, rows, cosine, _aligned(rows, worded, bm25), _aligned(rows, coded, shares)
        )


def search_all(
    indexes: Sequence[HybridIndex],
    query: str,
    vector: Vectors | None,
    limit: int,
    filters: Filters | None = None,
    *,
    now: datetime | None = None,
    spent: Timings | None = None,
) -> list[Hit]:
    """The best chunks of several indexes as if they were one, best first, near-duplicates collapsed.

    `vector` is the query's unit vector (d,), or None to search by words alone. Scores are comparable across
    the indexes: cosines by nature, BM25 because term frequencies are summed first, and the scaling spans
    all candidates. The first index's fusion weights and ranking hold for all.
    """
    spent = spent or Timings()
    filters = filters or Filters()
    if not indexes:
        return []
    statistics = TermStatistics.total(index.snapshot.text.statistics(query) for index in indexes)
    pools = [index.candidates(query, vector, filters, statistics, spent) for index in indexes]
    clock = _Stopwatch()
    fused = fuse(
        np.concatenate([pool.vector for pool in pools]),
        np.concatenate([pool.bm25 for pool in pools]),
        np.concatenate([pool.exact for pool in pools]),
        indexes[0].snapshot.manifest.fusion,
    )
    hits, offset = [], 0
    for pool in pools:
        part = fused[offset : offset + len(pool.rows)]
        hits += _hits(pool, part, indexes[0].ranking, now or datetime.now(UTC))
        offset += len(pool.rows)
    hits = distinct(best_first(hits), limit, indexes[0].ranking.near_duplicate)
    spent.fuse += clock.lap()
    return hits


def fuse(vector: Scores, bm25: Scores, exact: Scores, weights: Fusion) -> Scores:
    """One score per candidate in 0..1 from its rankings (NaN where it has none): fusion, then the code lift.

    With weight w for codes and a share s of the codes asked for, score = (fused + w * s) / (1 + w) where any
    candidate matches a code, else the fused score.
    """
    rankings, parts = (vector, bm25), (weights.vector, weights.bm25)
    if np.isnan(vector).all():
        parts = (0.0, 1.0)
    if weights.method == "min_max":
        fused = min_max(rankings, parts, floors=(None, 0.0))
    else:
        fused = reciprocal_rank(rankings, parts)
    shares = np.nan_to_num(exact)
    if not shares.any():
        return fused
    lifted: Scores = (fused + weights.code_lift * np.minimum(shares, 1)) / (1 + weights.code_lift)
    return lifted


def _hits(pool: _Candidates, fused: Scores, ranking: Ranking, now: datetime) -> list[Hit]:
    hits = []
    chunks = pool.snapshot.chunks.take(pool.rows).to_pylist()
    for chunk, score, cosine, bm25 in zip(chunks, fused, pool.vector, pool.bm25, strict=True):
        updated: datetime | None = chunk["updated"]
        factor = ranking.freshness if _fresh(updated, ranking.fresh_for, now) else 1.0
        scores = HitScores(_number(cosine), _number(bm25), None, factor)
        chunk["updated"] = updated and updated.isoformat()
        del chunk["language"], chunk["content_hash"]
        hits.append(Hit(**chunk, score=float(score) * factor, scores=scores))
    return hits


def _fresh(updated: datetime | None, window: timedelta, now: datetime) -> bool:
    # A day of slack for a document dated in a zone ahead of UTC; a date far ahead is a typing error.
    return updated is not None and -timedelta(days=1) <= now - updated <= window


def _number(score: float) -> float | None:
    return None if np.isnan(score) else float(score)


def _aligned(rows: NDArray[np.int64], found: NDArray[np.int64], scores: NDArray[np.float32]) -> Scores:
    aligned = np.full(len(rows), np.nan)
    aligned[np.searchsorted(rows, found)] = scores
    return aligned


class _Stopwatch:
    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        before, self._since = self._since, time.perf_counter()
        return (self._since - before) * 1000
