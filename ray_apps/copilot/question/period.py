"""Times that a question names: `yesterday`, `in the last 24 hours`, `since Monday`, dates. All in UTC."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from ray_apps.copilot.question.dates import (
    CLOCK,
    COUNT,
    DATE,
    DAY,
    HOUR,
    MONTH,
    MONTHS,
    UNIT,
    is_weekday,
    long,
    midnight,
    of_clock,
    of_day,
)

MOST = 16
"""Times of each form that are read."""
UP_TO = ("until", "till", "up to", "through", "by")
_UP_TO = "|".join(UP_TO).replace(" ", r"\s+")
_IN = rf"before|{_UP_TO}|in|over|during|throughout|within|for|of|since|from|after"
ROLLING = re.compile(
    rf"\b(?:(?P<how>{_IN})\s+)?(?:the\s+)?(?:last|past|previous)\s+(?:{COUNT}\s*)?{UNIT}", re.I
)
LASTING = re.compile(rf"\bsince\s+{COUNT}\s*{UNIT}(?!\s+ago\b)", re.I)
AGO = re.compile(rf"\b(?:(?P<how>before|{_UP_TO}|since|from|about)\s+)?{COUNT}\s*{UNIT}\s+ago\b", re.I)
THIS = re.compile(
    rf"\b(?:(?P<how>{_IN})\s+)?(?:the\s+(?:start|beginning)\s+of\s+)?this\s+(?P<unit>week|month|year)\b", re.I
)
WEEKEND = re.compile(
    rf"\b(?:(?P<how>since|before|after|in|on|at|over|during|from|{_UP_TO})\s+)?(?:the\s+)?"
    r"(?P<which>the|last|past|previous|this)\s+weekend\b",
    re.I,
)
PARTS = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (18, 30)}
"""Hours of a day (UTC), or of it and the next; the last night is that of yesterday."""
PART = re.compile(
    rf"\b(?:(?P<how>since|from|before|after|{_UP_TO})\s+)?"
    rf"(?:(?P<of>{DATE}|last|this)\s+(?P<part>{'|'.join(PARTS)})|overnight|(?P<tonight>tonight))\b",
    re.I,
)
_SPELT = "|".join(month for month in MONTHS if month not in ("march", "may"))
OF_MONTH = re.compile(
    rf"\b(?:(?:(?P<how>{_IN})\s+(?:(?:last|past|this)\s+)?|last\s+)(?P<named>{MONTH}|may)|(?P<bare>{_SPELT}|(?:{MONTH}|may)(?=\s+\d{{4}})))"
    r"\b(?!\s+\d{1,2}\b)(?:\s+(?P<year>\d{4}))?",
    re.I,
)
MONTHS_TO = re.compile(
    rf"\b(?:from|between)\s+(?P<first>{MONTH}|may)\s+(?:to|and|until|till|through)\s+(?P<last>{MONTH}|may)\b"
    r"(?!\s+\d{1,2}\b)(?:\s+(?P<year>\d{4}))?",
    re.I,
)
YEAR = re.compile(
    rf"\b(?P<how>in|during|throughout|since|before|after|{_UP_TO})\s+(?P<year>(?:19|20)\d\d)(?=\W*$)", re.I
)
_TO = r"\s*(?:\b(?:to|until|till|through)\b|[-\u2013])\s*"
_NUMBER = rf"\d{{1,2}}(?:st|nd|rd|th)?(?=(?:{_TO}|\s+and\s+)(?:the\s+)?\d)"


def _moment(name: str) -> str:
    """A day with or without a time, or a time with or without its day."""
    return (
        rf"(?:(?P<{name}_day>{DATE})(?:(?:t|,?\s+(?:at\s+)?)(?P<{name}_at>{CLOCK})|\b)"
        rf"|(?P<{name}>{CLOCK})(?:,?\s+(?:on\s+)?(?P<{name}_on>{DATE})\b)?)"
    )


SPAN = re.compile(
    rf"(?:\b(?P<how>between|from|since)\s+)?(?<![\w-])(?:(?:the\s+)?(?P<number>{_NUMBER})|{_moment('first')})"
    rf"(?:{_TO}|(?P<both>\s+and\s+)){_moment('last')}(?!\w)",
    re.I,
)
POINT = re.compile(
    rf"(?:\b(?P<how>since|from|before|after|on|at|around|{_UP_TO})\s+)?(?<![\w-]){_moment('point')}(?!\w)",
    re.I,
)
_NOT_THEN = re.compile(
    r"\b(?:not|except(?:ing)?(?:\s+for)?|excluding|apart\s+from|besides|than|every|each|next|coming)\s+$",
    re.I,
)
"""Stands before a time that is not the one asked for."""


@dataclass(frozen=True)
class Period:
    """From `since` up to, and without, `until`."""

    since: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    until: datetime = datetime(9999, 1, 1, tzinfo=UTC)

    def __str__(self) -> str:
        """In words, for a sentence of an answer."""
        if self.since == EVER.since:
            return f"before {self.until:%Y-%m-%d %H:%M} UTC"
        return f"from {self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"


EVER = Period()
NEVER = Period(EVER.until)
Read = Callable[[re.Match[str], datetime, Period | None], Period | None]
"""The time that words name, as it is seen at a moment, of a day that is named elsewhere. ValueError and
OverflowError where there is none such."""


def period(question: str, now: datetime) -> Period | None:
    """The time that a question asks about, as it is seen at `now` (UTC); it ends there at the latest."""
    return next((time for _, time in _times(question, now)), None)


def without_period(question: str, now: datetime, gap: str = " ") -> str:
    """The question without the words that name a time, which no document holds."""
    for words, _ in _times(question, now):
        question = question.replace(words, gap)
    return question


def second_time(question: str, now: datetime) -> str:
    """The words for another time that a question names beside the first, empty where it names none."""
    hours, days = _hours_and_days(question, now)
    for first, *others in filter(None, (hours, days)):
        for words, time in others:
            if time != first[1]:
                return words
    return ""


def _times(question: str, now: datetime) -> list[tuple[str, Period]]:
    """The words that name a time, and the time, the one that is asked about first."""
    hours, days = _hours_and_days(question, now)
    return [*hours, *days]


def _hours_and_days(
    question: str, now: datetime
) -> tuple[list[tuple[str, Period]], list[tuple[str, Period]]]:
    """Times of the day that is named, else the last such times, and other times; none that lie ahead."""
    taken: list[re.Match[str]] = []
    days = _found(_DAYS, question, now, taken)
    return _found(_HOURS, question, now, taken, days[0][1] if days else None), days


def _found(
    forms: Sequence[tuple[re.Pattern[str], Read]],
    question: str,
    now: datetime,
    taken: list[re.Match[str]],
    day: Period | None = None,
) -> list[tuple[str, Period]]:
    """The times of some forms; of what is `taken`, be it no time that has come, no part is one either."""
    named: list[tuple[str, Period]] = []
    for pattern, read in forms:
        for found in islice(pattern.finditer(question), MOST):
            if any(found.start() < other.end() and other.start() < found.end() for other in taken):
                continue
            try:
                time = read(found, now, day)
            except (ValueError, OverflowError):  # no such day
                time = NEVER
            if time:
                taken.append(found)
                denied = _NOT_THEN.search(question, max(0, found.start() - 24), found.start())
                named += [(found[0], time)] if time.since < time.until and not denied else []
    return named


def _rolling(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    return _bound(found["how"], now - long(found["count"], found["unit"]), now, now)


def _lasting(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    return Period(now - long(found["count"], found["unit"]), now)


def _ago(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    since = now - long(found["count"], found["unit"])
    if found["how"] or long(None, found["unit"]) < DAY:
        return _bound(found["how"], since, now, now)
    return Period(midnight(since), midnight(since) + DAY)


def _this(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    today = midnight(now)
    week, month = today - today.weekday() * DAY, today.replace(day=1)
    begins = {"week": week, "month": month, "year": month.replace(month=1)}[found["unit"].lower()]
    return _bound(found["how"], begins, now, now)


def _weekend(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    today, which = midnight(now), found["which"].lower()
    begun = today.weekday() >= 5
    saturday = today - (today.weekday() - 5) % 7 * DAY
    if which == "this" and not begun:
        saturday += 7 * DAY
    elif which not in ("the", "this") and begun:
        saturday -= 7 * DAY
    return _bound(found["how"], saturday, saturday + 2 * DAY, now)


def _part(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    today, of = midnight(now), "this" if found["tonight"] else (found["of"] or "last").lower()
    day = {"this": today, "last": today - DAY}.get(of) or of_day(of, today)
    starts, ends = PARTS[(found["part"] or "night").lower()]
    return _bound(found["how"], day + starts * HOUR, day + ends * HOUR, now)


def _month(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    begins = _first(found["named"] or found["bare"], found["year"], now)
    return _bound(found["how"], begins, _next(begins), now)


def _months(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    last = _first(found["last"], found["year"], now)
    first = _first(found["first"], str(last.year), now)
    return _bound(None, first if first <= last else first.replace(year=last.year - 1), _next(last), now)


def _year(found: re.Match[str], now: datetime, _: Period | None) -> Period:
    begins = _first("january", found["year"], now)
    return _bound(found["how"], begins, begins.replace(year=begins.year + 1), now)


def _first(month: str, year: str | None, now: datetime) -> datetime:
    """The first day of a month: of a year, or the latest."""
    return of_day(f"1 {month} {year or ''}".strip(), midnight(now))


def _next(month: datetime) -> datetime:
    return (month + 31 * DAY).replace(day=1)


def _span(found: re.Match[str], now: datetime, _: Period | None) -> Period | None:
    """From a day, or a time of it, to another; a weekday, as a number, is that before the other."""
    (opens, first), (closes, last) = _said(found, "first"), _said(found, "last")
    if not (opens or closes) or _two_times(found):
        return None
    if first and last:  # `from Monday 22:00 to 06:00`, `from 10:00 to 12:00 on Monday`
        opens, closes = opens or found["last_on"], closes or opens
    if found["number"]:  # `20 to 22 November`
        opens = re.sub(r"\b\d{1,2}(?:st|nd|rd|th)?\b", found["number"], closes or "", count=1)
    if not (opens and closes):  # `from 8:00 to Monday`
        raise ValueError(found[0])
    begins, ends = (of_day(words, midnight(now)) for words in (opens, closes))
    if begins > ends and is_weekday(opens):
        begins -= 7 * DAY
    since = begins + _clock(first, last) if first else begins
    until = ends + (_clock(last, first) if last else DAY)
    if until <= since and (last == "midnight" or not (found["last_day"] or found["last_on"])):
        until += DAY
    return Period(since, min(until, now))


def _point(found: re.Match[str], now: datetime, _: Period | None) -> Period | None:
    """A day, or a time of it, or what lies before or after: `since Monday`, `since Monday 8:00`."""
    day, clock = _said(found, "point")
    if not day:
        return None
    begins = of_day(day, midnight(now))
    if not clock:
        return _bound(found["how"], begins, begins + DAY, now)
    within = Period(begins, begins + DAY) if found["point_on"] else EVER
    return _around(found["how"], begins + _clock(clock), within, now)


def _hours(found: re.Match[str], now: datetime, day: Period | None) -> Period | None:
    """From a time of the day that is named elsewhere to another, the next day's if that is earlier."""
    (opens, first), (closes, last) = _said(found, "first"), _said(found, "last")
    if opens or closes or not (first and last) or _two_times(found):
        return None
    since = _latest(_clock(first, last), now, day)
    return Period(since, min(since + (_clock(last, first) - _clock(first, last)) % DAY, now))


