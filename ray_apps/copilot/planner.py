"""Reading a question: which devices, codes and times it names. No model is asked, so that any will do."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from indexes.codes import code_key, codes_in
from ray_apps.copilot.grounding import content_words
from ray_apps.copilot.period import Period, period, without_period

WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")
KINDS = "machine|device|unit|pump|compressor"
NUMBERED = re.compile(rf"\b(?:{KINDS})\s+(?:no\.?\s*|number\s+|#\s*)?(\d{{1,6}})\b", re.I)
_REPORTS = r"\b(?:had|has|have|report(?:s|ed)?|show(?:s|ed|n)?|raised?)\b"
FLEET = re.compile(
    rf"\b(which|what)\b.*\b(?:(?:{KINDS})s|fleet)\b|\bworst\b|\bwhich (?:{KINDS})\b"
    rf"|\bhow many (?:of (?:my|our|the) )?(?:{KINDS})s {_REPORTS}|\b(?:which|how many) \S*\d\S* {_REPORTS}",
    re.I,
)
WHOLE = re.compile(
    rf"\bfleet\b|\b(?:(?:all|any|how many|which|what)(?: of)? )?(?:(?:my|our|the) )?(?:{KINDS})s\b"
    rf"|\b(?:any|every|which|what) (?:{KINDS})\b",
    re.I,
)
STATE = content_words(
    """
    ok okay fine good bad badly better best worse worst normal normally health healthy unhealthy sick status
    state condition doing going matter up down running work working problem problematic trouble issue fail
    failure broken break worry worried concern concerning attention urgent urgently critical serious happened
    overview summary summarise summarize report score code history everything anything something thing right
    soon current currently active open incident alert alarm error event fault least most look check diagnose
    diagnosis many
    """
)
"""Words that ask how something is, which its records answer without spelling them."""
HEALTH = re.compile(r"\b(worst|health\w*|unhealth\w*)\b", re.I)
REPORTED = re.compile(_REPORTS, re.I)
ACTION = re.compile(
    r"\b(should i|do i|what to do|how (?:do|can|to|should)|fix|repair|reset|steps?|actions?|procedure)\b",
    re.I,
)
INCIDENTS = re.compile(
    r"\b(?:incidents?|errors?|alarms?|alerts?|faults?|failures?|events?|happen(?:s|ed)?)\b", re.I
)
ALERTS = re.compile(r"\b(?:alerts?|alarms?)\b", re.I)
ANY_TROUBLE = re.compile(rf"\b(?:{KINDS}|error|alarm|alert|fault|failure|trouble|problem|issue)s?\b", re.I)
LIMITED = re.compile(r"\b(?:on|of|in|at|from|since|for|during|within|while|before|after)\b", re.I)
MOST_NAMES = 20


@dataclass(frozen=True)
class Plan:
    """What a question is about: words that may be device ids, and codes; codes, as they are spelt, that some
    device of the fleet is asked for; the time that it names; whether it asks of the fleet as a whole, of
    health, what happened, alerts, what to do, and of nothing but how what it names is."""

    names: tuple[str, ...]
    codes: frozenset[str]
    reported: tuple[str, ...]
    period: Period | None
    fleet: bool
    health: bool
    incidents: bool
    alerts: bool
    action: bool
    state: bool

    @property
    def fleet_health(self) -> bool:
        """Whether the fleet's least healthy devices answer."""
        return self.fleet and (self.health or not self.fleet_incidents)

    @property
    def fleet_incidents(self) -> bool:
        """Whether what went wrong in the whole fleet answers, unless a device is named."""
        return self.incidents and (self.fleet or self.period is not None)


def plan(question: str, device_id: str | None = None, now: datetime | None = None) -> Plan:
    """Read a question, asked at `now` (UTC); `device_id` is the device that the caller named beside it."""
    now = now or datetime.now(UTC)
    timeless = without_period(question, now)
    names = [device_id] if device_id else []
    names += [word for word in WORD.findall(timeless) if _numbered(word)]
    names += [_device(number) for number in NUMBERED.findall(question)]
    spellings = dict.fromkeys(form for name in names for form in (name, name.lower()))
    codes, fleet = frozenset(codes_in(question)), bool(FLEET.search(question))
    reported = _reported(question) if fleet else ()
    return Plan(
        names=tuple(spellings)[:MOST_NAMES],
        codes=codes,
        reported=reported,
        period=period(question, now),
        fleet=fleet,
        health=bool(HEALTH.search(question)),
        incidents=bool(reported) or bool(INCIDENTS.search(question)),
        alerts=bool(ALERTS.search(question)),
        action=bool(ACTION.search(question)),
        state=_asks_state(timeless, bool(names)),
    )


def spelt_out(question: str, devices: Collection[str]) -> str:
    """The question with the ids of devices in place of their kind and number: `machine 6`."""

    def spelt(found: re.Match[str]) -> str:
        device = _device(found[1])
        return device if device in devices else found[0]

    return NUMBERED.sub(spelt, question)


def of_fleet(own: Plan) -> Plan:
    """The same; of the fleet, where it asks how things are and names nothing: `Is anything wrong today?`."""
    whole = own.state and not (own.names or own.codes or own.action)
    return replace(own, fleet=True) if whole else own


def of_models(own: Plan, models: Collection[str]) -> Plan:
    """The same; of the fleet, where it asks how things are and all that it names are models of its devices:
    `Are there alerts on HX-200 machines?`."""
    # A name stands before its lower spelling, which is for devices and has lost the mark of a plural.
    named = {name.lower(): code_key(name) for name in reversed(own.names)}.values()
    whole = own.state and not own.action and bool(named) and set(named) <= set(map(code_key, models))
    return replace(own, fleet=True) if whole else own


def _asks_state(question: str, named: bool) -> bool:
    """Whether no word of a question asks for more than how what it names, or the fleet, is."""
    rest = " ".join(word for word in NUMBERED.sub(" ", question).split() if not _numbered(word))
    words = content_words(REPORTED.sub(" ", WHOLE.sub(" ", rest)))
    return words <= STATE and (named or bool(words or WHOLE.search(rest)))


def _reported(question: str) -> tuple[str, ...]:
    """The codes that stand behind a verb of reporting: `which HX-200 had E421 or E425 on Monday`."""
    found = REPORTED.search(question)
    told = LIMITED.split(question[found.end() :], maxsplit=1)[0] if found else ""
    return tuple(dict.fromkeys(word for word in WORD.findall(told) if codes_in(word)))


def symptom(question: str) -> str:
    """What a question of what to do says of the trouble, without names, codes and words for any trouble."""
    rest = ANY_TROUBLE.sub(" ", ACTION.sub(" ", NUMBERED.sub(" ", question)))
    return " ".join(word for word in rest.split() if not _numbered(word))


def _device(number: str) -> str:
    return f"machine-{int(number):03d}"


def _numbered(word: str) -> bool:
    return any(letter.isdigit() for letter in word)
