"""Passages of sources, and the sentences that can be quoted of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ray_apps.copilot.language.facts import facts
from ray_apps.copilot.language.text import sentences
from ray_apps.copilot.language.words import NEGATION, WORDS, content_words

TAG = re.compile(r"</?[a-z][^<>]*>", re.I)
LEAST_WORDS, LEAST_PROSE = 4, 2 / 3


@dataclass(frozen=True)
class Passage:
    """A piece of a source that an answer may rest on; `start` is its offset in the document (characters)."""

    doc_id: str
    title: str
    uri: str
    section: str
    text: str
    start: int


@dataclass(frozen=True)
class Quote:
    """A sentence of a passage, as a span of the passage's text."""

    passage: int
    start: int
    end: int
    text: str
    context: str

    @cached_property
    def words(self) -> set[str]:
        """Stems of the content words of the quote itself."""
        return content_words(self.text)

    @cached_property
    def facts(self) -> set[str]:
        """Numbers and codes of the quote and of the title and section above it."""
        return facts(f"{self.text} {self.context}")

    @cached_property
    def denies(self) -> bool:
        """Whether the quote says that something is not so."""
        return bool(NEGATION.search(self.text))

    def contains(self, other: Quote) -> bool:
        """Whether another quote is a part of this one."""
        return self.passage == other.passage and self.start <= other.start and other.end <= self.end


def quotes(passages: Sequence[Passage], begin: int = 0) -> list[Quote]:
    """Every sentence of the passages from `begin` on that says something by itself."""
    found = []
    for number, passage in enumerate(passages[begin:], begin):
        for start, end in sentences(passage.text):
            text = passage.text[start:end]
            said = TAG.sub(" ", text)
            prose = len(said) >= LEAST_PROSE * len(text)  # else a table in HTML, or another page's markup
            if prose and not text.lstrip().startswith("#") and len(WORDS.findall(said)) >= LEAST_WORDS:
                found.append(Quote(number, start, end, text, f"{passage.title} {passage.section}"))
    return found
