"""What `/troubleshoot` takes and answers, which is also what is kept of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from ray_apps.copilot.contracts import NO_NUL, Citation, DeviceIdField, GuardReport, Request

Outcome = Literal["done", "solved", "no_effect", "not_possible", "ruled_out"]
State = Literal["open", "solved", "exhausted"]


class TroubleshootRequest(Request):
    """A device in trouble, and what is known of it."""

    device_id: DeviceIdField = Field(examples=["machine-006"])
    symptom: str | None = Field(
        None,
        min_length=3,
        max_length=500,
        pattern=NO_NUL,
        description="What is seen, in the operator's words.",
        examples=["it vibrates"],
    )
    error_code: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", examples=["E421"])


class StepOutcome(Request):
    """What came of a step."""

    outcome: Outcome = Field(
        description="`done`, `no_effect` and `not_possible` lead to the next step, `ruled_out` to the next "
        "cause, `solved` ends the guide.",
        examples=["no_effect"],
    )
    note: str = Field(
        "", max_length=1000, pattern=NO_NUL, description="Kept with the step.", examples=["still 58"]
    )
    version: int | None = Field(
        None,
        ge=0,
        description="Of the guide that the caller looked at: where it is another by now, nothing is changed. "
        "Without it the last report stands.",
        examples=[0],
    )


class Check(BaseModel):
    """One diagnostic check of the device's records."""

    name: str
    status: Literal["passed", "failed", "unknown"]
    evidence: str = Field(description="What the records say.")
    threshold: str = Field(description="What they are held against.")


class LikelyCause(BaseModel):
    """What may be behind it."""

    cause: str
    score: float = Field(description="How much speaks for it, 0 to 1.", ge=0, le=1)
    because: list[str] = Field(description="Checks, codes and words that point to it.")
    citations: list[Citation]


class Step(BaseModel):
    """One thing to do, from a source, and what came of it."""

    number: int
    cause: str
    text: str
    citations: list[Citation]
    outcome: Outcome | None = None
    note: str = ""


class Guide(BaseModel):
    """A troubleshooting as it stands."""

    id: str
    device_id: str
    symptom: str | None
    error_code: str | None
    state: State
    checks: list[Check]
    likely_causes: list[LikelyCause]
    steps: list[Step]
    next_step: int | None = Field(description="Number of the step to do now; null where the guide has ended.")
    version: int = Field(0, description="How often what came of a step was reported.")
    advice: str = Field("", description="What to do where the guide has ended.")
    guard: GuardReport = Field(default_factory=GuardReport)
