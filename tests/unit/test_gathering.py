"""Rows of chunk tables that are larger than one Arrow array of strings can be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines.knowledge.gathering import gathered, in_order
from tests.unit.shelves import table


def test_chunks_are_sorted_as_arrow_sorts_them() -> None:
    rows = [{"uri": f"lake://acme/{n % 7}.md", "start": -n % 50, "text": f"text {n}"} for n in range(200)]
    chunks = table(*rows)
    pieces = pa.concat_tables([chunks.slice(start, 30) for start in range(0, 200, 30)])
    assert in_order(pieces).equals(chunks.sort_by([("uri", "ascending"), ("start", "ascending")]))
    assert in_order(chunks.slice(0, 0)).equals(chunks.slice(0, 0))


def test_rows_are_gathered_from_more_text_than_one_array_holds() -> None:
    first, last = table({"text": "a"}), table({"text": "b"})
    piece = table({"text": "x" * 2**26})
    chunks = pa.concat_tables([first, *[piece] * 32, last])  # the same memory over and over
    with pytest.raises(pa.ArrowInvalid, match="offset overflow"):
        chunks.take([33, 0])
    assert gathered(chunks, np.array([33, 0, 33]))["text"].to_pylist() == ["b", "a", "b"]
