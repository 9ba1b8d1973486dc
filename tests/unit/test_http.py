"""What every HTTP front answers to what it cannot take, and what its OpenAPI says of that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict
from ray.cloudpickle import dumps, loads

from iotops.auth import Principal, Role, issue_token
from iotops.http import Front, caller, install
from iotops.settings import get_settings
from iotops.tenancy import Tenant


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    text: str


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tokens are signed with it."""
    monkeypatch.setenv("IOTOPS_AUTH__JWT_SECRET", "k" * 40)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def front() -> TestClient:
    app = FastAPI()
    install(app)

    @app.post("/body")
    async def body(body: Body) -> Body:
        return body

    @app.get("/closed")
    async def closed(principal: Annotated[Principal, Depends(caller("admin"))]) -> None:
        return None

    return TestClient(app, raise_server_exceptions=False)


def bearer(role: Role, ttl_s: int = 60) -> dict[str, str]:
    token = issue_token(get_settings().auth, Tenant("acme"), "alice", role, ttl_s)
    return {"Authorization": f"Bearer {token}"}


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


UNREADABLE = [b"{", b"\xff\xfe", b'{"text": 1}', b"[" * 200_000]


@pytest.mark.parametrize("body", UNREADABLE, ids=["torn", "no text", "wrong", "deep"])
def test_a_body_is_read_of_known_callers_only(body: bytes):
    app = Front(title="Pumps")
    install(app)

    @app.post("/body")
    async def told(body: Body, principal: Annotated[Principal, Depends(caller("admin"))]) -> str:
        return principal.subject

    client = TestClient(app, headers={"Content-Type": "application/json"})

    def sent(headers: dict[str, str]) -> tuple[int, str]:
        return refused(client.post("/body", content=body, headers=headers))

    for stranger in ({}, {"Authorization": "Bearer forged"}, bearer("admin", ttl_s=-1)):
        assert sent(stranger) == (401, "unauthorized")
    assert sent(bearer("admin")) == (422, "invalid_request")
    assert client.post("/body", json={"text": "hot"}, headers=bearer("admin")).json() == "alice"
    wrong = client.post("/body", json={"text": "hot"}, headers=bearer("device"))
    assert refused(wrong) == (403, "forbidden")


def test_no_operation_reads_what_a_stranger_sends():
    from ray_apps.copilot.http.api import app as copilot

    client = TestClient(loads(dumps(copilot)), headers={"Content-Type": "application/json"})
    taking = [path for path, methods in copilot.openapi()["paths"].items() if "requestBody" in str(methods)]
    assert len(taking) >= 6
    for path in taking:
        assert refused(client.post(path, content=b"{")) == (401, "unauthorized"), path


def test_the_page_of_an_application_is_the_same_after_its_way_to_a_replica():
    from pipelines.ingest.gateway import app as gateway
    from ray_apps.copilot.http.api import app as copilot

    for app in (gateway, copilot):
        arrived = loads(dumps(app))
        arrived.openapi_schema = None  # it may have been made before
        assert arrived.openapi()["paths"] == app.openapi()["paths"]


def operations() -> dict[str, dict[str, Any]]:
    from pipelines.ingest.gateway import app as gateway
    from ray_apps.copilot.http.api import app as copilot

    return {
        f"{method} {path}": {"operation": operation, "schemas": page["components"]["schemas"]}
        for page in (copilot.openapi(), gateway.openapi())
        for path, methods in page["paths"].items()
        for method, operation in methods.items()
    }


def test_each_operation_documents_its_refusals_and_shows_examples():
    for name, found in operations().items():
        operation, schemas = found["operation"], found["schemas"]
        if "security" in operation:
            assert operation["responses"].keys() >= {"401", "403", "429", "503"}, name
        for status, response in operation["responses"].items():
            for media, content in response["content"].items():
                if media == "text/plain":  # by Serve's proxy
                    continue
                assert "example" in content, (name, status, media)
                if int(status) >= 400 and "security" in operation:
                    assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}, (name, status)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert shown(content, schemas), f"{name}: its request shows no example of some field"
        for parameter in operation.get("parameters", ()):
            assert shown(parameter, schemas), f"{name}: {parameter['name']} shows no example"


def shown(content: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether a request shows an example: as a whole, or of each of its fields."""
    schema = content.get("schema", content)
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if {"example", "examples"} & {*content, *schema}:
        return True
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    parts += [schema["items"]] if "items" in schema else []
    return bool(parts) and all(shown(part, schemas) for part in parts if part != {"type": "null"})


def test_the_page_of_the_openapi_loads_nothing_from_elsewhere():
    front = Front(title="Pumps", docs_path="/below/docs", openapi_url="/below/api.json")
    pages = TestClient(loads(dumps(front)))
    page = pages.get("/below/docs")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    links = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page.text)
    loaded = {one or other for one, other in links}
    assert len(loaded) == 4
    for link in loaded:
        assert "//" not in link
        assert pages.get(f"/below/{link}").status_code == 200
