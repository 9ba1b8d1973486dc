"""Files read into documents, apart: a process that a file keeps busy, or makes swallow memory, is killed."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from itertools import chain, islice

from pebble import ProcessExpired, ProcessPool

from pipelines.knowledge.documents import Document, read_document
from pipelines.knowledge.extracted import DocumentRefused, DocumentUnread

MOST_SECONDS = 120.0
MOST_MEMORY = 2 * 2**30
"""Bytes of address space of a process that reads."""
_DOCUMENTS_PER_PROCESS = 1000
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
    read: Callable[[str, str, bytes, bytes], Document] = read_document,
) -> Iterator[tuple[File, Document | DocumentRefused]]:
    """Each file with its document, or with why it is refused, in their order; a few are read ahead.

    `read` reads them in processes of their own; it must be picklable.
    """
    coming = iter(files)
    first = list(islice(coming, len(os.sched_getaffinity(0))))
    if not first:
        return
    # Forked from a process that has loaded what reads, and nothing of this one's.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([Document.__module__])
    processes = len(first)
    with ProcessPool(processes, _DOCUMENTS_PER_PROCESS, _limit_memory, context=context) as pool:
        waiting: list[tuple[File, Future[Document]]] = []
        for file in chain(first, coming):
            arguments = (owner, file.relative, file.content, file.described)
            waiting.append((file, pool.schedule(read, arguments, timeout=most_seconds)))
            if len(waiting) > processes * _WAITING_PER_PROCESS:
                yield _read(*waiting.pop(0), most_seconds)
        for each in waiting:
            yield _read(*each, most_seconds)


def _read(
    file: File, reading: Future[Document], most_seconds: float
) -> tuple[File, Document | DocumentRefused]:
    try:
        return file, reading.result()
    except DocumentRefused as refused:
        return file, refused
    except TimeoutError:
        return file, DocumentUnread(f"{file.relative}: not read within {most_seconds:.0f} s")
    except ProcessExpired:
        return file, DocumentUnread(f"{file.relative}: its process broke down")
    except Exception as error:  # raised while it was handed over
        return file, DocumentRefused(f"{file.relative}: cannot be read: {error!r}")


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
