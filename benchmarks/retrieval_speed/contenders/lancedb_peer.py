"""LanceDB: full text and vectors, joined by its default (reciprocal rank fusion); its cross-encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa


def build(
    folder: Path, passages: list[str], vectors: np.ndarray, reranker: str | None = None
) -> Callable[..., list[int]]:
    """A table with a full-text index; its own advice is to scan the vectors below 100,000 rows."""
    import lancedb
    from lancedb.rerankers import CrossEncoderReranker, RRFReranker

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
    fusion = RRFReranker()
    cross_encoder = CrossEncoderReranker(model_name=reranker) if reranker else None

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        query = table.search(query_type="hybrid").vector(vector).text(text).rerank(fusion).limit(limit)
        found = query.with_row_id(True).to_arrow()
        if cross_encoder:
            # In place of the fusion it would read both lists, up to twice as many as the other contenders do.
            fused = found.drop_columns("_relevance_score")
            found = cross_encoder.rerank_hybrid(text, fused, fused.slice(0, 0))
        return list(found["row"].to_pylist())

    return search
