"""Conversation memory: the last turns of a user's conversation, in the cache."""

from __future__ import annotations

import hashlib
import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

from iotops.auth import Principal
from ray_apps.copilot.follow_up import Turn

logger = logging.getLogger(__name__)

TURNS = 6


class Conversations:
    """Turns by tenant, user and conversation; where the cache is down, a follow-up stands by itself."""

    def __init__(self, client: Redis, ttl_s: int) -> None:
        self._client, self._ttl_s = client, ttl_s

    async def turns(self, user: Principal, conversation: str) -> list[Turn]:
        """The last turns, the newest last; none of a conversation that is not the user's own."""
        try:
            kept = await self._client.lrange(_key(user, conversation), 0, -1)
        except RedisError as error:
            logger.warning("conversations: %r", error)
            return []
        return [Turn.model_validate_json(turn) for turn in reversed(kept)]

    async def add(self, user: Principal, conversation: str, turn: Turn) -> None:
        """Keep a turn; the conversation is forgotten when nothing is asked in it for the configured time."""
        key = _key(user, conversation)
        pipeline = self._client.pipeline()
        pipeline.lpush(key, turn.model_dump_json())
        pipeline.ltrim(key, 0, TURNS - 1)
        pipeline.expire(key, self._ttl_s)
        try:
            await pipeline.execute()
        except RedisError as error:
            logger.warning("conversations: %r", error)


def _key(user: Principal, conversation: str) -> str:
    """Hashed, because callers choose both names: neither can reach into another's key."""
    subject, name = (hashlib.sha256(part.encode()).hexdigest() for part in (user.subject, conversation))
    return f"{user.tenant.id}:conversation:{subject}:{name}"
