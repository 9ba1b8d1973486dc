"""Grounding: which sentence of which source supports a sentence of an answer, by score.

A claim is supported by a quote when every number and code in the claim stands in the quote (or in the title
or section above it), both affirm or both deny, most of the claim's content words stand in the quote itself,
and the mean of two scores reaches a threshold: the share of those words, and the cosine of the embeddings.
Nothing is asked of the language model, so this holds for a small model as for a large one.
"""

from __future__ import annotations

from dataclasses import dataclass

from indexes.vector import Vectors
from ray_apps.copilot.evidence.passages import Quote
from ray_apps.copilot.language.facts import facts, figures
from ray_apps.copilot.language.text import plain
from ray_apps.copilot.language.words import NEGATION, content_words

SUPPORT_THRESHOLD = 0.7
LEAST_RECALL = 0.6
LEAST_CLAIM = 3
"""Words, numbers and codes of a claim: of two, `the bearing is too high` stands where its temperature is."""


@dataclass(frozen=True)
class Support:
    """The quote that supports a claim, by its place among the sources, and how well (0-1)."""

    quote: int
    score: float


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
