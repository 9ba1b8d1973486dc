"""Reading a question: which devices, codes and times it names. No model is asked, so that any will do."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from indexes.codes import code_key, codes_in
from ray_apps.copilot.language.words import NEGATION, content_words
from ray_apps.copilot.question.conditions import Conditions, conditions
from ray_apps.copilot.question.lacking import (
    ALERTS,
    SILENT,
    Lack,
    lack_of,
    lately,
    of_two,
    silence,
    without_duration,
    without_silence,
)
from ray_apps.copilot.question.leaving_out import LeftOut, split
from ray_apps.copilot.question.naming import KINDS, NUMBERED, Known, mentions, ranged
from ray_apps.copilot.question.period import Period, period, without_period
from ray_apps.copilot.question.ranking import of_the_healthiest
from ray_apps.copilot.question.resolution import of_resolved
from ray_apps.copilot.question.unread import without_unread

WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_REPORTS = r"\b(?:had|has|have|report(?:s|ed)?|show(?:s|ed|n)?|raised?)\b"
# `Which machines are`, `which HX-450 pump had`; not `which pump seal fits`, `which unit is torque given in`.
_DOES = (
    r"(?:is|are|was|were|had|has|have|needs?|do|does|did|can|could|will|would|should|may|might|must|looks?|runs?|"
    r"ran|never|fail(?:s|ed)?|report(?:s|ed)?|show(?:s|ed)?|raised?|requires?|with|without|of|in|on|at|that|right|now|"
    r"currently)"
)
FLEET = re.compile(
    rf"\b(?:which|what)(?: of (?:my|our|the))? (?:\S+ )?(?:(?:{KINDS})s|(?!unit\b)(?:{KINDS}))"
    rf"(?= {_DOES}\b|\W*$)|\b(?:which|what)\b.*\bfleet\b"
    rf"|\bworst(?= (?:\S+ )?(?:{KINDS})s?\b| health\b|\W*$)|\bare (?:the )?worst\b"
    rf"|\b(?:best|(?:un)?healthiest|(?:least|most) healthy|top|bottom)"
    rf"(?: (?:\S+ )?(?:{KINDS})s?(?= {_DOES}\b| by\b|\W*$)| health\b|\W*$)"
    rf"|\bhow many (?:of (?:my|our|the) )?(?:{KINDS})s {_REPORTS}|\b(?:which|how many) \S*\d\S* {_REPORTS}",
    re.I,
)
ALL_OF_THEM = re.compile(rf"\b(?:which|what)\b.*\b(?:{KINDS})s\b", re.I)
"""Asks of the fleet where it asks how that is, or what happened, not `What oil do the pumps need?`."""
WHOLE = re.compile(
    rf"\bfleet\b|\b(?:(?:all|any|how many|which|what)(?: of)? )?(?:(?:my|our|the) )?(?:{KINDS})s\b"
    rf"|\b(?:any|every|each|which|what|is there an?|no) (?:{KINDS})\b|\bevery(?:thing|one)\b",
    re.I,
)
STATE = content_words(
    """
    ok okay fine good bad badly better best worse worst normal normally health healthy unhealthy sick status
    state condition doing going matter up down running work working problem problematic trouble issue fail
    failure broken break worry worried concern concerning attention urgent urgently critical serious happened
    overview summary summarise summarize report score code history everything anything something thing right
    soon current currently active open incident alert alarm error event fault least most look check diagnose
    diagnosis many model type kind since list latest last recent recently newest oldest common frequent top
    first high low highest lowest unusual news info vs versus compare occur frequency count times risk likely
    likelihood probability no not never without zero none free didn haven hasn doesn don aren isn wasn weren
    ever still yet already long longest neither nor healthiest unhealthiest bottom
    resolved unresolved closed cleared ended gone ongoing opened raised new past old longer
    ones finished done inactive remain remaining went go goes became likeliest unlikely close resolve clear
    """
)
"""Words that ask how something is, which its records answer without spelling them."""
HEALTH = re.compile(rf"\b(worst|lowest|best(?= (?:\S+ )?(?:{KINDS})s?\b|\W*$)|health\w*|unhealth\w*)\b", re.I)
# `Who had E421?`, not `When is E421 raised?`, which a manual tells.
REPORTERS = re.compile(r"\b(?:who|any(?:one|body)?|how (?:many|often)|occur\w*|had|reported)\b", re.I)
REPORTED = re.compile(_REPORTS, re.I)
ACTION = re.compile(
    r"\b((?:should|must|can) (?:i|we) do|should (?:i|we)|"
    r"(?<!often )(?<!much )(?<!many )(?<!long )do (?:i|we)|"
    r"what (?:to do|now|next)|how (?:do|can|to|should)|fix|repair|reset|steps?|actions?|procedure)\b",
    re.I,
)
INCIDENTS = re.compile(
    r"\b(?:incidents?|errors?|alarms?|alerts?|faults?|failures?|events?|happen(?:s|ed)?|broke|went wrong)\b",
    re.I,
)
RISK = re.compile(r"\b(?:risk|likely|likelihood|probab\w+|(?:will|going to)\b.*\bfail)\b", re.I)
"""Asks how likely something fails, in a time to come."""
ANY_TROUBLE = re.compile(rf"\b(?:{KINDS}|error|alarm|alert|fault|failure|trouble|problem|issue)s?\b", re.I)
LIMITED = re.compile(
    r"\b(?:on|of|in|at(?! least| most)|from|since|for|during|within|while|before|after)\b", re.I
)
NEVER = re.compile(r"\b(?:never|ever)\b", re.I)
MOST_NAMES = 20
ERROR_CODE = re.compile(r"[a-z]{1,4}\d{1,6}[a-z]?")
"""The key of what looks like an error code, and not like the id of a device."""


@dataclass(frozen=True)
class Plan:
    """What a question is about, and what of it is asked."""

    names: tuple[str, ...]
    """Words that may name devices, their models or codes, as they are spelt."""
    numbered: tuple[tuple[str, ...], ...]
    """Of each device that it names by kind and number, or in a range, the ids that this may have."""
    codes: frozenset[str]
    """Keys of the codes that it names, those of models among them."""
    reported: tuple[str, ...]
    """Codes, as they are spelt, that some device of the fleet is asked for."""
    period: Period | None
    """The time that it names."""
    usual: Period | None
    """The time that is meant where it names none."""
    unread: str
    """Words for a time that is not read."""
    of_device: bool
    """Whether it surely names a device."""
    fleet: bool
    """Whether it asks of the fleet as a whole."""
    health: bool
    best: bool
    """For the healthiest, not the least healthy."""
    incidents: bool
    """What happened."""
    lack: Lack | None
    """What those devices lack whom it asks for."""
    conditions: Conditions
    """What those devices meet at once whom it asks for."""
    left_out: LeftOut
    silent: bool
    """Who or what sends nothing."""
    alerts: bool
    resolved: bool
    """Alerts that are over."""
    action: bool
    """What to do."""
    reporters: bool
    """Who reported what it names."""
    state: bool
    """Nothing but how what it names is."""
    bare: bool
    """Nothing at all beside what it names."""
    denies: bool
    """Whether it asks with a `no` or `not`."""
    known: Known | None = None
    """What the tenant has of that which it names, which the words do not say: see `placed`."""

    @property
    def device_ids(self) -> list[str]:
        """The ids that it may name: words as they are spelt, and those of numbered devices."""
        return list(dict.fromkeys([*self.names, *(each for ids in self.numbered for each in ids)]))

    @property
    def devices(self) -> tuple[str, ...]:
        """The known devices that it names."""
        return self.known.devices if self.known else ()

    @property
    def error_codes(self) -> list[str]:
        """The words that may be error codes, as they are spelt; until it is placed, devices and models may be
        among them."""
        codes = (name for name in self.names if ERROR_CODE.fullmatch(code_key(name)))
        return [code for code in codes if not NUMBERED.fullmatch(code)]

    @property
    def fleet_health(self) -> bool:
        """Whether the fleet's least healthy devices answer, or the healthiest."""
        return self.fleet and not self.conditions.all and (self.health or not self.incidents)

    @property
    def fleet_lack(self) -> Lack | None:
        """What those devices of the fleet lack whom it asks for."""
        return self.lack if self.fleet else None

    @property
    def fleet_incidents(self) -> bool:
        """Whether what went wrong in the whole fleet answers, unless a device is named: where that is asked,
        or how things were at a time."""
        timely = self.period is not None and not self.action
        return (self.incidents and (self.fleet or timely)) or (self.state and self.fleet and timely)


