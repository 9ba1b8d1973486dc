"""Watches the shelves in the lake: what changes there is told to Prefect, which has it indexed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pyarrow as pa
from pyarrow.fs import FileSystem

from indexes.exchange import current, documents, pointer, rolled_back_at
from indexes.schema import DOCUMENT_SCHEMA, shelf_prefix
from indexes.snapshot import SnapshotError
from iotops.provisioning import list_tenants
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX
from pipelines import events
from pipelines.ingest.worker import Progress
from pipelines.knowledge.changes import waiting
from pipelines.knowledge.store import list_documents, state_of

EVERY_S = 5.0
_SHELVES_AT_ONCE = 8
logger = logging.getLogger(__name__)


class ShelfWatcher:
    """Tells of each state of a shelf once; `progress.stored` counts what was told."""

    def __init__(self, settings: Settings, lake: FileSystem) -> None:
        self._settings, self._lake = settings, lake
        self._told: dict[str, str] = {}
        self._indexed: dict[str, tuple[bytes | None, pa.Table]] = {}
        self._stopped = threading.Event()
        self.progress = Progress()

    def run(self) -> None:
        """Look every `EVERY_S` until `stop`."""
        while not self._stopped.wait(EVERY_S):
            self.look_at([*(tenant.id for tenant in list_tenants(self._settings)), SHARED_PREFIX])

    def stop(self) -> None:
        """End `run` after the round in hand."""
        self._stopped.set()

    def look_at(self, owners: Iterable[str]) -> None:
        """Look at several shelves; what is wrong with one is logged and stops none of the others."""
        with ThreadPoolExecutor(_SHELVES_AT_ONCE) as pool:
            looks = {owner: pool.submit(self.look, owner) for owner in owners}
        for owner, look in looks.items():
            if error := look.exception():
                logger.error("the shelf of %s is looked at again later", owner, exc_info=error)

    def look(self, owner: str) -> None:
        """Tell of a shelf that is not as its index was made of it, unless that was told already.

        One that is as it was when its index was rolled back is not told of either.
        """
        entries = list_documents(self._lake, owner)
        state = state_of(entries)
        if self._told.get(owner) == state:
            return
        serving = pointer(self._lake, shelf_prefix(owner, "indexes"))
        if rolled_back_at(serving) == state:
            return
        if not any(waiting(entries, self._index_of(owner, serving)).values()):
            return
        try:
            events.documents_changed(self._settings.prefect, owner)
        except httpx.HTTPError as error:
            logger.warning("changed documents of %s are told at the next look: %s", owner, error)
            return
        self._told[owner] = state
        self.progress.stored += 1

    def _index_of(self, owner: str, serving: bytes | None) -> pa.Table:
        """The files that the shelf's index was made of; `serving` is the pointer to it."""
        known = self._indexed.get(owner)
        if known is None or known[0] != serving:
            known = self._indexed[owner] = (serving, self._indexed_files(owner))
        return known[1]

    def _indexed_files(self, owner: str) -> pa.Table:
        prefix = shelf_prefix(owner, "indexes")
        try:
            if snapshot_id := current(self._lake, prefix):
                return documents(self._lake, prefix, snapshot_id)
        except SnapshotError as error:
            logger.warning("the index of %s is taken to be out of date: %s", owner, error)
        return DOCUMENT_SCHEMA.empty_table()
