"""Chunk tables in another order, however large.

Arrow's own `take` and `sort_by` first make one array of each column, and one of strings has room for 2 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_AT_ONCE = 65_536
"""Rows; a chunk is some kilobytes at most."""


def in_order(chunks: pa.Table) -> pa.Table:
    """The chunks by document, and by their place in it."""
    keys = [("uri", "ascending"), ("start", "ascending")]
    ordered = pc.sort_indices(chunks.select(["uri", "start"]), sort_keys=keys)
    return gathered(chunks, np.asarray(ordered).astype(np.int64))


def gathered(chunks: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a table, in the order in which they are given."""
    pieces = chunks.to_batches()
    starts = np.cumsum([0, *(piece.num_rows for piece in pieces)])
    slices = (rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE))
    return pa.concat_tables(
        [chunks.schema.empty_table(), *(_slice(pieces, starts, each, chunks.schema) for each in slices)]
    )


def _slice(
    pieces: list[pa.RecordBatch], starts: NDArray[np.int64], rows: NDArray[np.int64], schema: pa.Schema
) -> pa.Table:
    ascending = np.argsort(rows, kind="stable")
    found = pa.Table.from_batches(_taken(pieces, starts, rows[ascending]), schema)
    return found.take(np.argsort(ascending))


def _taken(
    pieces: list[pa.RecordBatch], starts: NDArray[np.int64], rows: NDArray[np.int64]
) -> Iterator[pa.RecordBatch]:
    """What each piece has of the rows, which ascend."""
    bounds = np.searchsorted(rows, starts)
    for at in np.flatnonzero(np.diff(bounds)):
        yield pieces[at].take(pa.array(rows[bounds[at] : bounds[at + 1]] - starts[at]))
