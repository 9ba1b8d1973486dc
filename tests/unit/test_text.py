from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexes.codes import code_key, codes_asked, codes_in, numbers_in
from indexes.filters import FilterError, Filters
from indexes.forward import Bm25f
from indexes.text import TermStatistics, TextIndex
from tests.unit.shelves import table

CHUNKS = table(
    {"title": "Pump manual", "text": "The bearing temperature is too high when the pump overheats."},
    {"title": "Codes", "text": "E421 means over-temperature. Cool the HX-200 and restart."},
    {"title": "Codes", "text": "E422 means under-voltage on the HX-300.", "error_codes": ["E422"]},
    {
        "title": "Release notes",
        "text": "Firmware v2.4.1 fixes a leak. v2.4.10 adds nothing.",
        "doc_type": "notes",
    },
    {"title": "Guide", "text": "Replace the filter.", "models": ["HX-200"], "version": "2.4"},
    {"title": "Alarm", "text": "SENSOR_TIMEOUT is raised by a loose cable."},
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> TextIndex:
    return TextIndex.build(CHUNKS, tmp_path_factory.mktemp("text") / "index")


def first(index: TextIndex, query: str) -> int:
    return int(index.search(query, 5)[1][0])


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("overheating pumps", 0),
        ("E421", 1),
        ("what does error e-421 mean", 1),
        ("error E 422", 2),
        ("firmware 2.4.1", 3),
        ("v2.4.10", 3),
        ("sensor timeout", 5),
        ("SENSOR_TIMEOUT", 5),
    ],
)
def test_words_and_codes_are_found(index: TextIndex, query: str, row: int) -> None:
    assert first(index, query) == row


def test_a_code_counts_however_far_back_in_a_long_question_it_stands(index: TextIndex) -> None:
    rambling = " ".join(f"word{number}" for number in range(80))
    for query in (f"{rambling} E421", f"{rambling} E422"):
        row = index.exact(query.split()[-1], 5)[1].tolist()
        assert index.exact(query, 5)[1].tolist() == row
        assert index.search(query, 5)[1].tolist() == row
        assert not np.isnan(index.score(query, np.array(row), index.statistics(query), Bm25f())).any()


def test_scores_fall_and_rows_are_distinct(index: TextIndex) -> None:
    scores, rows = index.search("E421 HX-200 pump temperature filter", 5)
    assert (np.diff(scores) <= 0).all()
    assert len(set(rows.tolist())) == len(rows)


def test_exact_matches_the_code_and_not_its_neighbour(index: TextIndex) -> None:
    assert index.exact("E421", 10)[1].tolist() == [1]
    assert index.exact("v2.4.1", 10)[1].tolist() == [3]
    assert index.exact("v2.4.2", 10)[1].tolist() == []
    assert index.exact("E42", 10)[1].tolist() == []
    assert index.exact("cool the pump", 10)[1].tolist() == []


def test_a_code_in_the_text_outweighs_one_that_the_document_declares(index: TextIndex) -> None:
    shares, rows = index.exact("hx200", 10)
    assert rows.tolist() == [1, 4]
    assert shares[0] == pytest.approx(2 * shares[1], rel=0.01)


def test_a_code_of_digits_alone_is_one_where_it_is_declared(tmp_path: Path) -> None:
    rows = [f"{code}: {meaning}" for code, meaning in (("421", "too hot"), ("422", "too cold"))]
    codes = [{"text": text, "error_codes": ["421", "422"]} for text in rows]
    index = TextIndex.build(table(*codes, {"text": "We sold 999 pumps on 421 days."}), tmp_path / "t")
    for query in ("error 421", "fault code 421?", "what is 421"):
        shares, found = index.exact(query, 5)
        assert found.tolist() == [0, 1], "the row of the code, then what only declares it"
        assert shares[0] == pytest.approx(2 * shares[1], rel=0.01)
    assert index.exact("error 999", 5)[1].tolist() == []


