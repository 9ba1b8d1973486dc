"""Documents cut into chunks along their headings, each an exact span: `source[start:end]` is its text.

A section is one chunk where it fits the model. Where it does not, it is cut between blocks; a block too
large by itself is cut between list items or table rows, then lines, then sentences, then words. Small
neighbours join.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import pyarrow as pa

from indexes.schema import CHUNK_SCHEMA, passage
from indexes.tokens import CHARACTERS_PER_TOKEN
from pipelines.knowledge.documents import Document
from pipelines.knowledge.extracted import DocumentRefused
from pipelines.knowledge.sections import Outline, Section, outline

CHUNKER = "headings-1"
"""Name and version; a change of the cut changes it, so that every shelf is indexed anew."""

TokenCounter = Callable[[list[str]], Sequence[int]]
"""Number of the model's own tokens in each text."""

# Anything else is no fault of a document and ends a build, or it would empty the shelf.
_OF_ONE_DOCUMENT = (UnicodeError, RecursionError)
_SPECIAL_TOKENS = 2
_SMALL_TOKENS = 48
_HARD_CUT = 64
_COUNTED_AT_ONCE = 4096
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+(?=\S)")
_WORD_END = re.compile(r"\s+(?=\S)")
_BLANK_START = re.compile(r"(?:[^\S\r\n]*(?:\r\n?|\n))*")


@dataclass(frozen=True)
class Span:
    """A piece of a source with its section and its size in tokens."""

    start: int
    end: int
    path: tuple[str, ...]
    tokens: int


def chunk_documents(
    documents: Iterable[Document],
    count: TokenCounter,
    limit: int,
    refuse: Callable[[Document, str], None] | None = None,
) -> pa.Table:
    """Chunks of documents as a table of `CHUNK_SCHEMA`.

    `limit` is the model's input size in tokens. A chunk with its title and section path fits it, unless those
    alone take more than half. `refuse` is told of each document that cannot be cut, and why; without it that
    raises `DocumentRefused`.
    """
    tables = []
    for document in documents:
        try:
            tables.append(chunk_table(document, spans(document, count, limit)))
        except _OF_ONE_DOCUMENT as error:
            reason = f"{document.path}: cannot be cut: {error!r}"
            if refuse is None:
                raise DocumentRefused(reason) from error
            refuse(document, reason)
    # In few pieces, of which whatever follows takes rows faster than of one for each document.
    return pa.concat_tables(tables).combine_chunks() if tables else CHUNK_SCHEMA.empty_table()


def spans(
    document: Document, count: TokenCounter, limit: int, make_cutter: MakeCutter | None = None
) -> list[Span]:
    """The spans of one document in order: they overlap nowhere and leave out nothing but blank space."""
    parts = outline(document.source, document.body_start, document.about.title)
    found: list[Span] = []
    for section in parts.sections:
        room = room_for(document, section.path, count, limit)
        for span in (make_cutter or Cutter)(document.source, parts, count, room).section(section):
            joined = _joined(found[-1], span) if found else None
            if joined and fits(joined, room_for(document, joined.path, count, limit)):
                found[-1] = joined
            else:
                found.append(span)
    trimmed = (_trimmed(document.source, span) for span in found)
    return [span for span in trimmed if span.start < span.end]


