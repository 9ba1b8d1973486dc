"""The gateway at the prefixes of `serve.yaml`, as Serve's proxy calls it, and the bodies that it reads."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
import yaml
from fastapi import FastAPI, Request, Response

from iotops.http import install
from iotops.serving import GATEWAY
from iotops.settings import CONFIGS
from pipelines.ingest.body import read_body
from pipelines.ingest.gateway import app

APPLICATIONS = {
    each["name"]: each["route_prefix"]
    for each in yaml.safe_load((CONFIGS / "serve.yaml").read_text())["applications"]
}


@pytest.mark.parametrize("name", GATEWAY)
def test_each_application_of_the_gateway_answers_at_its_prefix(name: str):
    prefix = APPLICATIONS[name]

    async def call(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, root_path=prefix)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path)

    assert asyncio.run(call(prefix)).status_code == 405, "a route that takes only POST"
    assert asyncio.run(call(f"{prefix}/nothing")).status_code == 404
    described = asyncio.run(call("/v1/telemetry/openapi.json")).json()
    assert prefix.removeprefix("/v1") in described["paths"]
    assert described["servers"] == [{"url": "/v1"}]


def test_no_application_but_the_copilot_stands_before_its_own_calls():
    for path in ("/v1/chat/completions", "/v1/models"):
        before = [
            name for name, prefix in APPLICATIONS.items() if f"{path}/".startswith(f"{prefix.rstrip('/')}/")
        ]
        assert before == ["copilot"]


LIMIT = 1000
LINES = [b'{"n":1}\n', b'{"n":2}\n']
MEMBERS = [gzip.compress(line) for line in LINES]
STORED = zlib.compressobj(0, wbits=31)  # packed, it is larger than before
LARGE = STORED.compress(b"x" * LIMIT) + STORED.flush()


def read(*parts: bytes, ends: bool = True) -> httpx.Response:
    """What is read of a packed body that comes in parts, after which one without an end sends no more."""
    reader = FastAPI()
    install(reader)

    @reader.post("/")
    async def whole(request: Request) -> Response:
        return Response(await read_body(request, LIMIT, most_s=30 if ends else 0.05))

    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part
        if not ends:
            await asyncio.Event().wait()

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(reader)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/", content=body(), headers={"Content-Encoding": "gzip"})

    return asyncio.run(call())


@pytest.mark.parametrize(
    "parts", [[b"".join(MEMBERS)], MEMBERS, [bytes([byte]) for byte in b"".join(MEMBERS)], [*MEMBERS, b""]]
)
def test_all_members_of_a_packed_body_are_read(parts: list[bytes]):
    assert read(*parts).content == b"".join(LINES)


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ([MEMBERS[0], bytes(8)], 400, "invalid_gzip"),
        ([MEMBERS[0], b"more"], 400, "invalid_gzip"),
        ([MEMBERS[0], MEMBERS[1][:-1]], 400, "invalid_gzip"),
        ([], 400, "invalid_gzip"),
        ([LARGE], 413, "too_large"),
        ([gzip.compress(bytes(LIMIT)), MEMBERS[0]], 413, "too_large"),
    ],
)
def test_what_follows_a_member_is_one_or_refused(parts: list[bytes], status: int, code: str):
    refused = read(*parts)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)


def test_a_body_that_does_not_end_is_not_waited_for():
    slow = read(MEMBERS[0], ends=False)
    assert (slow.status_code, slow.json()["error"]["code"]) == (408, "too_slow")
