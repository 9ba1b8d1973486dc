"""Hybrid search over one or more snapshots: vectors and BM25 fused, then lifts and freshness."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexes.filters import Filters
from indexes.forward import Bm25f
from indexes.fusion import Scores, min_max, reciprocal_rank
from indexes.hits import Hit, HitScores, best_first, distinct
from indexes.precedents import Precedents
from indexes.schema import rows_of
from indexes.snapshot import Fusion, Part, Snapshot
from indexes.text import TermStatistics
from indexes.vector import Vectors
from iotops.settings import RetrievalSettings

_LOOKED_THROUGH = 8
"""Times as many chunks as are taken by words: Tantivy's own score has other weights than ours."""
_PASSAGES = 2
"""Of each document that answers a question like the query: a long manual must not fill the hits."""
_SPARE = 5
"""Hits that are read beyond those wanted."""


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

    @classmethod
    def of(cls, settings: RetrievalSettings) -> Self:
        """As it is configured."""
        return cls(fresh_for=timedelta(days=settings.fresh_days))


@dataclass
class Timings:
    """Milliseconds spent in each stage."""

    vector: float = 0.0
    bm25: float = 0.0
    fuse: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """Chunks of a part that a ranking or a code brought in, with what no weight changes any more."""

    part: Part
    rows: NDArray[np.int64]
    vector: Scores
    """Cosine with the query; NaN where it was not embedded."""
    exact: Scores
    """Share of the codes asked for that the chunk carries, 0 to 1."""
    words: Scores
    """BM25F by the weights that chose the candidates; NaN where no word of the query occurs."""
    precedent: Scores
    """How alike the query is to a question that the chunk's document is known to answer, 0 to 1; NaN where it
    answers none, and for all but the document's best chunks."""


@dataclass(frozen=True)
class Found:
    """What a query found in all that was searched."""

    query: str
    statistics: TermStatistics
    pools: list[Candidates]
    weights: Bm25f
    """Those that chose the best by words."""

    def words(self, weights: Bm25f) -> list[Scores]:
        """BM25F of every pool's candidates, by these weights or by others."""
        if weights == self.weights:
            return [pool.words for pool in self.pools]
        return [pool.part.text.score(self.query, pool.rows, self.statistics, weights) for pool in self.pools]


@dataclass(frozen=True)
class HybridIndex:
    """One snapshot, searchable with what it adds to."""

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
        self,
        part: Part,
        query: str,
        vector: Vectors | None,
        filters: Filters,
        local: TermStatistics,
        shared: TermStatistics,
        words: Bm25f,
        answers: Mapping[str, float],
        spent: Timings,
    ) -> Candidates:
        """The best by vectors, by words, by codes and by precedents, each with every score, whoever found it.

        The best by words are those by BM25F among the best that Tantivy finds. Of each document that answered
        questions like this one (`answers`, by URI), they are the best by vectors.
        """
        clock = _Stopwatch()
        vectors, count = part.snapshot.vectors, self.ranking.candidates
        vector = vector if self.comparable else None
        answering, alike = np.empty(0, np.int64), np.empty(0, np.float32)
        near = np.empty(0, np.int64)
        if vector is not None:
            _, found = vectors.search(vector[np.newaxis, :], count, part.allowed(filters))
            near = found[0][found[0] >= 0]
            answering, alike = _answering(part, vector, answers, filters)
        spent.vector += clock.lap()
        _, worded = part.text.search(query, count * _LOOKED_THROUGH, filters, local, shared)
        _, coded = part.text.exact(query, count, filters, local, shared)
        rows = np.unique(np.concatenate([near, worded, coded, answering]))
        scores = part.text.score(query, rows, shared, words)
        places = np.searchsorted(rows, worded)
        best = places[np.argsort(-np.nan_to_num(scores[places]), kind="stable")[:count]]
        chosen = np.zeros(len(rows), np.bool_)
        for at in (*(np.searchsorted(rows, found) for found in (near, coded, answering)), best):
            chosen[at] = True
        rows, scores = rows[chosen], scores[chosen]
        spent.bm25 += clock.lap()
        cosine = np.full(len(rows), np.nan)
        if vector is not None:
            cosine = vectors.scores(vector, rows).astype(np.float64)
        spent.vector += clock.lap()
        precedent = np.full(len(rows), np.nan)
        precedent[np.searchsorted(rows, answering)] = alike
        exact = part.text.shares(query, rows, part.snapshot.chunks, shared)
        spent.bm25 += clock.lap()
        return Candidates(part, rows, cosine, exact, scores, precedent)


def search_all(
    indexes: Sequence[HybridIndex],
    query: str,
    vector: Vectors | None,
    limit: int,
    filters: Filters | None = None,
    *,
    fusion: Fusion | None = None,
    precedents: Precedents | None = None,
    now: datetime | None = None,
    spent: Timings | None = None,
) -> list[Hit]:
    """The best chunks of several indexes as if they were one, best first, near-duplicates collapsed.

    `vector` is the query's unit vector (d,), or None to search by words alone. Scores are comparable across
    the indexes: cosines by nature, BM25 because term frequencies are summed first, and the scaling spans
    all candidates. The first index's ranking holds for all, and its fusion and precedents unless others are
    given.
    """
    if not indexes:
        return []
    spent = spent or Timings()
    fusion = fusion or indexes[0].snapshot.manifest.fusion
    if precedents is None:
        precedents = indexes[0].snapshot.precedents
    if not fusion.precedent:
        precedents = Precedents()
    found = find(indexes, query, vector, filters or Filters(), fusion.words, precedents, spent)
    return rank(found, limit, fusion, indexes[0].ranking, now, spent)


