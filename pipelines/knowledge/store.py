"""The shelf: documents of a tenant, or of all tenants, as objects in the lake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType

from indexes.schema import shelf_prefix
from iotops.lake import get, put
from pipelines.knowledge.documents import (
    MAXIMUM_BYTES,
    SUFFIXES,
    Document,
    DocumentRefused,
    checked_path,
    document_uri,
    read_document,
)

_TRANSFERS = 16


@dataclass
class AddReport:
    """What became of the files: paths on the shelf, and for the refused the reason."""

    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass
class RemoveReport:
    """Paths on the shelf that were removed, and those that were not there."""

    removed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ShelfEntry:
    """A stored document, unread."""

    path: str
    uri: str
    bytes: int
    modified: datetime | None


def add_documents(
    filesystem: FileSystem, owner: str, paths: Sequence[Path], maximum_bytes: int = MAXIMUM_BYTES
) -> AddReport:
    """Put files, and all documents under folders, on the shelf of a tenant (or of `shared`).

    A file's path on the shelf is its name, or its path below the folder that was given. One refused file
    stops none of the others.
    """
    report = AddReport()
    for relative, file in _documents(paths):
        try:
            # The size first: an over-large file is refused unread.
            if (size := file.stat().st_size) > maximum_bytes:
                raise DocumentRefused(f"{relative}: {size} bytes, the limit is {maximum_bytes}")
            content = file.read_bytes()
            read_document(owner, relative, content, maximum_bytes)
        except (DocumentRefused, OSError) as error:
            report.refused[relative] = str(error)
            continue
        changed = _put_if_changed(filesystem, _object(owner, relative), content)
        (report.added if changed else report.unchanged).append(relative)
    return report


def list_documents(filesystem: FileSystem, owner: str) -> list[ShelfEntry]:
    """All documents on a shelf, by path."""
    prefix = shelf_prefix(owner, "documents")
    infos = filesystem.get_file_info(FileSelector(prefix, recursive=True, allow_not_found=True))
    entries = []
    for info in infos:
        if info.type == FileType.File:
            relative = info.path.removeprefix(prefix).lstrip("/")
            entries.append(ShelfEntry(relative, document_uri(owner, relative), info.size, info.mtime))
    return sorted(entries, key=lambda entry: entry.path)


def remove_documents(filesystem: FileSystem, owner: str, relatives: Iterable[str]) -> RemoveReport:
    """Take documents off a shelf; they stay searchable until the index is next built."""
    present = {entry.path for entry in list_documents(filesystem, owner)}
    report = RemoveReport()
    for relative in relatives:
        if relative in present:
            filesystem.delete_file(_object(owner, relative))
            report.removed.append(relative)
        else:
            report.missing.append(relative)
    return report


def read_shelf(
    filesystem: FileSystem, owner: str, maximum_bytes: int = MAXIMUM_BYTES
) -> tuple[list[Document], dict[str, str]]:
    """Every readable document of a shelf by path, and the reason for each that is refused."""

    def read(entry: ShelfEntry) -> Document | str:
        try:
            if entry.bytes > maximum_bytes:
                raise DocumentRefused(f"{entry.path}: {entry.bytes} bytes, the limit is {maximum_bytes}")
            content = get(filesystem, _object(owner, checked_path(entry.path)))
            return read_document(owner, entry.path, content, maximum_bytes)
        except DocumentRefused as refused:
            return str(refused)

    entries = list_documents(filesystem, owner)
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        results = list(pool.map(read, entries))
    documents = [result for result in results if isinstance(result, Document)]
    pairs = zip(entries, results, strict=True)
    return documents, {entry.path: result for entry, result in pairs if isinstance(result, str)}


def _documents(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_dir():
            found = (file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in SUFFIXES)
            yield from ((file.relative_to(path).as_posix(), file) for file in sorted(found))
        else:
            yield path.name, path


def _object(owner: str, relative: str) -> str:
    return f"{shelf_prefix(owner, 'documents')}/{relative}"


def _put_if_changed(filesystem: FileSystem, path: str, content: bytes) -> bool:
    try:
        if get(filesystem, path) == content:
            return False
    except FileNotFoundError:
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    put(filesystem, path, content)
    return True
