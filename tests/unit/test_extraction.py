"""Files of each format as Markdown, and files that mean harm, refused by name."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import pytest

from pipelines.knowledge import documents, extraction, reading
from pipelines.knowledge.documents import Document, extract, read_document
from pipelines.knowledge.extracted import MAXIMUM_TEXT, DocumentRefused, Extracted
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


@pytest.mark.parametrize(
    ("label", "written"),
    [("iso-8859-1", "cp1252"), ("us-ascii", "cp1252"), ("utf-16", "utf-8"), ("koi8-r", "utf-8-sig")],
)
def test_the_encoding_of_a_web_page_is_the_one_that_browsers_take(label: str, written: str) -> None:
    page = f'<html><head><meta charset="{label}"></head><body><p>Druck – 5 €</p></body></html>'
    assert extract("p.html", page.encode(written)).text == "Druck – 5 €"
    commented = page.replace("<meta", '<!-- <meta charset="koi8-r"> --><meta')
    assert extract("p.html", commented.encode(written)).text == "Druck – 5 €"
    assert extract("p.html", page.encode("utf-16")).text == "Druck – 5 €"


@pytest.mark.parametrize(
    ("tags", "updated"),
    [
        ('<meta name="DCTERMS.modified" content="2026-02-02">', "2026-02-02T00:00Z"),
        ('<meta name="date" content="2026-01-01"><meta name="Last-Modified" content="2026-02-02T01+02">',
         "2026-02-01T23:00Z"),
        ('<meta property="article:modified_time" content="2026-02-02T10:00:00Z">', "2026-02-02T10:00Z"),
        ('<meta name="date" content="last week">', None),
        ("", None),
    ],
)  # fmt: skip
def test_a_web_page_says_when_it_was_updated(tags: str, updated: str | None) -> None:
    page = f"<html><head><title>T</title>{tags}</head><body><p>One.</p></body></html>".encode()
    assert document("p.html", page).about.updated == (updated and datetime.fromisoformat(updated))
    assert document("p.html", page, b"updated: 2020-01-01").about.updated == datetime(2020, 1, 1, tzinfo=UTC)


def test_a_web_page_whose_body_is_one_form_keeps_its_text() -> None:
    page = """<html><body><form action="codes.aspx"><input type="hidden" value="/wEPDw"><nav>Home</nav>
    <h1>Codes</h1><p>Reset with E42.</p></form></body></html>"""
    assert extract("codes.html", page.encode()).text == "# Codes\n\nReset with E42."


def test_a_rule_at_the_top_of_a_web_page_is_no_front_matter() -> None:
    body = "<hr><p>One.</p><hr><p>Two.</p>"
    for page in (body, f"<html><head><title>T</title></head><body>{body}</body></html>"):
        assert extract("p.html", page.encode()).text == "---\n\nOne.\n\n---\n\nTwo."


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


def test_a_pdf_that_says_no_title_is_called_by_its_file() -> None:
    assert document("pump.pdf", pdf([["One."]])).about.title == "pump"
    assert document("pump.pdf", pdf([["One."]], [("Start", 0)])).about.title == "Start"


def test_a_date_of_a_pdf_that_is_none_is_not_said() -> None:
    content = pdf([["One."]], title="T").replace(b"D\\07220260304050607Z", b"last Wednesday".ljust(20))
    assert document("pump.pdf", content).about.updated is None


def test_lines_that_differ_by_a_code_are_no_margins_of_a_pdf() -> None:
    codes = ["Error 101", "Error 102", "Error 103", "Error 104"]
    keys = ["HX-1", "HX-2", "HX-3", "HX-4"]
    pages = [
        ["Acme 2.4", code, key, f"Page {number} of 4"]
        for number, (code, key) in enumerate(zip(codes, keys, strict=True), 1)
    ]
    assert extract("a.pdf", pdf(pages)).text == "\n\n".join(
        f"# Page {number}\n\n{code}\n{key}"
        for number, (code, key) in enumerate(zip(codes, keys, strict=True), 1)
    )


def test_a_row_of_a_table_is_a_section() -> None:
    assert extract("codes.csv", CODES.encode()).text == (
        "## E42: Over pressure\n\n- code: E42\n- meaning: Over pressure\n- action: Open the valve\n\n"
        "## E43: Dry; run\n\n- code: E43\n- meaning: Dry; run"
    )


def test_a_table_is_called_by_its_file() -> None:
    assert document("codes.csv", CODES.encode()).about.title == "codes"


@pytest.mark.parametrize(
    ("content", "last"),
    [
        ("code,meaning\n" + "E1,heat\n" * 2000 + 'E2,"say ""stop"""\n', 'E2: say "stop"'),
        ("code,meaning\nE1,don't\nE2,can't\n", "E2: can't"),
        ("code;meaning\nE1;dry, hot, loud\nE2;cold, wet, slow\n", "E2: cold, wet, slow"),
        ("code|meaning\nE1|heat\nE2|cold\n", "E2: cold"),
        ("code\tmeaning\rE1\theat\rE2\tcold\r", "E2: cold"),
        ("sep=;\r\ncode;meaning\r\nE2;cold\r\n", "E2: cold"),
        ("code,meaning\nE1,heat\nE2,cold,,\n", "E2: cold"),
    ],
)
def test_a_table_is_split_as_spreadsheets_write_it(content: str, last: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        found = extract("codes.csv", content.encode(encoding)).text
        assert found.rpartition("## ")[2].partition("\n")[0] == last
        assert found.endswith(f"- meaning: {last[4:]}")


def test_a_table_that_a_regular_expression_would_choke_on_is_refused() -> None:
    with pytest.raises(DocumentRefused, match=r"^t\.csv: not a CSV table: unexpected end of data"):
        extract("t.csv", b'"1","2"\n"3","4"\n' + b'"' * 20_001 + b"x")


def test_a_table_whose_rows_repeat_too_much_is_refused() -> None:
    wide = f"{'a' * (MAXIMUM_TEXT // 100)},b\n" + "1,2\n" * 100
    with pytest.raises(DocumentRefused, match=r"^t\.csv: more than .* characters with its columns named"):
        extract("t.csv", wide.encode())


def test_what_no_store_can_hold_is_replaced() -> None:
    said = b'title: "a \\ud800 \\0 b"\nmodels: ["X\\0"]\n'
    read = document("a.html", b"<title>\0</title><p>One \0 two</p>", said)
    assert (read.about.title, read.about.models) == ("a \ufffd \ufffd b", ("X\ufffd",))
    assert "\0" not in read.source
    extracted = Extracted("a \ud800 b\0", "\udfff", "\0")
    assert documents.document("acme", "a.pdf", extracted) == documents.document(
        "acme", "a.pdf", Extracted("a \ufffd b\ufffd", "\ufffd", "\ufffd")
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
    files = [
        *pages,
        File("c.md", b"# C"),
        File("d.md", b"\0"),
        File("slow.md", b"# D"),
        File("odd.md", b"# E"),
    ]
    read = dict(
        zip(
            (file.relative for file in files),
            (found for _, found in read_files("acme", files, 3.0, misbehaving)),
            strict=True,
        )
    )
    assert str(read["slow.html"]) == "slow.html: not read within 3 s"
    assert str(read["hungry.html"]) == "hungry.html: needs too much memory"
    assert str(read["dead.html"]) == "dead.html: its process broke down"
    assert str(read["slow.md"]) == "slow.md: not read within 3 s"
    assert str(read["odd.md"]) == "odd.md: cannot be read: ZeroDivisionError('by zero')"
    assert "NUL" in str(read["d.md"])
    assert [name for name, found in read.items() if isinstance(found, Document)] == ["b.html", "c.md"]


def misbehaving(owner: str, relative: str, content: bytes, described: bytes) -> Document:
    """Stands for parsers that hostile files have got the better of."""
    if relative.startswith("slow"):
        time.sleep(60)
    if relative == "odd.md":
        raise ZeroDivisionError("by zero")
    if relative == "dead.html":
        os._exit(9)
    with pytest.MonkeyPatch.context() as patch:
        if relative == "hungry.html":
            patch.setitem(EXTRACTORS, ".html", lambda content: bytearray(reading.MOST_MEMORY))
        return read_document(owner, relative, content, described)
