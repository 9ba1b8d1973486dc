"""The chunks of a document that a citation names, out of an index that was added to."""

from __future__ import annotations

import pyarrow as pa
import pytest

from indexes.snapshot import Snapshot, write_snapshot
from ray_apps.retriever import chunks_of
from tests.unit.shelves import EMBEDDER, loaded, table, vectors

CHANGED, GONE, KEPT = (f"lake://acme/documents/{name}.md" for name in ("changed", "gone", "kept"))
FILLER = [{"text": f"{number} " + "filler " * 200} for number in range(2000)]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A large base, and an addition that changes one of its documents and removes another."""
    folder = tmp_path_factory.mktemp("index")
    old = [
        {"text": "second half", "uri": KEPT, "start": 11},
        {"text": "first half", "uri": KEPT, "start": 0},
        {"text": "what was", "uri": CHANGED},
        {"text": "no more", "uri": GONE},
    ]
    old[0]["end"], old[1]["end"] = 22, 11
    base = loaded(folder / "base", table(*old, *FILLER))
    new = table({"text": "what is", "uri": CHANGED})
    write_snapshot(
        new, vectors(new), folder / "new", embedder=EMBEDDER, chunker="x", base=base, outdated=[CHANGED, GONE]
    )
    return Snapshot.load(folder / "new", base)


def texts(snapshot: Snapshot, uri: str, at: int | None = None) -> list[str]:
    return [chunk["text"] for chunk in chunks_of(snapshot, uri, at)]


def test_a_document_is_read_in_its_order_and_where_it_holds_a_character(snapshot: Snapshot) -> None:
    assert texts(snapshot, KEPT) == ["first half", "second half"]
    assert texts(snapshot, KEPT, 10) == ["first half"]
    assert texts(snapshot, KEPT, 11) == ["second half"]
    assert texts(snapshot, KEPT, 22) == []


def test_what_is_out_of_date_is_not_read(snapshot: Snapshot) -> None:
    assert texts(snapshot, CHANGED) == ["what is"]
    assert texts(snapshot, GONE) == []


def test_one_document_is_read_without_a_copy_of_all(snapshot: Snapshot) -> None:
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert texts(snapshot, KEPT, 0) == ["first half"]
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < snapshot.whole.chunks.nbytes / 20
