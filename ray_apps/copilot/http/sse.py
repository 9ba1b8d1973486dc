"""Server-sent events: what comes about, as it does, for clients that ask for `text/event-stream`."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from iotops.http import ApiError, error_body, request_id
from ray_apps.copilot.contracts import Citation, Token, Trace
from ray_apps.copilot.events import Tell, Whole, heard, unheard
from ray_apps.copilot.http.limits import refusal
from ray_apps.copilot.recording import note

logger = logging.getLogger(__name__)

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Neither kept nor held back by what stands between."""
NAMES: dict[type[BaseModel], str] = {Trace: "trace", Token: "token", Citation: "citation"}
DONE = "done"
Told = TypeVar("Told")


class EventStream(EventSourceResponse):
    """A stream of events that ends, with the work behind it, when its listener goes away."""

    def __init__(self, events: AsyncGenerator[Any, None], frames: AsyncGenerator[bytes, None]) -> None:
        super().__init__(frames, headers=HEADERS)
        self._events, self._frames = events, frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        note().left = True  # until the last frame: who goes away before ends this without a word
        async with aclosing(self._events), aclosing(self._frames):
            await super().__call__(scope, receive, send)


def wanted(request: Request) -> bool:
    """Whether the client asks for a stream."""
    return EventStream.media_type in request.headers.get("accept", "")


async def streamed(
    events: AsyncGenerator[Told, None],
    told: Callable[[Told], bytes],
    failed: Callable[[Exception], bytes],
    end: bytes = b"",
) -> EventStream:
    """The response to a stream of events, each in the frames that `told` makes of it.

    It begins with the first event: what is refused before that raises here, and keeps its own status. An
    error after that is told as `failed` says.
    """
    first = await anext(events)

    async def frames() -> AsyncGenerator[bytes, None]:
        yield told(first)
        try:
            async for event in events:
                yield told(event)
        except Exception as error:
            told_of = refusal(error)
            if not isinstance(told_of, ApiError):
                logger.exception("a stream of events broke off")
            note().broke = True
            yield failed(told_of)
        yield end
        note().left = False

    return EventStream(events, frames())


async def answered(request: Request, work: Callable[[Tell], Awaitable[Whole]]) -> Whole | EventStream:
    """What some work makes: at once, or as it comes about where the client asks for a stream."""
    if not wanted(request):
        return await work(unheard)
    asked = request_id(request)
    return await streamed(heard(work), event_frame, lambda error: error_frame(error, asked))


def event_frame(event: BaseModel) -> bytes:
    """An event under its name: `trace`, `token`, `citation`, or `done` for the whole that they led to."""
    return frame(event.model_dump_json(ensure_ascii=True), NAMES.get(type(event), DONE))


def error_frame(error: Exception, request_id: str) -> bytes:
    """An error under the name `error`, in the envelope of every error."""
    return frame(json.dumps(error_body(error, request_id)), "error")


def frame(data: str, event: str | None = None) -> bytes:
    """One event; `data` is JSON in ASCII, since FastAPI cuts a line at each of Unicode's line ends."""
    return format_sse_event(data_str=data, event=event)
