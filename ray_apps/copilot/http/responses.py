"""What each operation of the copilot's API may answer, for its OpenAPI: examples, streams and refusals."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import BaseModel, TypeAdapter

from iotops.refusals import refusals
from ray_apps.copilot.contracts import Readiness
from ray_apps.copilot.http import event_contracts, examples, openai_api, sse

Responses = dict[int | str, dict[str, Any]]
LIMITED = (401, 403, 429, 503)
HEADERS = {
    name: {"description": told, "schema": {"type": kind}}
    for name, told, kind in (
        ("X-Request-Id", "The id of this request, which every error and the audit log have too.", "string"),
        ("RateLimit-Limit", "Calls of this kind that the tenant has in a minute.", "integer"),
        ("RateLimit-Remaining", "How many are left now.", "integer"),
        (
            "RateLimit-Reset",
            "Seconds until more are free, if nobody of the tenant calls meanwhile.",
            "integer",
        ),
    )
}
_CHUNKS = openai_api.Chunks(examples.ANSWER.request_id, examples.MODEL, include_usage=False)


def _answers(
    example: BaseModel,
    *refused: int,
    stream: bytes = b"",
    event: Any = None,
    missing: tuple[str, str] | None = None,
) -> Responses:
    """An answer like `example`, or as a `stream`, where there is a type of its events."""
    content: dict[str, Any] = {"application/json": {"example": example.model_dump(mode="json")}}
    description = "As asked"
    if event:
        item = TypeAdapter(event).json_schema(ref_template=REF_TEMPLATE)
        # Before OpenAPI 3.2, which many a generator does not read, this is the schema of each event.
        content[sse.EventStream.media_type] = {"schema": item, "example": stream.decode()}
        description = "At once, or as a stream of server-sent events"
    return {
        200: {"description": description, "content": content, "headers": HEADERS},
        **refusals(*LIMITED, *refused, missing=missing),
    }


ANSWERS = _answers(
    examples.ANSWER,
    422,
    stream=b"".join(map(sse.event_frame, examples.ANSWERING)),
    event=event_contracts.Answering,
)
COMPLETIONS = _answers(
    openai_api.completion(examples.ANSWER, examples.MODEL),
    422,
    stream=b"".join(map(_CHUNKS.told, examples.ANSWERING)) + openai_api.END,
    event=openai_api.ChunkEvent,
)
GUIDES = _answers(
    examples.GUIDE,
    404,
    422,
    stream=b"".join(map(sse.event_frame, examples.CHECKING)),
    event=event_contracts.Checking,
)
GUIDE = _answers(
    examples.GUIDE, 404, 422, missing=("unknown_guide", f"this tenant has no guide {examples.GUIDE.id}")
)
STEP = _answers(
    examples.GUIDE, 404, 409, 422, missing=("unknown_step", f"guide {examples.GUIDE.id} has no step 12")
)
MODELS = _answers(examples.MODELS)
FOUND = _answers(examples.FOUND, 422)
INSIGHTS = _answers(examples.INSIGHTS, 404, 422)
FLEET = _answers(examples.FLEET, 422)
PASSAGE = _answers(
    examples.PASSAGE,
    404,
    422,
    missing=(
        "unknown_passage",
        f"no passage at 9000 of {examples.CITATION.uri!r} is indexed for this tenant",
    ),
)
FEEDBACK = _answers(
    examples.FEEDBACK,
    404,
    422,
    missing=("unknown_request", "no answer of this tenant has the request id '0d7d1b1c'"),
)
HEALTHY: Responses = {200: {"content": {"application/json": {"example": {"status": "ok"}}}}}
READY: Responses = {
    200: {"content": {"application/json": {"example": examples.READY}}},
    503: {
        "description": "A part that answers need is missing",
        "model": Readiness,
        "content": {
            "application/json": {
                "example": {**examples.READY, "status": "not ready", "parts": {"llm": {"ok": False}}},
            }
        },
    },
}
