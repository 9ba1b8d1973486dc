"""Follow-ups: which questions refer back to an earlier one, and what they are about then.

No model is asked, so that any model will do. A question is left as it is unless it names nothing of its own
and refers back: where that is unclear it stands by itself, since a wrong subject is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import BaseModel

from indexes.codes import code_key, codes_in
from ray_apps.copilot.language.words import STOP_WORDS
from ray_apps.copilot.question.conditions import Conditions
from ray_apps.copilot.question.mentions import BOUND
from ray_apps.copilot.question.naming import KINDS, NUMBERED, mentions
from ray_apps.copilot.question.planner import (
    ACTION,
    MOST_NAMES,
    REPORTED,
    WORD,
    Plan,
    asks_state,
    of_fleet,
    plan,
)
from ray_apps.copilot.question.resolution import of_resolved
from ray_apps.copilot.question.unread import timeless

MOST_WORDS = 8
"""Of an earlier question that are added to a follow-up."""
ELLIPSIS = re.compile(
    r"^\W*(?:and|also|or|(?:what|how) about|(?:what|anything) else|what next|what now"
    r"|since when|what are the next steps)\b",
    re.I,
)
THINGS = f"{KINDS}|motor|one|error|code|alarm|alert|fault|event|problem|issue|part|step"
BEFORE = "is was does did can could will would should of about after before than like from with".split()
AFTER = "|".join(rf"(?<=\b{word} )" for word in BEFORE)
PERIODS = "morning|afternoon|evening|shift|week|month|quarter|year|time"
REFERENCE = re.compile(
    rf"\b(?:its?|they|them|their|(?:this|these)(?!\s+(?:{PERIODS})\b)"
    rf"|(?:that|those)(?=\s+(?:{THINGS})s?\b|\s+(?:is|are|was|were|means?|happens?|do|does)\b|\W*$)"
    rf"|(?:{AFTER})(?:that|those)"
    rf"|the same(?=\s+(?:{THINGS})s?\b|\W*$))\b",
    re.I,
)
EXPLETIVE = re.compile(
    r"\bit (?:is |was |be )?(?:safe|possible|necessary|normal|ok|okay|dangerous|better|best|true|important|"
    r"required|recommended|advisable|enough|worth|usual|common|allowed|takes?|means?|matters?)\b",
    re.I,
)
"""An `it` that stands for what comes after it, if that names something."""
CONJUNCTION = re.compile(r"^ (?:that|if|when|whether)\b", re.I)
NAMES_SOMETHING = re.compile(rf"\b(?:an?|the|my|our|your|all|any|every|each) \w+|{CONJUNCTION.pattern}", re.I)
TOKEN = re.compile(r"[A-Za-z][A-Za-z'-]*|[.,;:]")
VERB_FOLLOWS = frozenset("i you we to please anyone someone somebody everyone".split())
ASKING = frozenset("what which whose who how many much often".split())
COMPARED = re.compile(rf"(?:\bbetween|{BOUND}) ?\d+", re.I)
OTHERWISE = re.compile(
    rf"\b(?:not|none)\b|n['’]t\b|\bwhich(?: \S+)? (?:did|do|does|are|were|have|had)\W*$|{COMPARED.pattern}",
    re.I,
)
"""Asks for others than the turn before, or for the others."""
PREPOSITIONS = frozenset("of for on in with about at from to by inside near around".split())


class Turn(BaseModel):
    """What a conversation keeps of a question: its words, and what it was found to be about."""

    question: str
    devices: list[str] = []
    codes: list[str] = []
    titles: list[str] = []


@dataclass(frozen=True)
class Asked:
    """A question; `subject` is what it refers back to, in words, empty where it stands by itself."""

    question: str
    subject: str
    plan: Plan

    @property
    def whole(self) -> str:
        """The question made self-contained."""
        return f"{self.question} ({self.subject})" if self.subject else self.question

    @property
    def codes(self) -> list[str]:
        """The codes of the whole question as they are spelt in it."""
        return [word for word in WORD.findall(timeless(self.whole, datetime.now(UTC))) if codes_in(word)]


def resolve(
    question: str, device_id: str | None, earlier: Sequence[Turn], now: datetime | None = None
) -> Asked:
    """Read a question, asked at `now` (UTC), in the light of the earlier ones, the newest last."""
    own = plan(question, device_id, now)
    turn = next((turn for turn in reversed(earlier) if _subject(turn)), None)
    elsewhere = device_id is not None and (turn is None or device_id not in turn.devices)
    named = bool(own.codes or own.numbered) or own.fleet or elsewhere
    # `Did it have E310?` names a code of what it refers to; `compare it with machine-007` means both.
    both = turn is not None and bool(turn.devices) and _free(question) and not (own.fleet or elsewhere)
    if turn is None or (named and not both) or not refers_back(question):
        return Asked(question, "", of_fleet(own))
    said = {word.lower() for word in WORD.findall(question)}
    words = [word for word in _subject(turn) if word.lower() not in said]
    # What to do is asked about the code that was spoken of.
    about = turn.codes if own.action and not own.names else []
    names = tuple(dict.fromkeys([*own.names, *turn.devices, *about]))
    numbered = (*own.numbered, *(() if turn.devices else mentions(turn.question)))[:MOST_NAMES]
    codes = own.codes | {code_key(code) for code in turn.codes}
    of_device = bool(turn.devices or numbered)
    meant = replace(
        own,
        names=names[:MOST_NAMES],
        numbered=numbered,
        codes=frozenset(codes),
        of_device=of_device,
        resolved=of_resolved(f"{question} {' '.join(words)}"),
        state=own.state or (of_device and asks_state(timeless(question, now or datetime.now(UTC)), True)),
    )
    return Asked(question, " ".join(words), meant if of_device else _of_fleet_too(question, meant, turn, now))


def _of_fleet_too(question: str, own: Plan, turn: Turn, now: datetime | None) -> Plan:
    """The plan of a follow-up, of the fleet where the turn before was: `errors yesterday`, `and today?`. Of
    `and which did not?` it is not known what the answer would be: it stands apart."""
    before = of_fleet(plan(turn.question, now=now))
    if not (before.fleet or before.fleet_incidents):
        return own
    same = not (own.health or own.incidents)
    denied = same and bool(OTHERWISE.search(question)) and not (own.lack or own.left_out or own.unread)
    lack = None if denied else own.lack or (before.lack if same else None)
    again = same and not own.conditions.all
    wanted = before.conditions.within(own.period) if again else own.conditions
    return replace(
        own,
        lack=lack,
        conditions=Conditions(apart=True) if denied else wanted,
        left_out=own.left_out or before.left_out,
        period=own.period or (before.usual if lack and lack != "alerts" else None),
        reported=own.reported or before.reported,
        fleet=before.fleet,
        health=own.health or before.health,
        best=own.best or (same and before.best),
        incidents=own.incidents or before.incidents,
        alerts=own.alerts or before.alerts,
        state=own.state or before.state,
    )


def refers_back(question: str) -> bool:
    """Whether a question needs an earlier one to be understood."""
    if ELLIPSIS.search(question) or not any(_carries(word) for word in WORD.findall(question)):
        return True
    if expletive := EXPLETIVE.search(question):
        rest = question[expletive.end() :]
        named = NAMES_SOMETHING.search(rest)
        return _free(CONJUNCTION.sub("", rest)) or (named is None and _free(question))
    return _free(question)


def _free(text: str) -> bool:
    """Whether a text has a word that refers to something which the text does not name before."""
    found = REFERENCE.search(text)
    return found is not None and not _antecedent(text[: found.start()])


def _antecedent(before: str) -> bool:
    """Whether the words before a pronoun hold a noun that it may stand for.

    Without a parser: a content word is taken for one, unless it must be the verb of someone (`I check`), the
    first word of an order (`explain`), what is asked for (`which parts`), or what the pronoun itself
    completes (`the cause of it`).
    """
    nouns: list[bool] = []
    previous, asked = "to", False
    for word in map(str.lower, TOKEN.findall(before)):
        asked = word in ASKING or (asked and _carries(word))
        nouns.append(_carries(word) and not asked and previous not in VERB_FOLLOWS)
        previous = word
    if previous in PREPOSITIONS:
        nouns = nouns[:-1]
        while nouns and nouns[-1]:
            nouns.pop()
    return any(nouns)


def _carries(word: str) -> bool:
    """Whether a word says what a question is about."""
    lowered = word.lower()
    return word[:1].isalnum() and lowered not in STOP_WORDS and lowered not in VERB_FOLLOWS | ASKING


def _subject(turn: Turn) -> list[str]:
    """The words that tell what a turn was about: its devices and codes, then what else it named."""
    exact = [*turn.devices, *turn.codes]
    titles = "" if exact else " ".join(turn.titles[:1])
    question = COMPARED.sub(" ", timeless(turn.question, datetime.now(UTC)))  # `machines 3` would be a name
    question = NUMBERED.sub("", question) if turn.devices else question
    told = [word for word in WORD.findall(f"{question} {titles}") if _carries(word)]
    words: dict[str, str] = {}
    for word in [*exact, *(word for word in told if not (ACTION.search(word) or REPORTED.search(word)))]:
        words.setdefault(word.lower(), word)
    return list(words.values())[:MOST_WORDS]
