"""What a language model is to whoever asks it, and the client of the one that is served here.

Neither vLLM nor its types are needed for it: those would cost ten seconds and half a gigabyte.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from pydantic import BaseModel, Field
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from iotops.errors import IotOpsError

Messages = list[dict[str, str]]
"""A conversation: `role` (system, user, assistant) and `content` of each message."""


Schemas = list[dict[str, Any]]
"""Tools that a model may call, as OpenAI describes them."""


class EngineError(IotOpsError):
    """A language model failed.

    It lives here because whoever receives it from a replica imports the module that defines it, and
    `ray_apps.llm` would bring vLLM into that process.
    """


class RequestRefused(EngineError):
    """A language model does not take this request, e.g. a prompt that is too long; it may take others."""


class Busy(EngineError):
    """A language model has no room for one more request now."""


class Completion(BaseModel):
    """What the model wrote, and what it cost."""

    text: str = Field(description="The answer.")
    prompt_tokens: int = Field(description="Tokens read.")
    completion_tokens: int = Field(description="Tokens written.")
    ttft_s: float | None = Field(
        description="Time to the first token, the engine's queue included (s); none: it came as a whole, or "
        "there is none."
    )
    total_s: float = Field(description="Time to the last token (s).")
    finish_reason: str = Field(description="`stop`, or `length` where max_tokens cut it off.")
    model: str = Field(description="Name of the model.")

    @property
    def tokens_per_second(self) -> float:
        """Speed of writing after the first token; 0 where there were not two."""
        writing = self.total_s - self.ttft_s if self.ttft_s is not None else 0.0
        return (self.completion_tokens - 1) / writing if self.completion_tokens > 1 and writing > 0 else 0.0


class Piece(BaseModel):
    """Some text of an answer that is being written; the counts are those so far."""

    text: str = Field(description="Empty in one that tells counts alone, as the first ones may.")
    prompt_tokens: int = Field(description="Tokens read.")
    completion_tokens: int = Field(description="Tokens written.")
    finish_reason: str = Field(description="Empty until the last piece.")
    model: str = Field(description="Name of the model.")

    @property
    def says(self) -> bool:
        """Whether it says something, if only that there is nothing to say."""
        return bool(self.text or self.finish_reason)


class Writing:
    """An answer while a model writes it: read its `pieces`, once.

    `completions` are what there is so far, one of each model that told anything: those before the last read
    the prompt and gave no word.
    """

    def __init__(self, pieces: AsyncGenerator[Piece, None]) -> None:
        self._pieces = pieces
        self.completions: list[Completion] = []

    @property
    def completion(self) -> Completion | None:
        """What the model that answers has written so far; None until it says something."""
        last = self.completions[-1] if self.completions else None
        return last if last and (last.text or last.finish_reason) else None

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The text piece by piece; closing this ends the writing."""
        started, first, text = time.perf_counter(), 0.0, ""
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                now = time.perf_counter()
                text += piece.text
                first = first or (now if text else 0.0)
                if self.completions and self.completions[-1].model == piece.model:
                    self.completions.pop()
                self.completions.append(
                    Completion(
                        **piece.model_dump(exclude={"text"}),
                        text=text,
                        ttft_s=first - started if first else None,
                        total_s=now - started,
                    )
                )
                yield piece.text


class ProposedCall(BaseModel):
    """A tool that a model wants called; nothing of it is checked yet."""

    name: str
    arguments: str = Field(description="As the model wrote them, which should be JSON.")


class Proposal(BaseModel):
    """The tools that a model wants called, and what asking it cost."""

    calls: list[ProposedCall]
    completion: Completion


class LanguageModelClient(Protocol):
    """A language model that can be asked."""

    name: str

    def pieces(self, messages: Messages, max_tokens: int) -> AsyncGenerator[Piece, None]:
        """The answer while the model writes it; closing this ends the work. Raises `EngineError`."""

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> Proposal:
        """What the model would have called before it answers. Raises `EngineError`."""

    async def describe(self) -> dict[str, Any]:
        """Which model it is: its name at least. Raises where that cannot be told."""


class ServedModel:
    """A client of `ray_apps.llm.LanguageModel`. Cancelling a call ends the work in the engine too."""

    def __init__(self, name: str, llm: DeploymentHandle) -> None:
        self.name, self._llm = name, llm

    async def pieces(self, messages: Messages, max_tokens: int) -> AsyncGenerator[Piece, None]:
        """As `LanguageModelClient` has it."""
        response = self._llm.options(stream=True).stream.remote(messages, max_tokens)
        try:
            async for piece in response:
                yield Piece.model_validate(piece)
        except BackPressureError:
            raise Busy(f"{self.name} has no room for one more request") from None
        finally:
            response.cancel()  # else the engine would go on for nobody

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> Proposal:
        """As `LanguageModelClient` has it."""
        response = self._llm.propose.remote(messages, tools, max_tokens)
        try:
            return Proposal.model_validate(await response)
        except BackPressureError:
            raise Busy(f"{self.name} has no room for one more request") from None
        finally:
            response.cancel()

    async def describe(self) -> dict[str, Any]:
        """Which model it is: name, source, revision, checksum, device, max_tokens (prompt and answer)."""
        described: dict[str, Any] = await self._llm.describe.remote()
        return described
