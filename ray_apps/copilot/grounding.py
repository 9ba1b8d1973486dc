"""Grounding: which sentence of which source supports a sentence of an answer, by score.

A claim is supported by a quote when every number and code in the claim stands in the quote (or in the title
or section above it), both affirm or both deny, most of the claim's content words stand in the quote itself,
and the mean of two scores reaches a threshold: the share of those words, and the cosine of the embeddings.
Nothing is asked of the language model, so this holds for a small model as for a large one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import snowballstemmer
from numpy.typing import NDArray

from ray_apps.copilot.facts import facts, figures

Vectors = NDArray[np.float32]

_stem = lru_cache(maxsize=50_000)(snowballstemmer.stemmer("english").stemWord)

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[^\s])|\n\s*\n|\n(?=\s*(?:[-*+]|\d+[.)]|\||#))")
ITEM_NUMBER = re.compile(r"\d+[.)]")
NUMBERED_ITEM = re.compile(r"^[ \t]*\d+[.)][ \t]+\S.*$", re.M)
MARKUP = re.compile(r"^\s*(?:[-*+>]|\d+[.)]|#+)\s+|[*_`]{1,3}|^\s*\|?[-:| ]{5,}$", re.M)
WORDS = re.compile(r"(?<![A-Za-z])(?<![A-Za-z]-)[A-Za-z](?:-?[A-Za-z])++(?!-\d)")  # of `HX-200`, a code, none
TAG = re.compile(r"</?[a-z][^<>]*>", re.I)
NEGATION = re.compile(r"\b(?:no|not|never|without|neither|nor|cannot|\w+n't)\b", re.I)
STOP_WORDS = frozenset(
    """
    a an and are as at be been but by can could did do does for from had has have how i if in into is it
    its may me my of on or our should so such than that the their them then there these they this to was
    we were what when where which while who why will with would you your about after all also any
    because before between both each following means mean tell please give show need needs first long
    much many often wrong use used happen happens get say says
    now just kindly hi hello hey thank thanks help
    must shall might ought frequently usually typically exactly
    whats hows wheres whos im pls plz
    """.split()
)
SUPPORT_THRESHOLD = 0.7
LEAST_RECALL = 0.6
LEAST_WORDS, LEAST_PROSE = 4, 2 / 3
LEAST_CLAIM = 3
"""Words, numbers and codes of a claim: of two, `the bearing is too high` stands where its temperature is."""


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


@dataclass(frozen=True)
class Support:
    """The quote that supports a claim, by its place among the sources, and how well (0-1)."""

    quote: int
    score: float


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


def claim(sentence: str, titles: list[str]) -> str:
    """What a drafted sentence claims; nothing where it has the same three words twice.

    A small model may echo a source's title before a sentence, which is cut off, or stutter.
    """
    told = plain(sentence)
    for title in filter(None, titles):
        while told.startswith(title):
            told = told.removeprefix(title).lstrip(" .:-")
    words = told.lower().split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return told if len(set(triples)) == len(triples) else ""


def content_words(text: str) -> set[str]:
    """Stems of the words that carry meaning."""
    return {_stem(word) for word in map(str.lower, WORDS.findall(text)) if word not in STOP_WORDS}


def support(claim: str, vector: Vectors, sources: list[Quote], vectors: Vectors) -> Support | None:
    """The quote that supports a claim best, or None; `vector` (d,) and `vectors` (n, d) are normalised."""
    words, needed, denies = content_words(claim), facts(claim), bool(NEGATION.search(claim))
    if not words or len(words | figures(claim)) < LEAST_CLAIM or not sources:
        return None
    cosines = vectors @ vector
    best: Support | None = None
    for number, quote in enumerate(sources):
        if denies != quote.denies or not needed <= quote.facts:
            continue
        recall = len(words & quote.words) / len(words)
        score = float(recall + cosines[number]) / 2
        if recall >= LEAST_RECALL and score >= SUPPORT_THRESHOLD and (best is None or score > best.score):
            best = Support(number, min(score, 1.0))
    return best
