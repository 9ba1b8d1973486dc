"""Measures of a ranking against judged documents, as TREC's `trec_eval` defines them.

Grades above 0 are relevant; a document that is not judged is not. The cut of 10 is BEIR's (Thakur et al.
2021, "BEIR: A Heterogenous Benchmark for Zero-shot Evaluation of Information Retrieval Models").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike

DEPTH = 10
DIGITS = 6
"""Kept of a mean: the last bits differ from one processor to the next."""
RESAMPLES = 2_000
CERTAINTY = 0.9
"""Share of the resampled gains that have to be above 0 for what a corpus is searched with to change."""

Grades = Mapping[str, int]


@dataclass(frozen=True)
class Measures:
    """Means over questions, each 0 to 1."""

    questions: int
    ndcg_at_10: float
    recall_at_10: float
    mrr: float


def measured(judged: Iterable[tuple[Sequence[str], Grades]]) -> Measures:
    """The means over rankings with their grades; raises `ValueError` where there are none."""
    scores = [(ndcg(*each), recall(*each), reciprocal_rank(*each)) for each in judged]
    if not scores:
        raise ValueError("there is no ranking to measure")
    means = (round(fmean(column), DIGITS) for column in zip(*scores, strict=True))
    return Measures(len(scores), *means)


def ndcg(ranking: Sequence[str], grades: Grades, depth: int = DEPTH) -> float:
    """Discounted cumulative gain over that of the best order; the gain is the grade.

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with the discount
    log2(rank + 1) of trec_eval's `ndcg_cut`.
    """
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    return _dcg([max(grades.get(each, 0), 0) for each in ranking[:depth]]) / _dcg(best[:depth])


def recall(ranking: Sequence[str], grades: Grades, depth: int = DEPTH) -> float:
    """The share of the relevant documents that are among the first `depth` (trec_eval's `recall`)."""
    relevant = _relevant(grades)
    return len(relevant.intersection(ranking[:depth])) / len(relevant)


def reciprocal_rank(ranking: Sequence[str], grades: Grades, depth: int = DEPTH) -> float:
    """1 / the rank of the first relevant document, 0 where none is among the first `depth`.

    Voorhees 1999, "The TREC-8 Question Answering Track Report"; trec_eval's `recip_rank`, cut.
    """
    relevant = _relevant(grades)
    ranks = (rank for rank, each in enumerate(ranking[:depth], start=1) if each in relevant)
    return 1 / next(ranks, math.inf)


def certainty(before: ArrayLike, after: ArrayLike) -> float:
    """Share of resampled sets of questions (n,) on which their mean gains.

    Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; the same sets each time.
    """
    gains = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    drawn = np.random.default_rng(0).integers(len(gains), size=(RESAMPLES, len(gains)))
    return float((gains[drawn].mean(axis=1) > 0).mean())


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def _relevant(grades: Grades) -> set[str]:
    return {document for document, grade in grades.items() if grade > 0}
