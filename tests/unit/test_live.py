"""The index that a replica serves: what stands in for a damaged one, and who waits for a newer one."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from indexes.exchange import rollback
from indexes.live import LiveIndex, Refreshes
from indexes.snapshot import Snapshot
from iotops.errors import SnapshotError
from tests.unit.shelves import broken_off, damage, published
from tests.waiting import eventually

PREFIX = "acme/indexes"
HOUR_S = 3600.0
PATIENCE_S = 30


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


def spoil(tmp_path: Path, snapshot_id: str) -> None:
    damage(tmp_path / "lake" / PREFIX / snapshot_id / "vectors.faiss")


def served(live: LiveIndex) -> str:
    snapshot = live.refresh()
    assert snapshot is not None
    return snapshot.manifest.snapshot_id


def test_an_index_that_cannot_be_read_never_becomes_an_empty_shelf(lake: FileSystem, tmp_path: Path) -> None:
    torn = published(lake, PREFIX, tmp_path, "torn")
    spoil(tmp_path, torn.snapshot_id)
    seldom = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=HOUR_S)
    often = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=0.2)
    for live in (seldom, often):
        with pytest.raises(SnapshotError, match=r"index of acme cannot be read: .* is corrupt"):
            live.refresh()
    assert not seldom.due
    eventually(lambda: often.due, pause_s=0.01)  # and what was refused is not downloaded again yet
    for live in (seldom, often):
        with pytest.raises(SnapshotError, match="is corrupt"):
            live.refresh()
        with pytest.raises(SnapshotError, match="is corrupt"):
            live.serving()
        assert live.snapshot is None


def test_a_new_replica_serves_the_one_before_a_damaged_one_until_that_is_whole(
    lake: FileSystem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [published(lake, PREFIX, tmp_path, f"text {n}", minutes=n).snapshot_id for n in range(4)]
    rollback(lake, PREFIX, ids[2])
    spoil(tmp_path, ids[2])
    spoil(tmp_path, ids[1])
    live = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=0)
    assert served(live) == ids[0], "not the newer one, from which it was rolled back"
    assert f"{ids[0]} keeps serving" in caplog.text
    assert served(live) == ids[0]
    shutil.copytree(tmp_path / "build-2", tmp_path / "lake" / PREFIX / ids[2], dirs_exist_ok=True)
    assert served(live) == ids[2]


def test_what_was_not_to_be_had_once_is_asked_for_at_the_next_check(lake: FileSystem, tmp_path: Path) -> None:
    newest = published(lake, PREFIX, tmp_path, "text")
    live = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=0.5)
    (tmp_path / "cache").write_text("no folder, for a moment")
    with pytest.raises(SnapshotError, match="cannot be read"):
        live.refresh()
    (tmp_path / "cache").unlink()
    eventually(lambda: live.due, pause_s=0.01)
    assert served(live) == newest.snapshot_id


def test_downloads_that_were_killed_do_not_stay(lake: FileSystem, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "acme" / published(lake, PREFIX, tmp_path, "text").snapshot_id
    left, under_way = broken_off(folder, 25), broken_off(folder, 1)
    LiveIndex(lake, "acme", tmp_path / "cache").refresh()
    assert not left.exists()
    assert (under_way / "half").exists(), "another replica's download"
    assert folder.exists()


class Slow(LiveIndex):
    """Its lake answers when it is told to."""

    def __init__(self, lake: FileSystem, cache: Path) -> None:
        super().__init__(lake, "acme", cache, check_every_s=0)
        self.asked, self.answers = threading.Event(), threading.Event()

    def refresh(self) -> Snapshot | None:
        self.asked.set()
        self.answers.wait()
        return super().refresh()


def test_only_who_begins_a_refresh_waits_for_it(lake: FileSystem, tmp_path: Path) -> None:
    async def scenario(live: Slow) -> None:
        refreshes = Refreshes(patience_s=HOUR_S)
        live.answers.set()
        first = await refreshes.current(live)
        live.asked.clear()
        live.answers.clear()
        newer = published(lake, PREFIX, tmp_path, "newer", minutes=1)
        begins = asyncio.create_task(refreshes.current(live))
        try:
            assert await asyncio.to_thread(live.asked.wait, PATIENCE_S)
            assert await asyncio.wait_for(refreshes.current(live), PATIENCE_S) is first
            assert not begins.done()
        finally:
            live.answers.set()
        found = await asyncio.wait_for(begins, PATIENCE_S)
        assert found is not None
        assert found.manifest == newer

    published(lake, PREFIX, tmp_path, "older")
    asyncio.run(scenario(Slow(lake, tmp_path / "cache")))


def test_refreshes_do_not_need_the_threads_of_searches(lake: FileSystem, tmp_path: Path) -> None:
    published(lake, PREFIX, tmp_path, "text")
    done = threading.Event()

    async def scenario() -> Snapshot | None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        search = loop.run_in_executor(None, done.wait)
        try:
            live = LiveIndex(lake, "acme", tmp_path / "cache")
            return await asyncio.wait_for(Refreshes().current(live), PATIENCE_S)
        finally:
            done.set()
            await search

    assert asyncio.run(scenario()) is not None


def test_all_wait_for_the_first_index_and_hear_why_it_cannot_be_read(
    lake: FileSystem, tmp_path: Path
) -> None:
    spoil(tmp_path, published(lake, PREFIX, tmp_path, "torn").snapshot_id)

    async def scenario(live: LiveIndex) -> list[Snapshot | BaseException | None]:
        refreshes = Refreshes()
        together = await asyncio.gather(*(refreshes.current(live) for _ in range(3)), return_exceptions=True)
        later = await asyncio.gather(refreshes.current(live), return_exceptions=True)
        return [*together, *later]

    told = asyncio.run(scenario(LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=HOUR_S)))
    assert [type(each) for each in told] == [SnapshotError] * 4


def test_who_goes_away_ends_neither_the_refresh_nor_the_waiting_of_the_others(
    lake: FileSystem, tmp_path: Path
) -> None:
    newest = published(lake, PREFIX, tmp_path, "text")

    async def scenario(live: Slow) -> Snapshot | None:
        refreshes = Refreshes()
        leaves, stays = (asyncio.create_task(refreshes.current(live)) for _ in range(2))
        try:
            assert await asyncio.to_thread(live.asked.wait, PATIENCE_S)
            leaves.cancel()
            await asyncio.wait({leaves})
        finally:
            live.answers.set()
        assert leaves.cancelled()
        return await asyncio.wait_for(stays, PATIENCE_S)

    found = asyncio.run(scenario(Slow(lake, tmp_path / "cache")))
    assert found is not None
    assert found.manifest == newest


def test_of_a_tenant_that_a_replica_forgets_nothing_stays_in_memory(lake: FileSystem, tmp_path: Path) -> None:
    published(lake, PREFIX, tmp_path, "text")

    refreshes = []

    async def scenario() -> list[weakref.ref[LiveIndex] | weakref.ref[Snapshot]]:
        refreshes.append(Refreshes())
        live = LiveIndex(lake, "acme", tmp_path / "cache")  # Serve drops the coldest of too many
        snapshot = await refreshes[0].current(live)
        assert snapshot is not None
        return [weakref.ref(live), weakref.ref(snapshot)]

    def forgotten() -> bool:
        gc.collect()
        return all(each() is None for each in kept)

    kept = asyncio.run(scenario())
    assert eventually(forgotten, timeout_s=PATIENCE_S)
