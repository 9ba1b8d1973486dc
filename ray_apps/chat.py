"""What other deployments use to talk to the language model: its handle, and neither vLLM nor its types."""

from __future__ import annotations

from collections.abc import AsyncIterator
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


class ChatModel:
    """A client of `ray_apps.llm.LanguageModel`. Cancelling a call ends the work in the engine too."""

    def __init__(self, llm: DeploymentHandle) -> None:
        self._llm = llm

    async def complete(self, messages: Messages, max_tokens: int, temperature: float = 0) -> Completion:
        """The whole answer; raises `EngineError` where the engine refuses, e.g. a prompt that is too long."""
        return Completion.model_validate(await self._llm.complete.remote(messages, max_tokens, temperature))

    async def stream(self, messages: Messages, max_tokens: int, temperature: float = 0) -> AsyncIterator[str]:
        """The answer piece by piece, as the model writes it."""
        async for piece in self._llm.options(stream=True).stream.remote(messages, max_tokens, temperature):
            yield piece

    async def describe(self) -> dict[str, Any]:
        """Which model it is: name, source, revision, checksum, device, max_tokens (prompt and answer)."""
        described: dict[str, Any] = await self._llm.describe.remote()
        return described
