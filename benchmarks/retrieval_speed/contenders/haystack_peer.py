"""Haystack: its in-memory store, BM25 and embedding retrievers joined by reciprocal ranks; its ranker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np


def build(
    folder: Path, passages: list[str], vectors: np.ndarray, reranker: str | None = None
) -> Callable[..., list[int]]:
    """A store and the components, called one after another."""
    from haystack import Document
    from haystack.components.joiners import DocumentJoiner
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    store = InMemoryDocumentStore()
    store.write_documents(
        [
            Document(id=str(row), content=text, embedding=vector.tolist())
            for row, (text, vector) in enumerate(zip(passages, vectors, strict=True))
        ]
    )
    words = InMemoryBM25Retriever(store, top_k=50)
    near = InMemoryEmbeddingRetriever(store, top_k=50)
    joiner = DocumentJoiner(join_mode="reciprocal_rank_fusion")
    ranker = None
    if reranker:
        from haystack_integrations.components.rankers.sentence_transformers import (
            SentenceTransformersSimilarityRanker,
        )

        ranker = SentenceTransformersSimilarityRanker(model=reranker)
        ranker.warm_up()

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        found = [
            words.run(query=text)["documents"],
            near.run(query_embedding=vector.tolist())["documents"],
        ]
        joined = joiner.run(documents=found, top_k=limit)["documents"]
        if ranker:
            joined = ranker.run(query=text, documents=joined, top_k=limit)["documents"]
        return [int(document.id) for document in joined]

    return search
