"""What changed on a shelf since an index was made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileSystem

from indexes.schema import DOCUMENT_SCHEMA
from iotops.lake import get
from pipelines.knowledge.documents import Document, check_size, checked_path, read_document
from pipelines.knowledge.extracted import DocumentRefused, DocumentUnread
from pipelines.knowledge.metadata import BESIDE
from pipelines.knowledge.reading import File, read_files
from pipelines.knowledge.store import ShelfEntry, list_documents, shelf_object

_TRANSFERS = 16
_SETTLED = timedelta(hours=1)
"""Longer than a store's tick and the clocks' difference."""
_TRIED_AGAIN_AFTER = timedelta(days=1)


@dataclass
class ShelfRead:
    """A shelf as it is, read as far as it changed."""

    documents: list[Document] = field(default_factory=list)
    """The new and the changed ones."""
    unchanged: list[str] = field(default_factory=list)
    """Paths of those that were known."""
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def table(self) -> pa.Table:
        """Every file, the refused ones too, as `DOCUMENT_SCHEMA`, by path."""
        rows = sorted(self.rows, key=lambda row: str(row["path"]))
        return pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)

    @property
    def refused(self) -> dict[str, str]:
        """The reasons by path."""
        return {row["path"]: row["refused"] for row in self.rows if row["refused"] is not None}

    def refuse(self, document: Document, reason: str) -> None:
        """Note that a document was read but cannot be indexed."""
        next(row for row in self.rows if row["path"] == document.path)["refused"] = reason


def read_shelf(
    filesystem: FileSystem,
    owner: str,
    known: pa.Table | None = None,
    read: Callable[[str, str, bytes, bytes], Document] = read_document,
    now: datetime | None = None,
) -> ShelfRead:
    """Read the documents of a shelf that are not among the `known` ones (`DOCUMENT_SCHEMA`) as they are.

    A file of the same size and time of change is not fetched; one with the same bytes is not parsed. One that
    was `DocumentUnread` is tried again after a day, since it holds up a build. `read` is as in `read_files`.
    """
    seen, shelf = now or datetime.now(UTC), ShelfRead()
    rows = known.to_pylist() if known is not None else []
    before = {row["path"]: row for row in rows if not _to_be_tried(row, seen)}
    entries = {entry.path: entry for entry in list_documents(filesystem, owner)}

    def note(path: str, checksum: str, refused: str | None, tried: datetime | None = None) -> None:
        entry = entries[path]
        shelf.rows.append(
            {
                "path": path,
                "bytes": entry.bytes,
                "modified": entry.modified,
                "seen": seen,
                "checksum": checksum,
                "refused": refused,
                "tried": tried,
            }
        )

    def keep(path: str) -> None:
        note(path, before[path]["checksum"], before[path]["refused"], before[path]["tried"])
        if before[path]["refused"] is None:
            shelf.unchanged.append(path)

    def files(pool: ThreadPoolExecutor) -> Iterator[File]:
        wanted: list[ShelfEntry] = []
        for path, entry in entries.items():
            if refusal := _refused_unread(entry):
                note(path, "", refusal)
            elif path in before and before[path]["checksum"] and _surely_same(entry, before[path]):
                keep(path)
            else:
                wanted.append(entry)
        fetched = partial(_fetched, filesystem, owner)
        for first in range(0, len(wanted), _TRANSFERS):  # no more than these are in memory
            for file in filter(None, pool.map(fetched, wanted[first : first + _TRANSFERS])):
                if file.relative in before and before[file.relative]["checksum"] == file.checksum:
                    keep(file.relative)
                else:
                    yield file

    with ThreadPoolExecutor(_TRANSFERS) as pool:
        for file, found in read_files(owner, files(pool), read=read):
            if isinstance(found, Document):
                shelf.documents.append(found)
            refused = str(found) if isinstance(found, DocumentRefused) else None
            note(file.relative, file.checksum, refused, seen if isinstance(found, DocumentUnread) else None)
    shelf.documents.sort(key=lambda document: document.uri)
    return shelf


def waiting(entries: Iterable[ShelfEntry], indexed: pa.Table) -> dict[str, list[str]]:
    """Paths that are `new`, `changed` or `removed` since an index was made of the `indexed` ones."""
    before = {row["path"]: (row["bytes"], row["modified"]) for row in indexed.to_pylist()}
    now = {entry.path: (entry.bytes, entry.modified) for entry in entries}
    return {
        "new": [path for path in now if path not in before],
        "changed": [path for path in now if path in before and now[path] != before[path]],
        "removed": [path for path in before if path not in now],
    }


def changed_content(
    filesystem: FileSystem, owner: str, entries: Iterable[ShelfEntry], indexed: pa.Table
) -> list[str]:
    """Of `entries` that are `changed`, the paths of those that hold other bytes than were `indexed`.

    The others were stored again as they were.
    """
    paths, checksums = indexed["path"].to_pylist(), indexed["checksum"].to_pylist()
    before: dict[str, str] = dict(zip(paths, checksums, strict=True))

    def differs(entry: ShelfEntry) -> bool:
        if _refused_unread(entry):
            return before[entry.path] != ""
        file = _fetched(filesystem, owner, entry)
        return file is None or file.checksum != before[entry.path]

    listed = list(entries)
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        return [entry.path for entry, other in zip(listed, pool.map(differs, listed), strict=True) if other]


def _to_be_tried(was: dict[str, Any], now: datetime) -> bool:
    return was["tried"] is not None and now - was["tried"] >= _TRIED_AGAIN_AFTER


def _surely_same(entry: ShelfEntry, was: dict[str, Any]) -> bool:
    """Whether size and time of change say enough: a file that was new when it was seen may have changed
    again within the store's tick of time."""
    if entry.modified is None or (entry.bytes, entry.modified) != (was["bytes"], was["modified"]):
        return False
    return bool(was["seen"] - was["modified"] > _SETTLED)


def _refused_unread(entry: ShelfEntry) -> str | None:
    try:
        check_size(checked_path(entry.path), entry.bytes)
    except DocumentRefused as refused:
        return str(refused)
    return None


def _fetched(filesystem: FileSystem, owner: str, entry: ShelfEntry) -> File | None:
    """A file with what is said beside it, either of which may have been removed since they were listed."""
    path, described = shelf_object(owner, entry.path), b""
    if entry.described:
        with suppress(FileNotFoundError):
            described = get(filesystem, path + BESIDE)
    try:
        return File(entry.path, get(filesystem, path), described)
    except FileNotFoundError:
        return None
