"""Which model writes: no answer waits for one that is busy, nor for ever for one that says nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from ray_apps.copilot.model_version import ModelVersion

PATIENCE_S = 30


class Model:
    """Says another name each time, as long as it is `free`."""

    def __init__(self) -> None:
        self.asked, self.free = 0, asyncio.Event()
        self.free.set()

    async def describe(self) -> dict[str, Any]:
        self.asked += 1
        await self.free.wait()
        return {"name": f"model {self.asked}", "circuits": {"model": self.asked}}


def test_it_is_asked_once_for_many_answers() -> None:
    async def run() -> None:
        model = Model()
        version = ModelVersion(model.describe)
        told = await asyncio.gather(*(version.current() for _ in range(20)))
        assert {*told, await version.current()} == {"{'name': 'model 1'}"}
        assert model.asked == 1

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_a_busy_model_is_not_waited_for_and_is_heard_when_it_answers() -> None:
    async def run() -> None:
        model = Model()
        version = ModelVersion(model.describe, remembered_s=0, timeout_s=PATIENCE_S)
        first = await version.current()
        model.free.clear()
        assert await version.current() == first
        model.free.set()
        while (told := await version.current()) == first:
            await model.free.wait()
            await asyncio.sleep(0)
        assert told == "{'name': 'model 2'}"

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_what_it_said_long_ago_is_waited_for_but_not_for_ever() -> None:
    async def run() -> None:
        model = Model()
        version = ModelVersion(model.describe, remembered_s=0, stale_s=0, timeout_s=0.01)
        first, second = [await version.current() for _ in range(2)]
        assert second != first
        model.free.clear()
        assert await version.current() == second, "it says nothing"

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
