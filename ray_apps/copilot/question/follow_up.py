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
from ray_apps.copilot.language.words import NEGATION, STOP_WORDS
from ray_apps.copilot.question.again import LEAD, ROUND, THEM, WHO, again, who_had
from ray_apps.copilot.question.mentions import BOUND
from ray_apps.copilot.question.naming import KINDS, NUMBERED, Known, mentions
from ray_apps.copilot.question.period import without_period
from ray_apps.copilot.question.planner import (
    ACTION,
    ERROR_CODE,
    MOST_NAMES,
    REPORTED,
    WHOLE,
    WORD,
    Plan,
    asks_state,
    of_fleet,
    plan,
)
from ray_apps.copilot.question.unread import timeless

MOST_WORDS = 8
"""Of an earlier question that are added to a follow-up."""
ELLIPSIS = re.compile(
    r"^\W*(?:and|also|or|but|(?:what|how) about|(?:what|anything) else|what next|what now"
    r"|since when|what are the next steps)\b",
    re.I,
)
THINGS = f"{KINDS}|motor|one|error|code|alarm|alert|fault|event|problem|issue|part|step"
BEFORE = "is was does did can could will would should of about after before than like from with".split()
AFTER = "|".join(rf"(?<=\b{word} )" for word in BEFORE)
NOT_RELATIVE = "".join(rf"(?<!\b{kind}s )" for kind in KINDS.split("|"))
"""Before a `that` which is not the one of `machines that are`."""
PERIODS = "morning|afternoon|evening|shift|week|month|quarter|year|time"
REFERENCE = re.compile(
    rf"\b(?:its?|they|them|their|(?:this|these)(?!\s+(?:{PERIODS})\b)"
    rf"|{NOT_RELATIVE}(?:that|those)(?=\s+(?:{THINGS})s?\b|\s+(?:is|are|was|were|means?|happens?|do|does)\b|\W*$)"
    rf"|(?:{AFTER})(?:that|those)"
    rf"|the same(?=\s+(?:{THINGS})s?\b|\W*$))\b",
    re.I,
)
IT = re.compile(r"\b(?:its?|that|this)\b", re.I)
MACHINES = re.compile(rf"\b(?:(?:any|all|other|many|my|our|the|of)\s+)*(?:{KINDS})s\b(?:\s+that\b)?", re.I)
COMPARED = re.compile(rf"\b(?:{BOUND}) ?\d+", re.I)
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
PREPOSITIONS = frozenset("of for on in with about at from to by inside near around".split())


class Turn(BaseModel):
    """What a conversation keeps of a question: its words, its plan, and what it was found to be about."""

    question: str
    devices: list[str] = []
    codes: list[str] = []
    titles: list[str] = []
    plan: Plan | None = None

    @property
    def error_codes(self) -> list[str]:
        """Those of its codes that some device may have reported."""
        models = set(map(code_key, self.plan.known.models if self.plan and self.plan.known else ()))
        keys = ((code, code_key(code)) for code in self.codes)
        return [code for code, key in keys if ERROR_CODE.fullmatch(key) and key not in models]

    @property
    def of_fleet(self) -> bool:
        """Whether the fleet's records answered."""
        own = self.plan
        return own is not None and not own.of_device and (own.fleet or own.fleet_incidents)

    @property
    def several(self) -> bool:
        """Whether it was about more than one device."""
        return self.of_fleet or len(self.devices) > 1


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
        """The codes of the whole question as they are spelt in it, without the names of devices."""
        rest, known = without_period(self.whole, datetime.now(UTC)), self.plan.known or Known()
        return [word for word in WORD.findall(rest) if codes_in(word) and not known.names(word)]

    def turn(self, devices: Sequence[str] = (), titles: Sequence[str] = ()) -> Turn:
        """What to keep of it, with the devices that were looked up beside its own and the titles cited."""
        return Turn(
            question=self.whole,
            devices=list(dict.fromkeys([*self.plan.devices, *devices])),
            codes=self.codes,
            titles=list(dict.fromkeys(titles)),
            plan=self.plan,
        )


