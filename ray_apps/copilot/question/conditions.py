"""Questions for the devices that meet several conditions at once, or have a score, or had so many errors:
`had errors but no alerts`, `are offline and had E421`, `have a health below 60`, `had more than 3 errors`.
Each is read as a whole, or not at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from ray_apps.copilot.question.lacking import EXPLAINS, lately, silence, without_duration
from ray_apps.copilot.question.mentions import (
    BOUND,
    COUNT,
    MENTION,
    Bound,
    Kind,
    bounds,
    kind,
)
from ray_apps.copilot.question.naming import KINDS
from ray_apps.copilot.question.period import Period, period, without_period

MOST = 8
"""Conditions of a question that are read."""
_SAYS_MORE = re.compile(
    rf"(?:\bbetween|{BOUND}) ?\d|\d%? or (?:less|lower|below|more|higher|above)\b"
    rf"|(?<![\w-]){COUNT} (?:times\b|\*)|\b(?:once|twice)\b"
    r"|(?<!how )\b(?:few(?:est)?|least|rarest|many|several|multiple|repeated|exclusively|nothing but) \*"
    r"|\bneither \w+ nor \w+ \*"
    r"|\b(?:had|have|has|report\w*) (?:only|just) \*",
    re.I,
)
"""Says more of a device than is read; a star stands for what is."""
_HEALTH = re.compile(r"\b(?:(?:un)?healthy|worst|best|ok|okay|fine|good|bad|critical|serious|urgent)\b", re.I)
"""Says so too, beside a condition."""
_WHO = re.compile(
    rf"\bwho\b|\b(?:any|every)(?:one|body)\b|\bwhich (?:of|had|has|have)\b|\bhow many are\b|\b(?:{KINDS})s\b"
    rf"|\b(?:which|what|any|every|each)(?: \S+)? (?:{KINDS})\b|(?:\b(?:which|how many)(?: \S+)? |^)\S*\d",
    re.I,
)
_NOBODY = re.compile(r"^\W*(?:(?:show|list|find|give|me|only|just|open|any|all)\W+)*$", re.I)
_ALL = re.compile(r"\b(?:all|every\w*|each)\b", re.I)
_TOLD = {"below": "fewer than", "above": "more than"}
_OTHERWISE: dict[Bound, Bound] = {
    "at least": "below",
    "below": "at least",
    "above": "at most",
    "at most": "above",
}
_NOT = frozenset("no not never without neither nor zero".split())
_LIST = frozenset("and or nor both as well also plus any".split())
_ONLY = frozenset("only just exclusively but".split())
_OPEN = frozenset("open active unresolved current currently".split())
_PAST = frozenset("had did was were".split())
_SAID = _NOT | frozenset(
    """
    have has had having with do does did get got report reports reported reporting show shows showed shown
    showing raise raises raised raising any both
    """.split()
)
_BETWEEN = (
    _SAID | _LIST | _OPEN
    | {*"is are was were been be but yet though although who that whose a an the".split()}
    | {*"single together on still now ever go goes gone went going stay stayed".split()}
    | {kind + ending for kind in KINDS.split("|") for ending in ("", "s")}
)  # fmt: skip
_BESIDE = _BETWEEN | frozenset(
    """
    which what how many much list show me find give tell count name please there fleet in of my our those
    these so all each every everyone everybody anyone anybody right only just
    """.split()
)
"""Words that add no condition of their own, between conditions and beside them."""


@dataclass(frozen=True)
class Condition:
    """What a device has or, unless it `has`, has not in a period: an alert that is open, now without one;
    errors, of some codes if any are given; readings; a score, on its last day. A number may be the bound of
    how often it has it, or of the score."""

    of: Kind
    has: bool
    period: Period | None = None
    codes: tuple[str, ...] = ()
    bound: Bound | None = None
    number: float = 0.0

    def __str__(self) -> str:
        return f"{self.told()} {self.period or ''}".rstrip()

    def told(self, others: Collection[str] = ()) -> str:
        """In words, for a sentence on devices, but for the time; `others` are codes that are not counted."""
        no, an = ("", "an ") if self.has else ("no ", "no ")
        often = f"{_TOLD.get(self.bound or '', self.bound)} {self.number:g}"
        plural = "s" * (self.number != 1)
        match self.of:
            case "alerts":
                alert = f"{often} open alert{plural}" if self.bound else f"{an}open alert"
                return f"{'had' if self.period else 'have'} {alert}"
            case "readings":
                return "sent readings" if self.has else "sent no reading"
            case "score":
                of = "of " if self.bound in ("at least", "at most") else ""
                return f"have {no or 'a '}health score {of}{self.bound} {self.number:g} of 100"
        other = f" other than {' and '.join(others)}" if others else ""
        codes = " or ".join(self.codes)
        if self.bound:
            return f"reported {codes or f'error codes{other}'} {often} time{plural}"
        return f"reported {no}{codes}" if codes else f"reported {an}error code{other}"

    @property
    def otherwise(self) -> Condition:
        """What the other devices have."""
        if self.bound and self.of != "score":
            return replace(self, bound=_OTHERWISE[self.bound])
        return replace(self, has=not self.has)

    @property
    def alone(self) -> bool:
        """Whether it is answered so though no other condition stands beside it."""
        return self.bound is not None or (self.of == "readings" and self.has)


@dataclass(frozen=True)
class Conditions:
    """All that a device must meet. Where a question says more than is read so there are none, and what
    answers it stands `apart`: it tells of some of the conditions, each for itself."""

    all: tuple[Condition, ...] = ()
    apart: bool = False

    def within(self, time: Period | None) -> Conditions:
        """The same, of another time if one is given."""
        return replace(self, all=tuple(replace(each, period=time or each.period) for each in self.all))


def conditions(question: str, now: datetime) -> Conditions:
    """What a question, asked at `now` (UTC), says of the devices that it asks for, unless that is one thing
    which is answered by itself."""
    question = " ".join(question.split())
    if EXPLAINS.search(question):
        return Conditions()
    found = _mentions(question, now)
    nouns = (each.start() for each in found if kind(each) != "readings")  # `which offline machines`
    asks, read = bool(_WHO.search(question[: next(nouns, None)])), _read(question, found, now)
    if read is None or (len(read) == 1 and not read[0].alone):
        return Conditions(apart=asks and _says_more(question, found, now))
    # `Errors and no alerts this week` are of devices; of `errors and alerts` both are told.
    of_devices = len({each.has for each in read}) > 1 or any(each.bound for each in read)
    asks |= of_devices and bool(_NOBODY.search(question[: found[0].start()]))
    if len(read) == 1 and read[0].of == "readings" and _ALL.search(question):  # `are all online?`: who is not
        return Conditions()
    return Conditions(read if asks else ())


def _mentions(question: str, now: datetime) -> list[re.Match[str]]:
    """What a question mentions; a code stands behind a number, a word for an error, a verb, or another
    mention."""
    found: list[re.Match[str]] = []
    for mention in islice(MENTION.finditer(question), 2 * MOST):
        if mention["code"] and not (mention["noun"] or mention["many"]):
            before = _words(question[found[-1].end() if found else 0 : mention.start()], now)
            listed = found and _LIST.issuperset(before) and (before or found[-1]["code"])
            if not (listed or (_SAID | _ONLY) & {*before[-1:]}):
                continue
        found.append(mention)
    return found


def _says_more(question: str, found: Sequence[re.Match[str]], now: datetime) -> bool:
    """Whether a question that is not read as a whole says two things of a device, or one that is not read, or
    one with a number, or that it is not silent."""
    rest = without_duration(without_period(MENTION.sub("*", question), now))
    kinds = {*map(kind, found), *(["score"] if _HEALTH.search(rest) else [])}
    denied = any(_NOT & {*_words(question[: each.start()], now)[-3:]} for each in found if each["silent"])
    counted = any(each["many"] or each["often"] or each["score"] for each in found)
    return len(kinds) > 1 or counted or denied or bool(_SAYS_MORE.search(rest))


def _read(question: str, found: Sequence[re.Match[str]], now: datetime) -> tuple[Condition, ...] | None:
    """What must hold together; nothing where errors or alerts may hold, of which both are told; None where it
    is not known what must."""
    if not 0 < len(found) <= MOST:
        return None
    ends, starts = [0, *(each.end() for each in found)], [*(each.start() for each in found), len(question)]
    pieces = [question[end:start] for end, start in zip(ends, starts, strict=True)]
    words = [set(_words(piece, now)) for piece in pieces]
    if not _plain(words):
        return None
    _repeat_conjunctions(found, words)
    read: list[Condition] = []
    asked, denied = period(question, now), False
    for mention, said, behind in zip(found, words, pieces[1:], strict=False):
        was, denied = denied, bool(said & _NOT) or (denied and _continues(mention, said))
        own = _conditions(mention, denied, said, behind, asked, now)
        if not own:
            return None
        either = bool(said & {"or", "nor"})
        if read and (either or denied) and _alike(read[-1], own[0]):
            read[-1] = replace(own[0], codes=(*read[-1].codes, *own[0].codes))
        elif read and either and not (was and denied):
            one_of_two = len(found) == 2 and all(each.of in ("errors", "alerts") for each in (*read, *own))
            return () if one_of_two and not (was or denied or read[0].alone or own[0].alone) else None
        else:
            read += own
    return tuple(dict.fromkeys(read))


def _plain(words: Sequence[set[str]]) -> bool:
    """Whether the words beside and between the mentions say nothing more, nor deny that both hold."""
    beside = words[0] | words[-1] <= _BESIDE and all(each <= _BETWEEN for each in words[1:-1])
    return beside and not any("both" in each and each & _NOT for each in words)


def _repeat_conjunctions(found: Sequence[re.Match[str]], words: list[set[str]]) -> None:
    """The word before the last code of a list stands for each comma: `E421, E425 and E310`."""
    for place in range(len(found) - 1, 0, -1):
        if not words[place] and found[place - 1]["code"] and found[place]["code"]:
            words[place] = words[place + 1] if found[place + 1 :] and found[place + 1]["code"] else {"or"}


def _continues(mention: re.Match[str], said: set[str]) -> bool:
    """Whether what is denied before a mention is so of it too: `no errors or open alerts`."""
    either = bool(said & {"or", "nor"})
    return kind(mention) in ("errors", "alerts") and said <= _LIST | (_OPEN if either else set())


def _conditions(
    mention: re.Match[str],
    denied: bool,
    said: Collection[str],
    behind: str,
    asked: Period | None,
    now: datetime,
) -> list[Condition]:
    """What a mention says, by the words `said` before it; of the time `behind` it, else of that of the
    question, `asked`. Two conditions of a score between two numbers, none where it is not known."""
    of, often, named = kind(mention), mention["many"] or mention["often"], period(behind, now)
    if of == "readings":
        if mention["silent"] and "never" in said and not (named or asked):
            return []  # for how long is not known
        sends = bool(mention["sends"]) is not denied
        return [Condition(of, sends, named or silence(behind, now))]
    if of == "score":
        pairs = bounds(mention["score"])
        scored = [
            Condition(of, not denied, named or asked, bound=bound, number=score) for bound, score in pairs
        ]
        return scored if not (denied and scored[1:]) else []
    if mention["many"] and mention["often"]:
        return []
    own = Condition(of, not denied, named or asked)
    if often:
        ((bound, number),) = bounds(often)
        if number < 1 and bound in ("at least", "below"):
            return []
        own = replace(own, has=True, bound=bound, number=number)
        own = own.otherwise if denied else own
    if of == "alerts":
        still = (mention["open"] or _OPEN & set(said)) and not _PAST & set(said)
        return [replace(own, period=named or (None if still else asked))]
    codes = (mention["code"],) if mention["code"] else ()
    return [replace(own, period=own.period or lately(now), codes=codes)]


def _alike(one: Condition, other: Condition) -> bool:
    """Whether both have codes, and nothing else is different."""
    return bool(one.codes and other.codes) and replace(one, codes=other.codes) == other


def _words(text: str, now: datetime) -> list[str]:
    """The words of a text without its time, `not` of `haven't` too, and without names that have digits."""
    timeless = without_duration(without_period(text, now)).lower()
    words = re.findall(r"\w[\w.:'’-]*", re.sub(r"n['’]t\b", " not", timeless))
    spelt = [word.rstrip(".:'’-").removesuffix("'s") for word in words]
    return [word for word in spelt if word.isdigit() or not re.search(r"\d", word)]
