"""The server-sent events of an answer and of a guide as clients read them, for the OpenAPI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, Json

from iotops.refusals import ErrorBody
from ray_apps.copilot.contracts import AskResponse, Citation, Token, Trace
from ray_apps.copilot.troubleshoot.contracts import Guide


class TraceEvent(BaseModel):
    """What is being done."""

    event: Literal["trace"]
    data: Json[Trace]


class TokenEvent(BaseModel):
    """A piece of the answer."""

    event: Literal["token"]
    data: Json[Token]


class CitationEvent(BaseModel):
    """A source; it comes before the first piece of the answer that bears its marker."""

    event: Literal["citation"]
    data: Json[Citation]


class AnswerEvent(BaseModel):
    """The whole answer; the last event."""

    event: Literal["done"]
    data: Json[AskResponse]


class GuideEvent(BaseModel):
    """The whole guide; the last event."""

    event: Literal["done"]
    data: Json[Guide]


class ErrorEvent(BaseModel):
    """Why there is no more; the last event."""

    event: Literal["error"]
    data: Json[ErrorBody]


Answering = Annotated[
    TraceEvent | TokenEvent | CitationEvent | AnswerEvent | ErrorEvent, Field(discriminator="event")
]
Checking = Annotated[TraceEvent | GuideEvent | ErrorEvent, Field(discriminator="event")]
