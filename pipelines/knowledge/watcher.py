"""Watches the shelves in the lake: what changes there is told to Prefect, which has it indexed."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pyarrow as pa

from indexes.exchange import current, documents
from indexes.schema import DOCUMENT_SCHEMA, shelf_prefix
from indexes.snapshot import SnapshotError
from iotops.lake import lake_filesystem
from iotops.provisioning import list_tenants
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX
from pipelines import events
from pipelines.ingest.worker import Progress
from pipelines.knowledge.changes import waiting
from pipelines.knowledge.store import list_documents

EVERY_S = 5.0
_SHELVES_AT_ONCE = 8
logger = logging.getLogger(__name__)


class ShelfWatcher:
    """Tells of each state of a shelf once; `progress.stored` counts what was told."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lake = settings, lake_filesystem(settings.lake)
        self._told: dict[str, int] = {}
        self._indexed: dict[str, tuple[str | None, pa.Table]] = {}
        self._stopped = threading.Event()
        self.progress = Progress()

    def run(self) -> None:
        """Look every `EVERY_S` until `stop`."""
        with ThreadPoolExecutor(_SHELVES_AT_ONCE) as pool:
            while not self._stopped.wait(EVERY_S):
                owners = [tenant.id for tenant in list_tenants(self._settings)]
                list(pool.map(self.look, [*owners, SHARED_PREFIX]))

    def stop(self) -> None:
        """End `run` after the round in hand."""
        self._stopped.set()

    def look(self, owner: str) -> None:
        """Tell of a shelf that is not as its index was made of it, unless that was told already."""
        entries = list_documents(self._lake, owner)
        state = hash(tuple((entry.path, entry.bytes, entry.modified) for entry in entries))
        if self._told.get(owner) == state or not any(waiting(entries, self._index_of(owner)).values()):
            return
        try:
            events.documents_changed(self._settings.prefect, owner)
        except httpx.HTTPError as error:
            logger.warning("changed documents of %s are told at the next look: %s", owner, error)
            return
        self._told[owner] = state
        self.progress.stored += 1

    def _index_of(self, owner: str) -> pa.Table:
        """The files that the shelf's index was made of."""
        prefix = shelf_prefix(owner, "indexes")
        snapshot_id, known = current(self._lake, prefix), self._indexed.get(owner)
        if known is None or known[0] != snapshot_id:
            table = DOCUMENT_SCHEMA.empty_table()
            if snapshot_id is not None:
                try:
                    table = documents(self._lake, prefix, snapshot_id)
                except (SnapshotError, FileNotFoundError) as error:
                    logger.warning("the index of %s is taken to be out of date: %s", owner, error)
            known = self._indexed[owner] = (snapshot_id, table)
        return known[1]