def room_for(document: Document, path: tuple[str, ...], count: TokenCounter, limit: int) -> int:
    """Tokens that a text may have under its title and path: half of the limit where those take more."""
    header = count([passage(document.about.title, " > ".join(path), "")])[0]
    return max(limit - _SPECIAL_TOKENS - header, limit // 2)


@dataclass(frozen=True)
class Cutter:
    """Cuts the sections of one document into spans of at most `room` tokens."""

    source: str
    parts: Outline
    count: TokenCounter
    room: int

    def section(self, section: Section) -> list[Span]:
        """The spans that partition a section."""
        pieces = self._cut([*section.blocks, section.end], 0)
        return [replace(piece, path=section.path) for piece in pieces]

    def _cut(self, bounds: list[int], depth: int) -> list[Span]:
        """Spans between neighbouring bounds, those too large cut deeper, the rest packed while they fit."""
        packed: list[Span] = []
        for piece in self._measured(bounds):
            smaller = [piece] if fits(piece, self.room) else self._deeper(piece, depth)
            for span in smaller:
                whole = (
                    replace(packed[-1], end=span.end, tokens=packed[-1].tokens + span.tokens)
                    if packed
                    else span
                )
                if packed and fits(whole, self.room):
                    packed[-1] = whole
                else:
                    packed.append(span)
        return packed

    @property
    def sentences(self) -> int:
        """The depth of a cut between sentences; below are words, then characters."""
        return len(self.parts.nested) + 1

    def _deeper(self, piece: Span, depth: int) -> list[Span]:
        for deeper in range(depth, self.sentences + 3):
            cuts = self._cuts(piece, deeper)
            if cuts:
                return self._cut([piece.start, *cuts, piece.end], deeper + 1)
        return [piece]

    def _cuts(self, piece: Span, depth: int) -> list[int]:
        nested, inside = self.parts.nested, (piece.start, piece.end)
        if depth < len(nested):
            return _within(nested[depth], *inside)
        if depth == len(nested):
            return _within(self.parts.lines, *inside)
        if depth == self.sentences + 2:
            return list(range(piece.start + _HARD_CUT, piece.end, _HARD_CUT))
        pattern = _SENTENCE_END if depth == self.sentences else _WORD_END
        return [found.end() for found in pattern.finditer(self.source, *inside)]

    def _measured(self, bounds: list[int]) -> Iterator[Span]:
        """Spans between bounds; one with too many characters is too large without being counted.

        A line may have millions of words: some thousands are in memory, and of these each is counted once.
        """
        most = self.room * CHARACTERS_PER_TOKEN
        pairs = pairwise(bounds)
        while some := list(islice(pairs, _COUNTED_AT_ONCE)):
            texts = [self.source[start:end] if end - start <= most else "" for start, end in some]
            different = list(dict.fromkeys(texts))
            tokens = dict(zip(different, self.count(different), strict=True))
            for (start, end), text in zip(some, texts, strict=True):
                yield Span(start, end, (), tokens[text] if text or start == end else self.room + 1)


MakeCutter = Callable[[str, Outline, TokenCounter, int], Cutter]
"""Makes the cutter of a section: of the source, its outline, the counter and the room."""


def fits(span: Span, room: int) -> bool:
    """Whether a span is small enough, in tokens and in characters."""
    return span.tokens <= room and span.end - span.start <= room * CHARACTERS_PER_TOKEN


def _within(sorted_cuts: list[int], start: int, end: int) -> list[int]:
    return sorted_cuts[bisect_right(sorted_cuts, start) : bisect_left(sorted_cuts, end)]


def _joined(left: Span, right: Span) -> Span | None:
    """Two neighbours as one, where either is small and they stand under one heading."""
    if min(left.tokens, right.tokens) >= _SMALL_TOKENS:
        return None
    path = _common_path(left.path, right.path)
    return None if path is None else Span(left.start, right.end, path, left.tokens + right.tokens)


def _common_path(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...] | None:
    """A path that is true of both: the ancestor's, or siblings side by side; None for strangers."""
    if not left or not right or left == right:
        return left or right
    if right[: len(left)] == left:
        return left
    if left[:-1] == right[:-1]:
        return (*left[:-1], f"{left[-1]} / {right[-1]}")
    return None


def _trimmed(source: str, span: Span) -> Span:
    """A span without blank lines around it; indentation stays, because it means something."""
    end = span.start + len(source[span.start : span.end].rstrip())
    blank = _BLANK_START.match(source, span.start, max(end, span.start))
    return replace(span, start=blank.end() if blank else span.start, end=end)


def chunk_table(document: Document, found: list[Span]) -> pa.Table:
    """Spans of a document as a table of `CHUNK_SCHEMA`."""
    sections = [" > ".join(span.path) for span in found]
    texts = [document.source[span.start : span.end] for span in found]
    about = document.about
    embedded = [passage(about.title, section, text) for section, text in zip(sections, texts, strict=True)]
    repeated = {
        "doc_id": document.doc_id,
        "title": about.title,
        "uri": document.uri,
        "doc_type": about.doc_type,
        "models": list(about.models),
        "firmware": list(about.firmware),
        "version": about.version,
        "updated": about.updated,
        "language": about.language,
    }
    columns: dict[str, list[object]] = {name: [value] * len(found) for name, value in repeated.items()}
    columns |= {
        "chunk_id": [_digest(f"{document.uri}:{span.start}-{span.end}")[:16] for span in found],
        "section": list(sections),
        "text": list(texts),
        "error_codes": _error_codes(document, found),
        "start": [span.start for span in found],
        "end": [span.end for span in found],
        "content_hash": [_digest(text) for text in embedded],
    }
    return pa.table(columns, schema=CHUNK_SCHEMA)


def _error_codes(document: Document, found: list[Span]) -> list[object]:
    """By span the codes of the document, and of the rows of a table of which it has a part."""
    starts = [start for start, _ in document.codes]
    codes: list[object] = []
    for span in found:
        rows = document.codes[max(bisect_right(starts, span.start) - 1, 0) : bisect_left(starts, span.end)]
        of_rows = (code for _, said in rows for code in said)
        codes.append(list(dict.fromkeys([*document.about.error_codes, *of_rows])))
    return codes


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
