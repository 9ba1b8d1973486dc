"""Language models elsewhere and what becomes of their failures, against vLLM's own server for both APIs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from iotops.models.catalogue import Catalogue, ModelSpec
from ray_apps.chat import EngineError, RequestRefused, Writing
from ray_apps.circuit import FAILURES, Circuit
from ray_apps.copilot.evidence.tools import IncidentHistory, accepted, schemas
from ray_apps.copilot.measures import used
from ray_apps.routing import ChatModel, Route, chat_model
from tests.vllm_server import ASKING, PATIENCE_S, Server, endpoint, far_model, read
from tests.waiting import eventually

TOKENS = 12
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(elsewhere: Server) -> Server:
    elsewhere.wait()
    return elsewhere


def test_both_clients_get_the_same_answer_and_the_servers_own_count_of_tokens(server: Server):
    async def run() -> None:
        completions = []
        for api in ("openai", "anthropic"):
            writing = Writing(far_model(api, server.port).pieces(ASKING, TOKENS))
            await read(writing)
            assert writing.completion
            completions.append(writing.completion)
        first, second = completions
        assert first.text == second.text != ""
        assert first.prompt_tokens == second.prompt_tokens > 0
        assert first.completion_tokens == second.completion_tokens == TOKENS
        assert first.finish_reason == second.finish_reason == "length"
        assert first.ttft_s is not None
        assert 0 < first.ttft_s < first.total_s

    asyncio.run(run())


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_prompt_that_is_too_long_is_the_requests_own_fault(server: Server, api: str):
    async def run() -> None:
        with pytest.raises(RequestRefused, match="2048"):
            await read(
                Writing(far_model(api, server.port).pieces([{"role": "user", "content": "x " * 4000}], 9))
            )

    asyncio.run(run())


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_leaving_an_answer_ends_the_work_there_and_what_it_cost_is_estimated(server: Server, api: str):
    async def run() -> None:
        writing = Writing(far_model(api, server.port).pieces(ASKING, 1500))
        async with aclosing(writing.pieces()) as pieces:
            async for piece in pieces:
                if piece:
                    break
        assert writing.completion
        assert writing.completion.completion_tokens == 1
        assert 10 < writing.completion.prompt_tokens < 60

    asyncio.run(run())
    eventually(lambda: server.running() == 0, timeout_s=20)


@pytest.mark.parametrize("listens", [False, True], ids=["dead", "silent"])
def test_the_next_model_answers_and_is_paid_where_the_first_is_dead_or_silent(
    server: Server, listens: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("IOTOPS_MODEL_LLM", raising=False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listens:
            other.listen()
        catalogue = Catalogue.model_validate(
            {
                "roles": {"embedder": "e", "llm": "first"},
                "fallbacks": ["second"],
                "models": {
                    "first": {
                        "endpoint": endpoint("openai", other.getsockname()[1]),
                        "first_token_s": 1,
                        "price": {"prompt": 1e6, "completion": 1e6},
                    },
                    "second": {
                        "endpoint": endpoint("anthropic", server.port),
                        "price": {"prompt": 2, "completion": 3},
                    },
                },
            }
        )
        chat = chat_model(catalogue, None)

        async def run() -> None:
            assert chat.author == "first"
            for _ in range(FAILURES):
                writing = chat.stream(ASKING, TOKENS)
                assert (await read(writing))[1] == "second"
            assert chat.author == "second"
            assert (await chat.describe())["circuits"] == {"first": "open", "second": "closed"}
            assert writing.completion
            spent = used([writing.completion], catalogue)
            assert spent.model == "second"
            assert spent.cost == pytest.approx((2 * spent.prompt_tokens + 3 * spent.completion_tokens) / 1e6)

        asyncio.run(run())


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_tool_calls_that_the_model_writes_are_read_by_vllms_parser(server: Server, api: str):
    """A model of this size calls no tool by itself, but goes on as a conversation went."""
    written = '{"name": "get_incident_history", "arguments": {"device_id": "machine-006"}}'
    call = f"<tool_call>\n{written}\n</tool_call>"
    turns = [{"role": "user", "content": "machine-006"}, {"role": "assistant", "content": call}]
    proposal = asyncio.run(far_model(api, server.port).propose([*turns * 4, turns[0]], schemas(), 64))
    wanted, dropped = accepted(proposal.calls, [])
    assert (wanted, dropped) == ([IncidentHistory(device_id="machine-006")], [])
    assert proposal.completion.prompt_tokens > proposal.completion.completion_tokens > 0


def test_a_served_model_has_its_parser_and_its_replicas_from_the_catalogue():
    from ray_apps.llm import llm_config

    replicas = {"min_replicas": 2, "max_replicas": 4, "target_ongoing_requests": 8}
    spec = ModelSpec.model_validate({"hardware": "cpu", "tool_parser": "hermes", "autoscaling": replicas})
    config = llm_config("tiny", spec)
    assert config.get_engine_config().frontend_kwargs == {
        "enable_auto_tool_choice": True,
        "tool_call_parser": "hermes",
    }
    assert config.deployment_config["autoscaling_config"] == replicas
    assert "num_replicas" not in config.deployment_config
    assert not llm_config("tiny", ModelSpec(hardware="cpu")).get_engine_config().frontend_kwargs


def test_on_a_gpu_the_language_model_leaves_room_unless_the_catalogue_says_how_much():
    from ray_apps.llm import GPU_ENGINE, llm_config

    assert llm_config("tiny", ModelSpec(hardware="gpu")).engine_kwargs == GPU_ENGINE
    spec = ModelSpec.model_validate({"hardware": "gpu", "engine_kwargs": {"gpu_memory_utilization": 0.5}})
    assert llm_config("tiny", spec).engine_kwargs["gpu_memory_utilization"] == 0.5
    on_cpu = llm_config("tiny", ModelSpec(hardware="cpu")).engine_kwargs
    assert "gpu_memory_utilization" not in on_cpu


@dataclass
class Line:
    """A line to a server that can be cut and mended."""

    to: int
    port: int = 0
    ends: list[asyncio.StreamWriter] = field(default_factory=list)

    async def mend(self) -> None:
        self.entry = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self.entry.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        self.entry.close()
        for end in self.ends:
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        self.ends += [writer, back]
        await asyncio.gather(_copied(reader, back), _copied(there, writer), return_exceptions=True)


async def _copied(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(4096):
        sink.write(data)
        await sink.drain()
    sink.close()


@asynccontextmanager
async def line(to: int) -> AsyncIterator[Line]:
    made = Line(to)
    await made.mend()
    try:
        yield made
    finally:
        await made.cut()


def test_a_line_that_is_cut_in_the_middle_ends_the_answer_opens_the_circuit_and_closes_it_when_mended(
    server: Server,
):
    async def run() -> None:
        async with line(server.port) as first_line:
            now = [0.0]  # the circuit's clock: how fast the models write must not matter
            circuit = Circuit(cooldown_s=1, clock=lambda: now[0])
            first = Route(far_model("openai", first_line.port), PATIENCE_S, circuit=circuit)
            chat = ChatModel([first, Route(far_model("anthropic", server.port), PATIENCE_S)])
            assert (await read(chat.stream(ASKING, TOKENS)))[1] == "openai"

            writing = chat.stream(ASKING, 1500)
            with pytest.raises(EngineError, match="openai"):
                await read(writing, first_line.cut)
            assert writing.completion
            assert writing.completion.text
            assert writing.completion.model == "openai"

            for _ in range(FAILURES - 1):
                assert circuit.state == "closed"
                assert (await read(chat.stream(ASKING, TOKENS)))[1] == "anthropic"
            assert circuit.state == "open"
            await first_line.mend()
            assert (await read(chat.stream(ASKING, TOKENS)))[1] == "anthropic", "it is left alone"
            now[0] += 1
            assert (await read(chat.stream(ASKING, TOKENS)))[1] == "openai"
            assert circuit.state == "closed"

    asyncio.run(run())
    eventually(lambda: server.running() == 0, timeout_s=20)
