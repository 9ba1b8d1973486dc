"""What an HTTP front may refuse, as its OpenAPI says it: the envelope, and an example for each status."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Refusal(BaseModel):
    """Why a request was refused."""

    code: str = Field(description="Stable, for programs.")
    message: str = Field(description="Names the thing and the remedy, for people.")
    request_id: str = Field(description="As in the header `X-Request-Id`.")


class ErrorBody(BaseModel):
    """The envelope of every error."""

    error: Refusal


RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
}
HEADERS: dict[int, Any] = {
    401: {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}
EXAMPLES = {
    400: ("Unreadable body", "invalid_gzip", "the gzip body ends early: send it whole"),
    401: (
        "No valid token",
        "unauthorized",
        "missing bearer token: send `Authorization: Bearer <token>`",
    ),
    403: (
        "Wrong role",
        "forbidden",
        "role 'device' may not make this call; it needs one of: operator, analyst, admin",
    ),
    404: (
        "The tenant has no such thing",
        "unknown_device",
        "device 'machine-999' has sent nothing for this tenant",
    ),
    408: ("Too slow", "too_slow", "the body had not arrived within 10 s: send it without delay"),
    409: (
        "Changed by somebody else",
        "guide_changed",
        "guide 3f0e8c5e-6f0a-4f5e-9d5e-2a4b1c7d9e10 has changed in the meantime; your report "
        "was not saved: fetch the guide and report again",
    ),
    413: ("Too large", "too_large", "the body has more than 5242880 bytes: send it in smaller requests"),
    415: (
        "Unknown encoding",
        "unsupported_encoding",
        "Content-Encoding 'br' is unknown: send gzip, or none",
    ),
    422: (
        "What the message names is wrong",
        "invalid_request",
        "body.question: String should have at least 3 characters",
    ),
    429: (
        "The tenant has had what its limit allows",
        "rate_limited",
        "tenant acme has made the 20 ask calls a minute of its tier free: try again in 12 s",
    ),
    503: (
        "No room now; from Serve's proxy as a line of text",
        "overloaded",
        "32 questions are being answered here: send this again in 2 s",
    ),
    504: (
        "No answer in time",
        "timed_out",
        "there was no answer within 120 s: try again shortly",
    ),
}


def refusals(*statuses: int, missing: tuple[str, str] | None = None) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation, or of all of an application, for what it may refuse.

    `missing` is the code and the message of its 404, where it is no device that the tenant has not.
    """
    examples = {**EXAMPLES, **({404: (EXAMPLES[404][0], *missing)} if missing else {})}
    return {status: _documented(status, *examples[status]) for status in statuses}


def _documented(status: int, description: str, code: str, message: str) -> dict[str, Any]:
    example = ErrorBody(error=Refusal(code=code, message=message, request_id="0d7d1b1c"))
    content: dict[str, Any] = {"application/json": {"example": example.model_dump()}}
    if status == 503:
        content["text/plain"] = {"schema": {"type": "string"}}
    return {
        "model": ErrorBody,
        "description": description,
        "content": content,
        "headers": HEADERS.get(status, {}),
    }
