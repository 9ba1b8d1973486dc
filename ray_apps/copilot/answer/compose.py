"""Composing an answer from sentences: what to quote, which steps to give, and in which order."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from indexes.codes import codes_in
from indexes.vector import Vectors
from ray_apps.copilot.answer.grounding import Support
from ray_apps.copilot.evidence.passages import Passage, Quote
from ray_apps.copilot.evidence.procedures import ACTION_SECTION, CAUSES, FIRST_ITEM, procedure
from ray_apps.copilot.language.facts import facts, figures
from ray_apps.copilot.language.text import items, plain
from ray_apps.copilot.language.words import content_words

MEANING_ASKED = re.compile(r"\bmean(?:s|ing)?\b", re.I)
DEFINITION = re.compile(r"\W*([\w-]+) means\b", re.I)
CAUSE_ASKED = re.compile(r"\b(?:causes?|caused|why|reasons?)\b", re.I)
ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")
ASKED_LIFT = 0.4
FOREIGN_CODE_PENALTY = 0.4
SAME_COSINE = 0.92
MOSTLY, FAR = 2 / 3, 1 / 3
"""Of the words that tell a symptom, the share that a document for it has, and how much less another has."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of the answer and the quote that it rests on."""

    text: str
    support: Support


def confidence(question: str, passages: list[Passage], best_cosine: float) -> float:
    """How well the sources fit a question (0-1): mean of `coverage` and of the best sentence's cosine."""
    return (coverage(question, passages) + max(best_cosine, 0.0)) / 2


def coverage(question: str, passages: list[Passage]) -> float:
    """Share of the question's content words that the passages hold, weighted by their rarity there (0-1).

    The weight is log(1 + n / f) for a word in f of n passages, f at least 0.5: the inverse document frequency
    of BM25's kind. A word that nothing holds thus weighs most: it is what the question is about and the
    sources are not. A number or code that nothing holds makes the coverage 0.
    """
    held = [content_words(text) | facts(text) for text in (_whole(passage) for passage in passages)]
    asked, exact = content_words(question), figures(question)
    if not held or not (asked | exact) or not exact <= set().union(*held):
        return 0.0
    weights = {}
    for word in asked | exact:
        frequency = sum(word in words for words in held)
        weights[word] = math.log(1 + len(held) / max(frequency, 0.5)), frequency > 0
    total = sum(weight for weight, _ in weights.values())
    return sum(weight for weight, found in weights.values() if found) / total


def holds_facts(question: str, passages: list[Passage]) -> bool:
    """Whether every number and code of a question stands in a passage."""
    return figures(question) <= set().union(*(facts(_whole(passage)) for passage in passages))


def extract(
    question: str, focus: frozenset[str], sources: list[Quote], cosines: Vectors, wanted: int
) -> list[Support]:
    """The sentences that answer a question best, best first; `cosines` (n,) are theirs with the question.

    A sentence is scored by its cosine and its share of the question's words. One that says what a word of the
    question means is put before others where that is asked, and so is one that tells a cause or is an item
    under a heading of causes. One that names another code of a kind that is in `focus` (another machine
    model, another error) speaks of something else and is put behind.
    """
    asked = content_words(question) | figures(question)
    if wanted <= 0 or not asked:
        return []
    meaning, cause = MEANING_ASKED.search(question), CAUSE_ASKED.search(question)
    scored = []
    for number, quote in enumerate(sources):
        held = quote.words | content_words(quote.context) | quote.facts
        score = (float(cosines[number]) + len(asked & held) / len(asked)) / 2
        defines = DEFINITION.match(quote.text) if meaning else None
        if defines and content_words(defines[1]) | figures(defines[1]) <= asked:
            score += ASKED_LIFT
        if cause and _tells_cause(quote):
            score += ASKED_LIFT
        score -= FOREIGN_CODE_PENALTY * _foreign(codes_in(quote.text), focus)
        scored.append((score, number))
    best = sorted(scored, key=lambda found: -found[0])[:wanted]
    return [Support(number, min(score, 1.0)) for score, number in best]


def meanings(focus: frozenset[str], sources: list[Quote]) -> list[Support]:
    """For each code in focus the first sentence that says what it means."""
    found: dict[str, int] = {}
    for number, quote in enumerate(sources):
        if defines := DEFINITION.match(quote.text):
            for code in codes_in(defines[1]) & focus:
                found.setdefault(code, number)
    return [Support(number, 1.0) for number in sorted(set(found.values()))]


def steps(symptom: str, focus: frozenset[str], passages: list[Passage], wanted: int) -> list[Quote]:
    """The first items of the numbered procedure to follow, in their order; none where no passage has one.

    It is the one whose heading tells the symptom, or the task (`Stopping`), if that of no action section does
    so nearly as well. Else it is that of the action section about the codes in focus, unless most words that
    tell the symptom stand in another document with a procedure, which is about no other code, and far fewer
    in that one. Without a code in focus, none is taken that tells of something else.
    """
    lists = {number: found for number, passage in enumerate(passages) if (found := procedure(passage))}
    actions = [number for number in lists if ACTION_SECTION.search(passages[number].section)]
    titles = {number: codes_in(passages[number].title) for number in actions}
    fitting = [number for number in actions if not focus or titles[number] & focus]
    first = min(fitting, key=lambda number: _foreign(titles[number], focus), default=None)
    if asked := content_words(symptom):
        first = _told_of(asked, focus, passages, lists, actions, first)
    if first is None:
        return []
    title, text = passages[first].title, passages[first].text
    return [Quote(first, start, end, text[start:end], title) for start, end in lists[first][:wanted]]


