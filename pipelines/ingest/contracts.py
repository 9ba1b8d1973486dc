"""What the HTTP gateway takes and answers, for its OpenAPI: the record contracts as JSON Schema."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel, Field

from iotops.records import DEVICE_ID, Contract, Event, Reading
from iotops.refusals import refusals

READING = {"ts": "2026-11-24T23:00:00Z", "metrics": {"vibration": 58.8, "volt": 170.1}, "model": "HX-200"}
EVENT = {"ts": "2026-11-24T23:00:00Z", "type": "error", "severity": "error", "error_code": "E421"}
REFUSED = refusals(400, 401, 403, 408, 413, 415, 429, 503)


class LineError(BaseModel):
    """Why a line of the batch was refused."""

    line: int = Field(description="Counts from 1.")
    code: str
    message: str


class Taken(BaseModel):
    """What became of a batch."""

    accepted: int = Field(description="Records that Kafka has acknowledged.")
    rejected: int
    errors: list[LineError] = Field(description="Of the first hundred refused lines.")


TAKEN = Taken(
    accepted=1,
    rejected=1,
    errors=[LineError(line=2, code="missing_field", message="metrics is empty: send at least one value")],
)
RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Kafka has what was accepted",
        "content": {"application/json": {"example": TAKEN.model_dump()}},
    },
    **REFUSED,
}
HEALTHY: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": {"status": "ok"}}}}
}


def body(contract: Contract, example: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a call that takes one record of a contract, or lines of them.

    The device may be left out of a record: it is the token's.
    """
    _, components = msgspec.json.schema_components([contract], ref_template="#/components/schemas/{name}")
    schema = components[contract.__name__]
    schema["required"] = [name for name in schema["required"] if name != "device_id"]
    schema["properties"]["device_id"]["pattern"] = f"^{DEVICE_ID}$"  # JSON Schema has no `\Z`
    lines = "\n".join([msgspec.json.encode(example).decode()] * 2)
    content = {
        "application/json": {"schema": schema, "example": example},
        "application/x-ndjson": {"schema": {"type": "string"}, "example": lines},
    }
    return {"requestBody": {"required": True, "content": content}}


READINGS, EVENTS = body(Reading, READING), body(Event, EVENT)