def resolve(
    question: str, device_id: str | None, earlier: Sequence[Turn], now: datetime | None = None
) -> Asked:
    """Read a question, asked at `now` (UTC), in the light of the earlier ones, the newest last."""
    now = now or datetime.now(UTC)
    own = plan(question, device_id, now)
    turn = next((turn for turn in reversed(earlier) if _subject(turn)), None)
    elsewhere = device_id is not None and (turn is None or device_id not in turn.devices)
    free, who = _free(question), ROUND.match(LEAD.sub("", question))
    # `Which machines had it?`, `and which did not?` ask for those of whom this is so, not for the worst.
    of_it = _of_whom(question, own, free)
    asks_who = of_it or bool(who and (turn or who["verb"]))
    alone = Asked(question, "", replace(own, fleet=False) if asks_who else of_fleet(own))
    if turn is None:
        return alone
    said = {word.lower() for word in WORD.findall(question)}
    subject = " ".join(word for word in _subject(turn) if word.lower() not in said)
    if turn.plan and turn.error_codes and not elsewhere and (of_it or (asks_who and not turn.several)):
        return Asked(question, subject, who_had(own, question, turn.error_codes, turn.plan, now))
    of_them = turn.of_fleet and bool(THEM.search(question) and REPORTED.search(question))
    named = bool(own.codes or own.numbered) or (own.fleet and not asks_who) or elsewhere
    # `Did it have E310?` names a code of what it refers to; `compare it with machine-007` means both.
    both = bool(turn.devices) and free and not (own.fleet or elsewhere)
    of_some = turn.several and own.state and bool(WHO.match(question))
    refers = asks_who or of_some or refers_back(question)
    if (named and not (both or of_them)) or not refers:
        return alone
    if turn.plan and turn.of_fleet and not (turn.devices and IT.search(question)):
        return Asked(question, subject, again(question, turn.plan, now) or own)
    if asks_who and not turn.several:
        return alone
    # What to do is asked about the code that was spoken of, and who did; what else was may be a device.
    asks_about = asks_who or (not own.names and (own.action or not turn.devices))
    about = turn.codes if asks_about else []
    names = tuple(dict.fromkeys([*own.names, *turn.devices, *about]))
    spoken = () if turn.devices else mentions(turn.question)
    of_device = own.of_device or bool(turn.devices or spoken)
    meant = replace(
        own,
        names=names[:MOST_NAMES],
        numbered=(*own.numbered, *spoken)[:MOST_NAMES],
        codes=own.codes | {code_key(code) for code in turn.codes},
        of_device=of_device,
        state=own.state or (of_device and asks_state(timeless(question, now), True)),
    )
    return Asked(question, subject, meant)


def refers_back(question: str) -> bool:
    """Whether a question needs an earlier one to be understood."""
    if ELLIPSIS.search(question) or not any(_carries(word) for word in WORD.findall(question)):
        return True
    if expletive := EXPLETIVE.search(question):
        rest = question[expletive.end() :]
        named = NAMES_SOMETHING.search(rest)
        return _free(CONJUNCTION.sub("", rest)) or (named is None and _free(question))
    return _free(question)


def _of_whom(question: str, own: Plan, free: bool) -> bool:
    """Whether a question asks for those of the fleet of whom something is so that it does not name."""
    of_them = own.fleet or (WHOLE.search(question) and (own.state or REPORTED.search(question)))
    one = IT.search(question) and _free(MACHINES.sub(" ", question))  # what `it` stands for is not `machines`
    return bool(of_them and (free or one))


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
    question = NEGATION.sub(" ", timeless(turn.question, datetime.now(UTC)))
    question = COMPARED.sub(" ", question)  # else `machines with more than 3 errors` name machine 3
    question = NUMBERED.sub("", question) if turn.devices else question
    told = [word for word in WORD.findall(f"{question} {titles}") if _carries(word)]
    words: dict[str, str] = {}
    for word in [*exact, *(word for word in told if not (ACTION.search(word) or REPORTED.search(word)))]:
        words.setdefault(word.lower(), word)
    return list(words.values())[:MOST_WORDS]
