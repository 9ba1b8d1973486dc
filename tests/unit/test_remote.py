"""Clients of models elsewhere: what they send and how failures are told, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from iotops.models.catalogue import ModelSpec
from ray_apps.chat import Busy, EngineError, LanguageModelClient, RequestRefused
from ray_apps.copilot.evidence.tools import schemas
from ray_apps.routing import remote_model

KEY = "sk-sesame-0123456789"
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
APIS = pytest.mark.parametrize("api", ["openai", "anthropic"])
CALL = {"name": "fetch_related_docs", "arguments": '{"error_code": "E421"}'}
MESSAGE = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": CALL}]}
USE = {"type": "tool_use", "id": "c", "name": "fetch_related_docs", "input": {"error_code": "E421"}}
CALLS = {
    "openai": {
        "id": "1", "object": "chat.completion", "created": 1, "model": "far",
        "usage": {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59},
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": MESSAGE}],
    },
    "anthropic": {
        "id": "1", "type": "message", "role": "assistant", "model": "far", "stop_reason": "tool_use",
        "usage": {"input_tokens": 50, "output_tokens": 9},
        "content": [{"type": "text", "text": "Let me see."}, USE],
    },
}  # fmt: skip


class Server:
    """Gives one answer to everything, and keeps what it was sent."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, json.dumps(body)
        self.head, self.sent = "", {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(self.head.partition("content-length: ")[2].partition("\r")[0])
        self.sent = json.loads(await reader.readexactly(length))
        head = f"HTTP/1.1 {self.status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(self.body)}\r\n\r\n{self.body}".encode())
        writer.close()


@asynccontextmanager
async def served(api: str, server: Server, **more: Any) -> AsyncIterator[LanguageModelClient]:
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        spec = ModelSpec.model_validate({"endpoint": {"api": api, "url": url, **more}})
        assert spec.endpoint
        yield remote_model("far", spec, spec.endpoint)


@APIS
@pytest.mark.parametrize("status", [400, 413, 422, 401, 404, 429, 500, 529])
def test_a_refused_request_is_told_from_a_failure_and_no_key_is_told(
    api: str, status: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FAR_KEY", KEY)
    server = Server(status, {"type": "error", "error": {"type": "x", "message": f"not with {KEY}"}})

    async def run() -> None:
        async with served(api, server, key="FAR_KEY") as model:
            with pytest.raises(EngineError) as failed:
                [piece async for piece in model.pieces(ASKED, 9)]
        assert isinstance(failed.value, RequestRefused) is (status in (400, 413, 422))
        assert isinstance(failed.value, Busy) is (status in (429, 529))
        assert KEY not in str(failed.value)
        assert KEY in server.head

    asyncio.run(run())


@APIS
def test_a_key_of_the_environment_that_is_not_this_servers_is_not_sent(
    api: str, monkeypatch: pytest.MonkeyPatch
):
    for variable in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(variable, KEY)
    server = Server(500, {})

    async def run() -> None:
        async with served(api, server) as model:
            with pytest.raises(EngineError, match="500"):
                [piece async for piece in model.pieces(ASKED, 9)]

    asyncio.run(run())
    assert KEY not in server.head


@APIS
def test_a_temperature_is_sent_only_if_one_is_set(api: str):
    async def run(**more: Any) -> dict[str, Any]:
        server = Server(500, {})
        async with served(api, server, **more) as model:
            with pytest.raises(EngineError):
                [piece async for piece in model.pieces(ASKED, 9)]
        return server.sent

    assert "temperature" not in asyncio.run(run())
    sent = asyncio.run(run(temperature=0, model="far-away"))
    assert (sent["temperature"], sent["model"], sent["stream"]) == (0, "far-away", True)


@APIS
def test_tool_calls_are_read_and_what_they_cost(api: str):
    server = Server(200, CALLS[api])

    async def run() -> None:
        async with served(api, server) as model:
            proposal = await model.propose(ASKED, schemas(), 99)
        (call,) = proposal.calls
        assert (call.name, json.loads(call.arguments)) == ("fetch_related_docs", {"error_code": "E421"})
        cost = proposal.completion
        assert (cost.model, cost.prompt_tokens, cost.completion_tokens, cost.ttft_s) == ("far", 50, 9, None)
        named = [each.get("function", each)["name"] for each in server.sent["tools"]]
        assert named == [each["function"]["name"] for each in schemas()]

    asyncio.run(run())