def test_digits_alone_are_no_code_of_a_version_or_a_model_but_filter(tmp_path: Path) -> None:
    said = {"version": "3", "firmware": ["3"], "models": ["3"]}
    chunks = table({"text": "Clean the horn with water.", **said}, {"text": "The horn is loud."})
    index = TextIndex.build(chunks, tmp_path / "t")
    rows = np.arange(2)
    query = "the horn sounds 3 times"
    assert index.exact(query, 5)[1].tolist() == []
    assert index.shares(query, rows, chunks, index.statistics(query)).tolist() == [0, 0]
    assert index.search("horn", 5, Filters(models=("3",), firmware=("3",)))[1].tolist() == [0]


def test_shares_of_chunks_are_those_by_which_the_exact_are_found(index: TextIndex) -> None:
    query = "E422 E421 hx200"
    shares, rows = index.exact(query, 10)
    found = index.shares(query, np.arange(len(CHUNKS)), CHUNKS, index.statistics(query))
    assert np.flatnonzero(found).tolist() == sorted(rows.tolist()) == [1, 2, 4]
    assert found[rows] == pytest.approx(shares, abs=0.01)


def test_a_code_that_every_chunk_carries_lifts_none(tmp_path: Path) -> None:
    everywhere = TextIndex.build(table({"text": "HX-200 on"}, {"text": "HX-200 off"}), tmp_path / "t")
    assert len(everywhere.exact("HX-200", 5)[1]) == 0
    assert len(everywhere.search("HX-200", 5)[1]) == 2


def test_what_does_not_count_is_passed_over_and_takes_no_place(tmp_path: Path) -> None:
    texts = [f"valve {'valve ' * (number % 7)}E421 number {number}" for number in range(200)]
    counts = np.random.default_rng(1).random(200) < 0.1
    chunks = table(*({"text": text, "uri": f"lake://acme/{at}.md"} for at, text in enumerate(texts)))
    whole = TextIndex.build(chunks, tmp_path / "t")
    part = whole.only(counts)
    for name in ("search", "exact"):
        scores, rows = getattr(whole, name)("valve E421", 200)
        expected = rows[counts[rows]]
        for k in (5, 200):
            found = getattr(part, name)("valve E421", k)
            assert found[1].tolist() == expected[:k].tolist()
            assert found[0].tolist() == scores[counts[rows]][:k].tolist()
    gone = np.flatnonzero(~counts)[0]
    assert part.rows_of_document(f"lake://acme/{gone}.md").tolist() == []
    assert len(part.only(None).search("valve", 200)[1]) == 200


def test_filters_hold(index: TextIndex) -> None:
    query = "E421 E422 HX-200 pump filter firmware cable"
    assert index.search(query, 9, Filters(error_codes=("e-422",)))[1].tolist() == [2]
    assert index.search(query, 9, Filters(models=("HX200",)))[1].tolist() == [4]
    assert index.search(query, 9, Filters(doc_type=("notes",)))[1].tolist() == [3]
    assert index.search(query, 9, Filters(doc_type=("notes",), models=("HX200",)))[1].tolist() == []
    for filters in (
        Filters(models=("HX-200",)),
        Filters(doc_type=("manual",)),
        Filters(error_codes=("E422",)),
    ):
        mask = filters.mask(CHUNKS)
        assert mask is not None
        assert set(index.search(query, 9, filters)[1].tolist()) <= set(np.flatnonzero(mask).tolist())


def test_unknown_filters_are_refused_by_name() -> None:
    with pytest.raises(FilterError, match="unknown filter 'colour'"):
        Filters.of({"colour": "red"})
    with pytest.raises(FilterError, match="takes a string"):
        Filters.of({"models": 7})
    assert Filters.of({"models": "HX-200", "doc_type": None}) == Filters(models=("HX-200",))


