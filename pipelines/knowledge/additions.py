"""Whether a change of a shelf is added to its index, or the index is made whole again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from indexes.schema import CHUNK_SCHEMA
from indexes.snapshot import Manifest, Part, Snapshot


@dataclass(frozen=True)
class Sizes:
    """From where on an index is handled as a large one, in chunks."""

    whole_below: int = 10_000
    """A smaller index is made anew within seconds."""
    most_added: int = 10_000
    most_outdated: float = 0.2
    """Of the base's chunks; those that do not count are walked past by every search."""
    part: int = 1024
    """A build that is killed embeds at most so many again."""

    def too_many(self, added: int, outdated: int, base: int) -> bool:
        """Whether what was added to a base of so many chunks, of which some are outdated, is to be merged."""
        return added > self.most_added or outdated > self.most_outdated * base


@dataclass(frozen=True)
class Addition:
    """A snapshot to write: the chunks that it keeps, besides the fresh ones, and what it adds to."""

    kept: pa.Table
    base: Snapshot | None = None
    outdated: tuple[str, ...] = ()
    unchanged: pa.Table | None = None
    """Every chunk that has not changed: what a whole snapshot keeps."""

    def merged(self, added: int, sizes: Sizes) -> Addition | None:
        """The whole snapshot that is to follow one of `added` chunks; None where that is good as it is."""
        if self.base is None or self.unchanged is None:
            return None
        rows = self.base.manifest.rows
        outdated = rows - Part(self.base, self.outdated).chunks.num_rows
        return Addition(self.unchanged) if sizes.too_many(added, outdated, rows) else None


def merge_is_due(manifest: Manifest, base: Manifest | None, sizes: Sizes = Sizes()) -> bool:
    """Whether a snapshot is still to be merged with its base, since the build that was to do it broke off."""
    if base is None:
        return False
    outdated = base.rows - (manifest.chunks - manifest.rows)
    return sizes.too_many(manifest.rows, outdated, base.rows)


def planned(before: Snapshot | None, unchanged: Sequence[str], sizes: Sizes) -> Addition:
    """How to index a shelf of which the documents with the `unchanged` URIs are as `before` has them.

    What changes in a large index is added to it first, so that it is found soon.
    """
    if before is None:
        return Addition(CHUNK_SCHEMA.empty_table())
    same = pa.array(unchanged, pa.string())
    everything = _of(before.searched, same)
    if before.whole.manifest.rows < sizes.whole_below:
        return Addition(everything)
    in_base = set(before.whole.chunks["uri"].unique().to_pylist())
    current = in_base & set(unchanged) - set(before.manifest.outdated)
    added = _of(before.chunks, same) if before.base else CHUNK_SCHEMA.empty_table()
    return Addition(added, before.whole, tuple(sorted(in_base - current)), everything)


def _of(chunks: pa.Table, uris: pa.Array) -> pa.Table:
    return chunks.filter(pc.is_in(chunks["uri"], value_set=uris))
