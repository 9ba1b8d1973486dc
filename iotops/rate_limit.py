"""A limit per tenant that holds over every replica and node: counted in the Redis-protocol server."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from iotops.settings import CacheSettings
from iotops.tenancy import Tenant

TIMEOUT_S = 0.5
AWAY_S = 5.0
"""A counter that did not answer is left alone so long: a hanging one would cost every call its time-out."""
CLOCK_S = 0.01
"""Counters forget in whole milliseconds: what is free from now on is free surely a little later."""
Storage = RedisStorage | MemoryStorage
T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """How a tenant stands with its limit."""

    limit: int
    """Units of a whole window."""
    remaining: int
    """Units that are left now."""
    wait_s: int
    """Whole seconds until more units are free, at least 1; if nobody takes any meanwhile."""


class RateLimit:
    """Units for each tenant, measured over a sliding window (a counter of this window and of the last one).

    Where the counter does not answer, each process counts for itself: the service goes on, a tenant has its
    limit in every process, and the log says so.
    """

    def __init__(self, settings: CacheSettings, name: str, window_s: int) -> None:
        password = quote(settings.password.get_secret_value(), safe="")
        self._shared = RedisStorage(
            f"async+redis://:{password}@{settings.host}:{settings.port}",
            wrap_exceptions=True,
            implementation="redispy",
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
        self._own = MemoryStorage()
        self._name, self._window_s = name, window_s
        self._away_until = 0.0

    async def take(self, tenant: Tenant, units: int, limit: int) -> bool:
        """Count units of a tenant; False, and nothing counted, where a window has no room for them now."""
        item = RateLimitItemPerSecond(limit, self._window_s)

        async def hit(storage: Storage) -> bool:
            return await SlidingWindowCounterRateLimiter(storage).hit(item, self._name, tenant.id, cost=units)

        return await self._counted(hit)

    async def standing(self, tenant: Tenant, limit: int, units: int = 1) -> Standing:
        """What is left of a tenant's limit, and how long until `units` (at most the limit) would be taken."""
        key = RateLimitItemPerSecond(limit, self._window_s).key_for(self._name, tenant.id)

        async def look(storage: Storage) -> tuple[int, float, int, float]:
            return await storage.get_sliding_window(key, self._window_s)

        last, last_ends_s, this, this_ends_s = await self._counted(look)
        weight = math.floor(last * last_ends_s / self._window_s)
        becomes_last_s = this_ends_s - self._window_s if this else self._window_s
        wait_s = free_in(self._window_s, limit - units, (last, last_ends_s), (this, becomes_last_s))
        return Standing(limit, max(0, limit - weight - this), math.floor(wait_s + CLOCK_S) + 1)

    async def _counted(self, ask: Callable[[Storage], Awaitable[T]]) -> T:
        if time.monotonic() >= self._away_until:
            try:
                return await ask(self._shared)
            except StorageError as error:
                self._away_until = time.monotonic() + AWAY_S
                logger.warning(
                    "the limit %s is counted by this process alone: %r", self._name, error.storage_error
                )
        return await ask(self._own)


def free_in(window_s: float, most: int, last: tuple[int, float], this: tuple[int, float]) -> float:
    """Seconds until the sliding count is no more than `most`; 0 where it is not now.

    `last` is the last window's count and when it is forgotten, `this` is the running window's count and when
    it becomes the last one (s). A last window of n counts floor(n * left / window), which falls to m when
    left < (m + 1) * window / n.
    """
    (before, ends_s), (now, becomes_last_s) = last, this
    if now <= most:
        room = most - now
        if math.floor(before * ends_s / window_s) <= room:
            return 0.0
        in_s = ends_s - (room + 1) * window_s / before
        if in_s < becomes_last_s:
            return in_s
    return becomes_last_s + max(0.0, window_s - (most + 1) * window_s / now) if now else becomes_last_s
