"""The shelf: documents of a tenant, or of all tenants, as objects in the lake."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType

from indexes.schema import shelf_prefix
from iotops.errors import IotOpsError
from iotops.lake import get, put
from pipelines.knowledge.documents import check_size, checked_path, document_uri, is_document
from pipelines.knowledge.extracted import DocumentRefused
from pipelines.knowledge.metadata import BESIDE, MAXIMUM_BYTES
from pipelines.knowledge.reading import File, read_files


@dataclass
class AddReport:
    """What became of the files: paths on the shelf, and for the refused the reason.

    A second file for the same path is refused under its own.
    """

    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    """Files of other kinds in the folders that were given."""


@dataclass(frozen=True)
class ShelfEntry:
    """A stored document, unread, with the file that describes it."""

    path: str
    uri: str
    bytes: int
    modified: datetime | None
    described: bool
    """Whether a file beside it describes it."""


def add_documents(
    filesystem: FileSystem,
    owner: str,
    paths: Sequence[Path],
    on_progress: Callable[[str], None] = lambda message: None,
) -> AddReport:
    """Put files, and all documents under folders, on the shelf of a tenant (or of `shared`).

    A file's path on the shelf is its name, or its path below the folder that was given; of several for one
    path the first is taken. A file that describes another (`metadata.BESIDE`) goes with it; where there is
    none any more, the stored one is deleted. One refused file stops none of the others.
    """
    report = AddReport()

    def files() -> Iterator[File]:
        taken: dict[str, Path] = {}
        for relative, file in _documents(paths, report.skipped):
            if first := taken.get(relative):
                if first.resolve() != file.resolve():
                    report.refused[str(file)] = (
                        f"would be {relative} on the shelf, as {first} is: add a folder that both are under, "
                        "or rename one"
                    )
                continue
            taken[relative] = file
            try:
                # First what is refused unread: what is no document, or too large.
                check_size(checked_path(relative), file.stat().st_size)
                beside = file.with_name(file.name + BESIDE)
                described = _description(beside) if beside.is_file() else b""
                yield File(relative, file.read_bytes(), described)
            except (DocumentRefused, OSError) as error:
                report.refused[relative] = str(error)

    for number, (file, read) in enumerate(read_files(owner, files()), 1):
        on_progress(f"{number:,} documents read, now {file.relative}")
        if isinstance(read, DocumentRefused):
            report.refused[file.relative] = str(read)
            continue
        changed = _put_if_changed(filesystem, shelf_object(owner, file.relative), file.content)
        beside = shelf_object(owner, file.relative + BESIDE)
        if file.described:
            changed |= _put_if_changed(filesystem, beside, file.described)
        else:
            changed |= _deleted(filesystem, beside)
        (report.added if changed else report.unchanged).append(file.relative)
    return report


def list_documents(filesystem: FileSystem, owner: str) -> list[ShelfEntry]:
    """All documents on a shelf, by path."""
    prefix = shelf_prefix(owner, "documents")
    infos = filesystem.get_file_info(FileSelector(prefix, recursive=True, allow_not_found=True))
    found = {info.path.removeprefix(prefix).lstrip("/"): info for info in infos if info.type == FileType.File}
    entries = []
    for path, info in sorted(found.items()):
        if not path.endswith(BESIDE):
            beside = found.get(path + BESIDE)
            changes = [each.mtime for each in (info, beside) if each is not None and each.mtime is not None]
            size = info.size + (beside.size if beside else 0)
            modified = max(changes, default=None)
            entries.append(ShelfEntry(path, document_uri(owner, path), size, modified, beside is not None))
    return entries


def state_of(entries: Iterable[ShelfEntry]) -> str:
    """A checksum of what a shelf holds, by names, sizes and times of change: another for every change."""
    listed = sorted((entry.path, entry.bytes, str(entry.modified)) for entry in entries)
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def remove_documents(filesystem: FileSystem, owner: str, relatives: Sequence[str]) -> None:
    """Take documents off a shelf; they stay searchable until the index is next built.

    Raises `IotOpsError` where one is not there, and then removes none.
    """
    present = {entry.path: entry for entry in list_documents(filesystem, owner)}
    if missing := [relative for relative in relatives if relative not in present]:
        raise IotOpsError(
            f"not on the shelf: {', '.join(missing)}; `iotops docs list` shows what is. Nothing was removed"
        )
    for relative in dict.fromkeys(relatives):
        for path in (relative, relative + BESIDE) if present[relative].described else (relative,):
            filesystem.delete_file(shelf_object(owner, path))


def _documents(paths: Sequence[Path], skipped: list[str]) -> Iterator[tuple[str, Path]]:
    """Each file that was given, and each document under the folders; those `skipped` there are noted."""
    for path in paths:
        if not path.is_dir():
            yield path.name, path
            continue
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            if is_document(file.name):
                yield file.relative_to(path).as_posix(), file
            elif not (file.name.endswith(BESIDE) and is_document(file.name.removesuffix(BESIDE))):
                skipped.append(str(file))


def _description(file: Path) -> bytes:
    if (size := file.stat().st_size) > MAXIMUM_BYTES:
        raise DocumentRefused(f"{file.name}: {size:,} bytes, the limit is {MAXIMUM_BYTES:,}")
    return file.read_bytes()


def shelf_object(owner: str, relative: str) -> str:
    """Where a file of a shelf lies in the lake, without the bucket."""
    return f"{shelf_prefix(owner, 'documents')}/{relative}"


def _put_if_changed(filesystem: FileSystem, path: str, content: bytes) -> bool:
    try:
        if get(filesystem, path) == content:
            return False
    except FileNotFoundError:
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    put(filesystem, path, content)
    return True


def _deleted(filesystem: FileSystem, path: str) -> bool:
    """Delete a file; whether it was there."""
    with suppress(FileNotFoundError):
        filesystem.delete_file(path)
        return True
    return False
