"""Server-sent events: their frames, how a stream begins, breaks off and ends, and what reads them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect

from iotops.commands.copilot import events, print_told
from iotops.errors import IotOpsError
from iotops.http import ApiError, install
from ray_apps.copilot.contracts import AskResponse, Token, Trace
from ray_apps.copilot.events import heard
from ray_apps.copilot.http import sse
from ray_apps.copilot.http.responses import ANSWERS, GUIDES
from ray_apps.copilot.http.sse import error_frame, event_frame, streamed

NASTY = "one\ntwo\r\n\nthree\rfour\u2028five\u2029six\x85seven\x0b\x0c\x1e eight: é\n\ndata: nine"


def lines(frames: bytes) -> list[str]:
    """As HTTP clients cut them."""
    return frames.decode().splitlines()


def test_line_ends_in_the_data_reach_the_client_unharmed():
    frame = event_frame(Token(text=NASTY))
    assert frame.startswith(b"event: token\ndata: {")
    assert frame.count(b"\n") == 3
    assert list(events(lines(frame))) == [("token", {"text": NASTY})]


def test_frames_one_after_the_other_are_told_apart():
    frames = event_frame(Trace(message="looking", duration_ms=1.5)) + event_frame(Token(text=" a "))
    assert [name for name, _ in events(lines(frames))] == ["trace", "token"]
    assert [*events(lines(frames))][1][1] == {"text": " a "}


def test_an_error_event_is_the_envelope_and_says_nothing_of_the_inside():
    frame = error_frame(RuntimeError("password of the database"), "r1")
    assert frame.startswith(b"event: error\n")
    with pytest.raises(IotOpsError, match="broke off") as broken:
        list(events(lines(frame)))
    assert "password" not in str(broken.value)
    data = json.loads(
        lines(error_frame(ApiError(429, "rate_limited", "wait"), "r1"))[1].removeprefix("data: ")
    )
    assert data == {"error": {"code": "rate_limited", "message": "wait", "request_id": "r1"}}


def test_a_stream_that_ends_early_is_no_answer():
    with pytest.raises(IotOpsError, match="ask again"):
        print_told([("token", {"text": "half"})])


def test_a_terminal_shows_the_answer_as_it_is_and_before_it_what_is_done(capsys: pytest.CaptureFixture[str]):
    done = {"answer": "It is [1] hot. [2]"}
    told = [
        ("trace", {"message": "looking [up]", "duration_ms": 12.3}),
        ("token", {"text": "It is [1]"}),
        ("citation", {"marker": "[2]"}),
        ("token", {"text": " hot. [2]"}),
        ("done", done),
    ]
    assert print_told(told) == done
    shown = capsys.readouterr()
    assert shown.out == "It is [1] hot. [2]\n"
    assert shown.err == "looking [up] (12 ms)\n"


class Told:
    """A stream of events that may fail, and notices that it is closed."""

    def __init__(self, fails_at: int | None = None, error: Exception | None = None) -> None:
        self._fails_at, self._error, self.closed = fails_at, error or RuntimeError("inside"), False

    async def events(self):
        try:
            for number in range(3):
                if number == self._fails_at:
                    raise self._error
                yield Token(text=str(number))
        finally:
            self.closed = True


def get(told: Told) -> httpx.Response:
    app = FastAPI()
    install(app)

    @app.get("/")
    async def answer(request: Request):
        return await streamed(
            told.events(), event_frame, lambda error: error_frame(error, "r1"), b": end\n\n"
        )

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/")

    return asyncio.run(call())


def test_a_stream_is_sent_whole_and_neither_kept_nor_held_back():
    told = Told()
    response = get(told)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert [event["text"] for _, event in events(response.text.splitlines())] == ["0", "1", "2"]
    assert response.text.endswith(": end\n\n")
    assert told.closed


def test_what_fails_before_the_first_event_has_its_own_status():
    response = get(Told(0, ApiError(429, "rate_limited", "wait", retry_after_s=3)))
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert response.json()["error"]["code"] == "rate_limited"


def test_what_fails_later_is_an_event():
    response = get(Told(2))
    names = [line for line in response.text.splitlines() if line.startswith("event: ")]
    assert (response.status_code, names) == (200, ["event: token", "event: token", "event: error"])
    assert "inside" not in response.text


def test_a_listener_that_goes_away_ends_the_stream():
    told = Told()

    async def call() -> None:
        response = await streamed(told.events(), event_frame, lambda error: b"")

        async def gone(message):
            raise OSError("the listener is gone")

        with pytest.raises(ClientDisconnect):
            await response({"type": "http", "asgi": {"spec_version": "2.4"}}, None, gone)
        assert told.closed

    asyncio.run(call())


@pytest.mark.parametrize("by", ["the server's task is cancelled", "the server hears of it"])
def test_a_stream_that_waits_ends_when_its_listener_goes_away(by: str):
    stopped = []

    async def work(tell) -> AskResponse:
        tell(Token(text="begun"))
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(by)
        raise AssertionError("nobody sets the event")

    async def call() -> None:
        response = await streamed(heard(work), event_frame, lambda error: b"")
        sent, left = asyncio.Event(), asyncio.Event()

        async def send(message):
            if b"begun" in message.get("body", b""):
                sent.set()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        serving = asyncio.create_task(response(scope, receive, send))
        await sent.wait()
        assert not stopped
        if by == "the server hears of it":
            left.set()
        else:
            serving.cancel()
        await asyncio.wait({serving})
        assert stopped == [by]

    asyncio.run(call())


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("*/*", False),
        ("", False),
    ],
)
def test_only_who_asks_for_a_stream_gets_one(accept: str, wanted: bool):
    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    assert sse.wanted(request) is wanted


@pytest.mark.parametrize(
    ("documented", "names"),
    [(ANSWERS, ["trace", "citation", "token", "done"]), (GUIDES, ["trace", "trace", "done"])],
)
def test_the_documented_stream_is_one(documented: dict[int | str, dict[str, Any]], names: list[str]):
    content = documented[200]["content"]
    told = list(events(content["text/event-stream"]["example"].splitlines()))
    assert [name for name, _ in told] == names
    assert told[-1][1] == json.loads(json.dumps(content["application/json"]["example"]))
