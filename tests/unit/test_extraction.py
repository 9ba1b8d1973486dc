"""Files of each format as Markdown, and files that mean harm, refused by name."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import pytest

from pipelines.knowledge import extraction, reading
from pipelines.knowledge.documents import Document, extract, read_document
from pipelines.knowledge.extracted import DocumentRefused, Extracted
from pipelines.knowledge.extraction import EXTRACTORS
from pipelines.knowledge.reading import File, read_files
from tests.unit.office_files import WORD, grid, heading, paragraph, pdf, word

PAGE = """<html lang="de"><head><title>Pump P-7</title><script>steal()</script></head><body>
<nav><a href="/">Home</a></nav><h1>Pump P-7</h1><p>Reset with <b>E42</b>.</p><h2>Codes</h2>
<table><tr><th>Code</th><th>Cause</th></tr><tr><td>E42</td><td>Over | pressure</td></tr></table>
<pre><code>reset  --hard</code></pre><ul><li>one</li></ul></body></html>"""
CODES = 'code;meaning;action\nE42;Over pressure;Open the valve\n\nE43;"Dry; run";\n'


def document(relative: str, content: bytes, described: bytes = b"") -> Document:
    return read_document("acme", relative, content, described)


def test_a_web_page_keeps_its_structure_and_loses_the_rest() -> None:
    read = document("pump.html", PAGE.encode())
    assert (read.about.title, read.about.language, read.doc_id) == ("Pump P-7", "de", "pump.html")
    for kept in (
        "# Pump P-7",
        "**E42**",
        "## Codes",
        "| E42 | Over \\| pressure |",
        "reset  --hard",
        "- one",
    ):
        assert kept in read.source
    for left in ("steal", "Home", "---\ntitle"):
        assert left not in read.source


def test_a_web_page_says_its_encoding() -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>Überdruck</p></body></html>'
    assert extract("p.htm", page.encode("latin-1")).text == "Überdruck"
    with pytest.raises(DocumentRefused, match=r"p\.htm: its encoding"):
        extract("p.htm", "<p>Überdruck</p>".encode("latin-1"))


def test_a_word_document_keeps_headings_and_tables() -> None:
    body = heading(1, "Valve") + paragraph("Open it.") + heading(2, "Codes")
    body += grid(("Code", "Cause"), ("E42", "Pressure"))
    read = document("valve.docx", word(body, "Valve V2"))
    assert read.about.title == "Valve V2"
    assert read.about.updated == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert read.source.startswith("# Valve\n\nOpen it.\n\n## Codes")
    assert "| E42 | Pressure |" in read.source


def test_bookmarks_of_a_pdf_are_its_headings() -> None:
    pages = [
        ["Acme 1", "1 Start", "Press the red but-", "ton.", "page 1"],
        ["Acme 2", "2.1 Stop", "# Pull it.", "page 2"],
        ["Acme 3", "Then wait.", "page 3"],
        ["Acme 4", "Done (all).", "page 4"],
    ]
    content = pdf(pages, [("Start", 0), ("2.1 Stop", 1), ("Unseen", 2)], "Press manual")
    read = document("press.pdf", content)
    assert read.about.title == "Press manual"
    assert read.about.updated == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert read.source == (
        "# Start\n\nPress the red button.\n\n# 2.1 Stop\n\n\\# Pull it.\n\n"
        "# Unseen\n\nThen wait.\n\nDone (all)."
    )


def test_pages_are_the_headings_of_a_pdf_without_bookmarks() -> None:
    assert extract("a.pdf", pdf([["One."], [], ["Three."]])).text == "# Page 1\n\nOne.\n\n# Page 3\n\nThree."


def test_a_row_of_a_table_is_a_section() -> None:
    assert extract("codes.csv", CODES.encode()).text == (
        "## E42: Over pressure\n\n- code: E42\n- meaning: Over pressure\n- action: Open the valve\n\n"
        "## E43: Dry; run\n\n- code: E43\n- meaning: Dry; run"
    )


def test_a_file_beside_it_describes_a_document() -> None:
    described = b"title: The valve\nmodels: [V2]\nfirmware: 1.2, 1.3\ndoc_type: manual\nupdated: 2026-01-02\n"
    about = document("codes.csv", CODES.encode(), described).about
    assert (about.title, about.models, about.firmware, about.doc_type) == (
        "The valve",
        ("V2",),
        ("1.2", "1.3"),
        "manual",
    )
    assert about.updated == datetime(2026, 1, 2, tzinfo=UTC)
    assert document("a.md", b"---\ntitle: One\nversion: 3\n---\ntext", b"title: Two").about.title == "Two"
    for bad in (b"- a list", b"\xff", b"updated: soon"):
        with pytest.raises(DocumentRefused, match=r"^codes\.csv: "):
            document("codes.csv", CODES.encode(), bad)


def test_what_is_no_document_is_refused_with_the_reason() -> None:
    bomb = word(paragraph("x"), **{"word/media/zeros": bytes(extraction.MAXIMUM_UNPACKED)})
    laughs = '<!DOCTYPE l [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    laughs += f"]><w:document {WORD}><w:body>{paragraph('&i;')}</w:body></w:document>"
    bad = {
        "bomb.docx": (bomb, "unpacks to"),
        "laughs.docx": (word("", **{"word/document.xml": laughs.encode()}), "cannot be read"),
        "torn.docx": (word(paragraph("x"))[:200], "cannot be read"),
        "empty.docx": (word(""), "empty"),
        "scan.pdf": (pdf([[], []]), "no text in its 2 pages"),
        "torn.pdf": (pdf([["One."]])[:100], "cannot be read"),
        "locked.pdf": (pdf([["One."]], password="x"), "encrypted"),
        "page.html": (b"<script>x</script>", "empty"),
        "deep.html": (b"<div>" * 100_000, "empty"),
        "binary.md": (b"\x7fELF\0\0", "NUL"),
        "latin.txt": (b"\xff", "not UTF-8 at byte 0"),
        "one.csv": (b"word\nword\n", "two columns"),
        "ragged.csv": (b"a,b\n1,2,3\n", "row 2 has 3 values for 2 columns"),
        "large.md": (b"x" * (8 * 2**20 + 1), "the limit is"),
    }  # fmt: skip
    for name, (content, reason) in bad.items():
        with pytest.raises(DocumentRefused, match=f"^{name}: .*{reason}"):
            extract(name, content)


def test_a_file_that_keeps_its_parser_busy_stops_no_other() -> None:
    pages = [File(f"{name}.html", PAGE.encode()) for name in ("slow", "hungry", "b", "dead")]
    files = [*pages, File("c.md", b"# C"), File("d.md", b"\0")]
    read = dict(
        zip(
            (file.relative for file in files),
            (found for _, found in read_files("acme", files, 3.0, misbehaving)),
            strict=True,
        )
    )
    assert str(read["slow.html"]) == "slow.html: not read within 3 s"
    assert str(read["hungry.html"]) == "hungry.html: needs too much memory"
    assert str(read["dead.html"]) == "dead.html: its parser broke down"
    assert "NUL" in str(read["d.md"])
    assert [name for name, found in read.items() if isinstance(found, Document)] == ["b.html", "c.md"]


def misbehaving(relative: str, content: bytes) -> Extracted:
    """Stands for parsers that hostile files have got the better of."""
    if relative == "slow.html":
        time.sleep(60)
    if relative == "hungry.html":
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(EXTRACTORS, ".html", lambda content: bytearray(reading.MOST_MEMORY))
            return extract(relative, content)
    if relative == "dead.html":
        os._exit(9)
    return extract(relative, content)
