"""An example of each answer of the copilot's API, for the pages made from the code."""

from __future__ import annotations

from datetime import UTC, date, datetime

from ray_apps.copilot.contracts import (
    AskResponse,
    Citation,
    DeviceAlert,
    DeviceEvent,
    FailureRisk,
    FeedbackResponse,
    Fleet,
    FleetDevice,
    HealthComponent,
    Hit,
    Insights,
    SearchResponse,
    SourcePassage,
    SuggestedAction,
    Token,
    Trace,
    TrendPoint,
    Usage,
)
from ray_apps.copilot.events import Event
from ray_apps.copilot.http.openai_api import Model, ModelList
from ray_apps.copilot.troubleshoot.contracts import Check, Guide, LikelyCause, Step

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEVICE = "machine-006"
MEANING = "On the HX-200, E421 is raised when vibration stays above 52 for two hours."
TREND = "Read the vibration trend of the last 96 hours."
ANOMALY = "vibration averaged 58.77 over the last 24 h, 3.5 standard deviations above its own past (42.47)"
DAY, AT = date(2026, 11, 24), datetime(2026, 11, 24, 23, tzinfo=UTC)

CITATION = Citation(
    marker="[1]",
    doc_id="e421-vibration-high.md",
    title="E421: Vibration high",
    uri="lake://demo/documents/e421-vibration-high.md",
    section="Meaning",
    quote=MEANING,
    start=310,
    end=384,
    score=0.94,
)
ANSWER = AskResponse(
    answer=f"{MEANING} [1]",
    citations=[CITATION],
    grounded=True,
    tools=[],
    model=MODEL,
    cached=False,
    conversation_id="5f0c6a3d9be04c43",
    request_id="0d7d1b1c",
    timings_ms={"first_token": 412.0, "total": 2210.5},
    usage=Usage(prompt_tokens=811, completion_tokens=54, total_tokens=865),
)
ANSWERING: tuple[Event | AskResponse, ...] = (
    Trace(message="searching the documents"),
    CITATION,
    Token(text=ANSWER.answer),
    ANSWER,
)
MODELS = ModelList(data=[Model(id=MODEL)])
FOUND = SearchResponse(
    hits=[
        Hit(
            doc_id=CITATION.doc_id,
            chunk_id="e421-vibration-high.md#1",
            title=CITATION.title,
            uri=CITATION.uri,
            section=CITATION.section,
            text=MEANING,
            score=0.91,
            scores={"vector": 0.72, "bm25": 11.3, "rerank": None, "freshness": 1.2},
        )
    ],
    timings_ms={"embed": 9.1, "total": 21.4, "rerank": "unavailable"},
)
PASSAGE = SourcePassage(
    title=CITATION.title, uri=CITATION.uri, section=CITATION.section, text=MEANING, start=310
)
INSIGHTS = Insights(
    device_id=DEVICE,
    model="HX-200",
    day=DAY,
    score=0.0,
    components=[HealthComponent(component="anomaly", value=3.5, penalty=60.0, weight=1.0, detail=ANOMALY)],
    risk=[FailureRisk(horizon_hours=24, probability=0.31)],
    events=[
        DeviceEvent(ts=AT, type="error", severity="error", error_code="E421", message="vibration above 52")
    ],
    alerts=[
        DeviceAlert(
            alert_id="8a0f1c9e-3f55-5b07-9d0c-5c1d0a4ce0a1",
            rule="vibration-high",
            kind="threshold",
            metric="vibration",
            severity="error",
            opened_at=AT,
            resolved_at=None,
            resolved_because=None,
            evidence={"value": 58.8},
        )
    ],
    trend=[TrendPoint(ts=AT, metrics={"vibration": 58.8})],
    actions=[
        SuggestedAction(
            action="Inspect the bearing.", rule="metric-off-its-past", because=ANOMALY, runbook=CITATION
        )
    ],
)
FLEET = Fleet(
    devices=[FleetDevice(device_id=DEVICE, day=DAY, model="HX-200", score=0.0, detail=ANOMALY)],
    distribution=[2, 1, 0, 1, 2, 3, 4, 7, 12, 18],
)
CHECK = Check(
    name="error codes", status="failed", evidence="E421 (3 times)", threshold="no error code in 24 h"
)
GUIDE = Guide(
    id="3f0e8c5e-6f0a-4f5e-9d5e-2a4b1c7d9e10",
    device_id=DEVICE,
    symptom="it vibrates",
    error_code="E421",
    state="open",
    checks=[CHECK],
    likely_causes=[
        LikelyCause(
            cause=CITATION.title,
            score=0.6,
            because=[f"{CITATION.title} is about the code that was named"],
            citations=[CITATION],
        )
    ],
    steps=[
        Step(
            number=1,
            cause=CITATION.title,
            text=TREND,
            citations=[
                CITATION.model_copy(
                    update={
                        "section": "Immediate actions",
                        "quote": f"1. {TREND}",
                        "start": 1672,
                        "end": 1721,
                    }
                )
            ],
        )
    ],
    next_step=1,
)
CHECKING = (
    Trace(message=f"read the records of {DEVICE}", duration_ms=8.4),
    Trace(message=f"{CHECK.name}: {CHECK.status}, {CHECK.evidence}"),
    GUIDE,
)
FEEDBACK = FeedbackResponse(request_id=ANSWER.request_id, rating="down")
READY = {
    "status": "ready",
    "parts": {
        "embedder": {"ok": True, "name": "all-MiniLM-L6-v2", "checksum": "53aa51172d142c89"},
        "reranker": {"ok": True, "available": False},
        "llm": {"ok": True, "name": MODEL},
        "database": {"ok": True},
        "cache": {"ok": True},
        "guard": {"ok": True},
    },
}
