"""A shelf and its index: what a rollback holds, what a rebuild keeps, and what the watcher tells of."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import orjson
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from indexes.exchange import current, rollback
from indexes.precedents import Precedents
from indexes.snapshot import MANIFEST, PRECEDENTS, EmbedderId, Fusion, Snapshot
from iotops.settings import PrefectSettings, Settings
from pipelines.knowledge.build import BuildReport, EmbeddingModel, build_index, calibrate
from pipelines.knowledge.store import add_documents, list_documents, state_of
from pipelines.knowledge.watcher import ShelfWatcher
from tests.listening import listening
from tests.unit.shelves import DIMENSION, EMBEDDER, hashed


class HashedWords:
    """Stands in for the neural encoder."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return hashed(texts)


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


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

    def build(self, *, force: bool = False, embedder: EmbedderId = EMBEDDER) -> BuildReport:
        model = EmbeddingModel(
            embedder, HashedWords, lambda texts: [len(text.split()) for text in texts], 128
        )
        return build_index(self._lake, "acme", model, self._folder / "cache", force=force)

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


class Prefect(ThreadingHTTPServer):
    """Keeps the tenants that events name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Events)
        self.told: list[str] = []


class Events(BaseHTTPRequestHandler):
    """Takes events as Prefect does."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Prefect)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told += [event["payload"]["tenant"] for event in orjson.loads(body)]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: pytest shows the events where they matter."""


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    server = Prefect()
    with listening(server):
        yield server


def watcher(lake: FileSystem, prefect: Prefect) -> ShelfWatcher:
    settings = Settings(prefect=PrefectSettings(api_url=f"http://127.0.0.1:{prefect.server_port}"))
    return ShelfWatcher(settings, lake)


def test_no_state_of_a_shelf_stops_the_watch_of_the_others(
    lake: FileSystem, prefect: Prefect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.md").write_text("# A")
    for owner in ("acme", "globex", "shared"):
        add_documents(lake, owner, [tmp_path / "a.md"])
    (tmp_path / "lake" / "acme" / "indexes").mkdir()
    (tmp_path / "lake" / "acme" / "indexes" / "current.json").write_text("{}")
    (tmp_path / "lake" / "globex" / "indexes" / "current.json").mkdir(parents=True)  # no file at all
    watch = watcher(lake, prefect)
    watch.look_at(["acme", "globex", "shared"])
    watch.look_at(["acme", "globex", "shared"])
    assert sorted(prefect.told) == ["acme", "shared"], "an unreadable index is one to build anew"
    assert "the shelf of globex" in caplog.text


def test_a_shelf_is_not_told_of_until_a_document_changes_after_a_rollback(
    lake: FileSystem, shelf: Shelf, prefect: Prefect
) -> None:
    shelf.add()
    first = shelf.build()
    shelf.add()
    shelf.build()
    shelf.roll_back(first)
    watcher(lake, prefect).look("acme")
    assert prefect.told == []
    shelf.add()
    watcher(lake, prefect).look("acme")
    assert prefect.told == ["acme"]
