"""What the watcher of the shelves tells Prefect of, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from iotops.settings import PrefectSettings, Settings
from pipelines.knowledge.additions import Sizes
from pipelines.knowledge.store import add_documents, remove_documents
from pipelines.knowledge.watcher import TELL_AGAIN_S, ShelfWatcher
from tests.listening import listening
from tests.unit.test_shelf import Shelf


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


@pytest.fixture
def shelf(lake: FileSystem, tmp_path: Path) -> Shelf:
    return Shelf(lake, tmp_path)


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


def watcher(
    lake: FileSystem,
    prefect: Prefect,
    indexing: Callable[[str], bool] = lambda owner: False,
    clock: Callable[[], float] = lambda: 0.0,
) -> ShelfWatcher:
    settings = Settings(prefect=PrefectSettings(api_url=f"http://127.0.0.1:{prefect.server_port}"))
    return ShelfWatcher(settings, lake, indexing, clock)


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


def test_what_is_told_and_not_indexed_is_told_again_at_growing_intervals(
    lake: FileSystem, shelf: Shelf, prefect: Prefect
) -> None:
    now = [0.0]
    watch = watcher(lake, prefect, clock=lambda: now[0])
    shelf.add()
    told = []
    for minutes in range(80):
        now[0] = 60.0 * minutes
        watch.look("acme")
        told.append(len(prefect.told))
    assert TELL_AGAIN_S == 600
    assert [minute for minute in range(1, 80) if told[minute] > told[minute - 1]] == [10, 30, 70]
    shelf.add()
    watch.look("acme")
    assert len(prefect.told) == 5, "a change is told at once"
    shelf.build()
    now[0] += 2 * TELL_AGAIN_S
    watch.look("acme")
    assert len(prefect.told) == 5, "it is indexed"


def test_nothing_is_told_while_somebody_builds_the_index(
    lake: FileSystem, shelf: Shelf, prefect: Prefect
) -> None:
    building = {"acme"}
    watch = watcher(lake, prefect, building.__contains__)
    shelf.add()
    watch.look("acme")
    assert prefect.told == []
    building.clear()
    watch.look("acme")
    assert prefect.told == ["acme"]


def test_a_merge_that_broke_off_is_told_of(lake: FileSystem, shelf: Shelf, prefect: Prefect) -> None:
    never = Sizes(whole_below=2, most_outdated=1.0)
    for _ in range(5):
        shelf.add()
    shelf.build(sizes=never)
    remove_documents(lake, "acme", ["1.md"])
    shelf.build(sizes=never)
    watcher(lake, prefect).look("acme")
    assert prefect.told == [], "a fifth of the base is out of date"
    remove_documents(lake, "acme", ["2.md"])
    shelf.build(sizes=never)
    watcher(lake, prefect).look("acme")
    assert prefect.told == ["acme"]
    assert shelf.build(sizes=Sizes(whole_below=2)).published
    watcher(lake, prefect).look("acme")
    assert prefect.told == ["acme"]
