"""Nearest vectors with FAISS: one type of index per size of corpus, memory-mapped from disk.

Vectors are float32 of unit length, so that the inner product is the cosine.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import faiss as faiss_bindings
import numpy as np
from numpy.typing import NDArray

# Its type stubs describe the C++ classes and not the keywords that the Python layer adds.
faiss: Any = faiss_bindings

Kind = Literal["flat", "hnsw", "ivfpq"]
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

EXACT_BELOW = 50_000
GRAPH_UP_TO = 2_000_000
_HNSW_LINKS = 32
_HNSW_BUILD_BEAM = 100
_HNSW_SEARCH_BEAM = 128
_PROBES = 32
_REFINED_PER_RESULT = 8
_EXACT_WHEN_FILTERED_TO = 10_000
_TRAINING_PER_CELL = 64


def index_kind(count: int) -> Kind:
    """The type of index for a corpus: exact while that is fast, a graph while it fits memory, then lists.

    HNSW links cost 4 * 2 * 32 bytes a vector on top of the vector itself; product quantisation keeps 1/24
    of it in memory and refines the best candidates from the mapped originals.
    """
    if count < EXACT_BELOW:
        return "flat"
    return "hnsw" if count <= GRAPH_UP_TO else "ivfpq"


class VectorIndex:
    """Vectors by row, searchable by inner product."""

    def __init__(self, index: Any, kind: Kind) -> None:
        self._index = index
        self.kind: Kind = kind

    @classmethod
    def build(cls, vectors: Vectors, kind: Kind | None = None) -> VectorIndex:
        """Index vectors of shape (n, d); `kind` overrides the choice by size."""
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ValueError(f"vectors must be float32 of shape (n, d), got {vectors.dtype} {vectors.shape}")
        vectors = np.ascontiguousarray(vectors)
        count, dimension = vectors.shape
        kind = kind or index_kind(count)
        if kind == "flat":
            index: Any = faiss.IndexFlatIP(dimension)
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(dimension, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = _HNSW_BUILD_BEAM
            index.hnsw.efSearch = _HNSW_SEARCH_BEAM
        else:
            index = _trained_lists(vectors)
        index.add(vectors)
        return cls(index, kind)

    @classmethod
    def load(cls, path: Path, kind: Kind) -> VectorIndex:
        """Map an index that `save` wrote; the file must stay unchanged, though it may be unlinked."""
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), kind)

    def save(self, path: Path) -> None:
        """Write the index as one file."""
        faiss.write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        return int(self._index.d)

    def search(
        self, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Vectors, Rows]:
        """The k best rows for queries of shape (q, d): scores and rows of shape (q, k), best first.

        `allowed` (n,) restricts the rows. Where fewer than k exist the row is -1 and the score -inf.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f"queries of shape {queries.shape} do not fit an index of (q, {self.dimension})")
        k = max(1, min(k, len(self)))
        if len(self) == 0:
            shape = (len(queries), 1)
            return np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
        # A graph or a few lists walked under a narrow filter would miss rows that pass it.
        if (
            allowed is not None
            and self.kind != "flat"
            and np.count_nonzero(allowed) <= _EXACT_WHEN_FILTERED_TO
        ):
            return self._search_exactly(queries, k, np.flatnonzero(allowed))
        parameters = None if allowed is None else self._parameters(allowed, k)
        scores, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        scores[rows < 0] = -np.inf
        return scores, rows

    def scores(self, query: Vectors, rows: Rows) -> Vectors:
        """Exact inner products of one query (d,) with the given rows (n,)."""
        if len(rows) == 0:
            return np.empty(0, np.float32)
        return self.reconstruct(rows) @ query

    def reconstruct(self, rows: Rows) -> Vectors:
        """The stored vectors of the given rows, shape (n, d)."""
        stored = self._index.refine_index if self.kind == "ivfpq" else self._index
        stored = faiss.downcast_index(stored)
        vectors: Vectors = stored.reconstruct_batch(np.ascontiguousarray(rows, np.int64))
        return vectors

    def _search_exactly(self, queries: Vectors, k: int, rows: Rows) -> tuple[Vectors, Rows]:
        found = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        if len(rows):
            similarity = queries @ self.reconstruct(rows).T
            best = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
            found[0][:, : best.shape[1]] = np.take_along_axis(similarity, best, axis=1)
            found[1][:, : best.shape[1]] = rows[best]
        return found

    def _parameters(self, allowed: NDArray[np.bool_], k: int) -> Any:
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.kind == "flat":
            return faiss.SearchParameters(sel=selector)
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(sel=selector, efSearch=max(_HNSW_SEARCH_BEAM, 2 * k))
        lists = faiss.SearchParametersIVF(sel=selector, nprobe=_PROBES)
        return faiss.IndexRefineSearchParameters(k_factor=_REFINED_PER_RESULT, base_index_params=lists)


def _trained_lists(vectors: Vectors) -> Any:
    """IVF-PQ over inverted lists with the original vectors kept for refinement.

    4 * sqrt(n) lists and 39 to 256 training points a list are FAISS's own guidelines.
    """
    count, dimension = vectors.shape
    cells = max(1, min(int(4 * math.sqrt(count)), count // 39))
    pieces = next(size for size in (64, 48, 32, 16, 8, 4, 2, 1) if dimension % size == 0 and size < dimension)
    quantised = faiss.IndexIVFPQ(
        faiss.IndexFlatIP(dimension), dimension, cells, pieces, 8, faiss.METRIC_INNER_PRODUCT
    )
    quantised.nprobe = _PROBES
    index = faiss.IndexRefineFlat(quantised)
    index.k_factor = _REFINED_PER_RESULT
    sample = np.random.default_rng(0).permutation(count)[: max(cells * _TRAINING_PER_CELL, 256 * 39)]
    index.train(vectors[np.sort(sample)])
    return index
