"""A shelf and its index: what a rollback holds, what a rebuild keeps, and what builds leave for the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from indexes.exchange import current, rollback
from indexes.precedents import Precedents
from indexes.snapshot import MANIFEST, PRECEDENTS, EmbedderId, Fusion, Snapshot
from iotops.errors import SnapshotError
from pipelines.knowledge.additions import Sizes
from pipelines.knowledge.build import BuildReport, EmbeddingModel, build_index, calibrate, source_hash_of
from pipelines.knowledge.changes import read_shelf
from pipelines.knowledge.documents import Document
from pipelines.knowledge.extracted import DocumentUnread
from pipelines.knowledge.store import add_documents, list_documents, remove_documents, state_of
from tests.unit.shelves import DIMENSION, EMBEDDER, hashed


class HashedWords:
    """Stands in for the neural encoder."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return hashed(texts)


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


def model(embedder: EmbedderId = EMBEDDER) -> EmbeddingModel:
    return EmbeddingModel(embedder, HashedWords, lambda texts: [len(text.split()) for text in texts], 128)


class Shelf:
    """The shelf of acme, with a document more for each that is added."""

    def __init__(self, lake: FileSystem, folder: Path) -> None:
        self._lake, self._folder = lake, folder
        self._documents = 0

    def add(self) -> None:
        self._documents += 1
        file = self._folder / f"{self._documents}.md"
        file.write_text(f"# Page {self._documents}\n\nThe valve.")
        add_documents(self._lake, "acme", [file])

    def build(self, *, embedder: EmbedderId = EMBEDDER, **given: Any) -> BuildReport:
        return build_index(self._lake, "acme", model(embedder), self._folder / "cache", **given)

    def roll_back(self, built: BuildReport) -> None:
        assert built.manifest is not None
        state = state_of(list_documents(self._lake, "acme"))
        rollback(self._lake, "acme/indexes", built.manifest.snapshot_id, state)


@pytest.fixture
def shelf(lake: FileSystem, tmp_path: Path) -> Shelf:
    return Shelf(lake, tmp_path)


def documents(report: BuildReport) -> int:
    assert report.manifest is not None
    return report.manifest.documents


def test_a_rollback_serves_until_a_document_changes(lake: FileSystem, shelf: Shelf, tmp_path: Path) -> None:
    shelf.add()
    first = shelf.build()
    shelf.add()
    shelf.build()
    shelf.roll_back(first)
    held = shelf.build()
    assert (held.published, held.manifest) == (False, first.manifest)
    calibrate(lake, "acme", tmp_path / "cache", reranker_weight=0.5)
    assert documents(shelf.build()) == 1, "new weights do not end it"
    shelf.add()
    changed = shelf.build()
    assert (changed.published, documents(changed)) == (True, 3)

    shelf.roll_back(changed)
    assert shelf.build(force=True).published
    shelf.roll_back(changed)
    other = EmbedderId(name="other", checksum="1", dimension=DIMENSION)
    assert shelf.build(embedder=other).published, "its vectors can be compared with no question's"


def test_a_damaged_index_is_rebuilt_with_its_weights(lake: FileSystem, shelf: Shelf, tmp_path: Path) -> None:
    shelf.add()
    shelf.build()
    fusion, reranker = Fusion(vector=0.9, bm25=0.1), "0" * 64
    made = calibrate(lake, "acme", tmp_path / "cache", reranker_weight=0.7, reranker=reranker, fusion=fusion)
    snapshot = tmp_path / "lake" / "acme" / "indexes" / made.snapshot_id
    (snapshot / "vectors.faiss").unlink()
    (tmp_path / "cache").rename(tmp_path / "another-cache")
    rebuilt = shelf.build().manifest
    assert rebuilt is not None
    assert rebuilt.snapshot_id != made.snapshot_id
    assert (rebuilt.reranker_weight, rebuilt.reranker, rebuilt.fusion) == (0.7, reranker, fusion)


