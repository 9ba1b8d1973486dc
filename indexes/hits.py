"""What a search returns, and what happens to it afterwards: reranking and the collapse of near-duplicates."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from indexes.codes import codes_in, keys
from indexes.fusion import blend

_NUMBER, _WORD = re.compile(r"\d+"), re.compile(r"\w+")
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
    """A chunk that answers a query; `source[start:end] == text` in the Markdown of the document at `uri`."""

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
    firmware: list[str]
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


def documents(hits: Sequence[Hit]) -> list[str]:
    """URIs of the hits' documents, each where its best hit stands."""
    return list(dict.fromkeys(hit.uri for hit in hits))


def distinct(hits: Sequence[Hit], limit: int, similarity: float) -> list[Hit]:
    """The first `limit` hits of which no two say the same; the better one of a pair stays.

    Two say the same where their word triples have a Jaccard similarity of at least `similarity`, they and
    their headings name the same codes, their documents declare the same codes, models and firmware, and no
    word of a heading stands in one text alone: runbooks cut from one template, the manuals of two models and
    what is told of the inlet valve and of the outlet valve differ in little else.
    """
    kept: list[Hit] = []
    alike: defaultdict[int, list[_Wording]] = defaultdict(list)
    for hit in hits:
        if len(kept) >= limit:
            break
        wording = _Wording(hit)
        rarest = wording.first(similarity)
        if not any(wording.repeats(other, similarity) for triple in rarest for other in alike[triple]):
            kept.append(hit)
            for triple in rarest:
                alike[triple].append(wording)
    return kept


class _Wording:
    """A hit's text by its word triples, in the order of their hashes."""

    def __init__(self, hit: Hit) -> None:
        words = hit.text.lower().split()
        size = min(_SHINGLE_WORDS, max(len(words), 1))
        self._hit = hit
        self._triples = frozenset(map(hash, zip(*(words[at:] for at in range(size)), strict=False)))

    def first(self, similarity: float) -> list[int]:
        """Triples of which any text of that similarity has one among its own first.

        Chaudhuri, Ganti, Kaushik 2006, "A Primitive Operator for Similarity Joins in Data Cleaning": prefix
        filtering, which spares comparing each with each.
        """
        count = len(self._triples)
        return sorted(self._triples)[: count - int(similarity * count) + 1]

    def repeats(self, other: _Wording, similarity: float) -> bool:
        """Whether the two say the same; see `distinct`."""
        both = len(self._triples & other._triples)
        either = len(self._triples) + len(other._triples) - both
        if both < similarity * either or self._names != other._names:
            return False
        differing = self._text_words ^ other._text_words
        return differing.isdisjoint(self._heading_words | other._heading_words)

    @cached_property
    def _names(self) -> tuple[set[str], ...]:
        """What it is about: codes and numbers, what is declared."""
        hit = self._hit
        named = codes_in(f"{hit.title} {hit.section} {hit.text}") | set(_NUMBER.findall(hit.text))
        return named, keys(hit.error_codes), keys(hit.models), keys(hit.firmware)

    @cached_property
    def _text_words(self) -> set[str]:
        return set(_WORD.findall(self._hit.text.lower()))

    @cached_property
    def _heading_words(self) -> set[str]:
        return set(_WORD.findall(f"{self._hit.title} {self._hit.section}".lower()))
