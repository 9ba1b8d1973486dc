"""The weights of a tenant's index, fitted to its labelled questions."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from indexes.cross_encoder import RelevanceScorer
from indexes.filters import Filters
from indexes.hits import documents
from indexes.hybrid import Found, HybridIndex, Timings, find, rank
from indexes.precedents import Precedents
from indexes.snapshot import Fusion, Manifest
from indexes.tuned import tuned_model
from indexes.vector import Vectors
from iotops.errors import ModelError
from iotops.lake import lake_filesystem
from iotops.models import resolve_role
from iotops.settings import Settings
from pipelines.evaluation.calibration import LEAST_QUESTIONS, Calibration, calibrated
from pipelines.evaluation.held_out import of_part
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.measures import DEPTH, ndcg
from pipelines.evaluation.reranking import Verdict, judge

logger = logging.getLogger(__name__)

MOST_QUESTIONS = 300
"""More would choose no other weights, and each is ranked some fifty times."""
MOST_RERANKED = 150
"""Each costs a pass of the reranker over the hits."""
HITS = 3 * DEPTH
"""Enough for the first ten documents."""


@dataclass(frozen=True)
class Gauge:
    """How well questions are answered under weights: what was found under the first is ranked again."""

    indexes: Sequence[HybridIndex]
    found: Mapping[str, Found]
    now: datetime

    def __call__(self, fusion: Fusion, questions: Sequence[Question]) -> list[float]:
        """nDCG@10 of each."""
        return [ndcg(self._ranking(question, fusion), question.grades) for question in questions]

    def _ranking(self, question: Question, fusion: Fusion) -> list[str]:
        found, how = self.found[question.text], self.indexes[0].ranking
        return documents(rank(found, HITS, fusion, how, self.now, Timings()))


def precedents_of(questions: Sequence[Question], vectors: Mapping[str, Vectors]) -> Precedents:
    """Labelled questions as precedents; `vectors` (d,) by their text."""
    pairs = [(each.text, uri) for each in questions for uri, grade in each.grades.items() if grade > 0]
    if not pairs:
        return Precedents()
    texts, uris = zip(*pairs, strict=True)
    return Precedents(texts, uris, np.stack([vectors[text] for text in texts]))


def fitted_fusion(
    indexes: Sequence[HybridIndex],
    questions: Sequence[Question],
    vectors: Mapping[str, Vectors],
    now: datetime,
) -> Calibration | None:
    """How the first index's rankings are best fused, by labelled questions; `vectors` (d,) by their text.

    Each question has the others as precedents. None where they are too few to say.
    """
    chosen = _by_chance(questions, MOST_QUESTIONS)
    start, precedents = indexes[0].snapshot.manifest.fusion, precedents_of(questions, vectors)
    found = {}
    for text in (question.text for question in chosen):
        others = precedents.without(text)
        found[text] = find(indexes, text, vectors[text], Filters(), start.words, others, Timings())
    return calibrated(start, chosen, Gauge(indexes, found, now))


def fitted_reranker(
    indexes: Sequence[HybridIndex],
    questions: Sequence[Question],
    vectors: Mapping[str, Vectors],
    scorer: RelevanceScorer,
    fusion: Fusion,
    on_progress: Callable[[str], None],
) -> Verdict | None:
    """The reranker's share of the final score, by labelled questions; None where they are too few to say."""
    chosen = _by_chance(questions, MOST_RERANKED)
    one, other = of_part(chosen, 0, 0.5), of_part(chosen, 0.5, 1)
    if min(len(one), len(other)) < LEAST_QUESTIONS // 2:
        return None
    precedents = precedents_of(questions, vectors)
    return judge(indexes, one, other, vectors, scorer, fusion, precedents, on_progress)


def reranker_of(settings: Settings, owner: str, manifest: Manifest) -> RelevanceScorer | None:
    """What reranks the hits of an index: a model tuned on its shelf, or the platform's; None without any."""
    try:
        if manifest.reranker:
            lake, cache = lake_filesystem(settings.lake), settings.home / "models" / "tuned"
            return RelevanceScorer(tuned_model(lake, owner, manifest.reranker, cache))
        return RelevanceScorer(resolve_role(settings, "reranker"))
    except ModelError as error:
        logger.info("no reranker for %s: %s", owner, error)
        return None


def _by_chance(questions: Sequence[Question], most: int) -> list[Question]:
    """At most so many, the same ones each time."""
    return sorted(questions, key=lambda question: hashlib.sha256(question.text.encode()).digest())[:most]
