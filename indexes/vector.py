"""Nearest vectors with FAISS: one type of index per size of corpus, memory-mapped from disk.

Vectors are float32 of unit length, so that the inner product is the cosine. Lists keep them quantised, and
as float16 in a file of its own beside the index, from which the best candidates are scored again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import faiss as faiss_bindings
import numpy as np
from numpy.typing import NDArray

# Its type stubs describe the C++ classes and not the keywords that the Python layer adds.
faiss: Any = faiss_bindings

Kind = Literal["flat", "hnsw", "ivfpq"]
Vectors = NDArray[np.float32]
Originals = NDArray[np.float16]
Rows = NDArray[np.int64]

EXACT_BELOW = 50_000
GRAPH_UP_TO = 2_000_000
_HNSW_LINKS = 32
_HNSW_BUILD_BEAM = 100
_HNSW_SEARCH_BEAM = 128
# Of 100,000 made-up vectors (benchmarks.retrieval_speed), lists that quantise nothing held 0.87, 0.95 and
# 0.98 of the ten nearest with 32, 64 and 128 probed. Quantised, with 64 probed and ten wanted, 0.91 were
# found by scoring four candidates again for each, and 0.945 with eight. How that goes on for millions is
# not measured.
_PROBES = 128
_REFINED_PER_RESULT = 8
# To find as many rows that pass a filter as are found without one, a graph or lists are walked the further
# the fewer pass: of 400,000 in a graph of which a tenth pass, .998 of the 50 nearest are found so, and .89 by
# as many steps as without a filter. Of few it is cheaper to compare all: with a graph, whose vectors lie in a
# row, where the square of their number is below 2,500 times that of all (of those 400,000 these are 32,000: 8
# ms by either way); in lists, where each is read from the originals, to 10,000.
_EXACT_IN_LISTS = 10_000
_EXACT_SQUARE_PER_VECTOR = 2_500
# FAISS's default is 25 rounds over up to 256 vectors a list, which is an hour for the lists of ten million.
_TRAINING_PER_CELL = 40
_TRAINING_ROUNDS = 10
# The list of a vector is found by a graph of the lists' centres, not by comparing it with all of them.
_CENTRE_BEAM = 32
_BLOCK = 65_536


def index_kind(count: int) -> Kind:
    """The type of index for a corpus: exact while that is fast, a graph while it fits memory, then lists.

    HNSW links cost 4 * 2 * 32 bytes a vector on top of the vector itself; product quantisation keeps 1/24
    of it in memory and refines the best candidates from the mapped originals.
    """
    if count < EXACT_BELOW:
        return "flat"
    return "hnsw" if count <= GRAPH_UP_TO else "ivfpq"


def exact_up_to(kind: Kind, count: int) -> int:
    """Of how many rows that pass a filter all are compared, in an index of `count` vectors."""
    if kind == "flat":
        return count
    return _EXACT_IN_LISTS if kind == "ivfpq" else math.isqrt(_EXACT_SQUARE_PER_VECTOR * count)


class VectorIndex:
    """Vectors by row, searchable by inner product."""

    def __init__(self, index: Any, kind: Kind, originals: Originals | None = None) -> None:
        """`originals` (n, d) are the vectors that lists have quantised; None for the other kinds."""
        self._index = index
        self._originals = originals
        self.kind: Kind = kind
        self.exact_up_to = exact_up_to(kind, len(self))

    @classmethod
    def build(cls, vectors: Vectors, kind: Kind | None = None) -> VectorIndex:
        """Index vectors of shape (n, d) in memory; `kind` overrides the choice by size."""
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ValueError(f"vectors must be float32 of shape (n, d), got {vectors.dtype} {vectors.shape}")
        count, dimension = vectors.shape
        kind = kind or index_kind(count)
        if kind == "ivfpq":
            originals = vectors.astype(np.float16)
            return cls(_lists(originals), kind, originals)
        index = _empty(kind, dimension)
        index.add(np.ascontiguousarray(vectors))
        return cls(index, kind)

    @classmethod
    def build_from(
        cls, batches: Iterable[Vectors], count: int, dimension: int, path: Path, kind: Kind | None = None
    ) -> VectorIndex:
        """Index batches of (m, d), `count` vectors in all, at `path`; the index as `load` maps it.

        Lists hold no more than a training sample and the quantised vectors in memory meanwhile.
        """
        kind = kind or index_kind(count)
        if kind == "ivfpq":
            came = 0
            with _originals_path(path).open("wb") as file:
                for batch in batches:
                    batch.astype(np.float16).tofile(file)
                    came += len(batch)
            _check_count(came, count)
            index = _lists(_mapped(path, count, dimension))
        else:
            index = _empty(kind, dimension)
            for batch in batches:
                index.add(np.ascontiguousarray(batch))
            _check_count(index.ntotal, count)
        faiss.write_index(index, str(path))
        return cls.load(path, kind)

    @classmethod
    def load(cls, path: Path, kind: Kind) -> VectorIndex:
        """Map an index that `save` wrote; the files must stay unchanged, though they may be unlinked."""
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        return cls(index, kind, _mapped(path, index.ntotal, index.d) if kind == "ivfpq" else None)

    def save(self, path: Path) -> None:
        """Write the index as one file, and a second beside it for the originals of lists."""
        faiss.write_index(self._index, str(path))
        if self._originals is not None:
            self._originals.tofile(_originals_path(path))

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
        queries = np.ascontiguousarray(queries, np.float32)
        if allowed is not None and np.count_nonzero(allowed) <= self.exact_up_to:
            return self._compared(queries, k, allowed)
        return self._walked(queries, k, allowed)

    def scores(self, query: Vectors, rows: Rows) -> Vectors:
        """Exact inner products of one query (d,) with the given rows (n,)."""
        if len(rows) == 0:
            return np.empty(0, np.float32)
        return self.reconstruct(rows) @ query

    def reconstruct(self, rows: Rows) -> Vectors:
        """The stored vectors of the given rows, shape (n, d)."""
        if self._originals is not None:
            return self._originals[rows].astype(np.float32)
        vectors: Vectors = self._index.reconstruct_batch(np.ascontiguousarray(rows, np.int64))
        return vectors

    def _best(self, queries: Vectors, k: int, candidates: list[Rows]) -> tuple[Vectors, Rows]:
        """The k best of each query's own candidates, by their exact scores."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        for at, (query, near) in enumerate(zip(queries, candidates, strict=True)):
            similarity = self.scores(query, near)
            best = np.argsort(-similarity, kind="stable")[:k]
            scores[at, : len(best)], rows[at, : len(best)] = similarity[best], near[best]
        return scores, rows

    def _compared(self, queries: Vectors, k: int, allowed: NDArray[np.bool_]) -> tuple[Vectors, Rows]:
        """The k best of all rows that pass."""
        if self._originals is not None:
            return self._best(queries, k, [np.flatnonzero(allowed)] * len(queries))
        vectors = self._index if self.kind == "flat" else faiss.downcast_index(self._index.storage)
        return _ranked(vectors.search(queries, k, params=faiss.SearchParameters(sel=_selector(allowed))))

    def _walked(self, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None) -> tuple[Vectors, Rows]:
        """The k best that the index finds."""
        parameters = None if allowed is None else self._parameters(allowed, k)
        if self._originals is None:
            return _ranked(self._index.search(queries, k, params=parameters))
        wide = min(_REFINED_PER_RESULT * k, len(self))
        _, near = self._index.search(queries, wide, params=parameters)
        return self._best(queries, k, [rows[rows >= 0] for rows in near])

    def _parameters(self, allowed: NDArray[np.bool_], k: int) -> Any:
        """How far to walk under a filter."""
        further = len(self) / max(int(np.count_nonzero(allowed)), 1)
        if self.kind == "hnsw":
            beam = int(max(_HNSW_SEARCH_BEAM, 2 * k) * further)
            return faiss.SearchParametersHNSW(sel=_selector(allowed), efSearch=beam)
        return faiss.SearchParametersIVF(sel=_selector(allowed), nprobe=int(_PROBES * further))


