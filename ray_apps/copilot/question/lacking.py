"""Questions for those that lack something: `Which machines had no errors?`, `which are offline?`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

from ray_apps.copilot.question.dates import COUNT, UNIT, long
from ray_apps.copilot.question.naming import KINDS
from ray_apps.copilot.question.period import Period

Lack = Literal["errors", "alerts", "readings"]
SILENT_FOR = timedelta(hours=1)
COUNTED_BACK = timedelta(days=30)
_TROUBLE = (
    r"(?:errors?|alarms?|alerts?|faults?|failures?|incidents?|events?|problems?|trouble|codes?|anything)"
)
_NAMED = rf"(?=\s+(?:\S+\s+){{0,2}}?(?:{_TROUBLE}\b|\S*\d))"
DATA = r"(?:telemetry|data|readings?|signals?|contact)"
_SENDS = (
    r"(?:report(?:s|ed|ing)?|sen[dt](?:s|ing)?|transmit(?:s|ted|ting)?|respond(?:s|ed|ing)?|"
    r"communicat(?:e|ing)|seen|heard|connected|online|reachable)"
)
_NO = r"(?:\b(?:not|never|stop(?:s|ped)?)|n['’]t)"
SENDS_NONE = (
    r"\b(?:silent|off-?line|unreachable|disconnected|inactive(?! al(?:ert|arm))|lost contact"
    r"|gone (?:quiet|dark))\b"
    rf"|(?:\b{_SENDS} )?\b(?:no|zero|without|missing|lack(?:s|ing)?) {DATA}\b"
    rf"|{_NO} (?:been )?{_SENDS}\b(?: from\b)?(?: (?:any )?{DATA}\b)?"
    rf"(?! (?:an? |any )?(?:{_TROUBLE}\b|\S*\d))"
)
SILENT = re.compile(rf"{SENDS_NONE}|\b(?:all|every\w*)\b.*\b(?:online|connected|reachable)\b", re.I)
"""Says that something sends nothing."""
LAST_SEEN = re.compile(
    rf"\blast (?:seen|heard|send|sent|contact)\b|\b(?:last|latest|newest) {DATA}\b"
    r"|\b(?:online|connected|reachable)\b",
    re.I,
)
"""Asks when a device last sent."""
# `Which machines had no errors?`, `did not report E421`; not `which errors are not resolved`.
SPARED = re.compile(
    rf"\b(?:no|zero|neither|without|lack(?:s|ing)?|free (?:of|from))(?!\s+(?:risk|chance|sign)){_NAMED}"
    rf"|\b{_TROUBLE}[- ]free\b|\b(?:have|has|had)n['’]t (?:any )?{_TROUBLE}\b"
    rf"|{_NO}\s+(?:\S+\s+){{0,2}}?(?:have|had|having|report(?:ed|ing)?|rais(?:e|ed)|show(?:n|ed|ing)?|send(?:ing)?|sent)\b"
    rf"{_NAMED}",
    re.I,
)
ALERTS = re.compile(r"\b(?:alerts?|alarms?)\b", re.I)
_BOTH = re.compile(r"\b(?:but|and (?:no|not|without))\b", re.I)
"""Of two conditions one would be answered as if it were both."""
_ASKS_WHO = re.compile(
    r"^\W*(?:(?:and|so|please|now|tell me|show(?: me)?|list|give me|find|count|name)\s+)*"
    r"(?:how many|which|what|who|any\w*|are|all|every\w*|(?:my|our)\b|"
    r"(?:is|was|do|does|did|has|have) (?:there|any|all|every|each|some)\w*|"
    rf"(?:{KINDS})s\b|{_TROUBLE}[- ]free\b|\S*\d|no\b)",
    re.I,
)
EXPLAINS = re.compile(
    r"\b(?:why|mean(?:s|ing)?|how (?:do|does|can|to|should)|what (?:if|happens|causes?))\b", re.I
)
_LASTING = re.compile(
    r"\b(?:for|over|more than|longer than|at least)\s+(?:(?:more than|longer than|over|at least)\s+)?"
    rf"{COUNT}\s*{UNIT}",
    re.I,
)


def lack_of(question: str) -> Lack | None:
    """What a question, without the words for its time, says that those have not whom it asks for; None too
    where it asks for two such things at once, or why that is, or what it means."""
    if not _ASKS_WHO.search(question) or EXPLAINS.search(question) or _BOTH.search(question):
        return None
    if SPARED.search(question):
        return "alerts" if ALERTS.search(question) else "errors"
    return "readings" if SILENT.search(question) else None


def of_two(question: str) -> bool:
    """Whether a question asks for those that lack something and also have, or lack, another thing."""
    return bool(_ASKS_WHO.search(question) and SPARED.search(question) and _BOTH.search(question))


def silence(question: str, now: datetime) -> Period:
    """How long those are to be silent for whom a question asks: `for 2 days`, or an hour."""
    lasting = _LASTING.search(question)
    return Period(now - (long(lasting["count"], lasting["unit"]) if lasting else SILENT_FOR), now)


def lately(now: datetime) -> Period:
    """The time in which reports are counted where a question names none."""
    return Period(now.replace(hour=0, minute=0, second=0, microsecond=0) - COUNTED_BACK, now)


def without_silence(question: str) -> str:
    """A question without the words that say that something sends nothing."""
    return LAST_SEEN.sub(" ", SILENT.sub(" ", question))


def without_duration(question: str) -> str:
    """A question without the words that say how long something is silent."""
    return _LASTING.sub(" ", question)