def test_precedents_stay_through_new_weights_and_builds_and_end_with_the_model(
    lake: FileSystem, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.add()
    shelf.build()
    known = Precedents(["why"], ["lake://acme/1.md"], hashed(["why"]))
    calibrate(lake, "acme", tmp_path / "cache", fusion=Fusion(precedent=0.8), precedents=known)
    made = calibrate(lake, "acme", tmp_path / "cache", reranker_weight=0.7)
    shelf.add()
    built = shelf.build().manifest
    assert built is not None
    assert Snapshot.load(tmp_path / "lake" / "acme" / "indexes" / built.snapshot_id).precedents.same(known)
    other = shelf.build(embedder=EmbedderId(name="other", checksum="1", dimension=DIMENSION)).manifest
    assert other is not None
    assert (built.fusion, other.fusion) == (made.fusion, made.fusion)
    assert PRECEDENTS not in other.files, "its vectors can be compared with no question's"


def test_an_index_that_does_not_say_its_weights_is_rebuilt(
    lake: FileSystem, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.add()
    made = shelf.build().manifest
    assert made is not None
    (tmp_path / "lake" / "acme" / "indexes" / made.snapshot_id / MANIFEST).write_text("{}")
    report = shelf.build()
    assert report.published
    assert report.manifest is not None
    assert report.manifest.snapshot_id == current(lake, "acme/indexes")


LARGE = Sizes(whole_below=2, most_added=1)


@pytest.mark.parametrize("sizes", [Sizes(), LARGE], ids=["small", "large"])
def test_new_weights_under_the_name_of_the_old_embed_everything_anew(shelf: Shelf, sizes: Sizes) -> None:
    for _ in range(3):
        shelf.add()
    shelf.build(sizes=sizes)
    shelf.add()
    renewed = EMBEDDER.model_copy(update={"checksum": "1" * 64})
    report = shelf.build(embedder=renewed, sizes=sizes)
    assert report.manifest is not None
    assert (report.embedded, report.manifest.embedder, report.manifest.base) == (4, renewed, "")


@dataclass(frozen=True)
class Meanwhile(Sizes):
    """Has something done while a merge is being planned."""

    done: Callable[[], object] = lambda: None

    def too_many(self, added: int, outdated: int, base: int) -> bool:
        self.done()
        return super().too_many(added, outdated, base)


def test_a_merge_does_not_overwrite_what_was_published_meanwhile(
    lake: FileSystem, shelf: Shelf, tmp_path: Path
) -> None:
    for _ in range(3):
        shelf.add()
    shelf.build(sizes=LARGE)
    shelf.add()
    shelf.add()
    cache = tmp_path / "another-cache"
    meanwhile = Meanwhile(2, 1, done=lambda: calibrate(lake, "acme", cache, reranker_weight=0.7))
    with pytest.raises(SnapshotError, match="repeat"):
        shelf.build(sizes=meanwhile)
    merged = shelf.build(sizes=LARGE).manifest
    assert merged is not None
    assert (merged.base, merged.reranker_weight, merged.chunks) == ("", 0.7, 5)


def test_a_merge_that_broke_off_is_done_by_the_next_build(shelf: Shelf) -> None:
    for _ in range(3):
        shelf.add()
    shelf.build(sizes=LARGE)
    shelf.add()
    shelf.add()

    def stop(message: str) -> None:
        if message == "indexing 5 chunks":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shelf.build(sizes=LARGE, on_progress=stop)
    merged = shelf.build(sizes=LARGE)
    assert merged.manifest is not None
    assert (merged.published, merged.embedded, merged.manifest.base, merged.manifest.chunks) == (
        True,
        0,
        "",
        5,
    )
    assert not shelf.build(sizes=LARGE).published


def test_a_damaged_index_of_an_emptied_shelf_is_replaced_by_an_empty_one(
    lake: FileSystem, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.add()
    made = shelf.build().manifest
    assert made is not None
    (tmp_path / "lake" / "acme" / "indexes" / made.snapshot_id / "vectors.faiss").unlink()
    remove_documents(lake, "acme", ["1.md"])
    emptied = shelf.build().manifest
    assert emptied is not None
    assert (emptied.chunks, emptied.snapshot_id) == (0, current(lake, "acme/indexes"))


def unread(owner: str, relative: str, content: bytes, described: bytes) -> Document:
    raise DocumentUnread(f"{relative}: needs too much memory")


def test_a_document_that_can_be_read_at_last_is_a_change(lake: FileSystem, shelf: Shelf) -> None:
    shelf.add()
    first, again = read_shelf(lake, "acme", read=unread), read_shelf(lake, "acme", read=unread)
    read = read_shelf(lake, "acme")
    assert first.table["checksum"] == read.table["checksum"]
    assert source_hash_of(first.table, model()) == source_hash_of(again.table, model())
    assert source_hash_of(first.table, model()) != source_hash_of(read.table, model())


def test_an_index_says_why_all_documents_of_its_shelf_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    assert shelf.build().manifest is None, "an empty shelf has none"
    (tmp_path / "lake" / "acme" / "documents").mkdir(parents=True)
    (tmp_path / "lake" / "acme" / "documents" / "bad.md").write_bytes(b"\xff")
    assert shelf.build().published
    assert not shelf.build().published
