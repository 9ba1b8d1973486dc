"""Batch embedding on Ray Data: Arrow tables through actors that hold the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from indexes.schema import passage
from indexes.vector import Vectors

_BATCH_CHUNKS = 128


class Encoder(Protocol):
    """What embeds: `indexes.encoder.SentenceEncoder`, or anything that behaves like it."""

    def encode(self, texts: list[str]) -> Vectors:
        """Unit vectors (n, d), float32."""
        ...


EncoderSource = Callable[[], Encoder]
"""Makes the encoder, once in each actor; must be picklable."""


class EmbedChunks:
    """Ray Data stage: chunks in, their content hash and vector out."""

    def __init__(self, make_encoder: EncoderSource) -> None:
        self._encoder = make_encoder()

    def __call__(self, chunks: pa.Table) -> pa.Table:
        """Embed one batch; the vector column is a fixed-size list of float32."""
        columns = (chunks.column(name).to_pylist() for name in ("title", "section", "text"))
        vectors = self._encoder.encode([passage(*parts) for parts in zip(*columns, strict=True)])
        return vector_table(chunks.column("content_hash"), vectors)


def embed_chunks(
    chunks: pa.Table,
    make_encoder: EncoderSource,
    *,
    dimension: int,
    actors: int = 1,
    cpus_per_actor: float = 1,
) -> pa.Table:
    """Vectors of chunks (`CHUNK_SCHEMA`) as a table of content_hash and vector, one row per distinct hash.

    The order of rows is not that of the chunks, which Ray Data does not promise: join by the hash.
    """
    first = pc.index_in(chunks.column("content_hash").unique(), value_set=chunks.column("content_hash"))
    wanted = chunks.take(first).select(["title", "section", "text", "content_hash"])
    if wanted.num_rows == 0:
        return vector_table(pa.array([], pa.string()), np.empty((0, dimension), np.float32))
    embedded = ray.data.from_arrow(wanted).repartition(
        max(1, min(4 * actors, wanted.num_rows // _BATCH_CHUNKS))
    )
    embedded = embedded.map_batches(
        EmbedChunks,
        fn_constructor_args=(make_encoder,),
        batch_size=_BATCH_CHUNKS,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=cpus_per_actor,
    )
    tables = [ray.get(reference) for reference in embedded.to_arrow_refs()]
    return pa.concat_tables(table for table in tables if table.num_rows)


def vector_table(hashes: pa.Array, vectors: Vectors) -> pa.Table:
    """Content hashes and their vectors (n, d) as one table."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    return pa.table({"content_hash": hashes, "vector": lists})


def vectors_of(chunks: pa.Table, embedded: pa.Table) -> Vectors:
    """The vector of each chunk (n, d), looked up by content hash; raises `KeyError` where one is missing."""
    rows = pc.index_in(chunks.column("content_hash"), value_set=embedded.column("content_hash"))
    if rows.null_count:
        raise KeyError(f"{rows.null_count} chunks were not embedded")
    column = embedded.column("vector").combine_chunks()
    stored = np.asarray(column.flatten(), np.float32).reshape(-1, column.type.list_size)
    vectors: Vectors = stored[np.asarray(rows, np.int64)]
    return vectors
