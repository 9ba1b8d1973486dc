from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from iotops.errors import IotOpsError, TenantError
from pipelines.knowledge.changes import ShelfRead, changed_content, read_shelf, waiting
from pipelines.knowledge.commands import said_of_skipped
from pipelines.knowledge.documents import Document, document_id, read_document
from pipelines.knowledge.extracted import DocumentRefused, DocumentUnread
from pipelines.knowledge.store import add_documents, list_documents, remove_documents

FULL = """---
title: "E421: over-temperature"
doc_type: runbook
models: [HX-200, HX-300]
error_codes: E421, E422
firmware: 7.1
version: 2.4
updated: 2026-05-31
language: en
---
# Something else

Cool it.
"""


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


def test_front_matter_is_read() -> None:
    document = read_document("acme", "runbooks/e421.md", FULL.encode())
    assert document.doc_id == "runbooks/e421"
    assert document.uri == "lake://acme/documents/runbooks/e421.md"
    about = document.about
    assert (about.title, about.doc_type, about.version) == ("E421: over-temperature", "runbook", "2.4")
    assert (about.models, about.firmware) == (("HX-200", "HX-300"), ("7.1",))
    assert about.error_codes == ("E421", "E422")
    assert about.updated == datetime(2026, 5, 31, tzinfo=UTC)
    assert document.source[document.body_start :].startswith("# Something else")
    assert document.source == FULL


@pytest.mark.parametrize(
    ("path", "doc_id"),
    [
        ("a.csv", "a.csv"),
        ("a.csv.md", "a.csv.md"),
        ("a/v2.4.md", "a/v2.4"),
        ("a.PDF.md", "a.PDF.md"),
        ("a.md.md", "a.md.md"),
        ("a.md", "a"),
    ],
)
def test_no_two_documents_of_a_shelf_have_one_id(path: str, doc_id: str) -> None:
    assert document_id(path) == doc_id


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("intro\n\n## Pump *care* ##\n", "Pump care"),
        ("```\n# a comment\n```\n\nSetext\n======", "Setext"),
        ("# Mac\rtext", "Mac"),
        ("no heading", "pump"),
        ("---\nversion: 1\n---\n# Head", "Head"),
        ("\ufeff---\ntitle: Marked\n---\nx", "Marked"),
        ("---\r\ntitle: Windows\r\n---\r\nx", "Windows"),
        ("---\n---\n# Empty front matter", "Empty front matter"),
        ("---\nJust prose between rules.\n\n---\n# After", "After"),
        ("---\ntitle: [a, list]\n---\n# Fallback", "Fallback"),
    ],
)
def test_titles_fall_back(content: str, title: str) -> None:
    assert read_document("acme", "pump.md", content.encode()).about.title == title


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x89PNG\0\0", "binary"),
        ("Größe".encode("latin-1"), "not UTF-8 at byte 2"),
        (b" \n\t\n", "empty"),
        (b"---\nkey: [unclosed\n---\ntext", "metadata is not YAML"),
        (b"---\nupdated: last week\n---\ntext", "not an ISO date"),
        (b"---\nupdated: 2026-13-45\n---\ntext", "updated|metadata"),
    ],
)
def test_bad_files_are_refused_by_name_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(DocumentRefused, match=reason) as refused:
        read_document("acme", "bad.md", content)
    assert str(refused.value).startswith("bad.md: ")


def test_what_an_author_writes_stays_as_it_is_spelt() -> None:
    said = """---
title: 1_000
firmware: [2.4, 2.10]
version: 1.10
error_codes: [0x1F, 010, 12:30, 1_000, 0042]
models: [NO, on, ~]
language: no
updated: ''
doc_type: null
---
text"""
    about = read_document("acme", "a.md", said.encode()).about
    assert (about.title, about.version, about.language) == ("1_000", "1.10", "no")
    assert about.firmware == ("2.4", "2.10")
    assert about.error_codes == ("0x1F", "010", "12:30", "1_000", "0042")
    assert about.models == ("NO", "on")
    assert (about.updated, about.doc_type) == (None, "document")


def test_aliases_do_not_unfold_to_a_text_that_fills_the_memory() -> None:
    lists = "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghijklm")
    )
    said = f"a: &a [x]\n{lists}title: *m\nmodels: {{m: *m}}\nupdated: *m\n"
    about = read_document("acme", "a.md", f"---\n{said}---\ntext".encode()).about
    assert (about.title, about.models, about.updated) == ("a", (), None)


@pytest.mark.parametrize(
    "path", ["../up.md", "/etc/x.md", "a/../b.md", "a//b.md", "a\nb.md", "", "x.exe", "x" * 400 + ".md"]
)
def test_bad_paths_are_refused(path: str) -> None:
    with pytest.raises(DocumentRefused):
        read_document("acme", path, b"text")


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    try:
        document = read_document("acme", "any.md", b"---\n" + content)
    except DocumentRefused:
        return
    assert document.about.title


