"""The OpenAPI as generators read it: valid in its version, and with a schema of each streamed event."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.openapi.checks import JsonSchemaError
from schemathesis.schemas import BaseSchema

from pipelines.ingest.gateway import app as gateway
from ray_apps.copilot.http.api import app as copilot
from ray_apps.copilot.http.examples import ANSWER, ANSWERING, CHECKING, GUIDE, MODEL
from ray_apps.copilot.http.openai_api import END, Chunks
from ray_apps.copilot.http.sse import error_frame, event_frame, frame

CHUNKS = Chunks("r1", MODEL, include_usage=True)
TOLD = {
    "/ask": b"".join(map(event_frame, ANSWERING)) + error_frame(RuntimeError("inside"), "r1"),
    "/troubleshoot": b"".join(map(event_frame, CHECKING)) + error_frame(RuntimeError("inside"), "r1"),
    "/v1/chat/completions": b"".join(map(CHUNKS.told, ANSWERING))
    + CHUNKS.failed(RuntimeError("inside"))
    + END,
}
MISTOLD = {
    "/ask": [
        frame(GUIDE.model_dump_json(), "done"),
        frame('{"text": 1}', "token"),
        frame("hot", "token"),
        frame('{"text": "hot"}', "word"),
        frame('{"error": "inside"}', "error"),
        frame(ANSWER.model_dump_json()),
    ],
    "/troubleshoot": [frame(ANSWER.model_dump_json(), "done"), frame('{"text": "hot"}', "token")],
    "/v1/chat/completions": [frame(ANSWER.model_dump_json()), frame("[OVER]")],
}


def read(page: dict[str, Any]) -> BaseSchema:
    return schemathesis.openapi.from_dict(json.loads(json.dumps(page)))


def test_the_pages_are_valid():
    for app in (copilot, gateway):
        read(app.openapi()).validate()


def assert_described(path: str, stream: bytes) -> None:
    response = httpx.Response(
        200,
        headers={"Content-Type": "text/event-stream; charset=utf-8"},
        content=stream,
        request=httpx.Request("POST", f"http://here{path}"),
    )
    response.elapsed = timedelta()
    read(copilot.openapi())[path]["POST"].validate_response(response)


@pytest.mark.parametrize("path", TOLD)
def test_what_a_stream_tells_is_as_described(path: str):
    assert_described(path, TOLD[path])


@pytest.mark.parametrize(("path", "event"), [(path, event) for path in MISTOLD for event in MISTOLD[path]])
def test_what_no_stream_tells_is_not_as_described(path: str, event: bytes):
    with pytest.raises(JsonSchemaError):
        assert_described(path, event)


def test_each_event_is_a_model_among_the_others():
    page = copilot.openapi()
    assert page["components"]["schemas"].keys() >= {
        "Trace", "Token", "Citation", "AskResponse", "Guide", "ErrorBody", "ChatCompletionChunk"
    }  # fmt: skip
    assert "$defs" not in json.dumps(page)
