"""Examples of the answers that come in two media types, for the pages made from the code."""

from __future__ import annotations

from typing import Any

from ray_apps.copilot import openai_api, sse
from ray_apps.copilot.contracts import AskResponse, Citation, Token, Trace, Usage
from ray_apps.copilot.events import Event
from ray_apps.copilot.troubleshoot.contracts import Check, Guide, LikelyCause, Step

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
_TOLD: tuple[Event | AskResponse, ...] = (
    Trace(message="searching the documents"),
    _CITATION,
    _TOKEN,
    _ANSWER,
)
_CHUNKS = openai_api.Chunks(_ANSWER.request_id, _ANSWER.model, include_usage=False)
_STEP_CITATION = _CITATION.model_copy(
    update={
        "section": "Immediate actions",
        "quote": "1. Read the vibration trend of the last 96 hours.",
        "start": 1672,
        "end": 1721,
    }
)
_CHECK = Check(
    name="error codes",
    status="failed",
    evidence="E421 (3 times)",
    threshold="no error code in 24 h",
)
_GUIDE = Guide(
    id="3f0e8c5e-6f0a-4f5e-9d5e-2a4b1c7d9e10",
    device_id="machine-006",
    symptom="it vibrates",
    error_code="E421",
    state="open",
    checks=[_CHECK],
    likely_causes=[
        LikelyCause(
            cause=_CITATION.title,
            score=0.8,
            because=["E421: Vibration high is about the code that was named"],
            citations=[_CITATION],
        )
    ],
    steps=[
        Step(
            number=1,
            cause=_CITATION.title,
            text="Read the vibration trend of the last 96 hours.",
            citations=[_STEP_CITATION],
        )
    ],
    next_step=1,
)
_CHECKED = (
    Trace(message="read the records of machine-006", duration_ms=8.4),
    Trace(message=f"{_CHECK.name}: {_CHECK.status}, {_CHECK.evidence}"),
    _GUIDE,
)


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


GUIDES = _both(_GUIDE.model_dump(), b"".join(map(sse.event_frame, _CHECKED)))
ANSWERS = _both(_ANSWER.model_dump(), b"".join(map(sse.event_frame, _TOLD)))
COMPLETIONS = _both(
    openai_api.completion(_ANSWER, _ANSWER.model).model_dump(),
    b"".join(map(_CHUNKS.told, _TOLD)) + openai_api.END,
)
