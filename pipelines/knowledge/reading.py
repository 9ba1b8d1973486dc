"""Files read into documents; a parser that a file keeps busy, or makes swallow memory, is killed."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from pathlib import PurePosixPath

from pebble import ProcessExpired, ProcessPool

from pipelines.knowledge.documents import Document, document, extract, read_document
from pipelines.knowledge.extracted import DocumentRefused, Extracted
from pipelines.knowledge.extraction import APART

MOST_SECONDS = 120.0
MOST_MEMORY = 2 * 2**30
"""Bytes of address space of a parser's process."""
_DOCUMENTS_PER_PROCESS = 200
_WAITING_PER_PROCESS = 4


@dataclass(frozen=True)
class File:
    """A file of a shelf, with the YAML that describes it, if any."""

    relative: str
    content: bytes
    described: bytes = b""

    @property
    def checksum(self) -> str:
        """sha256 of the file and of what describes it."""
        return hashlib.sha256(self.content + self.described).hexdigest()


def read_files(
    owner: str,
    files: Iterable[File],
    most_seconds: float = MOST_SECONDS,
    extract: Callable[[str, bytes], Extracted] = extract,
) -> Iterator[tuple[File, Document | DocumentRefused]]:
    """Each file with its document, or with why it is refused, in their order; a few are read ahead.

    `extract` takes formats apart that need a parser, in processes of their own; it must be picklable.
    """
    processes = len(os.sched_getaffinity(0))
    with ProcessPool(
        processes, _DOCUMENTS_PER_PROCESS, _limit_memory, context=multiprocessing.get_context("spawn")
    ) as pool:
        waiting: list[tuple[File, Future[Extracted] | None]] = []
        for file in files:
            apart = PurePosixPath(file.relative).suffix.lower() in APART
            arguments = (file.relative, file.content)
            waiting.append((file, pool.schedule(extract, arguments, timeout=most_seconds) if apart else None))
            if len(waiting) > processes * _WAITING_PER_PROCESS:
                yield _read(owner, *waiting.pop(0), most_seconds)
        for each in waiting:
            yield _read(owner, *each, most_seconds)


def _read(
    owner: str, file: File, extracting: Future[Extracted] | None, most_seconds: float
) -> tuple[File, Document | DocumentRefused]:
    try:
        if extracting is None:
            return file, read_document(owner, file.relative, file.content, file.described)
        return file, document(owner, file.relative, extracting.result(), file.described)
    except DocumentRefused as refused:
        return file, refused
    except TimeoutError:
        return file, DocumentRefused(f"{file.relative}: not read within {most_seconds:.0f} s")
    except ProcessExpired:
        return file, DocumentRefused(f"{file.relative}: its parser broke down")


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
