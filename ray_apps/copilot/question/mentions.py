"""What a question says of devices: that they had errors or alerts, of a code, so many of them, that they are
silent or send, that they have a score."""

from __future__ import annotations

import re
from typing import Literal

from ray_apps.copilot.question.lacking import DATA, SENDS_NONE
from ray_apps.copilot.question.naming import KINDS

Kind = Literal["errors", "alerts", "readings", "score"]
Bound = Literal["at least", "at most", "below", "above"]
_BOUNDS: dict[Bound, str] = {
    "at least": "at least|at or above|no(?:t)? (?:less|fewer|lower) than|not (?:below|under)|>=|≥",
    "at most": "at most|at or below|no(?:t)? (?:more|higher) than|not (?:above|over)|<=|≤",
    "below": "below|under|(?:less|fewer|lower|smaller|worse) than|<",
    "above": "above|over|(?:more|higher|greater|better) than|>",
}
BOUND = "|".join(_BOUNDS.values())
_NUMBERS = "zero one two three four five six seven eight nine ten".split()
_NUMBER = re.compile(rf"\d+(?:\.\d+)?|once|twice|\b(?:{'|'.join(_NUMBERS)})\b", re.I)
COUNT = rf"(?:\d{{1,4}}|{'|'.join(_NUMBERS)})"
TROUBLE, ALERT = "(?:error|fault|failure|problem|issue|incident)s?", "(?:alert|alarm)s?"

_SENDS = (
    rf"\b(?:online|connected|reachable)\b|\b(?:sent|sends?|ha(?:s|ve)) {DATA}\b"
    rf"|\b(?:sending|transmitting|reporting)\b(?: {DATA}\b)?"
    rf"(?! (?:any |an? |no )?(?:{TROUBLE}|{ALERT}|\S*\d))"
)
_POINTS = r"\d{1,3}(?:\.\d+)?"
_SCORE = (
    r"\b(?:health(?: scores?)?|scor(?:es?|ed|ing))(?: (?:is|are|was|were|of|at|now|currently|lies?)\b){0,3} ?"
    rf"(?P<score>(?:{BOUND}) ?{_POINTS}|(?:between|from) {_POINTS} (?:and|to) {_POINTS}"
    rf"|{_POINTS}%? or (?:less|lower|more|higher))"
    r"(?!\w)(?: ?%| percent\b| points?\b)?(?: ?/ ?100\b| (?:out )?of 100\b)?"
)
_MANY = rf"(?:(?:{BOUND}) ?{COUNT}|{COUNT} or (?:more|fewer|less))"
_OFTEN = rf"(?:(?:{BOUND}) (?:once|twice|{COUNT} times)|(?:[<>]=?|≤|≥) ?\d{{1,4}})"
_CODE = (
    rf"(?P<noun>(?:(?:{TROUBLE}|{ALERT}|codes?) ){{1,2}})?(?P<code>[A-Z]{{1,4}}[-_]?\d{{1,6}}[A-Z]?)\b"
    rf"(?! (?:{KINDS})s?\b)(?: (?:{TROUBLE}|{ALERT})\b)?"
)
_ALERTS = rf"(?P<open>(?:open|active|unresolved) )?(?:{TROUBLE} )?(?P<alerts>{ALERT})\b(?!-)"
_ERRORS = rf"{TROUBLE}(?: codes?)?\b(?!-)"
MENTION = re.compile(
    rf"(?P<silent>{SENDS_NONE})|(?P<sends>{_SENDS})|{_SCORE}"
    rf"|(?<!\w)(?:(?P<many>{_MANY}) )?(?:{_CODE}|{_ALERTS}|{_ERRORS})(?: ?(?P<often>{_OFTEN}))?",
    re.I,
)
"""Where no group is found, that they had errors."""


def kind(mention: re.Match[str]) -> Kind:
    """What is said to be had, or not."""
    if mention["silent"] or mention["sends"]:
        return "readings"
    if mention["score"]:
        return "score"
    return "alerts" if mention["alerts"] else "errors"


def bounds(said: str) -> list[tuple[Bound, float]]:
    """How a number is bound: `below 60`, `60 or more`; between two, `from 40 to 70`."""
    numbers = [*map(_number, _NUMBER.findall(said.lower()))]
    if numbers[1:]:
        return [("at least", numbers[0]), ("at most", numbers[1])]
    open_ended: Bound = "at least" if said.lower().endswith(("more", "higher")) else "at most"
    named = (bound for bound, words in _BOUNDS.items() if re.match(words, said, re.I))
    return [(next(named, open_ended), numbers[0])]


def _number(spelt: str) -> float:
    return {"once": 1.0, "twice": 2.0}.get(spelt) or float(
        _NUMBERS.index(spelt) if spelt in _NUMBERS else spelt
    )
