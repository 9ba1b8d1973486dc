"""The current snapshot of one shelf, kept up to date on local disk while it serves."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from pyarrow.fs import FileSystem

from indexes.exchange import current, fetch, prune_cache
from indexes.schema import shelf_prefix
from indexes.snapshot import Snapshot

logger = logging.getLogger(__name__)

_RETRY_FACTOR = 10


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
        self.owner = owner
        self.snapshot: Snapshot | None = None

    @property
    def due(self) -> bool:
        """Whether the lake was last asked longer ago than the interval."""
        return time.monotonic() - self._checked_at >= self._check_every_s

    def refresh(self) -> Snapshot | None:
        """Ask the lake what is current and swap to it; blocks for as long as a download takes.

        A snapshot that is torn or corrupt, or a lake that cannot be reached, leaves the old one serving and
        is logged. With none to fall back on the error is raised: an outage is not an empty shelf.
        """
        with self._lock:
            if not self.due:
                return self.snapshot
            try:
                self._swap(current(self._filesystem, self._prefix))
            except Exception:
                if self.snapshot is None:
                    raise
                logger.exception(
                    "index of %s not updated, %s keeps serving",
                    self.owner,
                    self.snapshot.manifest.snapshot_id,
                )
            finally:
                self._checked_at = time.monotonic()
            return self.snapshot

    def _swap(self, snapshot_id: str | None) -> None:
        if snapshot_id is None:
            self.snapshot = None
        elif self.snapshot is None or self.snapshot.manifest.snapshot_id != snapshot_id:
            if snapshot_id == self._refused and time.monotonic() < self._retry_at:
                return  # a damaged snapshot is not downloaded again at every check
            self._refused, self._retry_at = (
                snapshot_id,
                time.monotonic() + _RETRY_FACTOR * self._check_every_s,
            )
            held = self.snapshot
            folder = fetch(self._filesystem, self._prefix, snapshot_id, self._cache, held)
            self.snapshot = Snapshot.load(folder, held)
            self._refused = None
            prune_cache(self._cache, {snapshot_id})
            logger.info("index of %s is now %s", self.owner, snapshot_id)
