"""Watches the shelves in the lake: what changes there is told to Prefect, which has it indexed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pyarrow as pa
from pyarrow.fs import FileSystem

from indexes.exchange import current, documents, manifest, pointer, rolled_back_at
from indexes.schema import DOCUMENT_SCHEMA, shelf_prefix
from iotops.errors import SnapshotError
from iotops.provisioning import list_tenants
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX
from pipelines import events
from pipelines.ingest.worker import Progress
from pipelines.knowledge.additions import merge_is_due
from pipelines.knowledge.changes import waiting
from pipelines.knowledge.store import list_documents, state_of

EVERY_S = 5.0
TELL_AGAIN_S = 600.0
"""Then what was told and is not indexed is told again, since its flow may have failed; each time after twice
as long, since it may wait for its turn as well."""
_SHELVES_AT_ONCE = 8
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Told:
    """A state of a shelf that Prefect was told of."""

    state: str
    at: float
    again_after: float

    def lately(self, state: str, now: float) -> bool:
        """Whether it is this state, and too soon to tell of it again."""
        return self.state == state and now - self.at < self.again_after


@dataclass(frozen=True)
class _Indexed:
    """What a shelf's index was made of, by the pointer to it."""

    serving: bytes | None
    files: pa.Table
    merge_is_due: bool = False


class ShelfWatcher:
    """Tells of each state of a shelf until it is indexed; `progress.stored` counts what was told."""

    def __init__(
        self,
        settings: Settings,
        lake: FileSystem,
        indexing: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`indexing` says of an owner whether somebody builds the index of its shelf now."""
        self._settings, self._lake = settings, lake
        self._indexing, self._clock = indexing, clock
        self._told: dict[str, _Told] = {}
        self._indexed: dict[str, _Indexed] = {}
        self._up_to_date: dict[str, tuple[bytes | None, str]] = {}
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
        """Tell of a shelf that is not as its index was made of it, or of an index that waits for its merge.

        Not of what was told lately, of a shelf that is as it was when its index was rolled back, or while
        somebody builds the index: what waits then is told afterwards, if it still does.
        """
        entries = list_documents(self._lake, owner)
        state, told = state_of(entries), self._told.get(owner)
        if told and told.lately(state, self._clock()):
            return
        serving = pointer(self._lake, shelf_prefix(owner, "indexes"))
        if rolled_back_at(serving) == state or self._up_to_date.get(owner) == (serving, state):
            return
        indexed = self._index_of(owner, serving)
        if not indexed.merge_is_due and not any(waiting(entries, indexed.files).values()):
            self._up_to_date[owner] = serving, state
            return
        if self._indexing(owner):
            return
        try:
            events.documents_changed(self._settings.prefect, owner)
        except httpx.HTTPError as error:
            logger.warning("changed documents of %s are told at the next look: %s", owner, error)
            return
        again_after = 2 * told.again_after if told and told.state == state else TELL_AGAIN_S
        self._told[owner] = _Told(state, self._clock(), again_after)
        self.progress.stored += 1

    def _index_of(self, owner: str, serving: bytes | None) -> _Indexed:
        """The shelf's index as the pointer `serving` names it."""
        known = self._indexed.get(owner)
        if known is None or known.serving != serving:
            known = self._indexed[owner] = self._read(owner, serving)
        return known

    def _read(self, owner: str, serving: bytes | None) -> _Indexed:
        prefix = shelf_prefix(owner, "indexes")
        try:
            if snapshot_id := current(self._lake, prefix):
                made = manifest(self._lake, prefix, snapshot_id)
                base = manifest(self._lake, prefix, made.base) if made.base else None
                files = documents(self._lake, prefix, snapshot_id)
                return _Indexed(serving, files, merge_is_due(made, base))
        except SnapshotError as error:
            logger.warning("the index of %s is taken to be out of date: %s", owner, error)
        return _Indexed(serving, DOCUMENT_SCHEMA.empty_table())
