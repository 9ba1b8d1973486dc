"""Tuned rerankers: what they learn from, when they win, and that only a whole one is loaded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from indexes.hybrid import HybridIndex
from indexes.precedents import Precedents
from indexes.snapshot import Fusion, Snapshot, write_snapshot
from indexes.tuned import keep, tuned_model
from iotops.errors import IotOpsError, ModelError
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.reranking import WEIGHTS, chosen, judge
from pipelines.tuning.examples import Asked, asked_of, of_labels, of_shelf
from pipelines.tuning.questions import leading_back, question_in
from pipelines.tuning.training import Course, Example, drawn, stages_of
from pipelines.tuning.tune import held_out
from tests.unit.shelves import EMBEDDER, broken_off, hashed, loaded, table, vectors

TOPICS = [f"valve{first}{second}" for first in "abcdefgh" for second in "abcdefgh"]
CHUNKS = table(
    *(
        {"text": f"{kind} of {topic}. The {kind} of {topic} is told in a few more words. Nothing else is.",
         "title": topic, "doc_id": f"{topic}-{kind}", "uri": f"lake://acme/documents/{topic}-{kind}.md"}
        for topic in TOPICS
        for kind in ("symptom", "remedy")
    )
)  # fmt: skip
QUESTIONS = [Question(f"about {topic}", {f"lake://acme/documents/{topic}-remedy.md": 1}) for topic in TOPICS]
VECTORS = {question.text: hashed([question.text])[0] for question in QUESTIONS}


class PrefersRemedies:
    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array(["remedy" in text for text in texts], np.float32)


class PrefersSymptoms:
    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array(["symptom" in text for text in texts], np.float32)


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "inner" / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_model_comes_back_as_it_was_kept(lake: FileSystem, model: Path, tmp_path: Path) -> None:
    name = keep(lake, "acme", model)
    assert keep(lake, "acme", model) == name
    left = broken_off(tmp_path / "cache" / "acme" / name, hours=25)
    found = tuned_model(lake, "acme", name, tmp_path / "cache")
    assert not left.exists()
    assert (found.path / "inner" / "model.safetensors").read_bytes() == b"weights"
    assert found.checksum == name
    with pytest.raises(ModelError, match="missing or torn"):
        tuned_model(lake, "other", name, tmp_path / "cache")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("inner/model.safetensors", b"exchanged", "inner/model.safetensors is damaged"),
        ("files.json", b"{}", "files.json is not what the id says"),
    ],
)
def test_a_changed_model_is_refused(
    lake: FileSystem, model: Path, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    name = keep(lake, "acme", model)
    (tmp_path / "lake" / "acme" / "rerankers" / name / file).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        tuned_model(lake, "acme", name, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []


@pytest.mark.parametrize("name", ["../../other/rerankers/x", "", "A" * 64])
def test_what_is_no_id_leads_nowhere(lake: FileSystem, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="not the id"):
        tuned_model(lake, "acme", name, tmp_path / "cache")


def test_the_right_text_is_the_labelled_one_and_wrong_are_unlabelled_ones(tmp_path: Path) -> None:
    index = HybridIndex(loaded(tmp_path / "snapshot", CHUNKS))
    examples = list(of_labels([index], QUESTIONS, VECTORS))
    assert len(examples) == len(QUESTIONS)
    draw, drawn_alike = random.Random(0), 0
    for example, topic in zip(examples, TOPICS, strict=True):
        assert f"remedy of {topic}" in example.right
        assert not any(f"remedy of {topic}" in wrong for wrong in example.wrong)
        alike = f"symptom of {topic}"
        assert alike in example.wrong[0], "the hardest first"
        told = [drawn(example.wrong, 3, draw) for _ in range(4)]
        assert len({frozenset(each) for each in told}) > 1, "others each time"
        drawn_alike += sum(any(alike in wrong for wrong in each) for each in told)
    assert drawn_alike > len(TOPICS) * 4 * 0.4, "three of fifty, by chance, would have it 0.06 of the time"


def test_examples_are_what_a_question_finds_that_was_never_asked(tmp_path: Path) -> None:
    asked, uri = "why does it shake", "lake://acme/documents/impeller.md"
    shelf = table(*({"text": f"It does shake {n}."} for n in range(60)), {"text": "Balance.", "uri": uri})
    known, vector = Precedents([asked], [uri], hashed([asked])), {asked: hashed([asked])[0]}
    write_snapshot(
        shelf, vectors(shelf), tmp_path / "snapshot", embedder=EMBEDDER, chunker="test-1",
        fusion=Fusion(precedent=2), precedents=known,
    )  # fmt: skip
    index = HybridIndex(Snapshot.load(tmp_path / "snapshot"))
    assert index.search(asked, vector[asked], 1)[0].uri == uri
    assert list(of_labels([index], [Question(asked, {uri: 1})], vector)) == []
    assert leading_back([index], [Asked(asked, uri, "")], vector) == []
    (example,) = of_shelf([index], [Asked(asked, "lake://acme/documents/doc-0.md", "")], vector)
    assert not any("Balance" in wrong for wrong in example.wrong)


def test_a_sentence_that_is_asked_for_is_not_in_its_answer(tmp_path: Path) -> None:
    index = HybridIndex(loaded(tmp_path / "snapshot", CHUNKS))
    asked = asked_of(CHUNKS)
    assert asked == asked_of(CHUNKS)
    taken = [each for each in asked if "is told" in each.question]
    assert taken
    assert not any(each.question in each.text for each in taken)
    vectors = {each.question: hashed([each.question])[0] for each in asked}
    for each, example in zip(asked, of_shelf([index], asked, vectors), strict=True):
        assert example.right == each.text
        assert each.text not in example.wrong


def test_a_reranker_that_knows_better_wins_and_one_that_does_not_gets_no_weight(tmp_path: Path) -> None:
    index = HybridIndex(loaded(tmp_path / "snapshot", CHUNKS))
    one, other = QUESTIONS[:32], QUESTIONS[32:]
    better = judge([index], one, other, VECTORS, PrefersRemedies())
    assert better.wins
    assert better.after > better.before
    assert better.after > 0.95
    worse = judge([index], one, other, VECTORS, PrefersSymptoms())
    assert worse.weight == 0
    assert not worse.wins


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ("What is the default rate of the sensor?", "What is the default rate of the sensor?"),
        ('A technician would ask: "How is the pump primed?"', "How is the pump primed?"),
        (
            "1. Which valve is stuck when E421 is shown?\n2. And why?",
            "Which valve is stuck when E421 is shown?",
        ),
        ("Why?", ""),
        ("The text describes a pump.", ""),
        ("Why " + "very " * 40 + "slow?", ""),
    ],
)
def test_a_models_answer_is_a_question_or_nothing(answer: str, question: str):
    assert question_in(answer) == question


def test_only_questions_that_lead_back_to_their_document_are_kept(tmp_path: Path):
    index = HybridIndex(loaded(tmp_path / "snapshot", CHUNKS))
    right = Asked(f"What is the remedy of {TOPICS[3]}?", f"lake://acme/documents/{TOPICS[3]}-remedy.md", "")
    wrong = Asked(f"What is the remedy of {TOPICS[4]}?", f"lake://acme/documents/{TOPICS[9]}-remedy.md", "")
    vectors = {each.question: hashed([each.question])[0] for each in (right, wrong)}
    assert leading_back([index], [right, wrong], vectors) == [right]


def test_a_weight_is_not_the_default_only_where_questions_tell() -> None:
    values = np.full((2, len(WEIGHTS)), 0.75)
    values[:, 0] = 0.7
    values[:, WEIGHTS.index(0.8)] = 0.86, 0.66  # better by 0.01, with a deviation of 0.1
    assert [WEIGHTS[chosen(np.tile(values, (times, 1)))] for times in (25, 2_500)] == [0.3, 0.8]
    assert chosen(-values) == 0, "none does better"
    assert chosen(np.full((50, len(WEIGHTS)), 0.7)) == 0


@pytest.mark.parametrize(
    ("labelled", "seen"), [(0, [(30, 1.0)]), (10, [(60, 1.0)]), (50, [(10, 1.0), (150, 0.6)])]
)
def test_few_labelled_examples_are_learned_with_the_made_ones(
    labelled: int, seen: list[tuple[int, float]]
) -> None:
    made = [Example(f"made {number}", "right", ("a", "b")) for number in range(10)]
    labels = [Example(f"labelled {number}", "right", ("a", "b")) for number in range(labelled)]
    course = Course(epochs=3, wrong=1, learning_rate=1.0)
    stages = stages_of(made, labels, course)
    assert [(sum(map(len, steps)), rate) for steps, rate in stages] == seen
    assert all(len(example.wrong) == 1 for steps, _ in stages for step in steps for example in step)


def test_a_shelf_too_small_to_judge_by_is_told_how_to_label() -> None:
    assert min(map(len, held_out(CHUNKS, QUESTIONS * 40))) > 0
    with pytest.raises(IotOpsError, match="`iotops eval add`"):
        held_out(CHUNKS.slice(0, 1), [])
