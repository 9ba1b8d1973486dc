"""This project's own hybrid search, without a reranker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.retrieval_speed.contenders.process import CHUNKS
from indexes.hybrid import HybridIndex, search_all
from indexes.schema import CHUNK_SCHEMA
from indexes.snapshot import EmbedderId, Snapshot, write_snapshot


def build(folder: Path, passages: list[str], vectors: np.ndarray) -> Callable[..., list[int]]:
    """A snapshot with the defaults that a new shelf has."""
    chunks = pq.read_table(folder / CHUNKS, columns=CHUNK_SCHEMA.names)
    model = EmbedderId(name="given", checksum="", dimension=vectors.shape[1])
    write_snapshot(chunks, vectors, folder / "snapshot", embedder=model, chunker="given")
    index = HybridIndex(Snapshot.load(folder / "snapshot"))
    row_of = {name: row for row, name in enumerate(chunks["chunk_id"].to_pylist())}

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        return [row_of[hit.chunk_id] for hit in search_all([index], text, vector, limit)]

    return search
