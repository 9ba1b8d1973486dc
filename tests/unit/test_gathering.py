"""Rows of chunk tables that are larger than one Arrow array of strings can be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines.knowledge.embedding import embed_chunks
from pipelines.knowledge.gathering import gathered, in_order
from tests.unit.shelves import table
from tests.unit.test_shelf import HashedWords


def test_chunks_are_sorted_as_arrow_sorts_them() -> None:
    rows = [{"uri": f"lake://acme/{n % 7}.md", "start": -n % 50, "text": f"text {n}"} for n in range(200)]
    chunks = table(*rows)
    pieces = pa.concat_tables([chunks.slice(start, 30) for start in range(0, 200, 30)])
    assert in_order(pieces).equals(chunks.sort_by([("uri", "ascending"), ("start", "ascending")]))
    assert in_order(chunks.slice(0, 0)).equals(chunks.slice(0, 0))


@pytest.fixture(scope="module")
def large() -> pa.Table:
    """Over 2 GiB of text, the same memory over and over."""
    piece = table({"text": "x" * 2**26})
    return pa.concat_tables([table({"text": "a"}), *[piece] * 32, table({"text": "b"})])


def test_rows_are_gathered_from_more_text_than_one_array_holds(large: pa.Table) -> None:
    with pytest.raises(pa.ArrowInvalid, match="offset overflow"):
        large.take([33, 0])
    assert gathered(large, np.array([33, 0, 33]))["text"].to_pylist() == ["b", "a", "b"]


def test_more_text_than_one_array_holds_is_embedded(large: pa.Table) -> None:
    vectors = pa.concat_tables(embed_chunks(large, HashedWords))
    assert set(vectors["content_hash"].to_pylist()) == set(large["content_hash"].to_pylist())
    assert vectors.num_rows == 3
