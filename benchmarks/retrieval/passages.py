"""Questions on a folder of Markdown whose answer's place is known, made without looking at any chunk.

A heading is asked about, and three words are searched for that are drawn from the passage in the middle of a
long section. The answer lies in a document, and there where the middle of the section is.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.retrieval.beir import Corpus
from pipelines.evaluation.keywords import keyword_searches
from pipelines.evaluation.known_items import ABOUT, MOST_ANSWERS
from pipelines.knowledge.documents import Document, read_document
from pipelines.knowledge.extracted import DocumentRefused
from pipelines.knowledge.sections import Section, outline

LONG = 2000
"""Characters from which a section is long: no chunker under test keeps so much whole."""
PASSAGE = 500
"""Characters around the middle that keywords are drawn from."""

Place = tuple[str, int]
"""A document's id and an offset in its source."""


@dataclass(frozen=True)
class Asked:
    """What is asked, how relevant each document (its id) is, and where the answer lies if that is known."""

    text: str
    grades: dict[str, int]
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """Documents, and questions on them."""

    name: str
    documents: list[Document]
    questions: list[Asked]


def of_beir(corpus: Corpus, documents: int | None, questions: int | None) -> Labelled:
    """A corpus in BEIR's layout, cut to so many questions and documents, those that are judged among them."""
    names = sorted(corpus.queries, key=_digest)[:questions]
    asked = [Asked(corpus.queries[name], corpus.qrels[name]) for name in names]
    judged = {document for each in asked for document in each.grades}
    ordered = sorted(corpus.documents, key=lambda each: (each.doc_id not in judged, _digest(each.doc_id)))
    return Labelled(corpus.name, ordered[: documents and max(documents, len(judged))], asked)


def of_markdown(folder: Path, documents: int | None, questions: int | None) -> Labelled:
    """A folder of Markdown, cut to so many documents, and as many questions on headings as on keywords."""
    found = sorted(_documents(folder), key=lambda each: _digest(each.doc_id))[:documents]
    half = questions and questions // 2
    return Labelled(folder.name, found, [*_on_headings(found)[:half], *_on_keywords(found)[:half]])


def _documents(folder: Path) -> Iterator[Document]:
    for path in folder.rglob("*.md"):
        try:
            yield read_document(folder.name, str(path.relative_to(folder)), path.read_bytes())
        except DocumentRefused:
            continue  # as the product does; a shelf is indexed without it


def _on_headings(documents: list[Document]) -> list[Asked]:
    """A question on each heading, which at most a few documents answer."""
    places: defaultdict[str, list[Place]] = defaultdict(list)
    for document, section in _sections(documents):
        if section.path:
            places[ABOUT.format(section.path[-1])].append((document.doc_id, _middle(section)))
    asked = [Asked(text, {name: 1 for name, _ in found}, tuple(found)) for text, found in places.items()]
    return sorted(
        (each for each in asked if len(each.grades) <= MOST_ANSWERS), key=lambda each: _digest(each.text)
    )


def _on_keywords(documents: list[Document]) -> list[Asked]:
    """Searches for the middle of each long section; how rare a word is, the middles of all sections say."""
    rows = []
    places: dict[str, Place] = {}
    for document, section in _sections(documents):
        middle = _middle(section)
        start, end = max(section.blocks[0], middle - PASSAGE // 2), min(section.end, middle + PASSAGE // 2)
        row = {"uri": f"{document.doc_id}:{middle}", "text": document.source[start:end]}
        rows.append({**row, "content_hash": _digest(row["text"])})
        if section.end - section.blocks[0] >= LONG:
            places[row["uri"]] = (document.doc_id, middle)
    searches = keyword_searches(pa.Table.from_pylist(rows), len(rows))
    found = [(each.text, places[uri]) for each in searches for uri in each.grades if uri in places]
    return [Asked(text, {place[0]: 1}, (place,)) for text, place in found]


def _sections(documents: list[Document]) -> Iterator[tuple[Document, Section]]:
    for document in documents:
        for section in outline(document.source, document.body_start, document.about.title).sections:
            yield document, section


def _middle(section: Section) -> int:
    return (section.blocks[0] + section.end) // 2


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
