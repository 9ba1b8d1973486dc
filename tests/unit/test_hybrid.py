from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexes.filters import Filters
from indexes.forward import Bm25f
from indexes.hits import rerank
from indexes.hybrid import HybridIndex, Ranking, search_all
from indexes.schema import rows_of
from indexes.snapshot import Snapshot, write_snapshot
from tests.unit.shelves import EMBEDDER, hashed, loaded, table, vectors

NOW = datetime(2026, 6, 1, tzinfo=UTC)
Shelf = Callable[..., HybridIndex]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    def make(*chunks: dict[str, Any], owner: str = "acme") -> HybridIndex:
        return HybridIndex(loaded(tmp_path / owner, table(*chunks, owner=owner)))

    return make


def vector(query: str) -> Any:
    return hashed([query])[0]


PARTS = "seal housing valve bearing filter hose pump motor belt fan sensor cable panel switch".split()
FILLER = [
    {"text": f"Paragraph {n} on the {word} of the line."} for n, word in enumerate(["belt", "motor"] * 40)
]


def test_both_rankings_bring_candidates_and_every_hit_has_its_cosine(shelf: Shelf) -> None:
    index = shelf({"text": "valve stuck open"}, {"text": "the pump is hot"}, *FILLER)
    hits = index.search("valve stuck", vector("valve stuck"), 5)
    assert hits[0].text == "valve stuck open"
    assert all(hit.scores.vector is not None for hit in hits)
    assert hits[0].scores.bm25 is not None
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_candidates_by_words_are_the_best_by_the_score_that_ranks_them(shelf: Shelf) -> None:
    draw = random.Random(5)
    chunks = [
        {"title": draw.choice(PARTS), "text": " ".join(draw.choices(PARTS, k=draw.randint(2, 30)))}
        for _ in range(120)
    ]
    index = replace(shelf(*chunks), ranking=Ranking(candidates=5, near_duplicate=1.1))
    text = index.snapshot.text
    for query in ("seal valve", "pump motor belt", "sensor cable"):
        scores = text.score(query, np.arange(len(chunks)), text.statistics(query), Bm25f())
        best = np.sort(np.nan_to_num(scores))[::-1][:5]
        found = [hit.scores.bm25 for hit in index.search(query, None, 5)]
        assert found == pytest.approx(best.tolist()), query


def test_a_code_is_found_although_many_chunks_look_nearer(shelf: Shelf) -> None:
    decoys = [
        {"text": f"What does error E{n} mean and what do I do about error E{n}?"} for n in range(500, 580)
    ]
    index = shelf(*decoys, {"text": "| E421 | coolant low | refill, then acknowledge at the panel |"})
    query = "what does error E421 mean and what do I do"
    assert "coolant low" in index.search(query, vector(query), 3)[0].text


def test_a_code_lifts_each_candidate_that_carries_it_whoever_found_it(shelf: Shelf) -> None:
    pages = [{"text": f"HX-200 motor, page {n}", "models": ["HX-200"]} for n in range(10)]
    sound = "Grease the spindle where it grinds."
    twins = [{"text": sound, "models": [model]} for model in ("GX-900", "HX-200")]
    index = replace(shelf(*twins, *pages, *FILLER), ranking=Ranking(candidates=3))
    hits = index.search("motor of the HX-200", vector(sound), 10)
    scores = {hit.models[0]: hit.score for hit in hits if hit.text == sound}
    assert scores["HX-200"] > scores["GX-900"], "both were found by vectors alone"


def test_fresh_documents_are_lifted_and_future_ones_are_not(shelf: Shelf) -> None:
    fresh, old, future = NOW - timedelta(days=9), NOW - timedelta(days=900), NOW + timedelta(days=900)
    dated = [{"text": f"seal check {name}", "updated": at} for name, at in
             (("one", old), ("two", fresh), ("three", future), ("four", None))]  # fmt: skip
    hits = search_all([shelf(*dated, *FILLER)], "seal check", vector("seal check"), 4, now=NOW)
    assert hits[0].text == "seal check two"
    assert {hit.text[11:]: hit.scores.freshness for hit in hits} == {
        "one": 1,
        "two": 1.2,
        "three": 1,
        "four": 1,
    }


