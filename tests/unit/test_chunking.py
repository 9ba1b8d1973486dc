from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes.schema import CHUNK_SCHEMA, passage
from pipelines.knowledge.chunking import chunk_documents, room_for, spans
from pipelines.knowledge.documents import Document, DocumentRefused, read_document

LIMIT = 64


def words(texts: list[str]) -> Sequence[int]:
    """A counter with the property that chunking relies on: counts add up where text is cut at spaces."""
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def document(text: str, path: str = "guide/pump.md") -> Document:
    return read_document("acme", path, text.encode())


def check(doc: Document, limit: int = LIMIT) -> list[str]:
    """Every chunk is its span, in order, and together they are all that is not blank."""
    table = chunk_documents([doc], words, limit)
    assert table.schema == CHUNK_SCHEMA
    at = doc.body_start
    for start, end, text in zip(*(table[name].to_pylist() for name in ("start", "end", "text")), strict=True):
        assert doc.source[start:end] == text
        assert text.strip()
        assert at <= start < end
        assert not doc.source[at:start].strip(), "something between two chunks was lost"
        at = end
    assert not doc.source[at:].strip(), "the end was lost"
    assert len(set(table["chunk_id"].to_pylist())) == table.num_rows
    texts: list[str] = table["text"].to_pylist()
    return texts


