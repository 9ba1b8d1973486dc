"""The answer cache: the same question of the same tenant over the same data is answered once."""

from __future__ import annotations

import hashlib
import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

from iotops.settings import CacheSettings
from iotops.tenancy import Tenant

logger = logging.getLogger(__name__)


class AnswerCache:
    """Answers by tenant, data version and question; a cache that is down costs time, never an answer."""

    def __init__(self, settings: CacheSettings) -> None:
        self._ttl_s = settings.answer_ttl_s
        self._client = Redis(
            host=settings.host,
            port=settings.port,
            password=settings.password.get_secret_value(),
            socket_timeout=0.5,
            socket_connect_timeout=0.5,
        )

    async def get(self, tenant: Tenant, *parts: str) -> bytes | None:
        """The stored answer, if there is one."""
        try:
            stored = await self._client.get(_key(tenant, parts))
        except RedisError as error:
            logger.warning("answer cache: %r", error)
            return None
        return stored.encode() if isinstance(stored, str) else stored

    async def put(self, tenant: Tenant, answer: bytes, *parts: str) -> None:
        """Keep an answer for the configured time."""
        try:
            await self._client.set(_key(tenant, parts), answer, ex=self._ttl_s)
        except RedisError as error:
            logger.warning("answer cache: %r", error)

    async def ping(self) -> None:
        """Raise where the cache does not answer."""
        await self._client.ping()


def _key(tenant: Tenant, parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
    return f"{tenant.id}:answer:{digest}"
