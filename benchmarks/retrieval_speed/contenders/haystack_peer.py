"""Haystack: its in-memory store, BM25 and embedding retrievers joined by reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np


def build(folder: Path, passages: list[str], vectors: np.ndarray) -> Callable[..., list[int]]:
    """A store and the three components, called one after another."""
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

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        found = [
            words.run(query=text)["documents"],
            near.run(query_embedding=vector.tolist())["documents"],
        ]
        return [int(document.id) for document in joiner.run(documents=found, top_k=limit)["documents"]]

    return search
