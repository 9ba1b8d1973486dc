"""What a call leaves behind, whatever becomes of it, and what becomes of it without a database."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import SecretStr
from ray._common.formatters import JSONFormatter
from ray.serve.exceptions import BackPressureError
from starlette.requests import ClientDisconnect
from starlette.types import Message

from iotops.audit import AuditTrail, Entry, log
from iotops.auth import issue_token
from iotops.http import caller, install, request_id
from iotops.metrics import Ratio
from iotops.models.catalogue import Catalogue, ModelSpec, Price
from iotops.settings import DatabaseSettings, get_settings
from iotops.tenancy import Tenant
from ray_apps.chat import Completion, Messages, Proposal, Schemas
from ray_apps.copilot.contracts import Token
from ray_apps.copilot.events import Event, Tell, heard
from ray_apps.copilot.http import sse
from ray_apps.copilot.http.bounds import Bounded
from ray_apps.copilot.http.sse import EventStream
from ray_apps.copilot.measures import Usage, used
from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.recording import Recorded, Recorder, note
from tests.unit.answering import QUESTION, Author, answerer

AWAY = DatabaseSettings(host="127.0.0.1", port=9, password=SecretStr("x" * 20))
PRICED = Catalogue(roles={}, models={"large": ModelSpec(price=Price(prompt=0.5, completion=4.0))})


def completion(model: str, read: int, written: int) -> Completion:
    return Completion(
        text="",
        prompt_tokens=read,
        completion_tokens=written,
        ttft_s=0.1,
        total_s=1,
        finish_reason="stop",
        model=model,
    )


class Caller(Author):
    """A model that asks for no tool, writes a sentence, then hangs, and takes a while to stop."""

    def __init__(self) -> None:
        super().__init__("The bearing wears when vibration stays high. The", hangs=True)

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> Proposal:
        return Proposal(calls=[], completion=completion("large", 10, 5))

    async def _pieces(self):
        try:
            async for piece in super()._pieces():
                yield piece
        finally:
            for _ in range(9):
                await asyncio.sleep(0)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The audit's lines, as Serve's JSON log has them."""
    found: list[dict[str, Any]] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(JSONFormatter().format(record))["audit"])

    logger, handler = logging.getLogger("ray.serve.audit"), Lines()
    logger.addHandler(handler)
    with caplog.at_level(logging.INFO, "ray.serve.audit"):
        yield found
    logger.removeHandler(handler)


@pytest.fixture
def arrived() -> asyncio.Event:
    """Set as soon as the endless call runs, or the model has written a sentence."""
    return asyncio.Event()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arrived: asyncio.Event) -> Iterator[FastAPI]:
    """An application that is recorded, and whose database is away."""
    monkeypatch.setenv("IOTOPS_HOME", str(tmp_path))
    monkeypatch.setenv("IOTOPS_AUTH__JWT_SECRET", "k" * 40)
    get_settings.cache_clear()
    trail, app = AuditTrail(AWAY), FastAPI(dependencies=[Depends(caller("operator"))])
    app.add_middleware(Bounded, most_bytes=1000)
    app.add_middleware(Recorded, recorder=lambda: Recorder(trail, PRICED))
    install(app)

    @app.get("/streamed/{device}")
    async def streamed(device: str, breaks: bool = False) -> StreamingResponse:
        note().headers = {"RateLimit-Remaining": "7"}

        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.sleep(0)
            note().completions.append(completion("large", 10, 20))
            if breaks:
                raise RuntimeError("the engine died")
            yield b"last"

        return StreamingResponse(pieces())

    @app.get("/events")
    async def events(request: Request, then: str) -> EventStream:
        async def work(tell: Tell) -> Token:
            tell(Token(text="first"))
            await (asyncio.Event().wait() if then == "waits" else asyncio.sleep(0))
            if then == "fails":
                raise BackPressureError(64, 64)
            return Token(text="last")

        return await sse.streamed(
            heard(work), sse.event_frame, lambda error: sse.error_frame(error, request_id(request))
        )

    @app.post("/asked")
    async def asked(question: str, keeps: bool) -> None:
        note().question, note().keep_question = question, keeps

    @app.post("/body")
    async def body(given: dict[str, str]) -> None: ...

    @app.get("/endless")
    async def endless() -> None:
        arrived.set()
        await asyncio.sleep(600)

    @app.get("/asked", response_model=Token)
    async def answered(request: Request) -> EventStream | Token:
        async def work(tell: Tell) -> Token:
            def told(event: Event) -> None:
                tell(event)
                if isinstance(event, Token) and "bearing wears" in event.text:
                    arrived.set()

            draft = await answerer(Caller(), answer_s=float(request.query_params["s"])).answer(
                Tenant("acme"), resolve(QUESTION, None, []), 5, told
            )
            return Token(text=draft.answer)

        return await sse.answered(request, work)

    yield app
    trail.close()
    get_settings.cache_clear()


