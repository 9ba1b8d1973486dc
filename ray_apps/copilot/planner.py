"""Reading a question: which devices and codes it names. No model is asked, so that any model will do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from indexes.codes import codes_in

WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")
NUMBERED = re.compile(
    r"\b(?:machine|device|unit|pump|compressor)\s+(?:no\.?\s*|number\s+|#\s*)?(\d{1,6})\b", re.I
)
FLEET = re.compile(r"\b(which|what)\b.*\b(machines|devices|units|pumps|compressors|fleet)\b|\bworst\b", re.I)
ACTION = re.compile(
    r"\b(should i|do i|what to do|how (?:do|can|to|should)|fix|repair|reset|steps?|actions?|procedure)\b",
    re.I,
)
MOST_NAMES = 20


@dataclass(frozen=True)
class Plan:
    """What a question is about: words that may be device ids, and codes; whether it asks of the fleet as a
    whole, and whether it asks what to do."""

    names: tuple[str, ...]
    codes: frozenset[str]
    fleet: bool
    action: bool


def plan(question: str, device_id: str | None = None) -> Plan:
    """Read a question; `device_id` is the device that the caller named beside it."""
    names = [device_id] if device_id else []
    names += [word for word in WORD.findall(question) if any(letter.isdigit() for letter in word)]
    names += [f"machine-{int(number):03d}" for number in NUMBERED.findall(question)]
    spellings = dict.fromkeys(form for name in names for form in (name, name.lower()))
    return Plan(
        names=tuple(spellings)[:MOST_NAMES],
        codes=frozenset(codes_in(question)),
        fleet=bool(FLEET.search(question)),
        action=bool(ACTION.search(question)),
    )
