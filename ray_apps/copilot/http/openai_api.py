"""OpenAI's chat completions in front of the copilot, for chat interfaces that speak nothing else."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from iotops.http import ApiError, error_body
from iotops.refusals import ErrorBody
from ray_apps.copilot.contracts import AskRequest, AskResponse, Citation, Token, Usage
from ray_apps.copilot.events import Event
from ray_apps.copilot.http.sse import frame

END = frame("[DONE]")
MOST_EARLIER, MOST_CHARACTERS = 6, 2000
"""Earlier questions of a conversation that are read, and what is read of each."""
Datum = TypeVar("Datum")
Given = Annotated[Datum | None, Field(exclude_if=lambda datum: datum is None)]
"""What is left out where there is none."""


class TextPart(BaseModel):
    """A part of a message; those that are no text are not read."""

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A message; only the users' are read."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(examples=["user"])
    content: str | list[TextPart] | None = Field(None, examples=["What does E421 mean on an HX-200?"])

    @property
    def text(self) -> str:
        """Its text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """How to stream."""

    include_usage: bool | None = Field(False, description="End with the count of tokens.", examples=[True])


class ChatRequest(BaseModel):
    """What is read of OpenAI's request: the copilot's own settings stand for the model and its sampling."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"messages": [{"role": "user", "content": "What does E421 mean on an HX-200?"}]}
        }
    )

    messages: list[ChatMessage] = Field(min_length=1, description="The last one is the user's question.")
    model: str = Field("", description="Not read: the answer names the served one.")
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    def question(self) -> tuple[AskRequest, list[str]]:
        """The question and those before it; raises `ApiError` where the last message asks nothing."""
        *earlier, last = [message.text for message in self.messages if message.role == "user"] or [""]
        try:
            asked = AskRequest(question=last)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise ApiError(422, "invalid_request", f"the last message of the user: {problem}") from None
        return asked, [text[:MOST_CHARACTERS] for text in earlier[-MOST_EARLIER:]]


class ChatAnswer(BaseModel):
    """A message of the copilot's, its sources below it."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """The one answer."""

    index: int = 0
    message: ChatAnswer
    finish_reason: Literal["stop"] = "stop"


class ChatCompletion(BaseModel):
    """OpenAI's answer; `citations` are an addition to it."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    citations: list[Citation]


class Delta(BaseModel):
    """What a chunk adds to the message."""

    role: Given[Literal["assistant"]] = None
    content: Given[str] = None


class ChunkChoice(BaseModel):
    """A piece of the one answer."""

    index: int = 0
    delta: Delta
    finish_reason: Literal["stop"] | None = None


class ChatCompletionChunk(BaseModel):
    """A piece of OpenAI's answer; the last with a choice has `citations`, one after it `usage` if asked."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Given[Usage] = None
    citations: Given[list[Citation]] = None


class ChunkEvent(BaseModel):
    """An event of a streamed completion: a chunk, the error that ended it, or that it is at its end."""

    data: Json[ChatCompletionChunk | ErrorBody] | Literal["[DONE]"]


class Model(BaseModel):
    """A model that may be named."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "iotops"


class ModelList(BaseModel):
    """The served model."""

    object: Literal["list"] = "list"
    data: list[Model]


def completion(answer: AskResponse, model: str) -> ChatCompletion:
    """An answer in OpenAI's words; `model` is named where none wrote of it."""
    return ChatCompletion(
        id=f"chatcmpl-{answer.request_id}",
        created=int(time.time()),
        model=_author(answer, model),
        choices=[Choice(message=ChatAnswer(content=answer.answer + sources(answer)))],
        usage=answer.usage,
        citations=answer.citations,
    )


def _author(answer: AskResponse, otherwise: str) -> str:
    return otherwise if answer.model == "none" else answer.model


def sources(answer: AskResponse) -> str:
    """What stands below an answer, for interfaces that show nothing but its text: its sources, whether they
    are quoted, and what was not used."""
    told = "\n\nQuoted from the sources, not written by a model." if answer.extractive else ""
    if passages := len(answer.guard.flagged_passages):
        told += f"\n\nPassages not used, since they speak to the assistant: {passages}."
    if not answer.citations:
        return told
    places = (
        " > ".join(part for part in (citation.title, citation.section) if part)
        for citation in answer.citations
    )
    lines = [
        f"- {citation.marker} {place} ({citation.uri})"
        for citation, place in zip(answer.citations, places, strict=True)
    ]
    title = "Sources:" if answer.grounded else "Nearest sources:"
    return "\n\n" + "\n".join([title, *lines]) + told


class Chunks:
    """The frames of one streamed completion; `model` is named until the answer says who wrote it."""

    def __init__(self, request_id: str, model: str, include_usage: bool) -> None:
        self._request_id, self._model, self._include_usage = request_id, model, include_usage
        self._created = int(time.time())
        self._begun = False

    def told(self, event: Event | AskResponse) -> bytes:
        """The chunks for an event: the role with the first, then text, and with the answer what is left."""
        frames = b"" if self._begun else self._choice(Delta(role="assistant", content=""))
        self._begun = True
        if isinstance(event, Token):
            frames += self._choice(Delta(content=event.text))
        elif isinstance(event, AskResponse):
            self._model = _author(event, self._model)
            if listed := sources(event):
                frames += self._choice(Delta(content=listed))
            frames += self._choice(Delta(), finish_reason="stop", citations=event.citations)
            if self._include_usage:
                frames += self._chunk([], usage=event.usage)
        return frames

    def failed(self, error: Exception) -> bytes:
        """An error, in the envelope of every error, which OpenAI's clients read too."""
        return frame(json.dumps(error_body(error, self._request_id)))

    def _choice(
        self,
        delta: Delta,
        finish_reason: Literal["stop"] | None = None,
        citations: list[Citation] | None = None,
    ) -> bytes:
        return self._chunk([ChunkChoice(delta=delta, finish_reason=finish_reason)], citations=citations)

    def _chunk(self, choices: list[ChunkChoice], **more: Any) -> bytes:
        chunk = ChatCompletionChunk(
            id=f"chatcmpl-{self._request_id}",
            created=self._created,
            model=self._model,
            choices=choices,
            **more,
        )
        return frame(chunk.model_dump_json(ensure_ascii=True))
