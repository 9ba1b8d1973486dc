"""The ways to search that are compared, all over one snapshot made by the product's own code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from benchmarks.retrieval.beir import Corpus
from indexes.cross_encoder import RelevanceScorer
from indexes.encoder import SentenceEncoder
from indexes.hits import rerank
from indexes.hybrid import HybridIndex, search_all
from indexes.precedents import Precedents
from indexes.schema import passage
from indexes.snapshot import DEFAULT_RERANKER_WEIGHT, Fusion, Snapshot, write_snapshot
from indexes.vector import Vectors
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.reranking import POOL
from pipelines.evaluation.weights import fitted_fusion, fitted_reranker, precedents_of
from pipelines.knowledge.build import EmbeddingModel
from pipelines.knowledge.chunking import chunk_documents

DEPTH = 100
FITTED = "hybrid, fitted"
Run = dict[str, dict[str, float]]
"""Score by query and document."""


@dataclass(frozen=True)
class System:
    """A way to search."""

    name: str
    fusion: Fusion
    embeds: bool = True
    reranker: RelevanceScorer | None = None
    weight: float = DEFAULT_RERANKER_WEIGHT
    precedents: Precedents = field(default_factory=Precedents)


PLAIN = (
    System("bm25", Fusion(vector=0, bm25=1), embeds=False),
    System("dense", Fusion(vector=1, bm25=0)),
    System("hybrid, min-max", Fusion()),
    System("hybrid, reciprocal rank", Fusion(method="reciprocal_rank")),
)


def snapshot_of(corpus: Corpus, model: EmbeddingModel, encoder: SentenceEncoder, home: Path) -> Snapshot:
    """The corpus chunked, embedded and indexed; kept under `home` for the next run of the same."""
    chunks = chunk_documents(corpus.documents, model.count_tokens, model.max_tokens)
    made_of = [model.chunker, model.identity.model_dump_json(), *chunks["content_hash"].to_pylist()]
    name = hashlib.sha256(" ".join(made_of).encode()).hexdigest()[:16]
    directory = home / "benchmarks" / "retrieval" / f"{corpus.name}-{name}"
    if not directory.is_dir():
        parts = zip(*(chunks[name].to_pylist() for name in ("title", "section", "text")), strict=True)
        vectors = encoder.encode([passage(*each) for each in parts])
        partial = directory.with_name(f".{directory.name}.{os.getpid()}")
        write_snapshot(chunks, vectors, partial, embedder=model.identity, chunker=model.chunker)
        partial.rename(directory)
    return Snapshot.load(directory)


@contextmanager
def indexed(chunks: pa.Table, vectors: Vectors, model: EmbeddingModel) -> Iterator[Snapshot]:
    """Chunks and their vectors (n, d) indexed in a folder of their own, as long as they are searched."""
    with TemporaryDirectory(prefix="retrieval-") as folder:
        directory = Path(folder) / "snapshot"
        write_snapshot(chunks, vectors, directory, embedder=model.identity, chunker=model.chunker)
        yield Snapshot.load(directory)


def search(snapshot: Snapshot, system: System, queries: Mapping[str, str], vectors: Vectors) -> Run:
    """The best documents of each query; a document is as good as its best chunk."""
    index = HybridIndex(snapshot)
    run: Run = {}
    for (name, text), vector in zip(queries.items(), vectors, strict=True):
        asked = vector if system.embeds else None
        hits = search_all([index], text, asked, DEPTH, fusion=system.fusion, precedents=system.precedents)
        if system.reranker:
            read = [passage(hit.title, hit.section, hit.text) for hit in hits[:POOL]]
            best = rerank(hits[:POOL], system.reranker.score(text, read).tolist(), system.weight)
            hits = [*best, *hits[POOL:]]
        documents = list(dict.fromkeys(hit.doc_id for hit in hits))
        run[name] = {document: 1 / rank for rank, document in enumerate(documents, start=1)}
    return run


def labelled(snapshot: Snapshot, corpus: Corpus) -> list[Question]:
    """A split's questions with the addresses of their documents."""
    uris = dict(zip(*(snapshot.chunks[name].to_pylist() for name in ("doc_id", "uri")), strict=True))
    return [
        Question(text, {uris[document]: grade for document, grade in corpus.qrels[query].items()})
        for query, text in corpus.queries.items()
    ]


def fitted(
    snapshot: Snapshot,
    questions: Sequence[Question],
    encoder: SentenceEncoder,
    rerankers: Sequence[RelevanceScorer],
    on_progress: Callable[[str], None],
) -> list[System]:
    """The hybrid with weights that the evaluation flow chooses by another split, and rerankers."""
    indexes = [HybridIndex(snapshot)]
    texts = [question.text for question in questions]
    vectors = dict(zip(texts, encoder.encode(texts), strict=True))
    on_progress("fitting the fusion")
    calibration = fitted_fusion(indexes, questions, vectors, datetime.now(UTC))
    fusion = calibration.fusion if calibration else Fusion()
    precedents = precedents_of(questions, vectors)
    systems = [System(FITTED, fusion, precedents=precedents)]
    for scorer in rerankers:
        verdict = fitted_reranker(indexes, questions, vectors, scorer, fusion, on_progress)
        weight = verdict.weight if verdict and verdict.wins else 0.0
        systems.append(
            System(f"{FITTED} + {scorer.model.name} x {weight}", fusion, True, scorer, weight, precedents)
        )
    return systems
