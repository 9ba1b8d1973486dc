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
MOST_PRECEDENTS = 10_000
"""Pairs of a question and a document: each search compares itself with all of them."""
MOST_ANSWERS = 10
"""Documents of a question that become its precedents, the most relevant ones."""
HITS = 3 * DEPTH
"""Enough for the first ten documents."""


@dataclass(frozen=True)
class Gauge:
    """How well questions are answered under weights: what was found under the first is ranked again."""

    indexes: Sequence[HybridIndex]
    found: Mapping[str, Found]
    plain: Mapping[str, Found]
    """What is found without precedents: as it is under weights that give them none."""
    now: datetime

    def __call__(self, fusion: Fusion, questions: Sequence[Question]) -> list[float]:
        """nDCG@10 of each."""
        return [ndcg(self._ranking(question, fusion), question.grades) for question in questions]

    def _ranking(self, question: Question, fusion: Fusion) -> list[str]:
        found = (self.found if fusion.precedent else self.plain)[question.text]
        return documents(rank(found, HITS, fusion, self.indexes[0].ranking, self.now, Timings()))


def precedents_of(questions: Sequence[Question], vectors: Mapping[str, Vectors]) -> Precedents:
    """Labelled questions as precedents, of too many the first ones; `vectors` (d,) by their text."""
    pairs = [(each.text, uri) for each in questions for uri in _answers(each)]
    if not pairs:
        return Precedents()
    if len(pairs) > MOST_PRECEDENTS:
        logger.warning("%d of %d precedents are left out", len(pairs) - MOST_PRECEDENTS, len(pairs))
    texts, uris = zip(*pairs[:MOST_PRECEDENTS], strict=True)
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

    def found(text: str, known: Precedents) -> Found:
        return find(indexes, text, vectors[text], Filters(), start.words, known, Timings())

    texts = [question.text for question in chosen]
    others = {text: found(text, precedents.without(text)) for text in texts}
    plain = {text: found(text, Precedents()) for text in texts}
    return calibrated(start, chosen, Gauge(indexes, others, plain, now))


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


def _answers(question: Question) -> list[str]:
    """The documents that answer it best."""
    relevant = [(uri, grade) for uri, grade in question.grades.items() if grade > 0]
    return [uri for uri, _ in sorted(relevant, key=lambda pair: -pair[1])[:MOST_ANSWERS]]


def _by_chance(questions: Sequence[Question], most: int) -> list[Question]:
    """At most so many, the same ones each time."""
    return sorted(questions, key=lambda question: hashlib.sha256(question.text.encode()).digest())[:most]
