"""This project's own hybrid search."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from benchmarks.retrieval_speed.contenders.process import CHUNKS
from indexes.hybrid import HybridIndex, search_all
from indexes.schema import CHUNK_SCHEMA
from indexes.snapshot import EmbedderId, Snapshot, write_snapshot

if TYPE_CHECKING:
    from iotops.models import ResolvedModel


def build(
    folder: Path, passages: list[str], vectors: np.ndarray, reranker: str | None = None
) -> Callable[..., list[int]]:
    """A snapshot with the defaults that a new shelf has."""
    chunks = pq.read_table(folder / CHUNKS, columns=CHUNK_SCHEMA.names)
    model = EmbedderId(name="given", checksum="", dimension=vectors.shape[1])
    write_snapshot(chunks, vectors, folder / "snapshot", embedder=model, chunker="given")
    index = HybridIndex(Snapshot.load(folder / "snapshot"))
    row_of = {name: row for row, name in enumerate(chunks["chunk_id"].to_pylist())}
    rerank = None
    if reranker:
        from benchmarks.retrieval_speed.scorer import reranked
        from indexes.cross_encoder import RelevanceScorer

        rerank = partial(reranked, RelevanceScorer(model_in(reranker)))

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        hits = search_all([index], text, vector, limit)
        if rerank:
            hits = rerank(text, hits)
        return [row_of[hit.chunk_id] for hit in hits]

    return search


def model_in(folder: str) -> ResolvedModel:
    """A model that the benchmark names by its folder."""
    from iotops.models import ResolvedModel

    return ResolvedModel(name=folder, path=Path(folder), source="benchmark", revision="", checksum="")
