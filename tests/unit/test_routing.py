"""Which model answers: the first that gives a piece, and what is not asked meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from iotops.errors import ModelError
from iotops.models.catalogue import Catalogue
from ray_apps.chat import (
    Busy,
    Completion,
    EngineError,
    Messages,
    Piece,
    Proposal,
    ProposedCall,
    RequestRefused,
    Schemas,
)
from ray_apps.circuit import FAILURES
from ray_apps.routing import ChatModel, Route, chat_model, first_token_limits

HANG = object()
ASKED: Messages = [{"role": "user", "content": "What does E421 mean?"}]


class Author:
    """A model that goes through a script: a text is a piece, an error is raised, `HANG` never ends."""

    def __init__(self, name: str, *script: Any) -> None:
        self.name, self.script = name, script
        self.asked, self.ended = 0, 0

    async def pieces(self, messages: Messages, max_tokens: int) -> AsyncGenerator[Piece, None]:
        self.asked += 1
        try:
            for number, step in enumerate(self.script):
                if isinstance(step, Exception):
                    raise step
                if step is HANG:
                    await asyncio.Event().wait()
                yield Piece(
                    text=step, prompt_tokens=9, completion_tokens=number, finish_reason="", model=self.name
                )
        finally:
            self.ended += 1

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> Proposal:
        text = "".join([piece.text async for piece in self.pieces(messages, max_tokens)])
        used = Completion(
            text=text, prompt_tokens=9, completion_tokens=1, ttft_s=None, total_s=0.1, finish_reason="stop",
            model=self.name,
        )  # fmt: skip
        return Proposal(calls=[ProposedCall(name=text, arguments="{}")], completion=used)

    async def describe(self) -> dict[str, Any]:
        return {"name": self.name, "source": "script"}


def routed(*authors: Author) -> ChatModel:
    return ChatModel([Route(author, first_token_s=0.05) for author in authors])


async def read(chat: ChatModel) -> tuple[str, str]:
    """The answer and who wrote it."""
    writing = chat.stream(ASKED, 10)
    text = "".join([piece async for piece in writing.pieces()])
    assert writing.completion
    assert writing.completion.text == text
    return text, writing.completion.model


@pytest.mark.parametrize(
    "failure",
    [(EngineError("gone"),), (HANG,), ("", HANG), (), ("",), (RequestRefused("too long"),), (Busy("full"),)],
    ids=["fails", "hangs", "hangs after nothing", "ends", "ends after nothing", "refuses", "busy"],
)
def test_a_model_that_gives_no_first_piece_is_followed_by_the_next(failure: tuple[Any, ...]):
    async def run() -> None:
        first, second, third = Author("a", *failure), Author("b", "", "Stop ", "it."), Author("c", "No.")
        assert await read(routed(first, second, third)) == ("Stop it.", "b")
        assert (first.ended, third.asked) == (1, 0)

    asyncio.run(run())


@pytest.mark.parametrize("failure", [HANG, EngineError("gone")], ids=["hangs", "fails"])
def test_what_a_model_read_is_kept_though_it_gave_no_word_and_another_one_answers(failure: object):
    async def run() -> None:
        writing = routed(Author("a", "", "", failure), Author("b", "", "Stop.")).stream(ASKED, 10)
        assert "".join([piece async for piece in writing.pieces()]) == "Stop."
        assert [(each.model, each.prompt_tokens, each.completion_tokens) for each in writing.completions] == [
            ("a", 9, 1), ("b", 9, 1),
        ]  # fmt: skip
        assert [each.ttft_s is None for each in writing.completions] == [True, False]
        assert writing.completion is writing.completions[-1]

    asyncio.run(run())


def test_a_reader_that_leaves_before_the_first_word_knows_what_was_read():
    async def run() -> None:
        writing = ChatModel([Route(Author("a", "", HANG), first_token_s=20)]).stream(ASKED, 10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                [piece async for piece in writing.pieces()]
        assert [each.prompt_tokens for each in writing.completions] == [9]
        assert writing.completion is None

    asyncio.run(run())


def test_after_its_first_piece_a_model_is_not_replaced():
    async def run() -> None:
        first, second = Author("a", "Stop ", EngineError("gone")), Author("b", "Go.")
        writing = routed(first, second).stream(ASKED, 10)
        with pytest.raises(EngineError, match="gone"):
            [piece async for piece in writing.pieces()]
        assert writing.completion
        assert (writing.completion.text, writing.completion.model, second.asked) == ("Stop ", "a", 0)

    asyncio.run(run())


def test_without_any_answer_each_reason_is_told():
    async def run() -> None:
        with pytest.raises(EngineError, match=r"gone.*b wrote nothing within 0\.05 s"):
            await read(routed(Author("a", EngineError("gone")), Author("b", HANG)))

    asyncio.run(run())


def test_a_model_that_fails_again_and_again_is_left_alone_and_tells_so():
    async def run() -> None:
        first, second = Author("a", HANG), Author("b", "Stop.")
        chat = routed(first, second)
        assert chat.author == "a"
        for _ in range(FAILURES + 2):
            assert await read(chat) == ("Stop.", "b")
        assert first.asked == FAILURES
        assert chat.author == "b"
        assert await chat.describe() == {
            "name": "a", "source": "script", "circuits": {"a": "open", "b": "closed"}
        }  # fmt: skip

    asyncio.run(run())


def test_a_model_that_writes_for_others_meanwhile_is_busy_and_has_not_failed():
    class OneByOne(Author):
        """Writes for who asks first, while the others wait."""

        async def pieces(self, messages: Messages, max_tokens: int) -> AsyncGenerator[Piece, None]:
            self.script = ("Stop ", "it.") if not self.asked else (HANG,)
            async for piece in super().pieces(messages, max_tokens):
                await others.wait()
                yield piece

    async def run() -> None:
        chat = ChatModel([Route(OneByOne("a"), first_token_s=0.3)])
        first = asyncio.create_task(read(chat))
        waiting = [asyncio.create_task(read(chat)) for _ in range(FAILURES + 1)]
        await asyncio.sleep(0)
        others.set()
        assert await first == ("Stop it.", "a")
        assert {type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)} == {
            EngineError
        }
        assert (chat.said, (await chat.describe())["circuits"]) == (2, {"a": "closed"})

    others = asyncio.Event()
    asyncio.run(run())


def test_a_model_that_answers_leave_too_little_time_is_judged_by_a_word_that_nobody_waits_for():
    async def run() -> None:
        chat = routed(Author("a", HANG))
        for _ in range(FAILURES):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await read(chat)
            assert (await chat.describe())["circuits"] == {"a": "closed"}, "it may be slow"
            await chat.sound_out()
        with pytest.raises(EngineError, match="'a': 'open'"):
            await chat.describe()
        with pytest.raises(EngineError, match="left alone"):
            await read(chat)

    asyncio.run(run())


def test_the_word_is_the_last_models_and_asked_for_once_at_a_time():
    async def run() -> None:
        first, last = Author("a", HANG), Author("b", "Yes.")
        chat = ChatModel([Route(first, 20), Route(last, 20)])
        asked = chat.sound_out()
        assert chat.sound_out() is asked
        await asked
        assert (first.asked, last.asked, chat.said) == (0, 1, 1)
        await chat.sound_out()
        assert last.asked == 2
        assert set((await chat.describe())["circuits"].values()) == {"closed"}

    asyncio.run(run())


def test_requests_that_are_refused_for_their_own_sake_never_open_the_circuit():
    async def run() -> None:
        first = Author("a", RequestRefused("too long"))
        chat = routed(first, Author("b", "Stop."))
        for _ in range(FAILURES + 2):
            await read(chat)
        assert first.asked == FAILURES + 2

    asyncio.run(run())


def test_a_reader_that_has_enough_ends_the_work_and_is_no_failure():
    async def run() -> None:
        first = Author("a", "Stop.", HANG)
        chat = routed(first, Author("b", "Go."))
        for _ in range(FAILURES + 1):
            async with aclosing(chat.stream(ASKED, 10).pieces()) as pieces:
                assert await anext(pieces) == "Stop."
        assert (first.asked, first.ended, chat.author) == (FAILURES + 1, FAILURES + 1, "a")

    asyncio.run(run())


def test_it_is_not_ready_only_while_every_model_fails():
    async def run() -> None:
        chat = routed(Author("a", EngineError("gone")), Author("b", EngineError("gone too")))
        assert (await chat.describe())["name"] == "a"
        for _ in range(FAILURES):
            with pytest.raises(EngineError):
                await read(chat)
        with pytest.raises(EngineError, match="no language model answers"):
            await chat.describe()

    asyncio.run(run())


def test_the_model_that_would_answer_proposes_tools_if_it_can_and_its_failures_count():
    async def run() -> None:
        first, second = Author("a", EngineError("gone")), Author("b", "look")
        chat = ChatModel([Route(first, 0.05, calls_tools=True), Route(second, 0.05, calls_tools=True)])
        for _ in range(FAILURES):
            with pytest.raises(EngineError, match="gone"):
                await chat.propose(ASKED, [], 10)
        proposal = await chat.propose(ASKED, [], 10)
        assert proposal
        assert [call.name for call in proposal.calls] == ["look"]
        assert (first.asked, proposal.completion.model) == (FAILURES, "b")
        untrained = Author("c", "look")
        assert await routed(untrained).propose(ASKED, [], 10) is None
        assert untrained.asked == 0

    asyncio.run(run())


def test_a_model_that_takes_long_over_its_tools_is_not_waited_for_and_has_not_failed():
    async def run() -> None:
        slow = Author("a", HANG)
        chat = ChatModel([Route(slow, 20, calls_tools=True, tools_s=0.01)])
        for _ in range(FAILURES):
            with pytest.raises(TimeoutError):
                await chat.propose(ASKED, [], 10)
        assert slow.ended == FAILURES
        assert (await chat.describe())["circuits"] == {"a": "closed"}

    asyncio.run(run())


def catalogue(**models: Any) -> Catalogue:
    roles = {"embedder": "e", "llm": "big"}
    return Catalogue.model_validate({"roles": roles, "fallbacks": ["small"], "models": models})


def test_the_first_token_leaves_a_fallback_half_of_the_answers_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("IOTOPS_MODEL_LLM", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        port = silent.getsockname()[1]
        far = {"endpoint": {"api": "openai", "url": f"http://127.0.0.1:{port}"}}
        models = catalogue(big={**far, "answer_s": 0.2}, small={**far, "first_token_s": 0.3})
        with pytest.raises(EngineError, match=r"big wrote nothing within 0\.1 s; small: .*within 0\.3 s"):
            asyncio.run(read(chat_model(models, None)))


@pytest.mark.parametrize(("answer_s", "limits"), [(20, (10, 15)), (1.75, (0.875, 5))])
def test_the_last_model_is_judged_before_the_answers_time_is_over_if_that_is_fair(
    answer_s: float, limits: tuple[float, float]
):
    assert first_token_limits(answer_s) == limits


def test_a_key_that_is_not_in_the_environment_stops_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("IOTOPS_MODEL_LLM", raising=False)
    elsewhere = {"endpoint": {"api": "openai", "url": "http://127.0.0.1:9/v1", "key": "BIG_KEY"}}
    models = catalogue(big=elsewhere, small={"endpoint": {"api": "anthropic", "url": "http://127.0.0.1:9"}})
    monkeypatch.delenv("BIG_KEY", raising=False)
    with pytest.raises(ModelError, match="BIG_KEY"):
        chat_model(models, None)
    monkeypatch.setenv("BIG_KEY", "sesame")
    assert chat_model(models, None).author == "big"


def test_a_graph_that_was_built_without_the_served_model_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("IOTOPS_MODEL_LLM", raising=False)
    with pytest.raises(ModelError, match="deploy it again"):
        chat_model(catalogue(), None)