def _hour(found: re.Match[str], now: datetime, day: Period | None) -> Period | None:
    """What lies before or after a time of the day that is named elsewhere, or the hour from it on."""
    named, clock = _said(found, "point")
    if named or not (clock and found["how"]):
        return None
    moment = _latest(_clock(clock), now, day)
    begins = moment - of_clock(clock)[0]
    within = Period(max(begins, day.since), begins + DAY) if day else Period(begins)
    return _around(found["how"], moment, within, now)


def _said(found: re.Match[str], moment: str) -> tuple[str | None, str | None]:
    """The day of a moment, and the time of it."""
    return found[f"{moment}_day"] or found[f"{moment}_on"], found[f"{moment}_at"] or found[moment]


def _two_times(found: re.Match[str]) -> bool:
    """Whether a span is none: `on Monday and Tuesday`."""
    return bool(found["both"]) and (found["how"] or "").lower() not in ("between", "from")


def _clock(words: str, beside: str | None = None) -> timedelta:
    """How long after midnight UTC a time of a day is, in its zone or that of the time beside it."""
    time, ahead = of_clock(words)
    if ahead is None and beside:
        _, ahead = of_clock(beside)
    return time - (ahead or timedelta())


def _latest(clock: timedelta, now: datetime, day: Period | None) -> datetime:
    """A time of a day, or of no day the last such time; ValueError where more days than one are named."""
    if not day:
        moment = midnight(now) + clock % DAY
        return moment if moment <= now else moment - DAY
    if day.until - day.since > DAY:
        raise ValueError(day)
    moment = midnight(day.since) + clock
    return moment + DAY if moment < day.since != midnight(day.since) else moment  # `last night at 2:00`


