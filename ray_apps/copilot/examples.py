"""Examples of the answers that come in two media types, for the pages made from the code."""

from __future__ import annotations

from typing import Any

from ray_apps.copilot import openai_api, sse
from ray_apps.copilot.contracts import AskResponse, Citation, Token, Trace, Usage
from ray_apps.copilot.events import Event

_CITATION = Citation(
    marker="[1]",
    doc_id="e421-vibration-high.md",
    title="E421: Vibration high",
    uri="lake://demo/documents/e421-vibration-high.md",
    section="Meaning",
    quote="On the HX-200, E421 is raised when vibration stays above 52 for two hours.",
    start=310,
    end=384,
    score=0.94,
)
_TOKEN = Token(text=f"{_CITATION.quote} [1]")
_ANSWER = AskResponse(
    answer=_TOKEN.text,
    citations=[_CITATION],
    grounded=True,
    tools=[],
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    cached=False,
    conversation_id="5f0c6a3d9be04c43",
    request_id="0d7d1b1c",
    timings_ms={"first_token": 412.0, "total": 2210.5},
    usage=Usage(prompt_tokens=811, completion_tokens=54, total_tokens=865),
)
_TOLD: tuple[Event, ...] = (Trace(message="searching the documents"), _CITATION, _TOKEN, _ANSWER)
_CHUNKS = openai_api.Chunks(_ANSWER.request_id, _ANSWER.model, include_usage=False)


def _both(example: dict[str, Any], stream: bytes) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "description": "At once, or as a stream of server-sent events",
            "content": {
                "application/json": {"example": example},
                sse.EventStream.media_type: {"schema": {"type": "string"}, "example": stream.decode()},
            },
        }
    }


ANSWERS = _both(_ANSWER.model_dump(), b"".join(map(sse.event_frame, _TOLD)))
COMPLETIONS = _both(
    openai_api.completion(_ANSWER, _ANSWER.model).model_dump(),
    b"".join(map(_CHUNKS.told, _TOLD)) + openai_api.END,
)
