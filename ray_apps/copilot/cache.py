"""The answer cache: the same question of the same tenant over the same data is answered once.

A cache that is down costs time, never an answer.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from iotops.auth import Principal
from iotops.rate_limit import AWAY_S
from iotops.settings import CacheSettings

logger = logging.getLogger(__name__)

TIMEOUT_S = 0.5
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
"""Takes a lease away from its holder alone: another may hold it by now."""
Answer = TypeVar("Answer")


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


class CacheServer:
    """The Redis-protocol server: once it did not answer it is left alone for `AWAY_S`, since a hanging one
    would cost an answer the time-out of each word with it."""

    def __init__(self, client: Redis) -> None:
        self._client, self._away_until = client, 0.0

    async def ask(self, command: Callable[[Redis], Awaitable[Answer]], otherwise: Answer) -> Answer:
        """What a command answers, or `otherwise` where it fails or the server is left alone."""
        if time.monotonic() < self._away_until:
            return otherwise
        try:
            return await command(self._client)
        except RedisError as error:
            logger.warning("the cache does not do as asked: %r", error)
            if isinstance(error, (ConnectionError, TimeoutError)):
                self._away_until = time.monotonic() + AWAY_S
            return otherwise

    async def ping(self) -> None:
        """Raise where the server does not answer."""
        await self._client.ping()


def normalised(question: str) -> str:
    """A question without what makes no difference: case, spaces, marks at its end."""
    return " ".join(question.casefold().split()).rstrip("?!. ")


def answer_key(caller: Principal, parts: Iterable[str]) -> str:
    """Where an answer for callers of a tenant and role is kept; `parts` are all that it depends on."""
    digest = hashlib.sha256("\x1f".join([caller.role, *parts]).encode()).hexdigest()
    return f"{caller.tenant.id}:answer:{digest}"


class AnswerCache:
    """Answers by key, and the lease of whoever computes one."""

    def __init__(self, server: CacheServer, ttl_s: int) -> None:
        self._server, self._ttl_s = server, ttl_s

    async def get(self, key: str) -> bytes | None:
        """The stored answer, if there is one."""
        answer = await self._server.ask(lambda redis: redis.get(key), None)
        return answer.encode() if isinstance(answer, str) else answer

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer for the configured time."""
        await self._server.ask(lambda redis: redis.set(key, answer, ex=self._ttl_s), None)

    async def lease(self, key: str, holder: str, ttl_s: int) -> bool:
        """Whether `holder` may compute the answer; nobody else may for `ttl_s` seconds or until `release`."""
        return bool(
            await self._server.ask(lambda redis: redis.set(_lease(key), holder, nx=True, ex=ttl_s), True)
        )

    async def release(self, key: str, holder: str) -> None:
        """Give the lease back, where `holder` has it."""
        await self._server.ask(lambda redis: redis.eval(RELEASE, 1, _lease(key), holder), None)

    async def ping(self) -> None:
        """Raise where the cache does not answer."""
        await self._server.ping()


def _lease(key: str) -> str:
    return f"{key}:lease"