PIECES = st.sampled_from(
    [
        *("# Pump", "## Error `E421`", "### *Deep*", "#no heading", "Setext\n===", "Setext 2\n---", "---"),
        *("Prose. With sentences! Three of them?", "word " * 90, "x" * 700, "* * *", "\\# escaped"),
        *("- one\n- two\n  - nested\n\n    para", "1. first\n2. second " + "long " * 40, "\t- tab"),
        *("```\ncode\n\n# not a heading\n```", "```unclosed\nstill code", "~~~python\nprint(1)\n~~~"),
        *("    indented code", "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 30, "+ plus\n\n\n\n+ far"),
        *("> quote\n> # heading in a quote\n\nlazy", "<div>\n\n**html**\n\n</div>", "<!-- comment\n\n -->"),
        *("[ref]: http://example.com 'title'", "[^1]: footnote", "&amp; <b>x</b>", "trailing  "),
        *("\u2028", "\x0b", "\x0c", "\xa0", "é\u0301 漢字 🚰", "line one\r\nline two", "old\rmac"),
    ]
)
MARKDOWN = st.lists(PIECES | st.text(max_size=60), max_size=14).flatmap(
    lambda pieces: st.sampled_from(["\n", "\n\n", "\r\n", "\r\n\r\n", "\n\n\n", "\r"]).map(
        lambda end: end.join(pieces)
    )
)


@settings(max_examples=400)
@given(MARKDOWN, st.sampled_from([16, LIMIT, 256]), st.booleans())
def test_spans_are_exact_and_cover_any_markdown(text: str, limit: int, front_matter: bool) -> None:
    if front_matter:
        text = "---\ntitle: Pump\nmodels: [HX-200]\n---\n" + text
    try:
        doc = document(text)
    except DocumentRefused:
        return
    check(doc, limit)


@settings(max_examples=200)
@given(MARKDOWN)
def test_no_chunk_is_larger_than_the_model_takes(text: str) -> None:
    try:
        doc = document("---\ntitle: Pump\n---\n" + text)
    except DocumentRefused:
        return
    for chunk in chunk_documents([doc], words, LIMIT).to_pylist():
        header = words([passage(chunk["title"], chunk["section"], "")])[0]
        assert words([chunk["text"]])[0] <= max(LIMIT - 2 - header, LIMIT // 2)


def test_section_paths_follow_the_headings() -> None:
    filler = "The pump must be stopped before anyone opens the housing. " * 6
    doc = document(f"# Pump\n\n{filler}\n\n## Errors\n\n### E421\n\n{filler}\n\n## Parts\n\n{filler}")
    sections = chunk_documents([doc], words, 256)["section"].to_pylist()
    assert sections == ["", "Errors > E421", "Parts"]
    assert doc.about.title == "Pump"


def test_line_endings_do_not_move_a_cut() -> None:
    text = "# P\n\n" + "\n\n".join(f"## S{n}\n\n- one {'word ' * 30}\n- two {'word ' * 40}" for n in range(5))
    cuts = [
        chunk_documents([document(text.replace("\n", end))], words, LIMIT) for end in ("\n", "\r\n", "\r")
    ]
    assert cuts[0]["section"].to_pylist() == cuts[1]["section"].to_pylist() == cuts[2]["section"].to_pylist()
    texts = [[" ".join(text.split()) for text in table["text"].to_pylist()] for table in cuts]
    assert texts[0] == texts[1] == texts[2]


def test_small_sections_join_under_a_path_that_is_true_of_both() -> None:
    doc = document("# Alert\n\n## Meaning\n\nToo hot.\n\n## Impact\n\nIt stops.\n")
    table = chunk_documents([doc], words, 256)
    assert table["section"].to_pylist() == ["Meaning / Impact"]


def test_lists_tables_and_code_stay_whole_where_they_fit() -> None:
    blocks = [
        "- " + "\n- ".join(["check the valve and the seal"] * 6),
        "| code | cause |\n|---|---|\n" + "| E421 | hot |\n" * 4,
        "```\n" + "restart pump now\n\n" * 10 + "```",
    ]
    texts = check(document("# P\n\n" + "\n\n".join(blocks)))
    for block in blocks:
        assert any(block.strip() in text for text in texts)


def test_an_overlong_list_is_cut_between_items() -> None:
    items = [f"- item {number}: check the valve, then the seal, then the filter" for number in range(30)]
    texts = check(document("# P\n\nIntro.\n\n" + "\n".join(items)))
    assert len(texts) > 3
    assert all(text.startswith(("- item", "# P")) for text in texts)


def test_a_base64_line_is_cut_although_it_is_one_token() -> None:
    def one_token_per_word(texts: list[str]) -> Sequence[int]:
        return [len(text.split()) for text in texts]

    found = spans(document("# Key\n\n" + "A" * 100_000), one_token_per_word, LIMIT)
    assert max(span.end - span.start for span in found) <= LIMIT * 8


def test_the_words_of_an_enormous_line_are_counted_some_at_a_time() -> None:
    counted: list[int] = []

    def noted(texts: list[str]) -> Sequence[int]:
        counted.append(len(texts))
        return words(texts)

    doc = document(" ".join(f"w{number}" for number in range(50_000)), "log.txt")
    found = spans(doc, noted, LIMIT)
    assert max(counted) < 5_000
    assert sum(span.tokens for span in found) == 50_000
    assert max(span.tokens for span in found) == room_for(doc, (), words, LIMIT)


@pytest.mark.parametrize("header", ["Code", "ERROR", "error code", "Error_Code", "fault", "alarm"])
def test_a_chunk_of_a_table_carries_the_codes_of_its_rows(header: str) -> None:
    remedy = "stop the pump and check the bearing " * 20
    rows = ["421", '"E 7, E8"', "it is too hot", "", "PUMP_DRY"]
    table = "\n".join([f"pump,{header},alarm code,remedy", *(f"P7,{code},X1,{remedy}" for code in rows)])
    doc = read_document("acme", "codes.csv", table.encode(), b"error_codes: [E0]")
    carried = chunk_documents([doc], words, LIMIT)["error_codes"].to_pylist()
    assert len(carried) > 2 * len(rows), "a row is several chunks"
    assert [codes for codes, _ in groupby(carried)] == [
        ["E0", "421"],
        ["E0", "E 7", "E8"],
        ["E0"],
        ["E0", "PUMP_DRY"],
    ]


def test_rows_in_one_chunk_give_it_the_codes_of_them_all() -> None:
    for header, codes in (("code", ["421", "422"]), ("pump", [])):
        doc = document(f"{header},cause\n421,heat\n422,cold\n", "codes.csv")
        assert chunk_documents([doc], words, LIMIT)["error_codes"].to_pylist() == [codes]


def test_a_document_that_cannot_be_cut_stops_no_other() -> None:
    odd = replace(document("# B", "b.md"), source="# \ud800")
    refused: dict[str, str] = {}
    table = chunk_documents(
        [document("# A", "a.md"), odd, document("# C", "c.md")],
        words,
        LIMIT,
        lambda document, reason: refused.update({document.path: reason}),
    )
    assert table["doc_id"].to_pylist() == ["a", "c"]
    assert list(refused) == ["b.md"]
    assert refused["b.md"].startswith("b.md: cannot be cut: UnicodeEncodeError")
    with pytest.raises(DocumentRefused, match=r"^b\.md: cannot be cut"):
        chunk_documents([odd], words, LIMIT)


def test_a_tokenizer_that_fails_is_no_fault_of_a_document() -> None:
    def broken(texts: list[str]) -> Sequence[int]:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        chunk_documents([document("# A")], broken, LIMIT, lambda document, reason: None)


def test_of_an_enormous_heading_the_beginning_is_parsed() -> None:
    assert document("# Pump " + "[](x)" * 500 + "end").about.title == "Pump"