def _around(how: str | None, moment: datetime, within: Period, now: datetime) -> Period:
    """What lies before or after a moment, `within` a time, or the hour from it on."""
    word = _word(how)
    if word in ("since", "from", "after"):
        return Period(moment, min(within.until, now) if word == "after" else now)
    if word == "before" or word in UP_TO:
        return Period(within.since, min(moment, now))
    return Period(moment, min(moment + HOUR, now))


def _bound(how: str | None, since: datetime, until: datetime, now: datetime) -> Period:
    """The time from `since` to `until`, or what lies before, after or up to it, as `how` says."""
    word = _word(how)
    if word == "before":
        return Period(EVER.since, min(since, now))
    if word == "after":
        return Period(until, now)
    if word in UP_TO:
        return Period(EVER.since, min(until, now))
    return Period(since, now if word in ("since", "from") else min(until, now))


def _word(how: str | None) -> str:
    return " ".join((how or "").lower().split())


_DAYS: list[tuple[re.Pattern[str], Read]] = [
    (ROLLING, _rolling),
    (LASTING, _lasting),
    (AGO, _ago),
    (THIS, _this),
    (WEEKEND, _weekend),
    (PART, _part),
    (SPAN, _span),
    (POINT, _point),
    (MONTHS_TO, _months),
    (OF_MONTH, _month),
    (YEAR, _year),
]
_HOURS: list[tuple[re.Pattern[str], Read]] = [(SPAN, _hours), (POINT, _hour)]
