"""A text cut into sentences, list items and table rows; Markdown's marks taken off."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[^\s])|\n\s*\n|\n(?=\s*(?:[-*+]|\d+[.)]|\||#))")
ITEM_NUMBER = re.compile(r"\d+[.)]")
NUMBERED_ITEM = re.compile(r"^[ \t]*\d+[.)][ \t]+\S.*$", re.M)
MARKUP = re.compile(r"^\s*(?:[-*+>]|\d+[.)]|#+)\s+|[*_`]{1,3}|^\s*\|?[-:| ]{5,}$", re.M)


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences, list items and table rows of a text."""
    spans, start = [], 0
    for match in [*SENTENCE_END.finditer(text), None]:
        end = match.start() if match else len(text)
        stripped = text[start:end].strip()
        if stripped:
            begin = start + text[start:end].index(stripped)
            spans.append((begin, begin + len(stripped)))
        start = match.end() if match else end
    return _joined(text, spans)


def items(text: str) -> list[tuple[int, int]]:
    """Spans of the numbered items of a text, each whole."""
    return [(match.start(), match.end()) for match in NUMBERED_ITEM.finditer(text)]


def _joined(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans with an item's number joined to its first sentence."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and ITEM_NUMBER.fullmatch(text[slice(*joined[-1])]):
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def plain(text: str) -> str:
    """A sentence without its Markdown marks."""
    return " ".join(MARKUP.sub("", text).replace("|", " ").split())


async def spoken(pieces: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    """The sentences of a text that comes in pieces, each as soon as it is complete."""
    text = ""
    async for piece in pieces:
        text += piece
        *complete, last = sentences(text) or [(0, 0)]
        for start, end in complete:
            yield text[start:end]
        if complete:
            text = text[last[0] :]
    for start, end in sentences(text):
        yield text[start:end]
