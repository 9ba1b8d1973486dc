"""Whether a reranker helps: questions answered with it and without it, at each share in the final score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexes.hits import Hit, documents, rerank
from indexes.hybrid import HybridIndex, search_all
from indexes.precedents import Precedents
from indexes.schema import passage
from indexes.snapshot import DEFAULT_RERANKER_WEIGHT, Fusion
from indexes.vector import Vectors
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.measures import CERTAINTY, certainty, ndcg

POOL = 20
"""Hits that the reranker reads, as the retriever has it."""
HITS = 40
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Scorer(Protocol):
    """What reranks: `indexes.cross_encoder.RelevanceScorer`, or anything that behaves like it."""

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """One score per text (n,), higher is better."""
        ...


@dataclass(frozen=True)
class Verdict:
    """The weight that all questions choose; nDCG@10 of each half with the weight that the other chose."""

    weight: float
    before: float
    after: float
    certainty: float
    """Share of the resampled sets of questions on which it gains."""
    questions: int

    @property
    def wins(self) -> bool:
        """Whether it is to be used."""
        return self.weight > 0 and self.after > self.before and self.certainty >= CERTAINTY

    def __str__(self) -> str:
        return (
            f"weight {self.weight:.1f}: nDCG@10 {self.before:.3f} without, {self.after:.3f} with it on "
            f"{self.questions} questions, each half by what the other chose, a gain in {self.certainty:.0%} "
            "of resamples"
        )


def judge(
    indexes: Sequence[HybridIndex],
    one: Sequence[Question],
    other: Sequence[Question],
    vectors: Mapping[str, Vectors],
    scorer: Scorer,
    fusion: Fusion | None = None,
    precedents: Precedents | None = None,
    on_progress: Callable[[str], None] = lambda message: None,
) -> Verdict:
    """Choose the reranker's weight by two halves of questions, and measure each by what the other chose.

    No document may answer questions of both. `vectors` are the questions' by their text. Of the precedents,
    the index's unless others are given, a question's own is left out.
    """
    known = indexes[0].snapshot.precedents if precedents is None else precedents

    def values(questions: Sequence[Question]) -> NDArray[np.float64]:
        """nDCG@10 by question and weight."""
        rows = []
        for number, question in enumerate(questions, start=1):
            text, others = question.text, known.without(question.text)
            hits = search_all(indexes, text, vectors[text], HITS, fusion=fusion, precedents=others)
            rows.append(_values(hits, question, scorer))
            if number % 25 == 0:
                on_progress(f"reranked the hits of {number} of {len(questions)} questions")
        return np.array(rows)

    halves = [values(one), values(other)]
    places = [chosen(half) for half in halves]
    before = np.concatenate([half[:, 0] for half in halves])
    after = np.concatenate([half[:, place] for half, place in zip(halves, places[::-1], strict=True)])
    weight = WEIGHTS[chosen(np.concatenate(halves))]
    means = float(before.mean()), float(after.mean())
    return Verdict(weight, *means, certainty(before, after), len(before))


def chosen(values: NDArray[np.float64]) -> int:
    """The place of the weight to use, by nDCG@10 of questions with each of `WEIGHTS` (questions, weights).

    A few questions tell weights apart by chance. Of those that lose no more than one standard error to the
    best (Breiman, Friedman, Olshen, Stone 1984, "Classification and Regression Trees", section 3.4.3), it is
    the nearest to `DEFAULT_RERANKER_WEIGHT`; none where none does better.
    """
    best = int(np.argmax(values.mean(axis=0)))
    if best == 0:
        return 0
    losses = values[:, [best]] - values
    within = losses.mean(axis=0) <= losses.std(axis=0) / np.sqrt(len(values))
    alike = [place for place in range(1, len(WEIGHTS)) if within[place]]
    return min(alike, key=lambda place: (round(abs(WEIGHTS[place] - DEFAULT_RERANKER_WEIGHT), 6), place))


def _values(hits: list[Hit], question: Question, scorer: Scorer) -> list[float]:
    """nDCG@10 by weight."""
    head, tail = hits[:POOL], hits[POOL:]
    scores = scorer.score(question.text, [passage(hit.title, hit.section, hit.text) for hit in head])
    orders = ([*rerank(head, scores.tolist(), weight), *tail] for weight in WEIGHTS)
    return [ndcg(documents(order), question.grades) for order in orders]
