"""Precedents: a question like one that was answered finds what answered it, in whatever words that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexes.hybrid import HybridIndex, search_all
from indexes.precedents import Precedents
from indexes.snapshot import Fusion, Snapshot, SnapshotError, write_snapshot
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
    assert known.answers(near[0]) == pytest.approx({"one": 1, "two": 0.5}, abs=1e-5)
    assert Precedents().answers(near[0]) == {}


def test_a_question_can_be_left_out_to_measure_by_the_others() -> None:
    known = Precedents(["a", "b", "a"], ["one", "two", "three"], np.eye(3, dtype=np.float32))
    left = known.without("a")
    assert (list(left.questions), list(left.uris)) == (["b"], ["two"])
    assert known.without("c") is known
    assert not left.same(known)
    assert left.same(Precedents(["b"], ["two"], np.ones((1, 3), np.float32)))


def test_precedents_of_another_length_are_refused(tmp_path: Path) -> None:
    odd = Precedents(["a"], ["one"], np.ones((1, 3), np.float32))
    with pytest.raises(SnapshotError, match="precedents are 3 long"):
        shelf(tmp_path / "snapshot", odd, REMEDY)
