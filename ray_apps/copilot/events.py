"""What an answer or a guide tells while it comes about, from whoever makes it to whoever listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel

from ray_apps.copilot.contracts import Citation, Token, Trace

Event = Trace | Token | Citation
Tell = Callable[[Event], None]
Whole = TypeVar("Whole", bound=BaseModel)
"""What all the events lead to, an answer or a guide."""


def unheard(event: Event) -> None:
    """For whoever waits for the whole."""


async def heard(work: Callable[[Tell], Awaitable[Whole]]) -> AsyncGenerator[Event | Whole, None]:
    """What some work tells, as it tells it, then what it made; closing this cancels the work.

    The work runs in a task of its own: cancellation and timeouts inside it stay whole, which they would not
    in a generator that its listener suspends.
    """
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def whole() -> Whole:
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
