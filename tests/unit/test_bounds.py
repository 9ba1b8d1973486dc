"""What a call may take at most, told in the envelope of every error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from iotops.http import caller, install
from ray_apps.copilot.http.bounds import Bounded

MOST_BYTES = 1000


def send(path: str, content: bytes | AsyncIterator[bytes] = b"", **most_s: float) -> httpx.Response:
    """The answer of an application that asks for a token only where its path says so."""
    app = FastAPI()
    app.add_middleware(Bounded, most_bytes=MOST_BYTES, **most_s)
    install(app)

    @app.post("/open")
    async def whole(request: Request) -> int:
        return len(await request.body())

    @app.post("/closed", dependencies=[Depends(caller("operator"))])
    async def closed() -> None: ...

    @app.post("/endless")
    async def endless() -> None:
        await asyncio.Event().wait()

    @app.post("/broken")
    async def broken() -> None:
        raise TimeoutError("a part of it")

    @app.post("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.Event().wait()

        return StreamingResponse(pieces())

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(path, content=content)

    return asyncio.run(call())


async def in_pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield b"x"


async def without_end() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ["/open", "/closed"])
def test_a_body_that_is_too_large_is_refused_whoever_sends_it(path: str):
    for content in (b"x" * (MOST_BYTES + 1), in_pieces(MOST_BYTES + 1)):
        refused = send(path, content=content)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
        assert refused.json()["error"]["request_id"]


def test_a_body_within_the_limit_arrives_whole():
    assert send("/open", content=in_pieces(MOST_BYTES)).json() == MOST_BYTES
    assert send("/open").json() == 0


def test_half_a_body_is_not_answered():
    answered = list[str]()
    messages = iter([{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(scope["path"])

    async def call() -> None:
        await Bounded(app)({"type": "http", "method": "POST", "path": "/ask"}, receive, forbidden)

    async def forbidden(message: Message) -> None:
        answered.append(message["type"])

    asyncio.run(call())
    assert not answered


@pytest.mark.parametrize("path", ["/open", "/closed"])
def test_half_a_body_is_not_waited_for_as_long_as_an_answer(path: str):
    slow = send(path, without_end(), most_body_s=0.05)
    assert (slow.status_code, slow.json()["error"]["code"]) == (408, "too_slow")


def test_an_answer_may_take_longer_than_a_body():
    late = send("/endless", most_s=0.1, most_body_s=0.05)
    assert late.status_code == 504


def test_a_call_that_takes_too_long_is_ended():
    late = send("/endless", most_s=0.05)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "timed_out")


def test_a_stream_that_takes_too_long_breaks_off():
    cut = send("/stream", most_s=0.05)
    assert (cut.status_code, cut.text) == (200, "first")


def test_a_part_that_takes_too_long_fails_by_itself():
    assert send("/broken").status_code == 500