def _told_of(
    asked: set[str],
    focus: frozenset[str],
    passages: list[Passage],
    lists: Collection[int],
    actions: Collection[int],
    first: int | None,
) -> int | None:
    """Of the procedures `lists` the one that the words of a symptom tell, `first` unless another does far
    better; see `steps`."""

    def share(text: str) -> float:
        return len(asked & content_words(text)) / len(asked)

    of_document = {name: _told_by(name, passages, asked) for name in {passages[n].doc_id for n in lists}}
    told = {number: of_document[passages[number].doc_id] for number in lists}
    headed = {number: share(passages[number].section) for number in lists}
    others = [number for number in lists if not _foreign(codes_in(passages[number].title), focus)]
    own = [n for n in others if n in actions or share(f"{passages[n].section} {passages[n].text}")]
    named = max(others, key=lambda number: (headed[number], told[number]), default=None)
    best = max(own, key=lambda number: (told[number], number in actions), default=None)
    for found, fits in ((named, headed), (best, told)):
        if (
            found is not None
            and fits[found] >= MOSTLY
            and (first is None or fits[found] - fits[first] >= FAR)
        ):
            return found
    return first if first is None or focus or told[first] >= FAR else None


def is_step(quote: Quote, passages: list[Passage]) -> bool:
    """Whether a quote stands in an item of a numbered list."""
    return any(start <= quote.start < end for start, end in items(passages[quote.passage].text))


def items_before(quote: Quote, passages: list[Passage]) -> list[tuple[int, int]]:
    """Spans of the items that stand before a quote's in its numbered list; none where it is in no list."""
    text, earlier = passages[quote.passage].text, list[tuple[int, int]]()
    for start, end in items(text):
        if FIRST_ITEM.match(text, start):
            earlier = []
        if start <= quote.start < end:
            return earlier
        earlier.append((start, end))
    return []


def in_order(
    best: list[Support], sources: list[Quote], passages: list[Passage], guide: list[Quote]
) -> list[Support]:
    """The same sentences, before each item of a numbered list those before it: no step of a procedure, and
    no word of caution before it, is passed over. Items of the guide are told by it."""
    ordered: dict[int, Support] = {}
    for support in best:
        quote = sources[support.quote]
        told = any(step.contains(quote) for step in guide)
        for start, end in () if told else items_before(quote, passages):
            for number, other in enumerate(sources):
                if other.passage == quote.passage and start <= other.start < end:
                    ordered.setdefault(number, Support(number, support.score))
        ordered.setdefault(support.quote, support)
    return list(ordered.values())


def about(quote: Quote, focus: frozenset[str]) -> bool:
    """Whether a sentence, or the title or section above it, names a code in focus."""
    return bool(codes_in(f"{quote.text} {quote.context}") & focus)


def repeats(candidate: Sentence, told: list[Sentence], vectors: Vectors, sources: list[Quote]) -> bool:
    """Whether a sentence says what an earlier one has told; `vectors` (n, d) are the sources'."""
    mine, exact = vectors[candidate.support.quote], facts(candidate.text)
    words = content_words(candidate.text) | exact
    for other in told:
        same_quote = other.support.quote == candidate.support.quote
        same_facts = facts(other.text) == exact
        alike = float(np.dot(mine, vectors[other.support.quote])) >= SAME_COSINE
        if same_quote or words <= content_words(other.text) | facts(other.text) or (alike and same_facts):
            return True
    return False


def quoted(found: Support, sources: list[Quote]) -> Sentence:
    """A source's own sentence as a sentence of the answer."""
    return Sentence(plain(sources[found.quote].text), found)


def _told_by(doc_id: str, passages: list[Passage], asked: set[str]) -> float:
    """Share of some words that stand in what was found of a document (0-1)."""
    held = (content_words(_whole(passage)) for passage in passages if passage.doc_id == doc_id)
    return len(asked & set().union(*held)) / len(asked)


def _tells_cause(quote: Quote) -> bool:
    told = CAUSES.search(quote.text)
    return bool(told or (ITEM.match(quote.text) and CAUSES.search(quote.context)))


def _foreign(codes: Collection[str], focus: frozenset[str]) -> float:
    """Of those codes that are begun or formed like one in focus, the share that is not in focus (0-1)."""
    own = {kind for code in focus for kind in _kinds(code)}
    alike = [code for code in codes if own & _kinds(code)]
    return sum(code not in focus for code in alike) / len(alike) if alike else 0.0


def _kinds(code: str) -> set[str]:
    """What a code has in common with others of its kind: `hx` and `aa999` of `hx200`."""
    return {re.split(r"\d", code, maxsplit=1)[0], re.sub(r"[a-z]", "a", re.sub(r"\d", "9", code))}


def _whole(passage: Passage) -> str:
    return f"{passage.title} {passage.section} {passage.text}"
