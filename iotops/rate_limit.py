"""A limit per tenant that holds over every replica and node: counted in the Redis-protocol server."""

from __future__ import annotations

import logging
import math
import time
from urllib.parse import quote

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from iotops.settings import CacheSettings
from iotops.tenancy import Tenant

WINDOW_S = 10
TIMEOUT_S = 0.5
logger = logging.getLogger(__name__)


class RateLimit:
    """`per_second` units for each tenant, measured over a sliding window of ten seconds.

    Where the counter does not answer, everything passes: a fleet's data weighs more than its quota.
    """

    def __init__(self, settings: CacheSettings, name: str, per_second: int) -> None:
        password = quote(settings.password.get_secret_value(), safe="")
        storage = RedisStorage(
            f"async+redis://:{password}@{settings.host}:{settings.port}",
            wrap_exceptions=True,
            implementation="redispy",
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._name, self.burst = name, per_second * WINDOW_S
        self._item = RateLimitItemPerSecond(self.burst, WINDOW_S)

    async def take(self, tenant: Tenant, units: int) -> int | None:
        """Count units of a tenant; the seconds to wait where they are too many now, else None."""
        try:
            if await self._limiter.hit(self._item, self._name, tenant.id, cost=units):
                return None
            stats = await self._limiter.get_window_stats(self._item, self._name, tenant.id)
        except StorageError as error:
            logger.warning("the limit %s is not enforced: %r", self._name, error.storage_error)
            return None
        return min(WINDOW_S, max(1, math.ceil(stats.reset_time - time.time())))