def test_shared_statistics_make_two_indexes_score_as_one(tmp_path: Path) -> None:
    rare = {"text": "the valve is stuck"}
    others = [{"text": f"the pump is {number}"} for number in range(40)]
    small = TextIndex.build(table(rare), tmp_path / "small")
    large = TextIndex.build(table(rare, *others), tmp_path / "large")
    alone = small.search("stuck valve", 1)[0][0], large.search("stuck valve", 1)[0][0]
    both = TermStatistics.total(index.statistics("stuck valve") for index in (small, large))
    together = [index.search("stuck valve", 1, shared=both)[0][0] for index in (small, large)]
    assert alone[1] > 3 * alone[0], "the test needs indexes that disagree by themselves"
    assert together[0] == pytest.approx(together[1], rel=0.01)


HOSTILE = [
    *("", "   ", '"', "((((", "a AND OR NOT", "title:", "*", "~", "[a TO", "\\", "\x00", "{}", "-1 +2"),
    *("😀" * 500, "a" * 10_000, "x:y^z" * 100, "'; DROP TABLE", "\ud7ff", "E421" * 200, "E1 " * 5000),
]


@pytest.mark.parametrize("query", HOSTILE)
def test_hostile_queries_do_not_raise(index: TextIndex, query: str) -> None:
    for ranked in (index.search(query, 5), index.exact(query, 5)):
        assert len(ranked[0]) == len(ranked[1]) <= 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text())
def test_no_text_raises(index: TextIndex, query: str) -> None:
    index.search(query, 5)
    index.exact(query, 5)


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    empty = TextIndex.build(table(), tmp_path / "t")
    assert len(empty.search("pump", 5)[1]) == len(empty.exact("E421", 5)[1]) == 0


def test_codes_are_told_from_words() -> None:
    assert codes_in("E421 on HX-200 with v2.4.1 and SENSOR_TIMEOUT, not 42, m³ or pump-house") == {
        "e421",
        "hx200",
        "2.4.1",
        "sensortimeout",
    }
    assert code_key("HX-200s") == code_key("hx200") != code_key("HX-200S")
    assert code_key("V2.4.1") == code_key("2.4.1") != code_key("2.4.10")
    assert "e421" in codes_asked("Error E 421?")


def test_the_hyphens_of_typesetters_are_hyphens() -> None:
    for hyphen in "\u2010\u2011\u2012\u2013\u2212\u00ad":
        assert codes_in(f"the HX{hyphen}200.") == {"hx200"} == {code_key(f"HX{hyphen}200")}
        assert "hx200" in codes_asked(f"HX{hyphen}200?")
    assert codes_in("E101\u2013E104, pump\u20143 times") == {"e101", "e104"}


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("See E421/E425.", {"e421", "e425"}),
        ("HX-200/HX-450", {"hx200", "hx450"}),
        ("2.4.1/2.5.0", {"2.4.1", "2.5.0"}),
        ("E1/" * 20 + "E2", {"e1", "e2"}),
        ("E101-E104", {"e101", "e104", "e101e104"}),
        ("2.4.1-2.5.0", {"2.4.1", "2.5.0"}),
        ("E101-E104/E200", {"e101", "e104", "e101e104", "e200"}),
        ("X1/2, AB12-CD34 and v2.4.1-rc1", {"x1-2", "ab12cd34", "2.4.1-rc1"}),
    ],
)
def test_codes_that_a_separator_joins_are_found_each(text: str, codes: set[str]) -> None:
    assert codes_in(text) == codes
    assert codes <= set(codes_asked(text))


def test_declared_numbers_that_a_separator_joins_are_found_each() -> None:
    declared = ["421", "425", "31"]
    assert numbers_in("421/425, or 425-421, since 31/05/2026", declared) == {"421", "425"}
    assert {"421", "425"} <= set(codes_asked("What is 421/425?"))


def test_digits_on_both_sides_of_a_separator_are_told_apart() -> None:
    assert code_key("E1-12") == code_key("e1_12") == code_key("E 1 / 12") == "e1-12"
    assert len({code_key(code) for code in ("E1-12", "E11-2", "E-112")}) == 3
    assert codes_in("E1-12") == set(codes_asked("E1-12")) == {"e1-12"}