def plan(question: str, device_id: str | None = None, now: datetime | None = None) -> Plan:
    """Read a question, asked at `now` (UTC); `device_id` is the device that the caller named beside it."""
    now = now or datetime.now(UTC)
    question, left_out = split(question)
    question, unread = without_unread(question, now)
    timeless, silent = without_period(question, now), bool(SILENT.search(question))
    if silent:
        timeless = without_duration(timeless)
    names = [device_id] if device_id else []
    names += [word for word in WORD.findall(timeless) if _numbered(word)]
    numbered = tuple(mentions(timeless)[:MOST_NAMES])
    health, incidents = bool(HEALTH.search(question)), bool(INCIDENTS.search(question))
    of_device = device_id is not None or bool(numbered)
    wanted = Conditions() if of_device else conditions(question, now)
    joined = bool(wanted.all)
    if not (joined or of_device) and of_two(timeless):
        wanted = Conditions(apart=True)
    state = joined or asks_state(timeless, bool(names or numbered))
    lack, resolved = None if joined or wanted.apart else lack_of(timeless), of_resolved(question)
    if lack == "alerts" and resolved:  # those without any that is over are not told
        lack, wanted = None, Conditions(apart=True)
    how_it_is = health or incidents or state or lack is not None
    all_of_them = WHOLE if lack else ALL_OF_THEM
    fleet = joined or bool(FLEET.search(timeless)) or (how_it_is and bool(all_of_them.search(question)))
    if lack == "readings" and not state:  # `Which machines send no vibration data?` asks for less than all
        lack = None
    own = Plan(
        names=tuple(dict.fromkeys(names))[:MOST_NAMES],
        numbered=(*numbered, *ranged(timeless))[:MOST_NAMES],
        codes=frozenset(codes_in(timeless)),
        reported=(),
        period=period(question, now),
        usual=_usual(lack, question, now),
        unread="" if RISK.search(question) else unread,
        of_device=of_device,
        fleet=False,
        health=health,
        best=of_the_healthiest(question),
        incidents=incidents,
        lack=lack,
        conditions=wanted,
        left_out=left_out,
        silent=silent,
        alerts=bool(ALERTS.search(question)),
        resolved=resolved,
        action=bool(ACTION.search(question)),
        reporters=bool(WHOLE.search(timeless) or REPORTERS.search(timeless)),
        state=state,
        bare=state and not asked_words(timeless) and not lack,
        denies=bool(NEGATION.search(question)),
    )
    return of_all(own, _reported(question), now) if fleet else own


