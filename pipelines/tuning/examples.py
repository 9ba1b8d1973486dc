"""What a reranker is trained on: questions with the text that answers each, and texts that only look so."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from indexes.hits import Hit
from indexes.hybrid import HybridIndex, search_all
from indexes.precedents import Precedents
from indexes.schema import passage
from indexes.vector import Vectors
from iotops.models.hardware import preferred_device
from pipelines.evaluation.known_items import ABOUT, Question
from pipelines.tuning.training import Example

HITS = 50
"""Of the hybrid search, among which the wrong texts are: the hardest that there are."""
MOST_OF_SHELF = {"cuda": 12_000, "cpu": 2_000}
"""Questions that are made from the documents, by what learns them: more are better, and take a CPU hours."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_LEAST_WORDS, _MOST_WORDS = 6, 40


@dataclass(frozen=True)
class Asked:
    """A question made from a chunk; `text` is what is left of the chunk to answer it."""

    question: str
    uri: str
    text: str


def asked_of(chunks: pa.Table, seed: int = 0) -> list[Asked]:
    """Questions made from a chunk table (`CHUNK_SCHEMA`): headings, and sentences taken out of their chunk.

    The second is the inverse cloze task (Lee, Chang, Toutanova 2019, "Latent Retrieval for Weakly Supervised
    Open Domain Question Answering"). What several documents are asked by points at none of them and is left
    out. The same table gives the same questions.
    """
    draw, found = random.Random(seed), []
    for row in chunks.select(["uri", "title", "section", "text", "content_hash"]).to_pylist():
        heading = row["section"].rpartition(" > ")[2] or row["title"]
        if heading:
            found.append(
                Asked(ABOUT.format(heading), row["uri"], passage(row["title"], row["section"], row["text"]))
            )
        sentences = _SENTENCE.split(row["text"])
        whole = [each for each in sentences if _LEAST_WORDS <= len(each.split()) <= _MOST_WORDS]
        if len(sentences) > 2 and whole:
            taken = draw.choice(whole)
            rest = row["text"].replace(taken, " ", 1)
            found.append(Asked(taken, row["uri"], passage(row["title"], row["section"], rest)))
    asks = Counter(question for question, _ in {(asked.question, asked.uri) for asked in found})
    found = [asked for asked in found if asks[asked.question] == 1]
    found.sort(key=lambda asked: hashlib.sha256(f"{asked.question}{asked.uri}".encode()).digest())
    return found[: MOST_OF_SHELF[preferred_device()]]


def of_shelf(
    indexes: Sequence[HybridIndex], asked: Sequence[Asked], vectors: Mapping[str, Vectors]
) -> Iterator[Example]:
    """Examples of questions made from chunks, with vectors by their text; what is wrong is elsewhere.

    It is what a question finds that was never asked: without precedents.
    """
    read: dict[tuple[str, str], str] = {}
    for each in asked:
        found = search_all(indexes, each.question, vectors[each.question], HITS, precedents=Precedents())
        wrong = tuple(_read(hit, read) for hit in found if hit.uri != each.uri)
        if wrong:
            yield Example(each.question, each.text, wrong)


def of_labels(
    indexes: Sequence[HybridIndex], questions: Sequence[Question], vectors: Mapping[str, Vectors]
) -> Iterator[Example]:
    """Examples of labelled questions: each relevant document's best chunk among the hits is right.

    The hits are found without precedents, among which the question itself would be.
    """
    read: dict[tuple[str, str], str] = {}
    for question in questions:
        relevant = {uri for uri, grade in question.grades.items() if grade > 0}
        hits = search_all(indexes, question.text, vectors[question.text], HITS, precedents=Precedents())
        wrong = tuple(_read(hit, read) for hit in hits if hit.uri not in question.grades)
        best: dict[str, Hit] = {}
        for hit in hits:
            if hit.uri in relevant:
                best.setdefault(hit.uri, hit)
        for hit in best.values():
            if wrong:
                yield Example(question.text, _read(hit, read), wrong)


def _read(hit: Hit, read: dict[tuple[str, str], str]) -> str:
    """What a reranker reads of a hit; of all examples that have it the same object."""
    return read.setdefault((hit.uri, hit.chunk_id), passage(hit.title, hit.section, hit.text))
