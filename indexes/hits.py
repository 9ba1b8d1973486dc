"""What a search returns, and what happens to it afterwards: reranking and the collapse of near-duplicates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from indexes.codes import codes_in
from indexes.fusion import blend

_WORD = re.compile(r"\w+")
_SHINGLE_WORDS = 3


@dataclass(frozen=True)
class HitScores:
    """What a hit's score is made of, as each part measured it."""

    vector: float | None
    """Cosine with the query; None where the query was not embedded."""
    bm25: float | None
    """BM25; None where the chunk was not among the best by words."""
    rerank: float | None
    """The reranker's score; None where there was none."""
    freshness: float
    """Factor of the document's age, already in the score."""


@dataclass(frozen=True)
class Hit:
    """A chunk that answers a query; `source[start:end] == text` in the document at `uri`."""

    doc_id: str
    chunk_id: str
    title: str
    uri: str
    section: str
    text: str
    start: int
    end: int
    doc_type: str
    version: str
    models: list[str]
    error_codes: list[str]
    updated: str | None
    score: float
    scores: HitScores


def rerank(hits: Sequence[Hit], scores: Sequence[float] | None, weight: float) -> list[Hit]:
    """Hits by their scores blended with a reranker's, one per hit; as they are where there are none."""
    if scores is None or not hits:
        return list(hits)
    if len(scores) != len(hits):
        raise ValueError(f"{len(scores)} reranker scores for {len(hits)} hits")
    blended = blend([hit.score / hit.scores.freshness for hit in hits], scores, weight)
    moved = [
        replace(hit, score=float(score) * hit.scores.freshness, scores=replace(hit.scores, rerank=float(raw)))
        for hit, score, raw in zip(hits, blended, scores, strict=True)
    ]
    return best_first(moved)


def best_first(hits: Sequence[Hit]) -> list[Hit]:
    """Hits by falling score; equals by where they stand, so that the order never depends on the index."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.uri, hit.start))


def distinct(hits: Sequence[Hit], limit: int, similarity: float) -> list[Hit]:
    """The first `limit` hits of which no two say the same; the better one of a pair stays.

    Two say the same where their word triples have a Jaccard similarity of at least `similarity` and they name
    the same codes: runbooks cut from one template differ in little else.
    """
    kept: list[tuple[Hit, frozenset[tuple[str, ...]], frozenset[str]]] = []
    for hit in hits:
        if len(kept) >= limit:
            break
        shingles, codes = _shingles(hit.text), frozenset(codes_in(hit.text) | _numbers(hit.text))
        if not any(codes == other and _jaccard(shingles, seen) >= similarity for _, seen, other in kept):
            kept.append((hit, shingles, codes))
    return [hit for hit, _, _ in kept]


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", text))


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    size = min(_SHINGLE_WORDS, max(len(words), 1))
    return frozenset(tuple(words[at : at + size]) for at in range(len(words) - size + 1))


def _jaccard(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    union = len(left | right)
    return len(left & right) / union if union else 1.0
