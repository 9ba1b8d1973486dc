"""Weights that labelled questions choose: they have to win where they were not chosen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from indexes.hybrid import HybridIndex
from indexes.snapshot import Fusion, Snapshot, write_snapshot
from pipelines.evaluation.calibration import LEAST_GAIN_KEPT, Calibration, calibrated
from pipelines.evaluation.held_out import of_part, place
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.weights import fitted_fusion
from tests.unit.shelves import DIMENSION, EMBEDDER, table, vectors

QUESTIONS = [Question(f"question {number}", {f"lake://acme/{number}.md": 1}) for number in range(200)]


def test_questions_of_one_document_are_in_one_part_and_one_of_both_parts_in_neither() -> None:
    uris = [uri for question in QUESTIONS for uri in question.grades]
    left = next(uri for uri in uris if place(uri) < 0.5)
    right = next(uri for uri in uris if place(uri) >= 0.5)
    pair = [Question("it rises", {left: 1}), Question("it falls", {left: 1, right: 0})]
    between = Question("both", {left: 1, right: 2})
    assert of_part([*pair, between], 0, 0.5) == pair
    assert of_part([*pair, between], 0.5, 1) == []
    first, second = of_part(QUESTIONS, 0, 0.5), of_part(QUESTIONS, 0.5, 1)
    assert len(first) + len(second) == 200
    assert min(len(first), len(second)) > 70


def test_weights_that_win_everywhere_are_chosen() -> None:
    def gauge(fusion: Fusion, questions: Sequence[Question]) -> list[float]:
        near = 1 - abs(fusion.vector - 0.7) - abs(fusion.words.k1 - 1.5) / 10
        return [near for _ in questions]

    found = calibrated(Fusion(), QUESTIONS, gauge)
    assert found
    assert (found.fusion.vector, found.fusion.bm25, found.fusion.words.k1) == (0.7, 0.3, 1.5)
    assert found.after > found.before
    assert str(found).startswith("better weights published")


def test_weights_that_win_only_where_they_were_chosen_are_not_kept() -> None:
    learned = {question.text for question in of_part(QUESTIONS, 0, 0.5)}

    def gauge(fusion: Fusion, questions: Sequence[Question]) -> list[float]:
        return [fusion.vector if question.text in learned else 0.5 for question in questions]

    found = calibrated(Fusion(), QUESTIONS, gauge)
    assert found
    assert found.fusion == Fusion()
    assert (found.before, found.after) == (0.5, 0.5)
    assert str(found).startswith("weights kept")


def test_weights_that_may_win_by_chance_are_not_kept() -> None:
    check = of_part(QUESTIONS, 0.5, 1)

    def found(winners: Sequence[Question]) -> Calibration:
        def gauge(fusion: Fusion, questions: Sequence[Question]) -> list[float]:
            better = fusion.vector > 0.5
            return [0.9 if better and (each in winners or each not in check) else 0.1 for each in questions]

        calibration = calibrated(Fusion(), QUESTIONS, gauge)
        assert calibration
        return calibration

    assert 0.8 / len(check) > LEAST_GAIN_KEPT, "one question is enough for the mean"
    assert found(check[:1]).fusion == Fusion()
    assert found(check[:10]).fusion.vector > 0.5


def test_the_method_of_fusion_is_chosen_too() -> None:
    def gauge(fusion: Fusion, questions: Sequence[Question]) -> list[float]:
        return [0.8 if fusion.method == "reciprocal_rank" else 0.5 for _ in questions]

    found = calibrated(Fusion(), QUESTIONS, gauge)
    assert found
    assert found.fusion == Fusion(method="reciprocal_rank")
    back = calibrated(
        found.fusion, QUESTIONS, lambda fusion, questions: [1 - x for x in gauge(fusion, questions)]
    )
    assert back
    assert back.fusion == Fusion()


def test_a_few_questions_choose_nothing() -> None:
    assert calibrated(Fusion(), QUESTIONS[:40], lambda fusion, questions: [1.0 for _ in questions]) is None


def test_vectors_that_say_nothing_lose_their_weight(tmp_path: Path) -> None:
    words = [f"valve{first}{second}" for first in "abcdefghijkl" for second in "abcdefghijkl"]
    texts = [f"{word} beside {other}" for word, other in pairwise(words)]
    chunks = table(*({"text": text, "doc_id": text, "uri": text} for text in texts))
    write_snapshot(
        chunks,
        vectors(chunks),
        tmp_path / "snapshot",
        embedder=EMBEDDER,
        chunker="test-1",
        fusion=Fusion(vector=0.7, bm25=0.3),
    )
    index = HybridIndex(Snapshot.load(tmp_path / "snapshot"))
    noise = np.random.default_rng(0).normal(size=(len(texts), DIMENSION)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    asked = [Question(text, {text: 1}) for text in texts]
    found = fitted_fusion([index], asked, dict(zip(texts, noise, strict=True)), datetime.now(UTC))
    assert found
    assert found.fusion.vector < 0.5
    assert found.after > found.before