def test_add_list_read_remove(lake: FileSystem, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("# A\n\ntext")
    (folder / "sub" / "b.md").write_text("# B\n\ntext")
    (folder / "bad.md").write_bytes(b"\xff\xfe")
    (folder / "picture.png").write_bytes(b"\0")
    report = add_documents(lake, "acme", [folder, tmp_path / "missing.md"])
    assert report.added == ["a.md", "sub/b.md"]
    assert set(report.refused) == {"bad.md", "missing.md"}
    assert report.skipped == [str(folder / "picture.png")]
    (folder / "a.md").write_text("# A\n\nnew text")
    again = add_documents(lake, "acme", [folder])
    assert (again.added, again.unchanged) == (["a.md"], ["sub/b.md"])

    assert [entry.path for entry in list_documents(lake, "acme")] == ["a.md", "sub/b.md"]
    (tmp_path / "lake" / "acme" / "documents" / "put by hand.md").write_bytes(b"\xff")
    shelf = read_shelf(lake, "acme")
    assert [document.about.title for document in shelf.documents] == ["A", "B"]
    assert list(shelf.refused) == ["put by hand.md"]

    with pytest.raises(IotOpsError, match=r"not on the shelf: nothing\.md"):
        remove_documents(lake, "acme", ["a.md", "nothing.md"])
    assert len(read_shelf(lake, "acme").documents) == 2, "all or none"
    remove_documents(lake, "acme", ["a.md", "a.md"])
    assert [document.about.title for document in read_shelf(lake, "acme").documents] == ["B"]


def test_what_is_refused_by_its_name_or_size_is_not_read(lake: FileSystem, tmp_path: Path) -> None:
    for name in ("dump.bin", "a.md.meta.yaml"):  # as large as no memory
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**42)
    (tmp_path / "a.md").write_text("# A")
    report = add_documents(lake, "acme", [tmp_path / "dump.bin", tmp_path / "a.md"])
    assert report.added == []
    assert report.refused["dump.bin"].startswith("dump.bin: .bin is not one of ")
    assert report.refused["a.md"] == "a.md.meta.yaml: 4,398,046,511,104 bytes, the limit is 16,384"


