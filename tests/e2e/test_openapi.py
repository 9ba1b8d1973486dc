"""The served API against its own OpenAPI: what schemathesis sends is answered, or refused, as documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as bounds
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from iotops.auth import Role, issue_token
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.demo.run import TENANT

FUZZED = Tenant("fuzzed")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
OVERLOADED = 503
EXAMPLES, FEW = 12, 3
SLOW = {"/ask", "/v1/chat/completions", "/feedback"}
"""An answer takes a second, and feedback is looked for twice."""
GARBAGE = ("", "Bearer garbage", "Bearer a.b.c", "Basic YTpi", "Bearer")
STREAMS = ({}, {"Accept": "text/event-stream"})
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Front:
    """A served application: its OpenAPI as a page and as read, where it answers, and who may call it."""

    page: dict[str, Any]
    schema: BaseSchema
    url: str
    tenant: Tenant
    role: Role

    def operations(self) -> Iterator[APIOperation]:
        """All that its OpenAPI has."""
        for found in self.schema.get_all_operations():
            yield found.ok()


@pytest.fixture(scope="module")
def fronts(settings: Settings, demo: str) -> tuple[Front, Front]:
    """The copilot of a tenant that has what there is to find, and the gateway of one that nobody reads."""
    create_tenant(settings, FUZZED, "enterprise")
    url = settings.serve.url

    def front(path: str, base: str, tenant: Tenant, role: Role) -> Front:
        page = httpx.get(url + path, timeout=60).json()
        return Front(page, schemathesis.openapi.from_dict(deepcopy(page)), url + base, tenant, role)

    return (
        front("/openapi.json", "", TENANT, "operator"),
        front("/v1/telemetry/openapi.json", "/v1", FUZZED, "device"),
    )


def bearer(settings: Settings, front: Front) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(settings.auth, front.tenant, 'fuzzer', front.role)}"}


def hold(
    front: Front, operation: APIOperation, mode: GenerationMode, most: int, headers: dict[str, str]
) -> None:
    """Send examples of an operation, valid or not, and have each answer be a documented one."""

    @bounds(
        max_examples=most,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Case) -> None:
        case.headers.pop("Authorization", None)
        response = case.call(base_url=front.url, headers=headers, timeout=60)
        checks = [
            check for check in CHECKS if check is not not_a_server_error or response.status_code != OVERLOADED
        ]
        case.validate_response(response, checks=checks)

    holds()


def modes(operation: APIOperation) -> list[GenerationMode]:
    """Calls without parameters cannot be wrong."""
    return (
        list(GenerationMode)
        if operation.body or list(operation.iter_parameters())
        else [GenerationMode.POSITIVE]
    )


def test_what_an_operator_or_a_device_sends_is_answered_as_documented(
    fronts: tuple[Front, Front], settings: Settings
):
    for front in fronts:
        for operation in front.operations():
            most = FEW if operation.path in SLOW else EXAMPLES
            for accept in STREAMS if "text/event-stream" in str(operation.definition.raw) else STREAMS[:1]:
                for mode in modes(operation):
                    hold(front, operation, mode, most, bearer(settings, front) | accept)


def test_what_a_stranger_sends_is_refused_as_documented(fronts: tuple[Front, Front]):
    for front in fronts:
        for operation in front.operations():
            for token in GARBAGE:
                hold(front, operation, GenerationMode.POSITIVE, 1, {"Authorization": token} if token else {})


def test_each_documented_request_finds_what_is_documented(fronts: tuple[Front, Front], settings: Settings):
    """The examples of the pages, sent as they stand there, with ids of what there is."""
    known: dict[str, Any] = {"device_id": "machine-006", "number": 1}
    for front in fronts:
        # Those first whose answers have the ids for others.
        for operation in sorted(
            front.operations(), key=lambda each: each.path not in ("/ask", "/troubleshoot")
        ):
            described = front.page["paths"][operation.path][operation.method.lower()]
            content = described.get("requestBody", {}).get("content", {None: None})
            for media, documented in content.items():
                body = example(documented, front.page["components"]["schemas"]) if documented else None
                if operation.path == "/feedback":
                    body["request_id"] = known["request_id"]
                response = httpx.request(
                    operation.method,
                    front.url + operation.path.format(**known),
                    params={name: known[name] for name in ("uri", "start")}
                    if operation.path == "/passages"
                    else {},
                    content=body if isinstance(body, str) else body and json.dumps(body),
                    headers=bearer(settings, front) | ({"Content-Type": media} if media else {}),
                    timeout=60,
                )
                assert response.status_code in (200, 202), (operation.label, response.text)
                operation.validate_response(response)
                answer = response.json()
                if operation.path == "/ask":
                    cited = next(each for each in answer["citations"] if each["uri"].startswith("lake://"))
                    known |= {
                        "request_id": answer["request_id"],
                        "uri": cited["uri"],
                        "start": cited["start"],
                    }
                if operation.path == "/troubleshoot":
                    known["guide_id"] = answer["id"]
                assert not answer.get("errors"), "the gateway takes every line"


def example(documented: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A request as a page shows it: as a whole, or made of what its fields show."""
    if "example" in documented:
        return documented["example"]
    schema = schemas[documented["schema"]["$ref"].rpartition("/")[2]]
    fields = schema["properties"].items()
    return schema.get("example") or {name: each["examples"][0] for name, each in fields if "examples" in each}
