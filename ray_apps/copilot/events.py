"""What an answer tells while it comes about, from whoever makes it to whoever listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from ray_apps.copilot.contracts import AskResponse, Citation, Token, Trace

Event = Trace | Token | Citation | AskResponse
"""The answer itself comes last."""
Tell = Callable[[Event], None]


def unheard(event: Event) -> None:
    """For whoever waits for the whole answer."""


async def heard(work: Callable[[Tell], Awaitable[AskResponse]]) -> AsyncGenerator[Event, None]:
    """What some work tells, as it tells it, then its answer; closing this cancels the work.

    The work runs in a task of its own: cancellation and timeouts inside it stay whole, which they would not
    in a generator that its listener suspends.
    """
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def whole() -> AskResponse:
        try:
            return await work(queue.put_nowait)
        finally:
            queue.put_nowait(None)

    task = asyncio.create_task(whole())
    try:
        while (event := await queue.get()) is not None:
            yield event
        yield await task
    finally:
        task.cancel()
        await asyncio.wait({task})


def ms(since: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return round((time.perf_counter() - since) * 1000, 1)
