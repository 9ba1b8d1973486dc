"""What other deployments use to talk to the language model: its handle, and neither vLLM nor its types."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel, Field
from ray.serve.handle import DeploymentHandle

from iotops.errors import IotOpsError

Messages = list[dict[str, str]]
"""A conversation: `role` (system, user, assistant) and `content` of each message."""


class EngineError(IotOpsError):
    """The engine refused a request or failed; the message is its own.

    It lives here because whoever receives it from a replica imports the module that defines it, and
    `ray_apps.llm` would bring vLLM into that process: ten seconds and half a gigabyte.
    """


class Completion(BaseModel):
    """What the model wrote, and what it cost."""

    text: str = Field(description="The answer.")
    prompt_tokens: int = Field(description="Tokens read.")
    completion_tokens: int = Field(description="Tokens written.")
    ttft_s: float = Field(description="Time to the first token, the engine's queue included (s).")
    total_s: float = Field(description="Time to the last token (s).")
    finish_reason: str = Field(description="`stop`, or `length` where max_tokens cut it off.")
    model: str = Field(description="Name of the model.")

    @property
    def tokens_per_second(self) -> float:
        """Speed of writing after the first token; 0 where there were not two."""
        writing = self.total_s - self.ttft_s
        return (self.completion_tokens - 1) / writing if self.completion_tokens > 1 and writing > 0 else 0.0


class Piece(BaseModel):
    """Some text of an answer that is being written; the counts are those so far."""

    text: str
    prompt_tokens: int = Field(description="Tokens read.")
    completion_tokens: int = Field(description="Tokens written.")
    finish_reason: str = Field(description="Empty until the last piece.")
    model: str = Field(description="Name of the model.")


class Writing:
    """An answer while the model writes it: read its `pieces`, once; `completion` is what there is so far."""

    def __init__(self, pieces: AsyncGenerator[Piece, None]) -> None:
        self._pieces = pieces
        self.completion: Completion | None = None

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The text piece by piece; closing this ends the writing."""
        started, first, text = time.perf_counter(), 0.0, ""
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                now = time.perf_counter()
                text += piece.text
                first = first or (now if text else 0.0)
                self.completion = Completion(
                    **piece.model_dump(exclude={"text"}),
                    text=text,
                    ttft_s=(first or now) - started,
                    total_s=now - started,
                )
                yield piece.text


class ChatModel:
    """A client of `ray_apps.llm.LanguageModel`. Cancelling a call ends the work in the engine too."""

    def __init__(self, llm: DeploymentHandle) -> None:
        self._llm = llm

    def stream(self, messages: Messages, max_tokens: int, temperature: float = 0) -> Writing:
        """The answer while the model writes it; reading it raises `EngineError` where the engine
        refuses, e.g. a prompt that is too long."""
        return Writing(self._pieces(messages, max_tokens, temperature))

    async def _pieces(
        self, messages: Messages, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        response = self._llm.options(stream=True).stream.remote(messages, max_tokens, temperature)
        try:
            async for piece in response:
                yield Piece.model_validate(piece)
        finally:
            response.cancel()  # else the engine would go on for nobody

    async def describe(self) -> dict[str, Any]:
        """Which model it is: name, source, revision, checksum, device, max_tokens (prompt and answer)."""
        described: dict[str, Any] = await self._llm.describe.remote()
        return described
