"""Measures against hand-made figures and scikit-learn; questions made from a shelf or read from labels."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem
from sklearn.metrics import ndcg_score

from iotops.tenancy import Tenant
from pipelines.evaluation.evaluate import Evaluation
from pipelines.evaluation.evaluations_table import week_of
from pipelines.evaluation.keywords import keyword_searches
from pipelines.evaluation.known_items import ABOUT, ABOUT_CODE, Question, known_items
from pipelines.evaluation.labelled import MOST_SETS, LabelsRefused, add_set, fitting_sets, read_set, set_names
from pipelines.evaluation.measures import Measures, measured, ndcg, recall, reciprocal_rank
from tests.unit.shelves import table

DOCUMENTS = {"pump": "lake://acme/documents/pump.md", "valve": "lake://acme/documents/valve.md"}


def test_measures_of_a_ranking_by_hand() -> None:
    ranking, grades = ["x", "a", "y", "b"], {"a": 2, "b": 1, "c": 1, "x": 0}
    assert reciprocal_rank(ranking, grades) == 0.5
    assert recall(ranking, grades) == pytest.approx(2 / 3)
    # (2 / log2 3 + 1 / log2 5) / (2 / log2 2 + 1 / log2 3 + 1 / log2 4)
    assert ndcg(ranking, grades) == pytest.approx(1.692536 / 3.130930, abs=1e-6)


def test_what_stands_below_ten_counts_for_nothing() -> None:
    ranking = [*map(str, range(10)), "a"]
    assert (ndcg(ranking, {"a": 1}), recall(ranking, {"a": 1}), reciprocal_rank(ranking, {"a": 1})) == (
        0,
        0,
        0,
    )


def test_ndcg_agrees_with_scikit_learn() -> None:
    random = Random(7)
    for _ in range(50):
        ranking = [str(number) for number in range(random.randint(11, 30))]
        grades = {each: random.choice([0, 0, 1, 2, 3]) for each in ranking} | {"3": 1}
        places = [[-place for place, _ in enumerate(ranking)]]
        expected = ndcg_score([[grades[each] for each in ranking]], places, k=10)
        assert ndcg(ranking, grades) == pytest.approx(expected)


def test_means_are_over_questions() -> None:
    assert measured([(["a"], {"a": 1}), (["b"], {"a": 1})]) == Measures(2, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="no ranking"):
        measured([])


def shelf(*documents: tuple[str, str, list[str], str]) -> pa.Table:
    """Chunks of (doc_id, title, error codes, section)."""
    chunks: list[dict[str, Any]] = [
        {
            "doc_id": doc,
            "uri": f"lake://acme/documents/{doc}.md",
            "title": title,
            "error_codes": codes,
            "section": section,
            "text": "text",
        }
        for doc, title, codes, section in documents
    ]
    return table(*chunks)


def asked(questions: list[Question]) -> dict[str, set[str]]:
    return {
        each.text: {uri.rpartition("/")[2].removesuffix(".md") for uri in each.grades} for each in questions
    }


def test_a_code_is_answered_by_the_article_named_after_it() -> None:
    chunks = shelf(
        ("runbook", "E421: Vibration high", ["E421", "E-9"], "Causes > Worn bearing"),
        ("manual", "HX-200 manual", ["e-421"], "Daily round"),
        ("manual", "HX-200 manual", ["e-421"], "Stopping"),
    )
    assert asked(known_items(chunks)) == {
        ABOUT_CODE.format("E421"): {"runbook"},
        ABOUT_CODE.format("E-9"): {"runbook"},
        ABOUT.format("Vibration high"): {"runbook"},
        ABOUT.format("HX-200 manual"): {"manual"},
        ABOUT.format("Worn bearing"): {"runbook"},
        ABOUT.format("Daily round"): {"manual"},
        ABOUT.format("Stopping"): {"manual"},
    }


def test_what_many_documents_answer_is_not_asked() -> None:
    three = [(f"m{number}", f"Manual {number}", ["E1"], "Safety") for number in range(3)]
    assert asked(known_items(shelf(*three)))[ABOUT.format("Safety")] == {"m0", "m1", "m2"}
    texts = asked(known_items(shelf(*three, ("m3", "Manual 3", ["E1"], "Safety"))))
    assert set(texts) == {ABOUT.format(f"Manual {number}") for number in range(4)}


def test_the_sample_is_the_same_again_and_moves_little_with_the_shelf() -> None:
    documents = [(f"d{number}", f"Pump station {number}", [], "") for number in range(300)]
    first = known_items(shelf(*documents), limit=100)
    assert first == known_items(shelf(*reversed(documents)), limit=100)
    grown = known_items(shelf(*documents, ("new", "Valve hall", [], "")), limit=100)
    assert len(grown) == 100
    assert len(asked(first).keys() & asked(grown).keys()) >= 99


def test_keywords_are_words_of_the_chunk_that_not_every_document_has() -> None:
    pump, valve = "The pump hums and the bearing is worn worn", "The valve leaks oil, 12 bar"
    pages = [{"text": text} for text in (pump, valve, "The seal of the door", "The seal of the door")]
    found = keyword_searches(table(*pages))
    searches = {next(iter(each.grades))[-8:-3]: set(each.text.split()) for each in found}
    assert searches.keys() == {"doc-0", "doc-1"}, "a text that two documents share finds only one of them"
    assert all(len(words) == 3 for words in searches.values())
    assert searches["doc-0"] < {"pump", "hums", "and", "bearing", "worn"}
    assert searches["doc-1"] < {"valve", "leaks", "oil", "bar"}
    assert keyword_searches(table(pages[0])) == [], "one document alone needs no search"


def test_keywords_are_the_same_again_and_move_little_with_the_shelf() -> None:
    random = Random(7)
    words = ["".join(random.choices("abcdefghij", k=5)) for _ in range(400)]
    pages = [{"text": " ".join(random.choices(words, k=30))} for _ in range(300)]
    first = [each.text for each in keyword_searches(table(*pages), limit=100)]
    assert first == [each.text for each in keyword_searches(table(*reversed(pages)), limit=100)]
    grown = [each.text for each in keyword_searches(table(*pages, {"text": " ".join(words[:30])}), limit=100)]
    assert len(set(first) & set(grown)) > 80


@pytest.mark.parametrize(("made", "most"), [(keyword_searches, 0.5), (known_items, 0.1)])
def test_few_chunks_are_in_memory_as_python_has_them(
    made: Callable[[pa.Table], list[Question]], most: float
) -> None:
    text = "pump valve bearing seal " * 100
    chunks = table(*({"text": f"{text} {number}", "section": "Safety"} for number in range(5_000)))
    tracemalloc.start()
    try:
        made(chunks)
        assert tracemalloc.get_traced_memory()[1] < most * chunks.nbytes
    finally:
        tracemalloc.stop()


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    return SubTreeFileSystem(str(tmp_path), LocalFileSystem())


def label(tmp_path: Path, queries: str, qrels: str) -> None:
    folder = tmp_path / "acme" / "evaluation" / "tickets"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")


QUERIES = (
    '{"_id": "1", "text": "it leaks"}\n\n{"_id": 2, "text": "it\u2028hums"}\n{"_id": "3", "text": "why"}\n'
)


def test_a_labelled_set_is_read_without_its_stale_judgements(lake: FileSystem, tmp_path: Path) -> None:
    label(
        tmp_path,
        QUERIES,
        "query-id\tcorpus-id\tscore\r\n1\tvalve\t2\r\n1\tgone\t1\n2\tpump\t1\n2\tvalve\t0\n3\tgone\t1\n",
    )
    assert set_names(lake, Tenant("acme")) == (["tickets"], [])
    assert set_names(lake, Tenant("other")) == ([], [])
    assert read_set(lake, Tenant("acme"), "tickets", DOCUMENTS) == [
        Question("it leaks", {DOCUMENTS["valve"]: 2}),
        Question("it\u2028hums", {DOCUMENTS["pump"]: 1, DOCUMENTS["valve"]: 0}),
    ]


@pytest.mark.parametrize(
    ("queries", "qrels", "reason"),
    [
        ('{"_id": "1"}', "h\n1\tpump\t1", r"queries.jsonl line 1: .* is not"),
        ("[1]", "h\n1\tpump\t1", r"queries.jsonl line 1: .* is not"),
        (QUERIES, "h\n1\tpump", r"qrels/test.tsv line 2: '1\\tpump' is not query-id"),
        (QUERIES, "h\n1\tpump\tyes", r"test.tsv line 2: .* is not query-id"),
        (QUERIES, "h\n1\tgone\t1", r"tickets: 0 questions .* names documents by doc_id"),
        (
            '{"_id": "1", "text": "' + "x" * 2001 + '"}',
            "h\n",
            r"line 1: the question has 2,001 characters, 2,000",
        ),
    ],
)
def test_a_malformed_set_is_refused_by_file_and_line(
    lake: FileSystem, tmp_path: Path, queries: str, qrels: str, reason: str
) -> None:
    label(tmp_path, queries, qrels)
    with pytest.raises(LabelsRefused, match=reason):
        read_set(lake, Tenant("acme"), "tickets", DOCUMENTS)


def test_a_set_without_judgements_is_refused(lake: FileSystem, tmp_path: Path) -> None:
    label(tmp_path, QUERIES, "")
    (tmp_path / "acme/evaluation/tickets/qrels/test.tsv").unlink()
    with pytest.raises(LabelsRefused, match=r"qrels/test.tsv is missing"):
        read_set(lake, Tenant("acme"), "tickets", DOCUMENTS)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(lake: FileSystem, tmp_path: Path) -> None:
    label(tmp_path, QUERIES, "query-id\tcorpus-id\tscore\n1\tvalve\t2\n")
    with (tmp_path / "acme/evaluation/tickets/queries.jsonl").open("a") as file:
        file.truncate(16 * 2**20 + 1)
    with pytest.raises(LabelsRefused, match=r"queries.jsonl has 16,777,217 bytes, 16,777,216 are the most"):
        read_set(lake, Tenant("acme"), "tickets", DOCUMENTS)


def test_what_is_fitted_to_names_the_sets_that_cannot_be_used(lake: FileSystem, tmp_path: Path) -> None:
    label(tmp_path, QUERIES, "query-id\tcorpus-id\tscore\n1\tvalve\t2\n")
    (tmp_path / "acme" / "evaluation" / "alarms").mkdir()
    (tmp_path / "acme" / "evaluation" / "alarms" / "queries.jsonl").write_text("{")
    found, refused = fitting_sets(lake, Tenant("acme"), DOCUMENTS)
    assert [question.text for question in found] == ["it leaks"]
    assert refused == ["alarms"]
    for number in range(MOST_SETS):
        (tmp_path / "acme" / "evaluation" / f"more-{number:02}").mkdir()
        (tmp_path / "acme" / "evaluation" / f"more-{number:02}" / "queries.jsonl").write_text("")
    found, refused = fitting_sets(lake, Tenant("acme"), DOCUMENTS)
    assert found == []
    assert "tickets" in refused, "the last by name of more sets than are used"


@pytest.mark.parametrize(("before", "worse"), [(None, False), (0.82, False), (0.84, True), (0.5, False)])
def test_only_a_fall_by_more_than_the_margin_is_worse(before: float | None, worse: bool) -> None:
    assert Evaluation("hybrid:known-item", Measures(9, 0.8, 1, 1), before).worse is worse


def test_a_week_begins_on_monday_in_utc() -> None:
    monday = datetime(2026, 11, 2, tzinfo=UTC)
    assert week_of(datetime.fromisoformat("2026-11-09T00:30:00+01:00")) == monday
    assert week_of(monday) == monday


def test_a_set_that_is_added_again_replaces_the_earlier_one(lake: FileSystem, tmp_path: Path) -> None:
    folder = tmp_path / "tickets"
    for parent in (folder, tmp_path / "acme" / "evaluation" / "tickets"):
        (parent / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(QUERIES)
    for split, document in (("test", "valve"), ("train", "pump")):
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n1\t{document}\t1\n")
    add_set(lake, Tenant("acme"), folder)
    assert fitting_sets(lake, Tenant("acme"), DOCUMENTS)[0][0].grades == {DOCUMENTS["pump"]: 1}
    (folder / "qrels" / "train.tsv").unlink()
    add_set(lake, Tenant("acme"), folder)
    assert fitting_sets(lake, Tenant("acme"), DOCUMENTS)[0][0].grades == {DOCUMENTS["valve"]: 1}
