"""A client of a server that speaks OpenAI's chat completions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletionToolUnionParam

from iotops.models.catalogue import Endpoint, ModelSpec
from ray_apps.chat import Messages, Piece, Proposal, ProposedCall, Schemas
from ray_apps.remote import CONNECT_S, described, estimated, failures, piece, whole


class OpenAIModel:
    """A model behind OpenAI's chat completions, its vendor's or anyone's who speaks them."""

    def __init__(self, name: str, spec: ModelSpec, endpoint: Endpoint, key: str) -> None:
        self.name, self._endpoint, self._key = name, endpoint, key
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.url,
            api_key=key,
            max_retries=0,
            timeout=openai.Timeout(spec.first_token_s, connect=CONNECT_S),
        )

    async def pieces(self, messages: Messages, max_tokens: int) -> AsyncGenerator[Piece, None]:
        """As `LanguageModelClient` has it; tokens are estimated until the server tells them, at the end."""
        read, written, finish = estimated(messages), 0, ""
        with failures(self.name, self._key):
            stream = await self._client.chat.completions.create(
                **self._request(messages, max_tokens), stream=True, stream_options={"include_usage": True}
            )
            async with stream:
                async for chunk in stream:
                    choice = chunk.choices[0] if chunk.choices else None
                    text = (choice.delta.content or "") if choice else ""
                    written += bool(text)
                    if chunk.usage:
                        read, written = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
                    finish = (choice and choice.finish_reason) or finish
                    yield piece(self.name, text, read, written, finish)

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> Proposal:
        """As `LanguageModelClient` has it."""
        started, wanted = time.perf_counter(), cast(list[ChatCompletionToolUnionParam], tools)
        with failures(self.name, self._key):
            answer = await self._client.chat.completions.create(
                **self._request(messages, max_tokens), tools=wanted, tool_choice="auto"
            )
        message = answer.choices[0].message
        called = [call.function for call in message.tool_calls or () if call.type == "function"]
        used = answer.usage
        return Proposal(
            calls=[ProposedCall(name=each.name, arguments=each.arguments) for each in called],
            completion=whole(
                self.name,
                started,
                message.content or "",
                used.prompt_tokens if used else estimated(messages),
                used.completion_tokens if used else 0,
            ),
        )

    async def describe(self) -> dict[str, Any]:
        """Which model it is, as it is known here."""
        return described(self.name, self._endpoint)

    def _request(self, messages: Messages, max_tokens: int) -> dict[str, Any]:
        sampling = {} if self._endpoint.temperature is None else {"temperature": self._endpoint.temperature}
        return {
            "model": self._endpoint.model or self.name,
            "messages": messages,
            "max_completion_tokens": max_tokens,
            **sampling,
        }
