"""Questions for the devices that meet several conditions at once, or have a score: `had errors but no
alerts`, `are offline and had E421`, `have a health below 60`. Each is read as a whole, or not at all."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Literal

from ray_apps.copilot.question.lacking import EXPLAINS, SENDS_NONE, SILENT, lately, silence, without_duration
from ray_apps.copilot.question.naming import KINDS
from ray_apps.copilot.question.period import Period, period, without_period

Kind = Literal["errors", "alerts", "readings", "score"]
Bound = Literal["at least", "at most", "below", "above"]
MOST = 8
"""Conditions of a question that are read."""
_BOUNDS: dict[Bound, str] = {
    "at least": "at least|at or above|no(?:t)? (?:less|lower) than|not (?:below|under)|>=|≥",
    "at most": "at most|at or below|no(?:t)? (?:more|higher) than|not (?:above|over)|<=|≤",
    "below": "below|under|(?:less|lower|smaller|worse) than|<",
    "above": "above|over|(?:more|higher|greater|better) than|>",
}
_BOUND = "|".join(_BOUNDS.values())
_SCORE = r"(?:health(?: scores?)?|scor(?:es?|ed|ing))(?: (?:is|are|was|were|of|at|now|currently)\b){0,3}"
_OF_100 = r"(?: ?%| percent\b| points?\b)?(?: ?/ ?100\b| (?:out )?of 100\b)?"
_TROUBLE, _ALERT = "(?:error|fault|failure|problem|issue|incident)s?", "(?:alert|alarm)s?"
_MENTION = re.compile(
    rf"(?P<silent>{SENDS_NONE})|(?P<sends>\b(?:online|connected|reachable)\b)"
    rf"|\b{_SCORE} ?(?P<bound>{_BOUND}) ?(?P<score>\d{{1,3}}(?:\.\d+)?)(?!\w){_OF_100}"
    rf"|\b(?P<noun>(?:(?:{_TROUBLE}|{_ALERT}|codes?) ){{1,2}})?(?P<code>[A-Z]{{1,4}}[-_]?\d{{1,6}}[A-Z]?)\b"
    rf"(?! (?:{KINDS})s?\b)(?: (?:{_TROUBLE}|{_ALERT})\b)?"
    rf"|\b(?:{_TROUBLE} )?(?P<alerts>{_ALERT})\b(?!-)|\b{_TROUBLE}(?: codes?)?\b(?!-)",
    re.I,
)
"""What is said of a device; where no group is found, that it had errors."""
_COMPARED = re.compile(rf"(?:\bbetween|{_BOUND}) ?\d|\d%? or (?:less|lower|below|more|higher|above)\b", re.I)
_HEALTH = re.compile(r"\b(?:(?:un)?healthy|worst|critical|serious|urgent)\b", re.I)
"""Say more of a device, which is not read."""
_WHO = re.compile(
    rf"\bwho\b|\b(?:any|every)(?:one|body)\b|\bwhich (?:of|had|has|have)\b|\bhow many are\b|\b(?:{KINDS})s\b"
    rf"|\b(?:which|what|any|every|each)(?: \S+)? (?:{KINDS})\b|(?:\b(?:which|how many)(?: \S+)? |^)\S*\d",
    re.I,
)
_NOBODY = re.compile(r"^\W*(?:(?:show|list|find|give|me|only|just|open|any|all)\W+)*$", re.I)
_NOT = frozenset("no not never without neither nor zero".split())
_LIST = frozenset("and or nor both as well also plus any".split())
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
    | {*"single together on still now ever".split()}
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
    errors, of some codes if any are given; readings; a score, on its last day, that is so bound."""

    of: Kind
    has: bool
    period: Period | None = None
    codes: tuple[str, ...] = ()
    bound: Bound = "below"
    score: float = 0.0

    def __str__(self) -> str:
        return f"{self.told()} {self.period or ''}".rstrip()

    def told(self, others: Collection[str] = ()) -> str:
        """In words, for a sentence on devices, but for the time; `others` are codes that are not counted."""
        no, an = ("", "an ") if self.has else ("no ", "no ")
        match self.of:
            case "alerts":
                return f"{'had' if self.period else 'have'} {an}open alert"
            case "readings":
                return "sent readings" if self.has else "sent no reading"
            case "score":
                of = "of " if self.bound in ("at least", "at most") else ""
                return f"have {no or 'a '}health score {of}{self.bound} {self.score:g} of 100"
        other = f" other than {' and '.join(others)}" if others else ""
        return f"reported {no}{' or '.join(self.codes)}" if self.codes else f"reported {an}error code{other}"


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
    which is no score, nor that they send."""
    question = " ".join(question.split())
    if EXPLAINS.search(question):
        return Conditions()
    found = _mentions(question, now)
    nouns = (each.start() for each in found if _kind(each) != "readings")  # `which offline machines`
    asks, read = bool(_WHO.search(question[: next(nouns, None)])), _read(question, found, now)
    if read is None:
        rest = without_duration(without_period(_MENTION.sub(" ", question), now))
        kinds = {*map(_kind, found), *(["score"] if _HEALTH.search(rest) else [])}
        return Conditions(apart=asks and (len(kinds) > 1 or bool(_COMPARED.search(rest))))
    # `Errors and no alerts this week` are of devices; of `errors and alerts` both are told.
    asks |= len({each.has for each in read}) > 1 and bool(_NOBODY.search(question[: found[0].start()]))
    sends = any(each.of == "readings" and each.has for each in read) and not SILENT.search(question)
    joined = len(read) > 1 or sends or any(each.of == "score" for each in read)
    return Conditions(read) if asks and joined else Conditions()


def _mentions(question: str, now: datetime) -> list[re.Match[str]]:
    """What a question mentions; a code stands behind a word for an error, a verb, or another mention."""
    found: list[re.Match[str]] = []
    for mention in islice(_MENTION.finditer(question), 2 * MOST):
        if mention["code"] and not mention["noun"]:
            before = _words(question[found[-1].end() if found else 0 : mention.start()], now)
            listed = found and _LIST.issuperset(before) and (before or found[-1]["code"])
            if not (listed or _SAID & {*before[-1:]}):
                continue
        found.append(mention)
    return found


def _read(question: str, found: list[re.Match[str]], now: datetime) -> tuple[Condition, ...] | None:
    """What must hold together; nothing where errors or alerts may hold, of which both are told; None where it
    is not known what must."""
    if not 0 < len(found) <= MOST:
        return None
    ends, starts = [0, *(each.end() for each in found)], [*(each.start() for each in found), len(question)]
    pieces = [question[end:start] for end, start in zip(ends, starts, strict=True)]
    words = [set(_words(piece, now)) for piece in pieces]
    plain = words[0] | words[-1] <= _BESIDE and all(each <= _BETWEEN for each in words[1:-1])
    if not plain or any("both" in each and each & _NOT for each in words):
        return None
    for place in range(len(found) - 1, 0, -1):
        if not words[place] and found[place - 1]["code"] and found[place]["code"]:  # `E421, E425 and E310`
            words[place] = words[place + 1] if found[place + 1 :] and found[place + 1]["code"] else {"or"}
    read: list[Condition] = []
    asked, denied = period(question, now), False
    for mention, said, behind in zip(found, words, pieces[1:], strict=False):
        either = bool(said & {"or", "nor"})
        listed = _kind(mention) in ("errors", "alerts") and said <= _LIST | (_OPEN if either else set())
        was, denied = denied, bool(said & _NOT) or (denied and listed)  # `no errors or open alerts`
        own = _condition(mention, denied, said, behind, asked, now)
        if read and _alike(read[-1], own) and (either or denied):
            read[-1] = replace(own, codes=(*read[-1].codes, *own.codes))
        elif read and either and not (was and denied):
            told = len(found) == 2 and {read[0].of, own.of} <= {"errors", "alerts"}
            return () if told and not (was or denied) else None
        else:
            read.append(own)
    return tuple(dict.fromkeys(read))


def _condition(
    mention: re.Match[str],
    denied: bool,
    said: Collection[str],
    behind: str,
    asked: Period | None,
    now: datetime,
) -> Condition:
    """What a mention says, by the words `said` before it; of the time `behind` it, else that of the question,
    `asked`."""
    kind, named = _kind(mention), period(behind, now)
    if kind == "readings":
        return Condition(kind, bool(mention["sends"]) is not denied, named or silence(behind, now))
    if kind == "score":
        compared = mention["bound"].lower()
        bound = next(each for each, words in _BOUNDS.items() if re.fullmatch(words, compared))
        return Condition(kind, not denied, named or asked, bound=bound, score=float(mention["score"]))
    if kind == "alerts":
        still = _OPEN & set(said) and not _PAST & set(said)
        return Condition(kind, not denied, named or (None if still else asked))
    codes = (mention["code"],) if mention["code"] else ()
    return Condition(kind, not denied, named or asked or lately(now), codes)


def _kind(mention: re.Match[str]) -> Kind:
    if mention["silent"] or mention["sends"]:
        return "readings"
    if mention["score"]:
        return "score"
    return "alerts" if mention["alerts"] else "errors"


def _alike(one: Condition, other: Condition) -> bool:
    """Whether both have codes, and nothing else is different."""
    return bool(one.codes and other.codes) and replace(one, codes=other.codes) == other


def _words(text: str, now: datetime) -> list[str]:
    """The words of a text without its time, `not` of `haven't` too, and without names that have digits."""
    timeless = without_duration(without_period(text, now)).lower()
    words = re.findall(r"\w[\w.:'’-]*", re.sub(r"n['’]t\b", " not", timeless))
    spelt = [word.rstrip(".:'’-").removesuffix("'s") for word in words]
    return [word for word in spelt if word.isdigit() or not re.search(r"\d", word)]
