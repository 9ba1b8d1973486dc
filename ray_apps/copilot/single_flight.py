"""Single flight: an answer that several wait for at the same time is computed once.

Within a replica the others wait for a future, between replicas for a lease in the cache. Nobody waits longer
than `PATIENCE_S`, and who waited in vain computes: the end of one, by failure or because its caller went
away, never ends another.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ray_apps.copilot.cache import AnswerCache

PATIENCE_S = 20
POLL_S = 0.1


@dataclass
class Flight:
    """One answer: `answer` is there already, or the holder sets it once it is computed."""

    answer: bytes | None = None


class SingleFlight:
    """Who computes which answer."""

    def __init__(self, cache: AnswerCache, patience_s: int = PATIENCE_S) -> None:
        self._cache, self._patience_s = cache, patience_s
        self._flights: dict[str, asyncio.Future[bytes | None]] = {}

    @asynccontextmanager
    async def board(self, key: str) -> AsyncIterator[Flight]:
        """The flight of a key; where it has no answer yet, it is the caller's to compute and to set it."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        answer = await self._neighbour(key, deadline)
        if answer is not None or key in self._flights:
            yield Flight(answer)
            return
        mine = self._flights[key] = asyncio.get_running_loop().create_future()
        flight, holder = Flight(), ""
        try:
            flight.answer = await self._cache.get(key)
            if flight.answer is None:
                holder = uuid.uuid4().hex
                flight.answer = await self._elsewhere(key, holder, deadline)
            yield flight
        finally:
            del self._flights[key]
            mine.set_result(flight.answer)
            if holder:
                await self._cache.release(key, holder)

    async def _neighbour(self, key: str, deadline: float) -> bytes | None:
        """What another request of this replica computes; after one that found nothing, the next computes."""
        while other := self._flights.get(key):
            done, _ = await asyncio.wait({other}, timeout=_left(deadline))
            if not done:
                return None
            if answer := other.result():
                return answer
        return None

    async def _elsewhere(self, key: str, holder: str, deadline: float) -> bytes | None:
        """What another replica computes, or has just computed; None where it is this one's to compute."""
        while not await self._cache.lease(key, holder, self._patience_s) and _left(deadline):
            if answer := await self._cache.get(key):
                return answer
            await asyncio.sleep(POLL_S)
        return await self._cache.get(key)


def _left(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())
