"""Batch embedding on Ray Data: Arrow tables through actors that hold the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from indexes.schema import passage
from indexes.vector import Vectors
from pipelines.knowledge.gathering import gathered
from pipelines.ray_data import model_actor

_BATCH_CHUNKS = 128
_EMBEDDED_HERE = 256
"""So few are embedded sooner than an actor starts."""
_LEAST_BATCHES_PER_ACTOR = 4
"""For fewer an actor takes longer to load the model than it saves."""


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


def embed_chunks(chunks: pa.Table, make_encoder: EncoderSource) -> Iterator[pa.Table]:
    """Vectors of chunks (`CHUNK_SCHEMA`), one for each content hash, a batch at a time, as `vector_table`.

    The order of rows is not that of the chunks: join by the hash. A batch has texts of about one length, for
    each is padded to its longest. As many actors work as the cluster has room for, on GPUs where any is free;
    a few chunks are embedded in this process.
    """
    hashes = chunks.column("content_hash")
    first = np.asarray(pc.index_in(hashes.unique(), value_set=hashes), np.int64)
    if len(first) == 0:
        return
    lengths = np.asarray(pc.utf8_length(chunks.column("text")))[first]
    longest_first = first[np.argsort(-lengths, kind="stable")]
    wanted = gathered(chunks.select(["title", "section", "text", "content_hash"]), longest_first)
    starts = range(0, wanted.num_rows, _BATCH_CHUNKS)
    batches = [wanted.slice(start, _BATCH_CHUNKS).combine_chunks() for start in starts]
    if wanted.num_rows <= _EMBEDDED_HERE:
        yield from map(EmbedChunks(make_encoder), batches)
        return
    cores = int(ray.cluster_resources().get("CPU", 1))
    most = max(1, min(cores, len(batches) // _LEAST_BATCHES_PER_ACTOR))
    embedded = ray.data.from_arrow(batches).map_batches(
        EmbedChunks,
        fn_constructor_args=(make_encoder,),
        batch_size=_BATCH_CHUNKS,  # Ray Data wants it said where a GPU is asked for
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
        **model_actor(),
    )
    yield from embedded.iter_batches(batch_size=None, batch_format="pyarrow")


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