def test_near_duplicates_collapse_but_templates_with_another_code_do_not(shelf: Shelf) -> None:
    text = "When error {} is raised " + ", then ".join(
        f"check part {word} of the machine"
        for word in [f"{side} {part}" for part in PARTS for side in ("left", "right")]
    )
    first = text.format("E421")
    index = shelf({"text": first}, {"text": first + "!"}, {"text": text.format("E422")}, *FILLER)
    texts = [hit.text for hit in index.search("check part of the machine", vector(first), 3)]
    assert sorted(texts[:2]) == sorted([texts[0], text.format("E422")])
    assert len([found for found in texts if "E421" in found]) == 1


def test_what_only_headings_and_declared_codes_tell_apart_is_two_hits(shelf: Shelf) -> None:
    text = "Close the supply {}valve, wait until the pressure is zero, then call the leader of the shift."
    runbooks = [{"title": title, "text": text.format("")} for title in ("E421: Vibration", "E425: Pressure")]
    declared = [{"text": text.format(""), "error_codes": [code]} for code in ("E421", "E425", "e-425")]
    hits = shelf(*runbooks, *declared, *FILLER).search("close valve", vector(text), 5)
    found = [(hit.title, hit.error_codes) for hit in hits if hit.text == text.format("")]
    titles = [(runbook["title"], []) for runbook in runbooks]
    assert sorted(found) == [("", ["E421"]), ("", ["E425"]), *titles]


def test_what_is_told_of_two_things_that_the_headings_name_is_two_hits(shelf: Shelf) -> None:
    long = "Turn the {} valve off, then " + ", ".join(f"check the {a} {b}" for a in PARTS for b in PARTS)
    valves = [{"title": f"{side} valve".title(), "text": long.format(side)} for side in ("inlet", "outlet")]
    copy = {"title": "Inlet valve, old", "text": long.format("inlet") + "!"}
    hits = shelf(*valves, copy, *FILLER).search("check valve", vector(long), 5)
    assert len([hit for hit in hits if hit.title.endswith("Valve")]) == 2
    assert len([hit for hit in hits if "inlet" in hit.text]) == 1


def test_one_section_in_the_manuals_of_two_models_is_two_hits(shelf: Shelf) -> None:
    text = "Bleed the air from the hydraulic line before every start of the press."
    for_models = [["HX-200"], ["CR-110"], ["hx200"], []]
    declared = [{"text": text, "models": models} for models in for_models]
    other_firmware = {"text": text, "models": ["CR-110"], "firmware": ["2.4"]}
    hits = shelf(*declared, other_firmware, *FILLER).search("bleed air CR-110", vector(text), 5)
    found = [(hit.models, hit.firmware) for hit in hits if hit.text == text]
    assert sorted(found) == [([], []), (["CR-110"], []), (["CR-110"], ["2.4"]), (["HX-200"], [])]


def test_filters_hold_for_every_way_in(shelf: Shelf) -> None:
    index = shelf(
        {"text": "E421 on the HX-200", "models": ["HX-200"]},
        {"text": "E421 on the CR-110", "models": ["CR-110"]},
        *FILLER,
    )
    hits = index.search("E421 CR-110", vector("E421 CR-110"), 10, Filters(models=("HX-200",)))
    assert [hit.models for hit in hits] == [["HX-200"]]


def test_two_indexes_rank_as_one(shelf: Shelf, tmp_path: Path) -> None:
    own = {"text": "Our line: reset the kiln at panel 3"}
    common = {"text": "Reset the oven at its front panel"}
    together = search_all(
        [shelf(own, owner="acme"), shelf(common, *FILLER, owner="shared")],
        "reset the kiln",
        vector("reset the kiln"),
        2,
    )
    assert [hit.uri for hit in together] == [
        "lake://acme/documents/doc-0.md",
        "lake://shared/documents/doc-0.md",
    ]
    one = HybridIndex(loaded(tmp_path / "one", table(own, common, *FILLER)))
    alone = one.search("reset the kiln", vector("reset the kiln"), 2)
    assert [hit.text for hit in alone] == [hit.text for hit in together]
    for left, right in zip(alone, together, strict=True):
        assert left.score == pytest.approx(right.score, abs=0.15)


