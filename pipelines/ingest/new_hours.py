"""Telling Prefect that a new arrival hour of a tenant has begun in bronze, once, beside the sink's work."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from queue import SimpleQueue

import httpx
from redis import Redis
from redis.exceptions import RedisError

from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines import events
from pipelines.ingest.times import HOUR_MS

TIMEOUT_S = 2.0
REMEMBERED_S = 3 * 86400
MOST_SEEN = 100_000
logger = logging.getLogger(__name__)


class NewHours:
    """Of all members of the sink the first that stores an object of a tenant's hour tells of it.

    Which one that is the cache decides (`SET NX`). It runs in a thread of its own and never holds the sink
    up; if the cache or Prefect is away, the event is dropped with a line in the log: the hourly run finds
    the data.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: set[tuple[str, int]] = set()
        self._queue: SimpleQueue[tuple[str, int] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="new-hours", daemon=True)
        self._thread.start()

    def stored(self, tenant: Tenant, timestamp_ms: int) -> None:
        """An object that begins with a record of this arrival time is in the lake."""
        found = tenant.id, timestamp_ms // HOUR_MS
        if found not in self._seen:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()  # at worst the cache is asked again
            self._seen.add(found)
            self._queue.put(found)

    def close(self) -> None:
        """End the thread once it has told what waits."""
        self._queue.put(None)

    def _run(self) -> None:
        cache = self._settings.cache
        password = cache.password.get_secret_value() or None
        with Redis(
            cache.host,
            cache.port,
            password=password,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        ) as client:
            while (found := self._queue.get()) is not None:
                tenant_id, number = found
                hour = datetime.fromtimestamp(number * 3600, UTC)
                try:
                    if client.set(f"bronze-hour:{tenant_id}:{hour:%Y-%m-%dT%H}", 1, nx=True, ex=REMEMBERED_S):
                        events.bronze_hour(self._settings.prefect, tenant_id, hour)
                except (RedisError, httpx.HTTPError) as error:
                    logger.warning("hour %s of %s is left to the hourly run: %s", hour, tenant_id, error)