def of_alice(ttl_s: int | None = None) -> dict[str, str]:
    """The headers of her calls."""
    token = issue_token(get_settings().auth, Tenant("acme"), "alice", "operator", ttl_s)
    return {"authorization": f"Bearer {token}", "x-request-id": "r1"}


@pytest.fixture
def client(app: FastAPI) -> httpx.AsyncClient:
    """Hers."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://copilot", headers=of_alice())


def test_a_streamed_answer_is_recorded_after_its_last_piece(
    client: httpx.AsyncClient, lines: list[dict[str, Any]]
) -> None:
    answer = asyncio.run(client.get("/streamed/pump-1"))
    assert (answer.text, answer.headers["RateLimit-Remaining"]) == ("firstlast", "7")
    (line,) = lines
    assert (line["tenant_id"], line["subject"], line["object"]) == ("acme", "alice", "pump-1")
    assert (line["action"], line["outcome"], line["request_id"]) == ("GET /streamed/{device}", "done", "r1")
    assert (line["completion_tokens"], line["cost"]) == (20, pytest.approx((10 * 0.5 + 20 * 4.0) / 1e6))
    assert "question" not in line


def test_a_stream_that_breaks_off_failed_though_its_status_was_sent(
    client: httpx.AsyncClient, lines: list[dict[str, Any]]
) -> None:
    asyncio.run(client.get("/streamed/pump-1?breaks=true"))
    assert [(line["outcome"], line["status"], line["completion_tokens"]) for line in lines] == [
        ("failed", 200, 20)
    ]


def test_a_stream_that_tells_of_its_failure_failed_too(
    client: httpx.AsyncClient, lines: list[dict[str, Any]]
) -> None:
    answer = asyncio.run(client.get("/events?then=fails"))
    assert '"text":"first"' in answer.text
    assert '"code": "overloaded"' in answer.text
    assert [(line["outcome"], line["status"]) for line in lines] == [("failed", 200)]


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [("/no/such/page", b"", 404), ("/body", b"{", 422), ("/body", b"x" * 2000, 413)],
)
def test_a_call_that_is_refused_before_it_is_asked_who_sends_it_is_recorded(
    client: httpx.AsyncClient, lines: list[dict[str, Any]], path: str, content: bytes, status: int
) -> None:
    answer = asyncio.run(client.post(path, content=content))
    assert answer.status_code == status
    assert [(line["subject"], line["action"], line["outcome"]) for line in lines] == [
        ("alice", f"POST {path}", "refused")
    ]
    lines.clear()
    asyncio.run(client.post(path, content=content, headers={"Authorization": "Bearer forged"}))
    assert not lines


def test_a_call_with_an_expired_token_is_recorded_as_denied(
    client: httpx.AsyncClient, lines: list[dict[str, Any]]
) -> None:
    assert asyncio.run(client.get("/streamed/pump-1", headers=of_alice(ttl_s=-1))).status_code == 401
    assert [(line["subject"], line["object"], line["outcome"]) for line in lines] == [
        ("alice", "pump-1", "denied")
    ]


def test_a_call_that_nobody_waits_for_is_recorded_as_such(
    client: httpx.AsyncClient, arrived: asyncio.Event, lines: list[dict[str, Any]]
) -> None:
    async def leave() -> None:
        call = asyncio.create_task(client.get("/endless"))
        await arrived.wait()
        call.cancel()
        await asyncio.wait([call])

    asyncio.run(leave())
    assert [(line["outcome"], line["status"]) for line in lines] == [("cancelled", 499)]


def test_a_stream_of_events_that_is_told_to_its_end_is_done(
    client: httpx.AsyncClient, lines: list[dict[str, Any]]
) -> None:
    assert '"text":"last"' in asyncio.run(client.get("/events?then=ends")).text
    assert [(line["outcome"], line["status"]) for line in lines] == [("done", 200)]


@pytest.mark.parametrize("by", ["the server hears of it", "nothing can be sent"])
def test_a_stream_whose_listener_goes_away_was_cancelled(
    app: FastAPI, lines: list[dict[str, Any]], by: str
) -> None:
    async def listen() -> None:
        left, heard_of = asyncio.Event(), by == "the server hears of it"
        body = iter([{"type": "http.request", "body": b""}])

        async def receive() -> Message:
            if message := next(body, None):
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if b"first" in message.get("body", b""):
                left.set()
                if not heard_of:
                    raise OSError("the listener is gone")

        headers = [(name.encode(), value.encode()) for name, value in of_alice().items()]
        scope = {"type": "http", "method": "GET", "path": "/events", "query_string": b"then=waits"}
        version = {"spec_version": "2.3" if heard_of else "2.4"}
        with suppress(ClientDisconnect):
            await app(scope | {"headers": headers, "asgi": version}, receive, send)

    asyncio.run(listen())
    assert [(line["outcome"], line["status"]) for line in lines] == [("cancelled", 499)]


@pytest.mark.parametrize("keeps", [True, False])
def test_a_question_that_is_kept_stands_in_the_log_without_personal_data(
    client: httpx.AsyncClient, lines: list[dict[str, Any]], keeps: bool
) -> None:
    question = "May ann@example.com or \0 call +49 30 901820?"
    asyncio.run(client.post("/asked", params={"question": question, "keeps": keeps}))
    (line,) = lines
    assert line.get("question") == ("May <email> or � call <phone>?" if keeps else None)
    assert "ann@" not in json.dumps(line)


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*"])
def test_who_leaves_before_the_end_pays_for_what_was_written(
    client: httpx.AsyncClient, arrived: asyncio.Event, lines: list[dict[str, Any]], accept: str
) -> None:
    async def leave() -> None:
        call = asyncio.create_task(client.get("/asked?s=60", headers={"Accept": accept}))
        await arrived.wait()
        call.cancel()
        await asyncio.wait([call])

    asyncio.run(leave())
    used = [(line["outcome"], line["prompt_tokens"], line["completion_tokens"]) for line in lines]
    assert used == [("cancelled", 10 + 90, 5 + 8)]


def test_who_stays_pays_once(client: httpx.AsyncClient, lines: list[dict[str, Any]]) -> None:
    asyncio.run(client.get("/asked?s=0.3"))
    assert [(line["outcome"], line["prompt_tokens"], line["completion_tokens"]) for line in lines] == [
        ("done", 10 + 90, 5 + 8)
    ]


def test_what_no_database_takes_is_in_the_log_and_counted(
    lines: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    trail = AuditTrail(AWAY, most=2)
    for number in range(5):
        at = datetime.now(UTC)
        entry = Entry("acme", at, "alice", "operator", "POST /ask", "", "done", 200, f"r{number}", 1.0)
        log(entry)
        trail.add(entry)
    trail.close()
    assert [line["request_id"] for line in lines] == [f"r{number}" for number in range(5)]
    told = [record.args[0] for record in caplog.records if "are not stored" in record.msg and record.args]
    assert sum(told) == 5, "three found no room, two were never taken"
    assert "waits for the database, 2 entries" in caplog.text


def test_a_request_costs_what_its_completions_cost() -> None:
    small, large = completion("small", 1_000_000, 10), completion("large", 2_000_000, 500_000)
    assert used([], PRICED) == Usage()
    assert used([small], PRICED) == Usage("small", 1_000_000, 10, 0.0), "no price, no cost"
    assert used([small, large], PRICED) == Usage("large", 3_000_000, 500_010, 3.0)


def test_a_ratio_is_of_the_latest_and_by_tenant() -> None:
    ratio = Ratio("test_ratio", "What a test says.")
    assert [ratio.observe("acme", yes) for yes in (True, False)] == [1.0, 0.5]
    assert ratio.observe("rival", False) == 0.0
    for _ in range(Ratio.LATEST):
        last = ratio.observe("acme", True)
    assert last == 1.0