def find(
    indexes: Sequence[HybridIndex],
    query: str,
    vector: Vectors | None,
    filters: Filters,
    words: Bm25f,
    precedents: Precedents,
    spent: Timings,
) -> Found:
    """The first half of `search_all`: what is to be ranked, of words the best by `words`."""
    parts = [(index, part) for index in indexes for part in index.snapshot.parts]
    statistics = [part.text.statistics(query) for _, part in parts]
    shared = TermStatistics.total(statistics)
    answers = precedents.answers(query, vector) if vector is not None and indexes[0].comparable else {}
    pools = [
        index.candidates(part, query, vector, filters, local, shared, words, answers, spent)
        for (index, part), local in zip(parts, statistics, strict=True)
    ]
    return Found(query, shared, pools, words)


def rank(
    found: Found, limit: int, fusion: Fusion, ranking: Ranking, now: datetime | None, spent: Timings
) -> list[Hit]:
    """The second half of `search_all`: every candidate scored by words too, whoever found it; fused."""
    clock = _Stopwatch()
    words = np.concatenate(found.words(fusion.words))
    spent.bm25 += clock.lap()
    fused = fuse(
        np.concatenate([pool.vector for pool in found.pools]),
        words,
        np.concatenate([pool.exact for pool in found.pools]),
        np.concatenate([pool.precedent for pool in found.pools]),
        fusion,
    )
    fresh = np.concatenate([_freshness(pool, ranking, now or datetime.now(UTC)) for pool in found.pools])
    hits: list[Hit] = []
    for most in (limit + _SPARE, len(fused)):  # few are near-duplicates: what stands far below is not read
        hits = best_first(_hits(found.pools, words, fused, fresh, _best(fused * fresh, most)))
        hits = distinct(hits, limit, ranking.near_duplicate)
        if len(hits) >= limit:
            break
    spent.fuse += clock.lap()
    return hits


def _best(scores: Scores, count: int) -> NDArray[np.bool_]:
    """Which are the `count` best, and all that equal the last of them."""
    if count >= len(scores):
        return np.ones(len(scores), np.bool_)
    best: NDArray[np.bool_] = scores >= np.partition(scores, len(scores) - count)[len(scores) - count]
    return best


def fuse(vector: Scores, bm25: Scores, exact: Scores, precedent: Scores, weights: Fusion) -> Scores:
    """One score per candidate in 0..1 from its rankings (NaN where it has none): fusion, then the lifts.

    With weight w for codes and a share s of the codes asked for, score = (fused + w * s) / (1 + w) where any
    candidate matches a code, else the fused score. How alike a precedent is, p of weight v, adds v * p to the
    sum, and v * (the greatest p) to what it is divided by: one that is hardly alike changes hardly any score.
    """
    rankings, parts = (vector, bm25), (weights.vector, weights.bm25)
    if np.isnan(vector).all():
        parts = (0.0, 1.0)
    if weights.method == "min_max":
        fused = min_max(rankings, parts, floors=(None, 0.0))
    else:
        fused = reciprocal_rank(rankings, parts)
    alike = np.nan_to_num(precedent)
    most = 1 + weights.code_lift * exact.any() + weights.precedent * alike.max(initial=0)
    lifted: Scores = (fused + weights.code_lift * exact + weights.precedent * alike) / most
    return lifted


def _hits(
    pools: Sequence[Candidates], words: Scores, fused: Scores, fresh: Scores, wanted: NDArray[np.bool_]
) -> list[Hit]:
    """The wanted candidates, which all arrays count through from pool to pool, with their chunks."""
    hits, offset = [], 0
    for pool in pools:
        chosen = np.flatnonzero(wanted[offset : offset + len(pool.rows)])
        chunks = rows_of(pool.part.snapshot.chunks, pool.rows[chosen]).to_pylist()
        for chunk, place in zip(chunks, chosen, strict=True):
            at = offset + place
            scores = HitScores(_number(pool.vector[place]), _number(words[at]), None, float(fresh[at]))
            updated: datetime | None = chunk["updated"]
            chunk["updated"] = updated and updated.isoformat()
            del chunk["language"], chunk["content_hash"]
            hits.append(Hit(**chunk, score=float(fused[at] * fresh[at]), scores=scores))
        offset += len(pool.rows)
    return hits


def _freshness(pool: Candidates, ranking: Ranking, now: datetime) -> Scores:
    """The factor of each candidate's age."""
    updated = pool.part.snapshot.chunks["updated"].take(pool.rows).to_numpy()
    age = np.datetime64(now.replace(tzinfo=None), "us") - updated  # that of no date is in no window
    # A day of slack for a document dated in a zone ahead of UTC; a date far ahead is a typing error.
    recent = (age >= -np.timedelta64(1, "D")) & (age <= np.timedelta64(ranking.fresh_for))
    return np.where(recent, ranking.freshness, 1.0)


def _answering(
    part: Part, vector: Vectors, answers: Mapping[str, float], filters: Filters
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best chunks by vectors of each document that answered, and how alike each one's question is."""
    rows, alike = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for uri, share in answers.items():
        found = part.text.rows_of_document(uri, filters)
        best = np.argsort(-part.snapshot.vectors.scores(vector, found), kind="stable")[:_PASSAGES]
        rows.append(found[best])
        alike.append(np.full(len(best), share, np.float32))
    return np.concatenate(rows), np.concatenate(alike)


def _number(score: float) -> float | None:
    return None if np.isnan(score) else float(score)


class _Stopwatch:
    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        before, self._since = self._since, time.perf_counter()
        return (self._since - before) * 1000
