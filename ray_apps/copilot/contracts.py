"""What the copilot's HTTP API takes and answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NO_NUL = r"^[^\x00]*$"
"""Postgres keeps no NUL character, nor does its JSON."""
DeviceIdField = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$")]


class Request(BaseModel):
    """A request refuses fields that it does not know, so that a typing error is seen."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class AskRequest(Request):
    """A question, optionally about one device."""

    question: str = Field(min_length=3, max_length=2000, examples=["What does E421 mean on an HX-200?"])
    device_id: DeviceIdField | None = Field(
        None, description="Device in question, if it is not named in it.", examples=["machine-006"]
    )
    conversation_id: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Of an earlier answer, to refer back to it.",
        examples=["5f0c6a3d9be04c43"],
    )
    top_k: int = Field(5, ge=1, le=20, description="Passages that the answer may rest on.", examples=[5])


class Citation(BaseModel):
    """Where a sentence of the answer comes from, to the character."""

    marker: str
    doc_id: str
    title: str
    uri: str
    section: str
    quote: str
    start: int
    end: int
    score: float


class ToolCall(BaseModel):
    """A tool that was run for the answer, with what it was given and what it returned."""

    name: str
    arguments: dict[str, Any]
    result: dict[str, Any]


class Trace(BaseModel):
    """What is being done for an answer; a tool has its name, arguments and, once it has run, its time."""

    message: str
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    duration_ms: float | None = None


class Token(BaseModel):
    """A piece of the answer: all of them, one after the other, are its text."""

    text: str


class Usage(BaseModel):
    """Tokens that the language model read and wrote for an answer; none for one from the cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class SetAside(BaseModel):
    """A passage that was found and not used, because it speaks to the assistant, and the kind of attack."""

    uri: str
    reason: str


class GuardReport(BaseModel):
    """What the guard set aside, and how much of each kind it took out of the answer."""

    flagged_passages: list[SetAside] = []
    withheld: int = Field(0, description="Texts of tool results that spoke to the assistant.")
    removed: dict[str, int] = Field({}, description="Pieces taken out of what is answered, by kind.")


class AskResponse(BaseModel):
    """An answer whose every sentence is cited, or one that says that nothing supports any."""

    answer: str
    citations: list[Citation]
    grounded: bool
    extractive: bool = Field(
        False, description="Whether every sentence is a source's own: the language model's had no support."
    )
    tools: list[ToolCall]
    guard: GuardReport = Field(default_factory=GuardReport)
    model: str
    cached: bool
    conversation_id: str
    request_id: str
    timings_ms: dict[str, float | str | None]
    usage: Usage


class FeedbackRequest(Request):
    """What one thinks of an answer."""

    request_id: str = Field(
        min_length=1,
        max_length=64,
        pattern=NO_NUL,
        description="Of the answer, as it stands in it.",
        examples=["0d7d1b1c"],
    )
    rating: Literal["up", "down"] = Field(examples=["down"])
    reason: str | None = Field(None, max_length=2000, pattern=NO_NUL, examples=["too long"])


class FeedbackResponse(BaseModel):
    """What is kept."""

    request_id: str
    rating: Literal["up", "down"]


class SearchFilters(Request):
    """What a document must declare to be found; nothing that is left out filters."""

    models: list[str] = Field([], description="Device models, any of them.", examples=[["HX-200"]])
    firmware: list[str] = Field([], description="Firmware versions, any of them.", examples=[["2.4"]])
    error_codes: list[str] = Field([], description="Error codes, any of them.", examples=[["E421"]])
    doc_type: list[str] = Field([], description="Types of document, any of them.", examples=[["runbook"]])
    updated_from: date | None = Field(
        None, description="Updated on this day (UTC) or later.", examples=["2026-01-01"]
    )
    updated_to: date | None = Field(
        None, description="Updated on this day (UTC) or before.", examples=["2026-12-31"]
    )


class SearchRequest(Request):
    """A search over the tenant's documents and the shared ones."""

    query: str = Field(min_length=2, max_length=2000, examples=["E421 vibration"])
    top_k: int = Field(10, ge=1, le=50, description="Hits at most.", examples=[10])
    filters: SearchFilters = Field(default_factory=SearchFilters)


class Hit(BaseModel):
    """A chunk of a document, with the scores that ranked it."""

    doc_id: str
    chunk_id: str
    title: str
    uri: str
    section: str
    text: str
    score: float
    scores: dict[str, float | str | None]


class SearchResponse(BaseModel):
    """Ranked chunks."""

    hits: list[Hit]
    timings_ms: dict[str, float | str | None]


class HealthComponent(BaseModel):
    """What one component took from the score of 100, and why."""

    component: str
    value: float | None
    penalty: float
    weight: float
    detail: str


class DeviceEvent(BaseModel):
    """Something that happened to the device."""

    ts: datetime
    type: str
    severity: str
    error_code: str | None
    message: str | None


class DeviceAlert(BaseModel):
    """Something that needs attention: the rule of `configs/alerts.yaml` that says so, and why."""

    alert_id: str
    rule: str
    kind: str
    metric: str | None
    severity: str
    opened_at: datetime
    resolved_at: datetime | None
    resolved_because: str | None
    evidence: dict[str, Any]


class TrendPoint(BaseModel):
    """The metric values of one reading."""

    ts: datetime
    metrics: dict[str, float]


class SuggestedAction(BaseModel):
    """What to do, the rule in `configs/insights.yaml` that says so, and the runbook that tells more."""

    action: str
    rule: str
    because: str
    runbook: Citation | None = Field(
        None, description="A step of the document that tells more, where one is indexed."
    )


class FailureRisk(BaseModel):
    """Probability that a component fails within so many hours after the day's end."""

    horizon_hours: int
    probability: float


class FleetDevice(BaseModel):
    """A device with its score of the newest day, and what weighs most in it."""

    device_id: str
    day: date
    model: str | None
    score: float
    detail: str | None


class Fleet(BaseModel):
    """The fleet's health on its newest day."""

    devices: list[FleetDevice] = Field(description="The least healthy first.")
    distribution: list[int] = Field(description="Devices by score, in ten equal bands from 0 to 100.")


class SourcePassage(BaseModel):
    """The passage of a document that a citation points into, to be read around the quote."""

    title: str
    uri: str
    section: str
    text: str
    start: int = Field(description="Where the text begins in the document (characters).")


class Health(BaseModel):
    """A process that answers."""

    status: Literal["ok"] = "ok"


class Part(BaseModel):
    """Whether a part answers; one that does says more of itself, such as its model and its device."""

    model_config = ConfigDict(extra="allow")

    ok: bool


class Readiness(BaseModel):
    """Whether answers can be had."""

    status: Literal["ready", "not ready"]
    parts: dict[str, Part]


class Insights(BaseModel):
    """A device's health and how it came about."""

    device_id: str
    model: str | None
    day: date | None
    score: float | None
    components: list[HealthComponent]
    risk: list[FailureRisk] = Field(
        description="By horizon; empty while the tenant has too few failures on record to learn from."
    )
    events: list[DeviceEvent]
    alerts: list[DeviceAlert]
    trend: list[TrendPoint]
    actions: list[SuggestedAction]
