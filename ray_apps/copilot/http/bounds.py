"""What a call may take at most: bytes of a body, which is read before it is known who sends it, and time."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iotops.bounds import whole_body
from iotops.http import ApiError, refused
from iotops.models.catalogue import MOST_ANSWER_S

logger = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
MOST_S = MOST_ANSWER_S + 20.0
"""A language model may have all of its time, what is looked up for it some beside."""
MOST_BODY_S = 10.0
"""Until a body is whole nobody is known to send it, and it holds one of the replica's places."""


class Bounded:
    """Refuses a body that is too large or too slow, and ends a call that takes too long."""

    def __init__(
        self,
        app: ASGIApp,
        most_bytes: int = MOST_BYTES,
        most_s: float = MOST_S,
        most_body_s: float = MOST_BODY_S,
    ) -> None:
        self._app, self._most_bytes = app, most_bytes
        self._most_s, self._most_body_s = most_s, most_body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def notice(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._most_s) as limit:
                body = await whole_body(receive, self._most_bytes, self._most_body_s)
                await self._app(scope, _again(body, receive), notice)
        except TimeoutError:
            if begun or not limit.expired():
                raise
            logger.warning("%s %s took longer than %g s", scope["method"], scope["path"], self._most_s)
            late = f"there was no answer within {self._most_s:g} s: try again shortly"
            await refused(scope, ApiError(504, "timed_out", late))(scope, receive, send)
        except ClientDisconnect:
            return  # nobody waits for an answer
        except ApiError as error:
            await refused(scope, error)(scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes, such as that the caller goes away."""
    told = False

    async def first() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first
