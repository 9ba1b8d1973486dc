"""What labelled questions choose for an index: each is measured as if it were asked for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray

from indexes.hybrid import HybridIndex, Ranking
from indexes.precedents import Precedents
from indexes.snapshot import Fusion, Snapshot, write_snapshot
from pipelines.evaluation.evaluate import ranked_documents
from pipelines.evaluation.fitting import choose
from pipelines.evaluation.held_out import of_part
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.measures import ndcg
from pipelines.evaluation.reranking import judge
from pipelines.evaluation.weights import MOST_ANSWERS, MOST_PRECEDENTS, fitted_fusion, precedents_of
from tests.unit.shelves import DIMENSION, EMBEDDER, table, vectors

NOW = datetime(2026, 11, 2, tzinfo=UTC)
SHELF = table(*({"text": f"Carry out sheet{n}.", "uri": f"lake://acme/{n}.md"} for n in range(DIMENSION)))
UNLIKE = [Question(f"symptom {n}", {f"lake://acme/{n}.md": 1}) for n in range(DIMENSION)]
"""None is like another, and none has a word of its document."""
VECTORS = {each.text: row for each, row in zip(UNLIKE, np.eye(DIMENSION, dtype=np.float32), strict=True)}
PAIRS = [Question(each.text, UNLIKE[at // 2 + 16].grades) for at, each in enumerate(UNLIKE)]
"""Two questions of each document, which are alike."""
PAIRED = {each.text: VECTORS[UNLIKE[at // 2 + 16].text] for at, each in enumerate(PAIRS)}
WEIGHTED = Fusion(precedent=2)
NONE = Precedents()


class Indifferent:
    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros(len(texts), np.float32)


def shelf(folder: Path, fusion: Fusion, precedents: Precedents, comparable: bool = True) -> HybridIndex:
    write_snapshot(
        SHELF,
        vectors(SHELF),
        folder,
        embedder=EMBEDDER,
        chunker="test-1",
        fusion=fusion,
        precedents=precedents,
    )
    return HybridIndex(Snapshot.load(folder), Ranking(candidates=5), comparable)


def test_no_question_is_measured_by_its_own_label(tmp_path: Path) -> None:
    known = precedents_of(UNLIKE, VECTORS)
    own, plain = shelf(tmp_path / "own", WEIGHTED, known), shelf(tmp_path / "plain", Fusion(), NONE)
    assert all(
        ranked_documents([own], text, vector, NOW) == ranked_documents([plain], text, vector, NOW)
        for text, vector in VECTORS.items()
    )
    halves = UNLIKE[:32], UNLIKE[32:]
    judged, expected = (judge([index], *halves, VECTORS, Indifferent()) for index in (own, plain))
    assert judged == expected
    fits = [fitted_fusion([index], UNLIKE, VECTORS, NOW) for index in (own, plain)]
    assert fits[0]
    assert fits[1]
    assert fits[0].before == fits[1].before < 0.5


def test_weights_without_precedents_are_measured_without_what_these_find(tmp_path: Path) -> None:
    plain = shelf(tmp_path / "plain", Fusion(), NONE)
    found = fitted_fusion([plain], PAIRS, PAIRED, NOW)
    check = of_part(PAIRS, 0.5, 1)
    each = [ndcg(ranked_documents([plain], one.text, PAIRED[one.text], NOW), one.grades) for one in check]
    assert found
    assert found.before == fmean(each)
    assert found.after == 1
    assert found.fusion.precedent > 0


def test_questions_become_precedents_under_a_weight_that_was_measured(tmp_path: Path) -> None:
    choice = choose([shelf(tmp_path / "plain", Fusion(), NONE)], PAIRS, PAIRED, None, NOW)
    assert choice
    assert choice.fusion.precedent > 0
    assert choice.precedents.same(precedents_of(PAIRS, PAIRED))


@pytest.mark.parametrize("questions", [PAIRS[:10], []])
def test_too_few_questions_are_no_precedents_and_end_those_that_were(
    tmp_path: Path, questions: list[Question]
) -> None:
    known = precedents_of(PAIRS, PAIRED)
    index = shelf(tmp_path / "held", WEIGHTED, known)
    choice = choose([index], questions, PAIRED, None, NOW)
    assert choice
    assert (len(choice.precedents), choice.fusion.precedent) == (0, 0)
    kept = choose([index], questions, PAIRED, None, NOW, keep=True)
    assert kept
    assert (kept.precedents, kept.fusion) == (index.snapshot.precedents, WEIGHTED)
    never = choose([shelf(tmp_path / "none", WEIGHTED, NONE)], questions, PAIRED, None, NOW)
    assert never
    assert (len(never.precedents), never.fusion) == (0, WEIGHTED), "nothing to publish"


def test_nothing_is_fitted_to_an_index_of_another_embedding_model(tmp_path: Path) -> None:
    index = shelf(tmp_path / "other", WEIGHTED, NONE, comparable=False)
    assert choose([index], PAIRS, PAIRED, None, NOW) is None


def test_of_too_many_labels_the_first_questions_and_the_best_answers_are_precedents(
    caplog: pytest.LogCaptureFixture,
) -> None:
    grades = {f"{n}.md": 1 for n in range(MOST_ANSWERS)} | {"best.md": 2, "wrong.md": 0}
    many = [Question(f"symptom {n}", grades) for n in range(MOST_PRECEDENTS // MOST_ANSWERS + 2)]
    known = precedents_of(many, dict.fromkeys((each.text for each in many), np.ones(1, np.float32)))
    assert len(known) == MOST_PRECEDENTS
    assert known.uris[:MOST_ANSWERS] == ("best.md", *(f"{n}.md" for n in range(MOST_ANSWERS - 1)))
    assert "20 of 10020 precedents are left out" in caplog.text
