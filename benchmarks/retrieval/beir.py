"""Corpora in BEIR's layout: `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.knowledge.documents import Document
from pipelines.knowledge.metadata import Metadata

Qrels = dict[str, dict[str, int]]
"""Grade by query and document."""


@dataclass(frozen=True)
class Corpus:
    """The documents, and the questions of a split that have a relevant one."""

    name: str
    documents: list[Document]
    queries: dict[str, str]
    qrels: Qrels


def read_corpus(folder: Path, split: str) -> Corpus:
    """Read a folder; the name of a missing file is in the `OSError`."""
    documents = [
        _document(row["_id"], row.get("title") or "", row["text"]) for row in _rows(folder / "corpus.jsonl")
    ]
    qrels: Qrels = {}
    with (folder / "qrels" / f"{split}.tsv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    qrels = {query: grades for query, grades in qrels.items() if max(grades.values()) > 0}
    texts = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")}
    return Corpus(folder.name, documents, {query: texts[query] for query in qrels}, qrels)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def _document(name: str, title: str, text: str) -> Document:
    """A document of a corpus has no file, so its text alone is the source."""
    return Document(name, name, text or title, 0, Metadata(title, "document", language="en"))
