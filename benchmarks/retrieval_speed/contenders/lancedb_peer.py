"""LanceDB: full text and vectors, joined by its default reranker (reciprocal rank fusion)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa


def build(folder: Path, passages: list[str], vectors: np.ndarray) -> Callable[..., list[int]]:
    """A table with a full-text index; its own advice is to scan the vectors below 100,000 rows."""
    import lancedb
    from lancedb.rerankers import RRFReranker

    rows = pa.table(
        {
            "row": np.arange(len(passages)),
            "text": passages,
            "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1]),
        }
    )
    table = lancedb.connect(folder / "lancedb").create_table("passages", rows)
    table.create_fts_index("text")
    if len(passages) >= 100_000:
        table.create_index(metric="cosine", vector_column_name="vector")
    reranker = RRFReranker()

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        query = table.search(query_type="hybrid").vector(vector).text(text).rerank(reranker).limit(limit)
        return list(query.to_arrow()["row"].to_pylist())

    return search
