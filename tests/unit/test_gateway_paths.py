"""The gateway at the prefixes of `serve.yaml`, as Serve's proxy calls it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import yaml

from iotops.serving import GATEWAY
from iotops.settings import CONFIGS
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
