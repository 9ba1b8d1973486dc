"""Sending records to the HTTP gateway as a device should: in order, and again when it is told to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from iotops.errors import IotOpsError
from iotops.settings import ServeSettings

ATTEMPTS = 8
LONGEST_WAIT_S = 5.0
AGAIN = (429, 502, 503, 504)


@dataclass
class SendReport:
    """What the gateway answered; `errors` are the first reasons."""

    readings: int = 0
    events: int = 0
    rejected: int = 0
    retries: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Post:
    """An NDJSON body of so many records, for `/v1/telemetry` or `/v1/events`; `sender` is for messages."""

    sender: str
    path: str
    body: bytes
    records: int


@asynccontextmanager
async def gateway_client(settings: ServeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway, for tasks that send beside each other: the first that fails is what is raised.

    Raises `IotOpsError` where no gateway answers.
    """
    async with httpx.AsyncClient(base_url=settings.url, timeout=60) as client:
        try:
            await client.get("/-/healthz")
        except httpx.TransportError as error:
            raise IotOpsError(
                f"no gateway answers at {settings.url} ({error}): `iotops ingest start` starts it"
            ) from None
        try:
            yield client
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None


async def send(
    client: httpx.AsyncClient, token: str, post: Post, report: SendReport, *, attempts: int = ATTEMPTS
) -> None:
    """Post until the gateway takes it, with back-off or as long as it says.

    Raises `IotOpsError` where it refuses the request or does not take it in `attempts`.
    """
    problem = ""
    for attempt in range(attempts):
        wait_s = min(0.25 * 2**attempt, LONGEST_WAIT_S)
        try:
            response = await client.post(
                post.path, content=post.body, headers={"Authorization": f"Bearer {token}"}
            )
        except httpx.TransportError as error:
            problem = repr(error)
        else:
            if response.status_code == 202:
                _count(post, response.json(), report)
                return
            problem = f"{response.status_code} {response.text[:300]}"
            if response.status_code not in AGAIN:
                break
            wait_s = float(response.headers.get("Retry-After", wait_s))
        report.retries += 1
        await asyncio.sleep(wait_s)
    raise IotOpsError(f"the gateway did not take {post.records} records of {post.sender}: {problem}")


def _count(post: Post, answer: dict[str, object], report: SendReport) -> None:
    kind = "events" if post.path.endswith("events") else "readings"
    setattr(report, kind, getattr(report, kind) + answer["accepted"])
    report.rejected += int(str(answer["rejected"]))
    errors = answer["errors"]
    assert isinstance(errors, list)
    report.errors += [f"{post.sender}: {error['message']}" for error in errors[:3]]
