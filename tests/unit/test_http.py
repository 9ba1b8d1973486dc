"""What every HTTP front answers to what it cannot take, and what its OpenAPI says of that."""

from __future__ import annotations

from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict

from iotops.auth import Principal
from iotops.http import caller, install
from iotops.settings import get_settings


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    text: str


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IOTOPS_AUTH__JWT_SECRET", "k" * 40)
    get_settings.cache_clear()
    app = FastAPI()
    install(app)

    @app.post("/body")
    async def body(body: Body) -> Body:
        return body

    @app.get("/closed")
    async def closed(principal: Annotated[Principal, Depends(caller("admin"))]) -> None:
        return None

    yield TestClient(app, raise_server_exceptions=False)
    get_settings.cache_clear()


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize(
    "body",
    [
        rb'{"\ud800": 1, "text": "a key that has no bytes"}',
        rb'{"text": "\ud800"}',
        b'{"text": "\xff"}',
        b"\xff\xfe",
        b"{",
        b'{"text": 1}',
    ],
)
def test_a_body_that_cannot_be_read_is_the_callers_mistake(front: TestClient, body: bytes):
    response = front.post("/body", content=body, headers={"Content-Type": "application/json"})
    assert refused(response) == (422, "invalid_request")


def test_a_refusal_says_what_is_allowed_and_how_to_authenticate(front: TestClient):
    wrong = front.get("/body")
    assert refused(wrong) == (405, "method_not_allowed")
    assert wrong.headers["Allow"] == "POST"
    stranger = front.get("/closed")
    assert refused(stranger) == (401, "unauthorized")
    assert stranger.headers["WWW-Authenticate"] == "Bearer"
