"""A flood of questions through the real proxy: what is too much is refused at once, and others get in."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from iotops.auth import issue_token
from iotops.commands.copilot import events
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.demo.run import TENANT
from tests.waiting import eventually

PATIENT = Tenant("patient")
QUESTIONS = ("What does E421 mean?", "What does E313 mean?", "What does E204 mean?", "What does E102 mean?")
DEPTHS = range(1, 21)
"""Of each question, so that no two are the same: those would be answered once, for all of them."""
pytestmark = pytest.mark.timeout(600)


def bearer(settings: Settings, tenant: Tenant) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(settings.auth, tenant, 'flood', 'operator')}"}


def test_a_flood_is_refused_early_and_another_tenant_is_answered(settings: Settings, demo: str):
    create_tenant(settings, PATIENT, "enterprise")
    asked = [{"question": question, "top_k": depth} for question in QUESTIONS for depth in DEPTHS]

    async def scenario() -> tuple[list[httpx.Response], httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(base_url=settings.serve.url, timeout=120, limits=limits) as api,
            AsyncExitStack() as streams,
        ):

            async def ask(body: dict[str, Any]) -> httpx.Response:
                wanted = bearer(settings, TENANT) | {"Accept": "text/event-stream"}
                opened = api.stream("POST", "/ask", json=body, headers=wanted)
                response = await streams.enter_async_context(opened)
                if response.status_code != 200:
                    await response.aread()
                return response

            answered = await asyncio.gather(*(ask(body) for body in asked))
            caller = bearer(settings, PATIENT)
            other = await api.post("/ask", json={"question": "What does E421 mean?"}, headers=caller)
            first = next(each for each in answered if each.status_code == 200)
            told = [line async for line in first.aiter_lines()]
            assert [name for name, _ in events(told)][-1] == "done"
            return answered, other

    answered, other = asyncio.run(asyncio.wait_for(scenario(), 200))
    statuses = Counter(each.status_code for each in answered)
    share = settings.copilot.asks_in_flight // 2
    assert statuses.keys() == {200, 503}, statuses
    assert statuses[200] >= share, "as many as a tenant may, and who came when one of those was done"
    refused = [each for each in answered if each.status_code == 503]
    assert all(int(each.headers["Retry-After"]) > 0 for each in refused)
    ours = [each for each in refused if each.headers["Content-Type"] == "application/json"]
    assert ours, "the proxy refuses too, in words of its own, but not all"
    assert {each.json()["error"]["code"] for each in ours} == {"overloaded"}
    assert other.status_code == 200

    def again() -> bool:
        url, caller = f"{settings.serve.url}/ask", bearer(settings, TENANT)
        return httpx.post(url, json=asked[0], headers=caller, timeout=120).status_code == 200

    eventually(again)  # those whose listeners went away have left their places
