"""The steps of a guide, and how it goes on from the outcome of each."""

from __future__ import annotations

import re

from iotops.errors import IotOpsError
from ray_apps.copilot.evidence.passages import Passage, Quote, quotes
from ray_apps.copilot.language.text import items
from ray_apps.copilot.troubleshoot.contracts import Guide, Outcome, Step

STEPS_OF_CAUSE = 6
ACTION = re.compile(
    r"\b(actions?|steps?|procedure|what to do|mitigations?|resolutions?|remed(?:y|ies)|fix)\b", re.I
)
CONFIRM = re.compile(r"\b(confirm|diagnos\w+|verify|checks?)\b", re.I)
CAUSE = re.compile(r"\b(causes?|means?|meaning|description|symptoms?)\b", re.I)
SOLVED = "The trouble is solved. The guide is kept with the outcome of each step."
EXHAUSTED = (
    "No step is left. Escalate to the manufacturer or to a service engineer with this guide: it says what "
    "was checked, what was done and what came of it."
)


class GuideChanged(IotOpsError):
    """A step was reported by who has not seen what was reported before."""


def explanation(passages: list[Passage]) -> Quote | None:
    """The sentence that says what a document is about: of its section on causes or meaning, or its first."""
    sentences = quotes(passages)
    told = (quote for quote in sentences if CAUSE.search(passages[quote.passage].section))
    return next(told, sentences[0] if sentences else None)


def instructions(passages: list[Passage]) -> list[Quote]:
    """What a document tells to do: the numbered items of its sections on actions, else their sentences."""
    for wanted in (ACTION, CONFIRM):
        about = [n for n, passage in enumerate(passages) if wanted.search(passage.section)]
        listed = [
            Quote(n, start, end, passages[n].text[start:end], passages[n].title)
            for n in about
            for start, end in items(passages[n].text)
        ]
        told = listed or [quote for quote in quotes(passages) if quote.passage in about]
        if told:
            return told[:STEPS_OF_CAUSE]
    return []


def reported(guide: Guide, number: int, outcome: Outcome, note: str, version: int | None = None) -> Guide:
    """The guide after a step was reported, by who saw that `version` of it, if it is known.

    What was thought to have solved the trouble was no more than done, where another step is reported later.
    Raises `KeyError` where it has no such step; `GuideChanged` where it has another version, unless the step
    says the same already, as it does when a report is sent again.
    """
    steps = {step.number: step for step in guide.steps}
    told = steps[number].model_copy(update={"outcome": outcome, "note": note})
    if version not in (None, guide.version):
        if told == steps[number]:
            return guide
        raise GuideChanged(
            f"guide {guide.id} has changed in the meantime; your report was not saved: fetch the guide and "
            "report again"
        )
    past = [
        step.model_copy(update={"outcome": "done"}) if step.outcome == "solved" else step
        for step in guide.steps
    ]
    after = [told if step.number == number else step for step in past]
    return advanced(guide.model_copy(update={"steps": after, "version": guide.version + 1}))


def advanced(guide: Guide) -> Guide:
    """The guide with its state and the step to do now."""
    if any(step.outcome == "solved" for step in guide.steps):
        return guide.model_copy(update={"state": "solved", "next_step": None, "advice": SOLVED})
    left = _left(guide.steps)
    if left is None:
        return guide.model_copy(update={"state": "exhausted", "next_step": None, "advice": EXHAUSTED})
    return guide.model_copy(update={"state": "open", "next_step": left, "advice": ""})


def _left(steps: list[Step]) -> int | None:
    """The first step that nobody did, of a cause that is not ruled out."""
    ruled_out = {step.cause for step in steps if step.outcome == "ruled_out"}
    open_steps = (step.number for step in steps if step.outcome is None and step.cause not in ruled_out)
    return next(open_steps, None)
