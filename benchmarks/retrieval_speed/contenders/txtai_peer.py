"""txtai: its hybrid index, a convex combination of BM25 and vectors; its similarity pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.retrieval_speed.contenders.process import QUERIES, matrix


def build(
    folder: Path, passages: list[str], vectors: np.ndarray, reranker: str | None = None
) -> Callable[..., list[int]]:
    """Its embeddings database, which looks the given vectors up instead of embedding."""
    from txtai import Embeddings

    queries = pq.read_table(folder / QUERIES)
    known = dict(zip(passages, vectors, strict=True))
    known |= dict(zip(queries["text"].to_pylist(), matrix(queries), strict=True))

    def look_up(texts: list[str]) -> np.ndarray:
        return np.stack([known[text] for text in texts])

    embeddings = Embeddings(method="external", transform=look_up, hybrid=True)
    embeddings.index(enumerate(passages))
    similarity = None
    if reranker:
        from txtai.pipeline import Similarity

        similarity = Similarity(reranker, crossencode=True)

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        rows = [row for row, _ in embeddings.search(text, limit)]
        if similarity:
            rows = [rows[at] for at, _ in similarity(text, [passages[row] for row in rows])]
        return rows

    return search