def test_files_of_other_kinds_in_a_folder_are_told_of(lake: FileSystem, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a.md", "a.md.meta.yaml", "1.png", "2.png", "3.xlsx", "4.png"):
        (folder / name).write_text("title: A")
    skipped = add_documents(lake, "acme", [folder]).skipped
    assert skipped == [str(folder / name) for name in ("1.png", "2.png", "3.xlsx", "4.png")]
    assert said_of_skipped(["1.png"]) == "1 of other kinds skipped: 1.png"
    assert said_of_skipped(["1", "2", "3", "4"]) == "4 of other kinds skipped: 1, 2, 3 and 1 more"


def test_of_two_files_for_one_path_the_second_is_refused(lake: FileSystem, tmp_path: Path) -> None:
    for model in ("hx", "cr"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "README.md").write_text(f"# {model}")
    (tmp_path / "hx" / "README.md.meta.yaml").write_text("models: [HX-200]")
    report = add_documents(lake, "acme", [tmp_path / "hx", tmp_path / "cr", tmp_path / "hx" / "README.md"])
    assert report.added == ["README.md"]
    ((refused, reason),) = report.refused.items()
    assert refused == str(tmp_path / "cr" / "README.md")
    assert str(tmp_path / "hx" / "README.md") in reason
    assert "add a folder that both are under" in reason
    (document,) = read_shelf(lake, "acme").documents
    assert (document.about.title, document.about.models) == ("hx", ("HX-200",))


def test_what_described_a_document_goes_when_it_is_gone(lake: FileSystem, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    beside = tmp_path / "a.md.meta.yaml"
    beside.write_text("models: [HX-200]")
    add_documents(lake, "acme", [tmp_path / "a.md"])
    beside.unlink()
    assert add_documents(lake, "acme", [tmp_path / "a.md"]).added == ["a.md"]
    (document,) = read_shelf(lake, "acme").documents
    assert document.about.models == ()
    assert add_documents(lake, "acme", [tmp_path / "a.md"]).unchanged == ["a.md"]


def test_a_file_that_is_stored_again_as_it_was_has_not_changed(lake: FileSystem, tmp_path: Path) -> None:
    for name in ("same.md", "other.md"):
        (tmp_path / name).write_text("# One")
        add_documents(lake, "acme", [tmp_path / name])
    (tmp_path / "lake" / "acme" / "documents" / "large.md").write_bytes(b"x" * (8 * 2**20 + 1))
    indexed = read_shelf(lake, "acme").table
    for name, text in (("same.md", "# One"), ("other.md", "# Two"), ("large.md", "y" * (8 * 2**20 + 2))):
        file = tmp_path / "lake" / "acme" / "documents" / name
        file.write_text(text)
        os.utime(file, (1, 1))
    entries = list_documents(lake, "acme")
    assert waiting(entries, indexed)["changed"] == ["large.md", "other.md", "same.md"]
    assert changed_content(lake, "acme", entries, indexed) == ["other.md"]


def test_a_description_that_goes_while_a_shelf_is_read_takes_no_document_with_it(
    lake: FileSystem, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("# A")
    add_documents(lake, "acme", [tmp_path / "a.md"])
    indexed = read_shelf(lake, "acme").table
    beside = tmp_path / "lake" / "acme" / "documents" / "a.md.meta.yaml"
    beside.write_text("title: B")
    entries = list_documents(lake, "acme")
    assert changed_content(lake, "acme", entries, indexed) == ["a.md"]
    beside.unlink()
    assert changed_content(lake, "acme", entries, indexed) == [], "it is read as it was indexed"


def test_only_what_changed_is_read_again(lake: FileSystem, tmp_path: Path) -> None:
    folder = tmp_path / "lake" / "acme" / "documents"
    folder.mkdir(parents=True)
    names = ("old.md", "bad.md", "new.md", "described.csv", "touched.md")
    for name in names:
        (folder / name).write_text("code,cause\nE1,heat\n")
    (folder / "bad.md").write_bytes(b"\xff")
    long_ago = time.time() - 7200
    for name in names:
        os.utime(folder / name, (long_ago, long_ago))
    first = read_shelf(lake, "acme")
    assert len(first.documents) == 4
    again = read_shelf(lake, "acme", first.table)
    assert (again.documents, again.refused) == ([], first.refused)
    assert again.unchanged == ["described.csv", "new.md", "old.md", "touched.md"]

    (folder / "new.md").write_text("code,cause\nE2,heat\n")  # of the same size
    (folder / "described.csv.meta.yaml").write_text("models: [V2]")
    (folder / "touched.md").touch()
    (folder / "old.md").write_text("code,cause\nE3,heat\n")
    os.utime(folder / "old.md", (long_ago, long_ago))  # by a clock that is wrong: not to be seen
    (folder / "bad.md").unlink()
    changed = read_shelf(lake, "acme", first.table)
    assert [document.doc_id for document in changed.documents] == ["described.csv", "new"]
    assert changed.documents[0].about.models == ("V2",)
    assert (changed.unchanged, changed.refused) == (["old.md", "touched.md"], {})

    fresh = read_shelf(lake, "acme", changed.table)
    assert fresh.documents == []
    (folder / "new.md").write_text("code,cause\nE4,heat\n")
    os.utime(folder / "new.md", ns=(0, changed_at(changed, "new.md")))  # within the tick of the first change
    assert [document.doc_id for document in read_shelf(lake, "acme", changed.table).documents] == ["new"]


def test_a_document_that_cannot_be_cut_is_refused(lake: FileSystem, tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(f"# {name}")
    add_documents(lake, "acme", [tmp_path / "a.md", tmp_path / "b.md"])
    shelf = read_shelf(lake, "acme")
    shelf.refuse(shelf.documents[1], "b.md: too odd")
    assert shelf.refused == {"b.md": "b.md: too odd"}
    assert shelf.table["refused"].to_pylist() == [None, "b.md: too odd"]


def out_of_memory(owner: str, relative: str, content: bytes, described: bytes) -> Document:
    raise DocumentUnread(f"{relative}: needs too much memory")


def broken(owner: str, relative: str, content: bytes, described: bytes) -> Document:
    raise DocumentRefused(f"{relative}: broken")


def test_what_took_too_long_to_read_is_tried_again_after_a_day(lake: FileSystem, tmp_path: Path) -> None:
    page = tmp_path / "lake" / "acme" / "documents" / "page.md"
    page.parent.mkdir(parents=True)
    page.write_text("# Pump")
    os.utime(page, (1, 1))
    refused = read_shelf(lake, "acme", read=broken)
    assert read_shelf(lake, "acme", refused.table).refused == {"page.md": "page.md: broken"}
    unread = read_shelf(lake, "acme", read=out_of_memory)
    assert unread.refused == {"page.md": "page.md: needs too much memory"}
    soon = read_shelf(lake, "acme", unread.table)
    assert (soon.documents, soon.refused) == ([], unread.refused)
    assert soon.table["tried"] == unread.table["tried"]
    later = read_shelf(lake, "acme", soon.table, now=datetime.now(UTC) + timedelta(days=1))
    assert [document.about.title for document in later.documents] == ["Pump"]
    assert later.table["tried"].to_pylist() == [None]
    assert len(read_shelf(lake, "acme").documents) == 1, "by force"
    page.write_text("# Valve")
    assert len(read_shelf(lake, "acme", unread.table).documents) == 1, "it has changed"


def changed_at(shelf: ShelfRead, path: str) -> int:
    """When a file was changed by what the store said (ns)."""
    (row,) = (row for row in shelf.table.to_pylist() if row["path"] == path)
    return int(row["modified"].timestamp() * 1e6) * 1000


def test_shelves_are_apart(lake: FileSystem, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    add_documents(lake, "acme", [tmp_path / "a.md"])
    add_documents(lake, "shared", [tmp_path / "a.md"])
    assert list_documents(lake, "globex") == []
    assert list_documents(lake, "shared")[0].uri == "lake://shared/documents/a.md"
    with pytest.raises(TenantError):
        list_documents(lake, "../acme")
