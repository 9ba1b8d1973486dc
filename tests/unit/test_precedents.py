"""Precedents: a question like one that was answered finds what answered it, in whatever words that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexes.filters import Filters
from indexes.hybrid import HybridIndex, fuse, search_all
from indexes.precedents import MOST_DOCUMENTS, Precedents
from indexes.snapshot import PRECEDENTS, Fusion, Snapshot, write_snapshot
from iotops.errors import SnapshotError
from tests.unit.shelves import EMBEDDER, hashed, table, vectors

ASKED = "why does the slurry pump shake"
REMEDY = {"text": "Balance the impeller.", "uri": "lake://acme/impeller.md"}
OTHERS = [{"text": f"The slurry pump does not shake in case {n}.", "uri": f"{n}.md"} for n in range(60)]
WEIGHTED = Fusion(precedent=2)


def shelf(folder: Path, precedents: Precedents, *chunks: dict[str, str]) -> HybridIndex:
    found = table(*chunks)
    made = vectors(found)
    write_snapshot(
        found, made, folder, embedder=EMBEDDER, chunker="test-1", fusion=WEIGHTED, precedents=precedents
    )
    return HybridIndex(Snapshot.load(folder))


def answered(question: str = ASKED) -> Precedents:
    return Precedents([question], [REMEDY["uri"]], hashed([question]))


def test_a_question_like_one_that_was_answered_finds_what_answered_it(tmp_path: Path) -> None:
    index = shelf(tmp_path / "snapshot", answered(), *OTHERS, REMEDY)
    alike = "why does the slurry pump shake again"
    (vector,) = hashed([alike])
    assert index.search(alike, vector, 3)[0].uri == REMEDY["uri"], "no word of the question stands in it"
    without = search_all([index], alike, vector, 60, precedents=Precedents())
    assert REMEDY["uri"] not in [hit.uri for hit in without]
    unweighted = search_all([index], alike, vector, 60, fusion=Fusion())
    assert [hit.uri for hit in unweighted] == [hit.uri for hit in without]
    assert index.search(alike, None, 3)[0].uri != REMEDY["uri"], "words alone tell no likeness"
    other = "seal of the fan"
    (vector,) = hashed([other])
    assert index.search(other, vector, 3) == search_all([index], other, vector, 3, precedents=Precedents())


def test_precedents_of_a_tenant_find_shared_documents_and_none_that_is_gone(tmp_path: Path) -> None:
    gone = Precedents([ASKED, ASKED], [REMEDY["uri"], "lake://acme/gone.md"], hashed([ASKED, ASKED]))
    own = shelf(tmp_path / "own", gone, *OTHERS[:30])
    shared = shelf(tmp_path / "shared", Precedents(), *OTHERS[30:], REMEDY)
    (vector,) = hashed([ASKED])
    assert search_all([own, shared], ASKED, vector, 3)[0].uri == REMEDY["uri"]
    assert search_all([shared, own], ASKED, vector, 3)[0].uri != REMEDY["uri"], "the first one's count"


def test_how_alike_questions_are_lies_between_0_and_1_and_the_most_alike_counts() -> None:
    near = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    known = Precedents(["a", "b", "c", "d"], ["one", "two", "two", "three"], near)
    assert known.answers("e", near[0]) == pytest.approx({"one": 1, "two": 0.5}, abs=1e-5)
    assert Precedents().answers("e", near[0]) == {}


def test_a_question_about_another_code_is_not_alike() -> None:
    asked = "What does E421 mean and what should I do about it?"
    known = Precedents([asked], ["e421.md"], hashed([asked]))
    (vector,) = hashed([asked])
    assert known.answers("what does e-421 mean, and what should I do", vector) == {"e421.md": 1}
    for other in ("What does E422 mean?", "What does it mean?", "Are E421 and E422 the same?"):
        assert known.answers(other, vector) == {}


def test_the_documents_of_the_questions_most_alike_are_taken() -> None:
    cosines = np.linspace(0.7, 1, 50, dtype=np.float32)
    near = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    known = Precedents([f"{at}?" for at in range(50)], [f"{at}.md" for at in range(50)], near)
    found = known.answers("why", np.array([1, 0], np.float32))
    assert list(found) == [f"{at}.md" for at in reversed(range(50 - MOST_DOCUMENTS, 50))]


def test_what_answered_comes_in_however_many_other_documents_and_pages_answer_too(tmp_path: Path) -> None:
    weak = "why does the slurry mixer stop"
    manual = [{"text": f"The slurry pump {n}, why does it.", "uri": "manual.md"} for n in range(100)]
    known = Precedents([ASKED, weak], [REMEDY["uri"], "manual.md"], hashed([ASKED, weak]))
    index = shelf(tmp_path / "snapshot", known, *manual, REMEDY)
    assert index.search(ASKED, hashed([ASKED])[0], 3)[0].uri == REMEDY["uri"]


def test_of_a_long_manual_that_answered_only_the_best_passages_are_lifted(tmp_path: Path) -> None:
    manual = [{"text": f"Chapter {n} on the paint of hall {n}.", "uri": "manual.md"} for n in range(60)]
    best = [{"text": f"The slurry pump is at the end of {n}.", "uri": "manual.md"} for n in range(2)]
    known = Precedents([ASKED], ["manual.md"], hashed([ASKED]))
    index = shelf(tmp_path / "snapshot", known, *manual[:30], *best, *manual[30:], *OTHERS)
    hits = index.search(ASKED, hashed([ASKED])[0], 20)
    assert [hit.uri for hit in hits].count("manual.md") == 2
    assert {hit.text for hit in hits if hit.uri == "manual.md"} <= {each["text"] for each in best}


def test_precedents_obey_filters_and_outdated_documents(tmp_path: Path) -> None:
    rows = table(*OTHERS, REMEDY | {"models": ["HX-1"]})
    made = write_snapshot(rows, vectors(rows), tmp_path / "base", embedder=EMBEDDER, chunker="test-1")
    (tmp_path / "base").rename(tmp_path / made.snapshot_id)
    base, (vector,) = Snapshot.load(tmp_path / made.snapshot_id), hashed([ASKED])
    found = {}
    for outdated in ([], [REMEDY["uri"]]):
        folder, none = tmp_path / f"{len(outdated)}", rows.slice(0, 0)
        write_snapshot(
            none, vectors(none), folder, embedder=EMBEDDER, chunker="test-1", fusion=WEIGHTED,
            precedents=answered(), base=base, outdated=outdated,
        )  # fmt: skip
        index = HybridIndex(Snapshot.load(folder))
        for model in ("HX-1", "HX-2"):
            hits = index.search(ASKED, vector, 3, Filters(models=(model,)))
            found[bool(outdated), model] = [hit.uri for hit in hits]
        uris = [hit.uri for hit in index.search(ASKED, vector, 60)]
        assert (REMEDY["uri"] in uris) is not bool(outdated)
    assert found.pop((False, "HX-1")) == [REMEDY["uri"]]
    assert not any(found.values())


def test_what_is_hardly_alike_changes_hardly_any_score() -> None:
    vector, none = np.array([0.9, 0.5, 0.1]), np.full(3, np.nan)
    zero = np.zeros(3)
    plain = fuse(vector, none, zero, none, WEIGHTED)
    weak = fuse(vector, none, zero, np.array([np.nan, np.nan, 0.01]), WEIGHTED)
    assert weak == pytest.approx(plain, abs=0.03)
    strong = fuse(vector, none, zero, np.array([np.nan, np.nan, 1]), WEIGHTED)
    assert strong == pytest.approx((plain + np.array([0, 0, 2])) / 3)


def test_a_question_can_be_left_out_to_measure_by_the_others() -> None:
    known = Precedents(["a", "b", "a"], ["one", "two", "three"], np.eye(3, dtype=np.float32))
    left = known.without("a")
    assert (list(left.questions), list(left.uris)) == (["b"], ["two"])
    assert known.without("c") is known
    assert list(known.without(" A ?").questions) == ["b"], "typed otherwise it is the same"
    assert not left.same(known)
    assert left.same(Precedents(["b"], ["two"], np.ones((1, 3), np.float32)))


def test_precedents_of_another_length_are_refused(tmp_path: Path) -> None:
    odd = Precedents(["a"], ["one"], np.ones((1, 3), np.float32))
    with pytest.raises(SnapshotError, match="precedents are 3 long"):
        shelf(tmp_path / "snapshot", odd, REMEDY)


def test_precedents_that_no_search_could_use_are_refused(tmp_path: Path) -> None:
    one = np.ones((1, 64), np.float32)
    for questions, vectors_ in ((["a", "b"], one), (["a"], None), (["a"], one * np.nan), (["a"], one[0])):
        with pytest.raises(ValueError, match="as many finite vectors"):
            Precedents(questions, ["one"], vectors_)
    folder = shelf(tmp_path / "snapshot", answered(), REMEDY) and tmp_path / "snapshot"
    damaged = pa.table({"question": ["a"], "uri": ["one"], "vector": [[float("nan")] * 64]})
    pq.write_table(damaged, folder / PRECEDENTS)
    with pytest.raises(SnapshotError, match="as many finite vectors"):
        Snapshot.load(folder)