def test_an_addition_ranks_as_the_whole_would(shelf: Shelf, tmp_path: Path) -> None:
    old = [{"text": f"the {word} of press {n} needs E{400 + n}"} for n, word in enumerate(PARTS)]
    edits = {
        2: "the valve of press 2 was changed for E402",
        5: "a new hose with code E999",
        90: "spare fan E777",
    }
    gone = {3, 7}
    uris = [f"lake://acme/documents/doc-{n}.md" for n in range(100)]
    changed = [{"text": text, "uri": uris[n], "doc_id": f"doc-{n}"} for n, text in edits.items()]
    base = loaded(tmp_path / "base", table(*old, *FILLER))
    left = [chunk | {"uri": uris[n]} for n, chunk in enumerate(old) if n not in gone | set(edits)]
    whole = HybridIndex(loaded(tmp_path / "whole", table(*left, *FILLER, *changed)))
    outdated = [uris[n] for n in sorted(gone | set(edits) - {90})]
    manifest = write_snapshot(
        table(*changed), vectors(table(*changed)), tmp_path / "addition",
        embedder=EMBEDDER, chunker="x", base=base, outdated=outdated,
    )  # fmt: skip
    assert (manifest.rows, manifest.chunks) == (3, whole.snapshot.manifest.chunks)
    (tmp_path / "base").rename(tmp_path / base.manifest.snapshot_id)
    addition = HybridIndex(Snapshot.load(tmp_path / "addition"))
    assert Snapshot.load(tmp_path / "addition", base).base is base
    for query in (
        "valve of press 2",
        "E402",
        "bearing needs E403",
        "hose E999",
        "spare fan",
        "motor belt line",
    ):
        hits, wanted = (index.search(query, vector(query), 10) for index in (addition, whole))
        assert hits[0].text == wanted[0].text
        found = {hit.text for hit in hits}
        assert not found & {old[n]["text"] for n in (2, 3, 5, 7)}, "what is out of date is not found"
    only = addition.search("press", vector("press"), 50, Filters(doc_type=("manual",)))
    assert {hit.text for hit in only} >= {text for n, text in edits.items() if n != 90}


def test_the_same_page_on_both_shelves_comes_once(shelf: Shelf) -> None:
    page = {"text": "Bleed the air from the hydraulic line before every start of the press."}
    indexes = [shelf(page, owner="acme"), shelf(page, *FILLER, owner="shared")]
    hits = search_all(indexes, "bleed air", vector("bleed air"), 5)
    assert [hit.text for hit in hits].count(page["text"]) == 1


def test_words_alone_where_there_is_no_vector(shelf: Shelf) -> None:
    index = shelf({"text": "valve stuck open"}, *FILLER)
    for hits in (
        index.search("valve", None, 5),
        replace(index, comparable=False).search("valve", vector("valve"), 5),
    ):
        assert [hit.text for hit in hits] == ["valve stuck open"]
        assert hits[0].scores.vector is None


def test_empty_and_missing_indexes_answer_with_nothing(shelf: Shelf) -> None:
    assert search_all([], "pump", vector("pump"), 5) == []
    assert shelf().search("pump", vector("pump"), 5) == []


def test_reranking_blends_by_weight_and_keeps_freshness(shelf: Shelf) -> None:
    fresh = {"text": "seal wear on the fresh page", "updated": NOW}
    ranked = search_all([shelf({"text": "seal seal"}, fresh, *FILLER)], "seal", vector("seal"), 2, now=NOW)
    wanted = [float(hit.text == fresh["text"]) for hit in ranked]
    assert rerank(ranked, None, 0.5) == ranked
    assert rerank(ranked, wanted, 1.0)[0].text == fresh["text"]
    assert rerank(ranked, wanted, 1.0)[0].score == pytest.approx(1.2)
    assert [hit.scores.rerank for hit in rerank(ranked, wanted, 0.0)] != [None, None]
    with pytest.raises(ValueError, match="1 reranker scores for 2 hits"):
        rerank(ranked, [1.0], 0.5)


def test_the_pool_of_candidates_bounds_what_is_ranked(shelf: Shelf) -> None:
    index = replace(shelf(*FILLER), ranking=Ranking(candidates=3, near_duplicate=1.1))
    assert len(index.search("belt motor line", vector("belt motor line"), 50)) <= 9


def test_rows_of_a_table_read_in_pieces_are_those_that_arrow_takes():
    chunks = pa.concat_tables(
        [table(*({"text": f"{piece} {n}"} for n in range(piece))) for piece in (3, 1, 4)]
    )
    for rows in ([0, 2, 3, 7], [3], [4, 7], []):
        at = np.array(rows, np.int64)
        assert rows_of(chunks, at).equals(chunks.take(at))
