"""What an answer depends on: no answer waits for a language model that is busy writing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from iotops.tenancy import Tenant
from ray_apps.copilot import versions
from ray_apps.copilot.planner import plan
from ray_apps.copilot.versions import Versions

ACME, QUESTION = Tenant("acme"), plan("why does it hum")


class Chat:
    """Says another name each time, as long as it is `free`."""

    calls_tools, author = False, "author"

    def __init__(self) -> None:
        self.asked, self.free = 0, asyncio.Event()
        self.free.set()

    async def describe(self) -> dict[str, Any]:
        self.asked += 1
        await self.free.wait()
        return {"name": f"model {self.asked}", "circuits": {"model": self.asked}}


class Retriever:
    def options(self, multiplexed_model_id: str) -> Retriever:
        return self

    @property
    def describe(self) -> Retriever:
        return self

    async def remote(self, tenant: str) -> str:
        return f"index of {tenant}"


class Devices:
    def known(self, tenant: Tenant, names: object) -> bool:
        return False


def test_the_model_is_asked_beside_the_answers_and_not_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        chat = Chat()
        asked = Versions(Retriever(), chat, Devices())  # type: ignore[arg-type]
        first, again = [await asked.of(ACME, QUESTION) for _ in range(2)]
        assert first == again
        assert (first.index, first.model, chat.asked) == ("index of acme", "{'name': 'model 1'}", 1)
        monkeypatch.setattr(versions, "MODEL_REMEMBERED_S", 0.0)
        chat.free.clear()
        assert await asyncio.wait_for(asked.of(ACME, QUESTION), 0.5) == first, "it is busy"
        chat.free.set()
        for _ in range(1000):
            if (told := await asked.of(ACME, QUESTION)) != first:
                break
            await asyncio.sleep(0)
        assert told.model != first.model

    asyncio.run(asyncio.wait_for(run(), 30))


def test_what_it_said_long_ago_is_waited_for_and_one_that_says_nothing_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        chat = Chat()
        asked = Versions(Retriever(), chat, Devices())  # type: ignore[arg-type]
        first = await asked.of(ACME, QUESTION)
        monkeypatch.setattr(versions, "MODEL_REMEMBERED_S", 0.0)
        monkeypatch.setattr(versions, "MODEL_STALE_S", 0.0)
        second = await asked.of(ACME, QUESTION)
        assert second.model != first.model
        monkeypatch.setattr(versions, "MODEL_TIMEOUT_S", 0.01)
        chat.free.clear()
        assert (await asked.of(ACME, QUESTION)).model == second.model

    asyncio.run(asyncio.wait_for(run(), 30))