def _usual(lack: Lack | None, question: str, now: datetime) -> Period | None:
    """The time that is meant where none is named: alerts are those of now, unless there never were any."""
    if lack == "readings":
        return silence(question, now)
    counted = lack == "errors" or (lack == "alerts" and NEVER.search(question))
    return lately(now) if counted else None


def of_all(own: Plan, reported: tuple[str, ...] = (), now: datetime | None = None) -> Plan:
    """The same, of the whole fleet, which may be asked for some codes by name."""
    usual = own.usual or (lately(now or datetime.now(UTC)) if reported else None)
    return replace(
        own,
        fleet=True,
        reported=reported,
        incidents=own.incidents or bool(reported) or own.lack is not None,
        period=own.period or usual,
        usual=usual,
    )


def of_fleet(own: Plan) -> Plan:
    """The same; of the fleet, where it asks how things are and names nothing: `Is anything wrong today?`."""
    named = own.names or own.numbered or own.codes or (own.resolved and not own.alerts)
    whole = own.state and not (named or own.action)
    return of_all(own, own.reported) if whole else own


def asks_state(question: str, named: bool) -> bool:
    """Whether no word of a question asks for more than how what it names, or the fleet, is."""
    words = asked_words(question)
    return words <= STATE and (named or bool(words or WHOLE.search(_unnamed(question))))


def asked_words(question: str) -> set[str]:
    """Stems of the words that say what a question asks of what it names, or of the fleet."""
    return content_words(REPORTED.sub(" ", WHOLE.sub(" ", without_silence(_unnamed(question)))))


def _unnamed(question: str) -> str:
    return " ".join(word for word in NUMBERED.sub(" ", question).split() if not _numbered(word))


def _reported(question: str) -> tuple[str, ...]:
    """The codes that stand behind a verb of reporting: `which HX-200 had E421 or E425 on Monday`."""
    found = REPORTED.search(question)
    told = LIMITED.split(question[found.end() :], maxsplit=1)[0] if found else ""
    return tuple(dict.fromkeys(word for word in WORD.findall(told) if codes_in(word)))


def symptom(question: str) -> str:
    """What a question of what to do says of the trouble, without names, codes and words for any trouble."""
    rest = REPORTED.sub(" ", ANY_TROUBLE.sub(" ", ACTION.sub(" ", NUMBERED.sub(" ", question))))
    return " ".join(word for word in rest.split() if not _numbered(word))


def _numbered(word: str) -> bool:
    return any(letter.isdigit() for letter in word)
