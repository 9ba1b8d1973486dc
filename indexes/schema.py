"""What a chunk is: the Arrow schema of `chunks.parquet`, and the text of a chunk as the models read it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from iotops.tenancy import SHARED_PREFIX, Tenant

CHUNK_SCHEMA = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("section", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("doc_type", pa.string(), nullable=False),
        pa.field("models", pa.list_(pa.string()), nullable=False),
        pa.field("firmware", pa.list_(pa.string()), nullable=False),
        pa.field("error_codes", pa.list_(pa.string()), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("updated", pa.timestamp("us", tz="UTC")),
        pa.field("language", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
    ]
)
"""`start` and `end` count characters of the document's text in Markdown: `source[start:end] == text`.
`content_hash` is of the text that was embedded, so that an unchanged chunk keeps its vector."""

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
        pa.field("seen", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("checksum", pa.string(), nullable=False),
        pa.field("refused", pa.string()),
        pa.field("tried", pa.timestamp("us", tz="UTC")),
    ]
)
"""The files of a shelf as an index was made of them: size and time of change as the store listed them when
they were `seen`, the sha256 of what was read, why one was refused (null for those that are indexed), and when
reading one took too much time or memory, which may go better another time (null for all others)."""


def passage(title: str, section: str, text: str) -> str:
    """A chunk as the embedder and the reranker read it: where it stands, then what it says."""
    place = " > ".join(part for part in (title, section) if part)
    return f"{place}\n\n{text}" if place else text


def shelf_prefix(owner: str, area: str) -> str:
    """Lake prefix of an area of a tenant, or of the shelf that all tenants share (`shared`)."""
    return f"{SHARED_PREFIX}/{area}" if owner == SHARED_PREFIX else Tenant(owner).prefix(area)


def rows_of(chunks: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a chunk table, given in ascending order.

    Arrow's `take` first makes one array of each column that was read in pieces: 170 ms for a million chunks.
    """
    pieces = chunks.to_batches()
    starts = np.cumsum([0, *(piece.num_rows for piece in pieces)])
    bounds = np.searchsorted(rows, starts)
    taken = [
        piece.take(pa.array(rows[first:last] - start))
        for piece, start, first, last in zip(pieces, starts, bounds, bounds[1:], strict=False)
        if first < last
    ]
    return pa.Table.from_batches(taken, chunks.schema)
