"""A client of a server that speaks Anthropic's messages."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import anthropic
from anthropic.types import ToolParam

from iotops.models.catalogue import Endpoint, ModelSpec
from ray_apps.chat import Messages, Piece, Proposal, ProposedCall, Schemas
from ray_apps.remote import CONNECT_S, described, estimated, failures, piece, whole

FINISHES = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}
"""Its reasons in OpenAI's words."""


class AnthropicModel:
    """A model behind Anthropic's messages."""

    def __init__(self, name: str, spec: ModelSpec, endpoint: Endpoint, key: str) -> None:
        self.name, self._endpoint, self._key = name, endpoint, key
        self._client = anthropic.AsyncAnthropic(
            base_url=endpoint.url,
            api_key=key,
            max_retries=0,
            timeout=anthropic.Timeout(spec.first_token_s, connect=CONNECT_S),
        )

    async def pieces(self, messages: Messages, max_tokens: int) -> AsyncGenerator[Piece, None]:
        """As `LanguageModelClient` has it; what is written is estimated until the server tells it."""
        read, written, finish = estimated(messages), 0, ""
        with failures(self.name, self._key):
            stream = await self._client.messages.create(**self._request(messages, max_tokens), stream=True)
            async with stream:
                async for event in stream:
                    text = ""
                    if event.type == "message_start":
                        read = event.message.usage.input_tokens or read
                    elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                        text = event.delta.text
                        written += 1
                    elif event.type == "message_delta":
                        read = event.usage.input_tokens or read
                        written = event.usage.output_tokens
                        finish = FINISHES.get(event.delta.stop_reason or "", event.delta.stop_reason or "")
                    yield piece(self.name, text, read, written, finish)

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> Proposal:
        """As `LanguageModelClient` has it."""
        started = time.perf_counter()
        wanted = [_tool(each["function"]) for each in tools]
        with failures(self.name, self._key):
            answer = await self._client.messages.create(
                **self._request(messages, max_tokens), tools=wanted, tool_choice={"type": "auto"}
            )
        return Proposal(
            calls=[
                ProposedCall(name=block.name, arguments=json.dumps(block.input))
                for block in answer.content
                if block.type == "tool_use"
            ],
            completion=whole(
                self.name,
                started,
                "".join(block.text for block in answer.content if block.type == "text"),
                answer.usage.input_tokens,
                answer.usage.output_tokens,
            ),
        )

    async def describe(self) -> dict[str, Any]:
        """Which model it is, as it is known here."""
        return described(self.name, self._endpoint)

    def _request(self, messages: Messages, max_tokens: int) -> dict[str, Any]:
        system = "\n\n".join(each["content"] for each in messages if each["role"] == "system")
        sampling = {} if self._endpoint.temperature is None else {"temperature": self._endpoint.temperature}
        return {
            "model": self._endpoint.model or self.name,
            "system": system,
            "messages": [each for each in messages if each["role"] != "system"],
            "max_tokens": max_tokens,
            "extra_body": sampling,  # the client no longer knows it, some servers do
        }


def _tool(function: dict[str, Any]) -> ToolParam:
    """A tool in Anthropic's words."""
    return {
        "name": function["name"],
        "description": function["description"],
        "input_schema": function["parameters"],
    }
