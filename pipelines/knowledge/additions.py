"""Whether a change of a shelf is added to its index, or the index is made whole again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from indexes.schema import CHUNK_SCHEMA
from indexes.snapshot import Part, Snapshot

WHOLE_BELOW = 10_000
"""Chunks: a smaller index is made anew within seconds."""
MOST_ADDED = 10_000
MOST_OUTDATED = 0.2
"""Of the base's chunks; those that do not count are walked past by every search."""


@dataclass(frozen=True)
class Addition:
    """A snapshot to write: the chunks that it keeps, besides the fresh ones, and what it adds to."""

    kept: pa.Table
    base: Snapshot | None = None
    outdated: tuple[str, ...] = ()
    unchanged: pa.Table | None = None
    """Every chunk that has not changed: what a whole snapshot keeps."""

    def merged(self, added: int) -> Addition | None:
        """The whole snapshot that is to follow one of `added` chunks; None where that is good as it is."""
        if self.base is None or self.unchanged is None:
            return None
        rows = self.base.manifest.rows
        outdated = rows - Part(self.base, self.outdated).chunks.num_rows
        if added <= MOST_ADDED and outdated <= MOST_OUTDATED * rows:
            return None
        return Addition(self.unchanged)


def planned(before: Snapshot | None, unchanged: Sequence[str]) -> Addition:
    """How to index a shelf of which the documents with the `unchanged` URIs are as `before` has them.

    What changes in a large index is added to it first, so that it is found soon.
    """
    if before is None:
        return Addition(CHUNK_SCHEMA.empty_table())
    same = pa.array(unchanged, pa.string())
    everything = _of(before.searched, same)
    if before.whole.manifest.rows < WHOLE_BELOW:
        return Addition(everything)
    in_base = set(before.whole.chunks["uri"].unique().to_pylist())
    current = in_base & set(unchanged) - set(before.manifest.outdated)
    added = _of(before.chunks, same) if before.base else CHUNK_SCHEMA.empty_table()
    return Addition(added, before.whole, tuple(sorted(in_base - current)), everything)


def _of(chunks: pa.Table, uris: pa.Array) -> pa.Table:
    return chunks.filter(pc.is_in(chunks["uri"], value_set=uris))
