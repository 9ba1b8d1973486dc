"""Conversation memory: the last turns of a user's conversation, in the cache."""

from __future__ import annotations

import hashlib
from typing import Any

from redis.asyncio import Redis

from iotops import __version__
from iotops.auth import Principal
from ray_apps.copilot.cache import CacheServer
from ray_apps.copilot.question.follow_up import Turn

TURNS = 6


class Conversations:
    """Turns by tenant, user and conversation; where the cache is down, a follow-up stands by itself."""

    def __init__(self, server: CacheServer, ttl_s: int) -> None:
        self._server, self._ttl_s = server, ttl_s

    async def turns(self, user: Principal, conversation: str) -> list[Turn]:
        """The last turns, the newest last; none of a conversation that is not the user's own."""
        key = _key(user, conversation)
        kept: list[bytes | str] = await self._server.ask(lambda redis: redis.lrange(key, 0, -1), [])
        return [Turn.model_validate_json(turn) for turn in reversed(kept)]

    async def add(self, user: Principal, conversation: str, turn: Turn) -> None:
        """Keep a turn; the conversation is forgotten when nothing is asked in it for the configured time."""
        key = _key(user, conversation)

        async def push(redis: Redis) -> list[Any]:
            pipeline = redis.pipeline()
            pipeline.lpush(key, turn.model_dump_json())
            pipeline.ltrim(key, 0, TURNS - 1)
            pipeline.expire(key, self._ttl_s)
            return await pipeline.execute()

        await self._server.ask(push, [])


def _key(user: Principal, conversation: str) -> str:
    """Hashed, because callers choose both names: neither can reach into another's key. Another version of
    this program does not read what is kept of a turn."""
    subject, name = (hashlib.sha256(part.encode()).hexdigest() for part in (user.subject, conversation))
    return f"{user.tenant.id}:conversation:{__version__}:{subject}:{name}"
