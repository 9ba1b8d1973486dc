"""The text of a PDF as Markdown: its bookmarks, or else its pages, as headings."""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pypdf import DocumentInformation, PdfReader
from pypdf.generic import Destination

from indexes.codes import codes_in
from pipelines.knowledge.extracted import MAXIMUM_TEXT, DocumentRefused, Extracted

MOST_PAGES = 5_000
_LEAST_PAGES_WITH_MARGINS = 4
_MARGIN_LINES = 2
_LONGEST_MARGIN = 200
_DEEPEST_HEADING = 6
_BROKEN_WORD = re.compile(r"([^\W\d_])[-\u00ad]\n([a-z])")
_NUMBER = re.compile(r"(?<!\w)\d{1,4}(?!\w)")
_MARKUP = re.compile(r"^(#|>|[-+*] *$|[=~-]{3})")
Heading = tuple[int, str]
"""Depth from 1, and words."""


def pdf(content: bytes) -> Extracted:
    """Read a PDF; one that is encrypted or only pictures of text is refused."""
    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentRefused("encrypted: store it without its password")
    if len(reader.pages) > MOST_PAGES:
        raise DocumentRefused(f"{len(reader.pages):,} pages, the limit is {MOST_PAGES:,}: cut it up")
    pages, about = _pages(reader), reader.metadata
    title = " ".join(str(about.title or "").split()) if about else ""
    bookmarks = _bookmarks(reader)
    if not any(pages):
        raise DocumentRefused(
            f"no text in its {len(pages)} pages, which are pictures perhaps: recognise the text first (OCR)"
        )
    text = _text(_without_margins(pages), bookmarks)
    return Extracted(text, title, "", _changed(about) if about else None, titled=bool(bookmarks))


def _pages(reader: PdfReader) -> list[list[str]]:
    """The lines of each page."""
    pages, characters = [], 0
    for page in reader.pages:
        text = _BROKEN_WORD.sub(r"\1\2", page.extract_text().replace("\0", ""))
        characters += len(text)
        if characters > MAXIMUM_TEXT:
            raise DocumentRefused(f"more than {MAXIMUM_TEXT:,} characters of text: cut it up")
        pages.append([line.strip() for line in text.splitlines() if line.strip()])
    return pages


def _bookmarks(reader: PdfReader) -> dict[int, list[Heading]]:
    """Headings by the number of their page, from 0."""
    found: defaultdict[int, list[Heading]] = defaultdict(list)
    for depth, bookmark in _flat(reader.outline, 1):
        page = reader.get_destination_page_number(bookmark)
        words = " ".join(str(bookmark.title or "").split())
        if page is not None and words:
            found[page].append((min(depth, _DEEPEST_HEADING), words))
    return found


def _flat(outline: Sequence[Any], depth: int) -> Iterator[tuple[int, Destination]]:
    for entry in outline:
        if isinstance(entry, list):
            yield from _flat(entry, depth + 1)
        else:
            yield depth, entry


def _without_margins(pages: list[list[str]]) -> list[list[str]]:
    """Pages without the lines that most of them begin or end with, page numbers aside."""
    if len(pages) < _LEAST_PAGES_WITH_MARGINS:
        return pages
    seen = Counter(
        key
        for number, page in enumerate(pages, 1)
        for key in set().union(*(_keys(line, number) for line in _margins(page)))
    )
    running = {key for key, count in seen.items() if count > len(pages) / 2}
    kept = []
    for number, page in enumerate(pages, 1):
        first, last = 0, len(page)
        while first < min(last, _MARGIN_LINES) and _keys(page[first], number) & running:
            first += 1
        while last > max(first, len(page) - _MARGIN_LINES) and _keys(page[last - 1], number) & running:
            last -= 1
        kept.append(page[first:last])
    return kept


def _margins(page: list[str]) -> list[str]:
    return page[:_MARGIN_LINES] + page[-_MARGIN_LINES:]


def _keys(line: str, page: int) -> set[str]:
    """The line as it is, and with each number that may be its page's as the distance to that page (from 1).

    Of `Error 101`, `Error 102` each page keeps its own: what is printed on a page is not above its place in
    the file, and no part of a code is a page's number.
    """
    if len(line) > _LONGEST_MARGIN:
        return set()
    keys, codes = {line}, codes_in(line)
    for number in _NUMBER.finditer(line):
        before, after = line[: number.start()], line[number.end() :]
        distance = page - int(number[0])
        if 0 <= distance < page and codes_in(f"{before}{after}") == codes:
            keys.add(f"{before}\0{distance}\0{after}")
    return keys


def _text(pages: list[list[str]], bookmarks: dict[int, list[Heading]]) -> str:
    blocks = []
    for number, page in enumerate(pages):
        by_page = [(1, f"Page {number + 1}")] if page else []
        lines = _headed(page, bookmarks.get(number, []) if bookmarks else by_page)
        blocks.append("\n".join(lines).strip())
    return "\n\n".join(block for block in blocks if block)


def _headed(page: list[str], headings: list[Heading]) -> list[str]:
    """A page's lines with its headings: each in place of the line that says the same, or else on top."""
    lines, before, placed = [_MARKUP.sub(r"\\\1", line) for line in page], [], set[int]()
    for depth, words in headings:
        mark = f"\n{'#' * depth} {words}\n"
        same = (at for at, line in enumerate(page) if at not in placed and _same(line, words))
        if (at := next(same, None)) is None:
            before.append(mark)
        else:
            lines[at] = mark
            placed.add(at)
    return [*before, *lines]


def _same(line: str, words: str) -> bool:
    """Whether a line is the heading that a bookmark names, with its number or without."""
    bare, wanted = (re.sub(r"^[\d.\s]+", "", text).casefold() for text in (line, words))
    return bool(wanted) and bare == wanted


def _changed(about: DocumentInformation) -> datetime | None:
    """When the document was changed last, or else made, as far as its dates can be read."""
    for name in ("modification_date", "creation_date"):
        try:
            moment: datetime | None = getattr(about, name)
            if moment is not None:
                return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None