def _ranked(found: tuple[Vectors, Rows]) -> tuple[Vectors, Rows]:
    """What FAISS found, with -inf where it found less."""
    scores, rows = found
    scores[rows < 0] = -np.inf
    return scores, rows


def _selector(allowed: NDArray[np.bool_]) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def _check_count(came: int, count: int) -> None:
    if came != count:
        raise ValueError(f"{came} vectors came, not {count}")


def _empty(kind: Kind, dimension: int) -> Any:
    if kind == "flat":
        return faiss.IndexFlatIP(dimension)
    index = faiss.IndexHNSWFlat(dimension, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _HNSW_BUILD_BEAM
    index.hnsw.efSearch = _HNSW_SEARCH_BEAM
    return index


def _lists(originals: Originals) -> Any:
    """IVF-PQ over vectors that are read block by block.

    4 * sqrt(n) lists and 39 to 256 training points a list are FAISS's own guidelines.
    """
    count, dimension = originals.shape
    cells = max(1, min(int(4 * math.sqrt(count)), count // 39))
    pieces = next(size for size in (64, 48, 32, 16, 8, 4, 2, 1) if dimension % size == 0 and size < dimension)
    centres = faiss.IndexHNSWFlat(dimension, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    centres.hnsw.efConstruction, centres.hnsw.efSearch = _HNSW_BUILD_BEAM, _CENTRE_BEAM
    index = faiss.IndexIVFPQ(centres, dimension, cells, pieces, 8, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = _PROBES
    index.cp.niter = index.pq.cp.niter = _TRAINING_ROUNDS
    sample = np.random.default_rng(0).permutation(count)[: max(cells * _TRAINING_PER_CELL, 256 * 39)]
    index.train(originals[np.sort(sample)].astype(np.float32))
    for start in range(0, count, _BLOCK):
        index.add(originals[start : start + _BLOCK].astype(np.float32))
    centres.hnsw.efSearch = 2 * _PROBES
    return index


def _originals_path(path: Path) -> Path:
    return path.with_suffix(".f16")


def _mapped(path: Path, count: int, dimension: int) -> Originals:
    originals: Originals = np.memmap(_originals_path(path), np.float16, "r", shape=(count, dimension))
    return originals
