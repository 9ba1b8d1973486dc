"""The answer cache: the same question of the same tenant over the same data is answered once.

A cache that is down costs time, never an answer.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from iotops.auth import Principal
from iotops.settings import CacheSettings

logger = logging.getLogger(__name__)

TIMEOUT_S = 0.5
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
"""Takes a lease away from its holder alone: another may hold it by now."""


def redis_client(settings: CacheSettings) -> Redis:
    """A client of the Redis-protocol server; of the event loop that first uses it.

    It tries once more, at once, in case a kept connection had gone stale: as the library has it, an answer
    would wait four seconds for each word with a server that is down.
    """
    return Redis(
        retry=Retry(NoBackoff(), 1),
        host=settings.host,
        port=settings.port,
        password=settings.password.get_secret_value(),
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
    )


def normalised(question: str) -> str:
    """A question without what makes no difference: case, spaces, marks at its end."""
    return " ".join(question.casefold().split()).rstrip("?!. ")


def answer_key(caller: Principal, parts: Iterable[str]) -> str:
    """Where an answer for callers of a tenant and role is kept; `parts` are all that it depends on."""
    digest = hashlib.sha256("\x1f".join([caller.role, *parts]).encode()).hexdigest()
    return f"{caller.tenant.id}:answer:{digest}"


class AnswerCache:
    """Answers by key, and the lease of whoever computes one."""

    def __init__(self, client: Redis, ttl_s: int) -> None:
        self._client, self._ttl_s = client, ttl_s

    async def get(self, key: str) -> bytes | None:
        """The stored answer, if there is one."""
        try:
            answer = await self._client.get(key)
        except RedisError as error:
            logger.warning("answer cache: %r", error)
            return None
        return answer.encode() if isinstance(answer, str) else answer

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer for the configured time."""
        try:
            await self._client.set(key, answer, ex=self._ttl_s)
        except RedisError as error:
            logger.warning("answer cache: %r", error)

    async def lease(self, key: str, holder: str, ttl_s: int) -> bool:
        """Whether `holder` may compute the answer; nobody else may for `ttl_s` seconds or until `release`."""
        try:
            return bool(await self._client.set(_lease(key), holder, nx=True, ex=ttl_s))
        except RedisError as error:
            logger.warning("answer cache: %r", error)
            return True

    async def release(self, key: str, holder: str) -> None:
        """Give the lease back, where `holder` has it."""
        try:
            await self._client.eval(RELEASE, 1, _lease(key), holder)
        except RedisError as error:
            logger.warning("answer cache: %r", error)

    async def ping(self) -> None:
        """Raise where the cache does not answer."""
        await self._client.ping()


def _lease(key: str) -> str:
    return f"{key}:lease"
