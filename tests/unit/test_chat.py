"""The client of the language model: what a stream costs, and that leaving it ends the work."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from ray_apps.chat import ServedModel, Writing

WORDS = ("", "Stop", " the", " pump.")


class Engine:
    """A handle whose stream writes words, and notices when it is cancelled."""

    def __init__(self) -> None:
        self.cancelled, self.written = False, 0
        self.stream = self

    def options(self, *, stream: bool) -> Engine:
        assert stream
        return self

    def remote(self, messages, max_tokens) -> Engine:
        return self

    def cancel(self) -> None:
        self.cancelled = True

    async def __aiter__(self):
        for number, word in enumerate(WORDS):
            self.written += 1
            yield {
                "text": word, "prompt_tokens": 90, "completion_tokens": number,
                "finish_reason": "stop" if number == 3 else "", "model": "engine",
            }  # fmt: skip


def test_a_stream_knows_what_it_cost_so_far():
    async def run() -> None:
        writing = Writing(ServedModel("engine", Engine()).pieces([], 10))
        assert writing.completion is None
        assert [piece async for piece in writing.pieces()] == list(WORDS)
        cost = writing.completion
        assert cost is not None
        assert (cost.text, cost.prompt_tokens, cost.completion_tokens) == ("Stop the pump.", 90, 3)
        assert (cost.finish_reason, cost.model) == ("stop", "engine")
        assert 0 < cost.ttft_s <= cost.total_s

    asyncio.run(run())


def test_leaving_a_stream_ends_the_work_and_keeps_its_cost():
    async def run() -> None:
        engine = Engine()
        writing = Writing(ServedModel("engine", engine).pieces([], 10))
        async with aclosing(writing.pieces()) as pieces:
            async for piece in pieces:
                if piece:
                    break
        assert engine.cancelled
        assert engine.written < len(WORDS)
        assert writing.completion is not None
        assert (writing.completion.text, writing.completion.completion_tokens) == ("Stop", 1)

    asyncio.run(run())


def test_who_leaves_before_tools_are_proposed_ends_the_work():
    class Proposing(Engine):
        """Never says which tools to call."""

        def __init__(self) -> None:
            super().__init__()
            self.propose = self
            self.asked = asyncio.Event()

        def remote(self, *asked) -> Engine:
            self.asked.set()
            return self

        def __await__(self):
            return asyncio.Event().wait().__await__()

    async def run() -> None:
        engine = Proposing()
        asking = asyncio.create_task(ServedModel("engine", engine).propose([], [], 10))
        await engine.asked.wait()
        assert not engine.cancelled
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        assert engine.cancelled

    asyncio.run(run())
