"""Vectors that need not be computed again: those of the index before, and of a build that broke off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from indexes.snapshot import EmbedderId, Snapshot
from indexes.vector import Vectors
from iotops.lake import get, objects, put
from pipelines.knowledge.embedding import vector_table, vectors_of


class EmbeddedParts:
    """Vectors of a shelf's build that is under way, in the lake: one that broke off goes on where it was.

    Each part is a Parquet object of `embedding.vector_table`; those of another model are left alone.
    """

    def __init__(self, filesystem: FileSystem, prefix: str, model: EmbedderId, part_chunks: int) -> None:
        self._filesystem, self._part_chunks = filesystem, part_chunks
        name = hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:16]
        self._all, self._folder = f"{prefix}/embedding", f"{prefix}/embedding/{name}"
        self._waiting: list[pa.Table] = []

    def read(self) -> Iterator[pa.Table]:
        """What earlier builds left."""
        for path in objects(self._filesystem, self._folder):
            yield pq.read_table(pa.BufferReader(get(self._filesystem, path)))

    def keep(self, vectors: pa.Table) -> None:
        """Keep vectors, once there are enough for a part."""
        self._waiting.append(vectors)
        if sum(map(len, self._waiting)) >= self._part_chunks:
            part, self._waiting = pa.concat_tables(self._waiting), []
            sink = pa.BufferOutputStream()
            pq.write_table(part, sink, compression="zstd")
            self._filesystem.create_dir(self._folder, recursive=True)
            name = hashlib.sha256("".join(part["content_hash"].to_pylist()).encode()).hexdigest()[:32]
            put(self._filesystem, f"{self._folder}/{name}.parquet", sink.getvalue().to_pybytes())

    def clear(self) -> None:
        """Forget all parts, of other models too: the vectors are in a snapshot now."""
        for path in list(objects(self._filesystem, self._all)):
            self._filesystem.delete_file(path)


class KnownVectors:
    """Vectors by content hash; those of the index before are read from it when they are asked for."""

    def __init__(self, before: Snapshot | None, model: EmbedderId, parts: EmbeddedParts) -> None:
        comparable = before is not None and before.manifest.embedder == model
        self._indexed = [part.snapshot for part in before.parts] if before and comparable else []
        none = np.empty((0, model.dimension), np.float32)
        self._tables = [vector_table(pa.array([], pa.string()), none), *parts.read()]

    def missing(self, chunks: pa.Table) -> pa.Table:
        """The chunks (`CHUNK_SCHEMA`) that have no vector yet."""
        for known in (*self._tables, *(snapshot.chunks for snapshot in self._indexed)):
            has = pc.is_in(chunks["content_hash"], value_set=known["content_hash"])
            chunks = chunks.filter(pc.invert(has))
        return chunks

    def add(self, vectors: pa.Table) -> None:
        """Know these too: `vector_table`."""
        self._tables.append(vectors)

    def of(self, chunks: pa.Table) -> Vectors:
        """The vector of each chunk (n, d); raises `KeyError` where one is missing."""
        tables = list(self._tables)
        for snapshot in self._indexed:
            hashes = snapshot.chunks["content_hash"]
            rows = np.flatnonzero(np.asarray(pc.is_in(hashes, value_set=chunks["content_hash"])))
            if len(rows):
                wanted = hashes.take(pa.array(rows)).combine_chunks()
                tables.append(vector_table(wanted, snapshot.vectors.reconstruct(rows)))
        return vectors_of(chunks, pa.concat_tables(tables))
