"""The ways to search that are compared, all over one snapshot made by the product's own code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from indexes.cross_encoder import RelevanceScorer
from indexes.encoder import SentenceEncoder
from indexes.hits import Hit, rerank
from indexes.hybrid import HybridIndex, search_all
from indexes.schema import passage
from indexes.snapshot import Fusion, Snapshot, write_snapshot
from indexes.vector import Vectors
from pipelines.knowledge.build import EmbeddingModel
from pipelines.knowledge.chunking import CHUNKER, chunk_documents
from pipelines.knowledge.documents import Document

DEPTH = 100
RERANKED = 10
Run = dict[str, dict[str, float]]
"""Score by query and document."""


@dataclass(frozen=True)
class System:
    """A way to search."""

    name: str
    fusion: Fusion
    embeds: bool = True
    reranker: RelevanceScorer | None = None


PLAIN = (
    System("bm25", Fusion(vector=0, bm25=1), embeds=False),
    System("dense", Fusion(vector=1, bm25=0)),
    System("hybrid, min-max", Fusion()),
    System("hybrid, reciprocal rank", Fusion(method="reciprocal_rank")),
)


@contextmanager
def snapshot_of(
    documents: list[Document], model: EmbeddingModel, encoder: SentenceEncoder
) -> Iterator[Snapshot]:
    """The documents chunked, embedded and indexed in a folder of their own, as long as they are searched."""
    chunks = chunk_documents(documents, model.count_tokens, model.max_tokens)
    parts = zip(*(chunks[name].to_pylist() for name in ("title", "section", "text")), strict=True)
    vectors = encoder.encode([passage(*each) for each in parts])
    with TemporaryDirectory(prefix="retrieval-") as folder:
        directory = Path(folder) / "snapshot"
        write_snapshot(chunks, vectors, directory, embedder=model.identity, chunker=CHUNKER)
        yield Snapshot.load(directory)


def search(snapshot: Snapshot, system: System, queries: Mapping[str, str], vectors: Vectors) -> Run:
    """The best documents of each query; a document is as good as its best chunk."""
    index = HybridIndex(snapshot)
    run: Run = {}
    for (name, text), vector in zip(queries.items(), vectors, strict=True):
        hits = search_all([index], text, vector if system.embeds else None, DEPTH, fusion=system.fusion)
        if system.reranker:
            scores = system.reranker.score(text, [passage(*_parts(hit)) for hit in hits[:RERANKED]])
            best = rerank(hits[:RERANKED], scores.tolist(), snapshot.manifest.reranker_weight)
            hits = [*best, *hits[RERANKED:]]
        documents = list(dict.fromkeys(hit.doc_id for hit in hits))
        run[name] = {document: 1 / rank for rank, document in enumerate(documents, start=1)}
    return run


def _parts(hit: Hit) -> tuple[str, str, str]:
    return hit.title, hit.section, hit.text
