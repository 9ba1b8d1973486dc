"""The current snapshot of one shelf, kept up to date on local disk while it serves."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

from pyarrow.fs import FileSystem

from indexes.exchange import current, fetch, prune_cache, snapshots
from indexes.schema import shelf_prefix
from indexes.snapshot import Snapshot
from iotops.errors import SnapshotError

logger = logging.getLogger(__name__)

SWAP_PATIENCE_S = 0.25
"""A request waits this long for a newer snapshot: a small one arrives in time, a large one later."""
_RETRY_FACTOR = 10
_REFRESHES_AT_ONCE = 8


class LiveIndex:
    """A shelf's snapshot: None until one is published, then always the newest whole one.

    `refresh` replaces `snapshot` by assignment; who searches the old one keeps it until done. Thread-safe.
    """

    def __init__(self, filesystem: FileSystem, owner: str, cache: Path, check_every_s: float = 3.0) -> None:
        """`owner` is a tenant's id or `shared`; `cache` is a folder that replicas of one node may share."""
        self._filesystem = filesystem
        self._prefix = shelf_prefix(owner, "indexes")
        self._cache = cache / owner
        self._check_every_s = check_every_s
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._refused: str | None = None
        self._retry_at = float("-inf")
        self._failure: Exception | None = None
        self.owner = owner
        self.snapshot: Snapshot | None = None

    @property
    def due(self) -> bool:
        """Whether the lake was last asked longer ago than the interval."""
        return time.monotonic() - self._checked_at >= self._check_every_s

    def serving(self) -> Snapshot | None:
        """`snapshot`; with none, raises `SnapshotError` where one was published: that is no empty shelf."""
        if self.snapshot is None and self._failure is not None:
            raise SnapshotError(
                f"the index of {self.owner} cannot be read: {self._failure}"
            ) from self._failure
        return self.snapshot

    def refresh(self) -> Snapshot | None:
        """Ask the lake what is current and swap to it; blocks for as long as a download takes.

        A snapshot that is torn or corrupt, or a lake that cannot be reached, leaves the old one serving and
        is logged. With none yet, the newest that was made before the damaged one and can be read is served
        instead; where there is none either the error is raised, as `serving` has it.
        """
        with self._lock:
            if self.due:
                try:
                    self._swap(current(self._filesystem, self._prefix))
                except Exception as error:
                    self._failure = error
                    if self.snapshot is not None:
                        kept = self.snapshot.manifest.snapshot_id
                        logger.exception("index of %s not updated, %s keeps serving", self.owner, kept)
                finally:
                    self._checked_at = time.monotonic()
            return self.serving()

    def _swap(self, snapshot_id: str | None) -> None:
        if snapshot_id is None:
            self.snapshot = None
        elif self.snapshot is None or self.snapshot.manifest.snapshot_id != snapshot_id:
            if snapshot_id == self._refused and time.monotonic() < self._retry_at:
                return  # a damaged snapshot is not downloaded again at every check
            try:
                self._load(snapshot_id)
            except SnapshotError:
                self._refused = snapshot_id
                self._retry_at = time.monotonic() + _RETRY_FACTOR * self._check_every_s
                if self.snapshot is None:
                    self._load_before(snapshot_id)
                raise
            self._refused = None
        self._failure = None

    def _load(self, snapshot_id: str) -> None:
        folder = fetch(self._filesystem, self._prefix, snapshot_id, self._cache, self.snapshot)
        self.snapshot = Snapshot.load(folder, self.snapshot)
        prune_cache(self._cache, {snapshot_id})
        logger.info("index of %s is now %s", self.owner, snapshot_id)

    def _load_before(self, damaged: str) -> None:
        """Load the newest snapshot that is older than a damaged one and whole, where there is any."""
        for snapshot_id in reversed(snapshots(self._filesystem, self._prefix)):
            if snapshot_id < damaged:  # ids begin with the time of making
                with suppress(SnapshotError):
                    self._load(snapshot_id)
                    return


class Refreshes:
    """Refreshes of live indexes on threads of their own, so that a lake that is slow holds up no search.

    Belongs to one event loop.
    """

    def __init__(self, patience_s: float = SWAP_PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._threads = ThreadPoolExecutor(_REFRESHES_AT_ONCE, thread_name_prefix="refresh")
        self._running: WeakKeyDictionary[LiveIndex, asyncio.Future[Snapshot | None]] = WeakKeyDictionary()

    async def current(self, live: LiveIndex) -> Snapshot | None:
        """What an index serves, refreshed where that is due; raises as `LiveIndex.refresh` does.

        Where there is none yet, all wait for it. Else only who begins a refresh waits, no longer than the
        patience: the others would wait in vain throughout a long download or an outage.
        """
        if live.due:
            running = self._running.get(live)
            if begins := running is None or running.done():
                running = asyncio.get_running_loop().run_in_executor(self._threads, live.refresh)
                self._running[live] = running
            if live.snapshot is None:
                return await asyncio.shield(running)
            if begins:
                await asyncio.wait({running}, timeout=self._patience_s)
        return live.serving()
