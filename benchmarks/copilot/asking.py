"""Asking the served copilot as its console does, and what each answer took."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.copilot.questions import Question
from iotops.auth import issue_token
from iotops.settings import Settings
from iotops.tenancy import Tenant

TIMEOUT_S = 120


@dataclass
class Outcome:
    """What came of a question; times are milliseconds from when it was due (`due` on the monotonic clock)."""

    question: Question
    due: float
    status: str = "no answer"
    first_ms: float = 0.0
    whole_ms: float = 0.0
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def llm_ms(self) -> float:
        """What the language model took of it; 0 where it was not asked."""
        timings = self.answer.get("timings_ms", {})
        return float(timings.get("llm") or 0.0)


def headers(settings: Settings, tenant: Tenant) -> dict[str, str]:
    """Those of an operator of the tenant."""
    token = issue_token(settings.auth, tenant, "benchmark", "operator")
    return {"Authorization": f"Bearer {token}"}


def asker(settings: Settings, tenant: Tenant) -> httpx.AsyncClient:
    """A client that opens as many connections as it has questions under way."""
    return httpx.AsyncClient(
        base_url=settings.serve.url,
        headers={**headers(settings, tenant), "Accept": "text/event-stream"},
        timeout=TIMEOUT_S,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
    )


async def ask(client: httpx.AsyncClient, question: Question, due: float | None = None) -> Outcome:
    """Ask now, or at a time; a refusal, a broken stream and a lost connection are outcomes too."""
    outcome = Outcome(question, time.perf_counter() if due is None else due)
    await asyncio.sleep(outcome.due - time.perf_counter())
    try:
        async with client.stream("POST", "/ask", json={"question": question.text}) as response:
            if response.status_code != 200:
                outcome.status = str(response.status_code)
                return outcome
            name = ""
            async for line in response.aiter_lines():
                label, _, value = line.partition(": ")
                if label == "event":
                    name = value
                elif label == "data" and name == "token":
                    outcome.first_ms = outcome.first_ms or _since(outcome.due)
                elif label == "data" and name == "done":
                    outcome.whole_ms, outcome.status = _since(outcome.due), "200"
                    outcome.answer = json.loads(value)
                elif label == "data" and name == "error":
                    outcome.status = f"broken off: {json.loads(value)['error']['code']}"
    except httpx.HTTPError as error:
        outcome.status = type(error).__name__
    return outcome


def within(seconds: float, questions: Iterable[Question], least: int = 1) -> Iterator[Question]:
    """Those of the questions that are taken before so many seconds are over, but some at least."""
    ends = time.perf_counter() + seconds
    for number, question in enumerate(questions):
        if number >= least and time.perf_counter() > ends:
            return
        yield question


async def in_turn(
    client: httpx.AsyncClient, questions: Iterable[Question], operators: int = 1
) -> list[Outcome]:
    """Ask one after the other, by some operators at the same time, each waiting for the answer."""
    left = iter(questions)

    async def operator() -> list[Outcome]:
        return [await ask(client, question) for question in left]

    return [each for found in await asyncio.gather(*(operator() for _ in range(operators))) for each in found]


def _since(due: float) -> float:
    return (time.perf_counter() - due) * 1000
