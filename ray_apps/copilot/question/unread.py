"""Words for a time that is not read: the answer says so, else it would be of all time without a word."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice

from ray_apps.copilot.question.dates import MONTH, MONTHS, UNIT, WEEKDAYS
from ray_apps.copilot.question.lacking import SILENT, without_duration
from ray_apps.copilot.question.period import MOST, second_time, without_period

_UNIT = UNIT.replace("?P<unit>", "?:")
_FROM = r"(?:since|from|before|after|until|till)"
_SINCE = rf"(?:{_FROM}|up to|during|over|throughout|within)"
_WHICH = r"(?:last|past|previous|this|next|coming|current|following)"
_LEAD = (
    rf"(?:{_SINCE}|{_WHICH}|not|except|excluding|than|more|less|longer|older|newer|earlier|later|every|each|in|on|"
    r"at|of|for|by|through|between|around|about|the|first|second|third|fourth|early|late|end|start|beginning|but)"
)
_MANY = (
    r"(?:(?:the|last|first|second|third|fourth|final|night|day|early|late|few|couple|several|working|business|"
    r"of|\d{1,4}) ){0,2}"
)
_SPELT = "|".join([*WEEKDAYS, *(month for month in MONTHS if month not in ("march", "may"))])
_DATE = (
    rf"(?:today|yesterday|tomorrow|tonight|(?:{_SPELT})s?"
    r"|\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{4})\b"
)
_ZONE = r"(?-i:[BCIJMW]ST|[CM]DT|AE[SD]T|EES?T|CES?T|WEST|E[SD]T|P[SD]T|MSK)\b"
_CLOCK = (
    r"(?:[0-2]?\d:[0-5]\d(?::[0-5]\d)?(?: ?[ap]m\b)?|\d{1,2} ?(?:[ap]m\b|o['’]?clock)"
    r"|(?:midnight|noon|midday)\b)"
    rf"(?: ?(?:[+-]\d[\d:]*|{_ZONE}|local\b(?: time\b)?|(?-i:[A-Z]{{1,4}}T\b|[A-Z]\w+ time\b)))?"
)
_NAMED = (
    r"(?:weekends?|(?:an? )?\w+ ago|(?:year|quarter|month|week)[- ]to[- ]date|[yqmw]td"
    r"|the other (?:day|night|week)|the (?:day|night|week|month) (?:before|after)"
    rf"|easter|christmas|new year(?:['’]s(?: (?:eve|day))?)?|local time|{_ZONE})\b"
)
_PART = (
    r"(?:quarter|season|summer|autumn|winter|shift(?: \d{1,2})?|morning|afternoon|evening|night|holiday)"
    r"s?\b(?!-)"
)
_HOUR = r"(?:[01]?\d|2[0-4])"
_NUMBERED = r"(?:[qh][1-4]|(?:calendar )?week \d{1,2}|[ck]w ?\d{1,2})\b"
_WORDS = (
    _DATE,
    _CLOCK,
    _NAMED,
    rf"{_WHICH} {_MANY}(?:{_UNIT}|{_PART}|spring\b)",
    rf"(?:in|on|at|of|by|{_SINCE}) {_MANY}(?:{_PART}|{_NUMBERED})",
    rf"(?:in|{_SINCE}) the {_MANY}{_UNIT}",
    rf"(?:in|over|within) (?:an? |\d{{1,4}} ?){_UNIT}",
    rf"than (?:an? |\d{{1,4}} ?|\w+ ){_UNIT}(?: ago\b)?",
    rf"(?:in|{_SINCE}) (?:{MONTH}|may)\b",
    rf"(?:start|beginning|middle|end|half) of (?:the|this|last|next) (?:{_UNIT}|{_PART})",
    rf"(?:in|{_FROM}) (?:\d{{4}}(?:-\d\d)?|{_HOUR})(?=\W*$|\s*;)",
    rf"(?:between|from) {_HOUR} (?:and|to) {_HOUR}(?=\s*;)",
    rf"(?:on|{_FROM}) \d{{1,2}}(?:/\d{{1,2}}(?:/\d\d)?(?![\d/])|\.\d{{1,2}}\.(?!\d))",
    r"since (?:the|its|their|our|my|last|that) (?:[\w-]+ )?[\w-]+",
)
_TIME = rf"(?<![\w.-])(?:{_LEAD} ){{0,4}}?(?:{'|'.join(_WORDS)})(?: \d{{4}}\b)?"
UNREAD = re.compile(rf"{_TIME}(?:(?: (?:to|until|till|and|-))? {_TIME}){{0,2}}", re.I)


def without_unread(question: str, now: datetime) -> tuple[str, str]:
    """A question without the words for times that are not read; and the first of these words, or else those
    for a second time beside the one that is read, empty where there are none. They have no point at an end,
    so that they can stand within a sentence."""
    question = " ".join(question.split())
    rest = without_period(question, now, " ; ")
    rest = without_duration(rest) if SILENT.search(question) else rest
    unread = [found[0] for found in islice(UNREAD.finditer(rest), MOST)]
    for words in unread:
        question = question.replace(words, " ")
    told = unread[0] if unread else second_time(question, now)
    return " ".join(question.split()), re.sub(r"\.(?!\d)", "", told)


def timeless(question: str, now: datetime) -> str:
    """A question without any words for a time."""
    return without_period(without_unread(question, now)[0], now)
