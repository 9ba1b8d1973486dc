"""Times that a question names: `yesterday`, `in the last 24 hours`, `since Monday`, dates. All in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
UNITS = {
    "minute": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "hr": timedelta(hours=1),
    "h": timedelta(hours=1),
    "day": DAY,
    "week": 7 * DAY,
    "month": 30 * DAY,
}
_WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
COUNTS = {"a": 1, "an": 1, "couple": 2, "few": 3} | {word: count for count, word in enumerate(_WORDS, 1)}
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in MONTHS if month != "may")
_NTH = r"\d{1,2}(?:st|nd|rd|th)"
# `Machine 1 may have a fault` names no day: of May are an ordinal, a number before a year, at the end, or
# after a word that a time follows, unless a verb comes behind it.
_VERB = (
    r"(?!\s+(?:also|be|become|cause|fail|get|go|have|indicate|mean|need|not|only|require|show|still|trip)\b)"
)
_FOLLOWS = "|".join(
    rf"(?<=\b{word} )" for word in "on since from before after until till to and between".split()
)
_OF_MAY = (
    rf"{_NTH}\s+(?:of\s+)?may|\d{{1,2}}\s+may(?=\s+\d{{4}}\b|\W*$)|(?:{_FOLLOWS})\d{{1,2}}\s+may\b{_VERB}"
    r"|may\s+\d{1,2}(?:st|nd|rd|th)\b"
    rf"|(?:{_FOLLOWS})may\s+\d{{1,2}}\b(?!\d)"
)
_DAY = (
    rf"today|(?:the\s+)?day\s+before\s+yesterday|yesterday|{'|'.join(WEEKDAYS)}|\d{{4}}-\d\d-\d\d|\d{{1,2}}\.\d{{1,2}}\.\d{{4}}"
    rf"|(?<![\w-])(?:(?:\d{{1,2}}|{_NTH})\s+(?:of\s+)?(?:{_MONTH})|{_OF_MAY})(?:,?\s+\d{{4}})?"
    rf"|(?:{_MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+\d{{4}})?"
)
_COUNT = rf"(?P<count>\d{{1,4}}|{'|'.join(COUNTS)})(?:\s+of)?"
_UNIT = rf"(?P<unit>{'|'.join(UNITS)})s?\b"
_UP_TO = r"until|till|up\s+to|through"
ROLLING = re.compile(
    rf"\b(?:(?P<how>before|{_UP_TO}|in|over|during|within|for|since|from)\s+)?(?:the\s+)?(?:last|past|previous)\s+"
    rf"(?:{_COUNT}\s*)?{_UNIT}",
    re.I,
)
AGO = re.compile(rf"\b(?:(?P<how>before|{_UP_TO}|since|from|about)\s+)?{_COUNT}\s*{_UNIT}\s+ago\b", re.I)
THIS = re.compile(
    rf"\b(?:(?P<how>before|{_UP_TO}|in|during|since|from)\s+)?(?:the\s+(?:start|beginning)\s+of\s+)?"
    r"this\s+(?P<unit>week|month)\b",
    re.I,
)
PART = re.compile(
    r"\b(?:(?P<how>since)\s+)?"
    r"(?:(?P<of>last|this|yesterday)\s+(?P<part>morning|afternoon|evening|night)|overnight)\b",
    re.I,
)
PARTS = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (18, 30)}
"""Hours of a day (UTC), or of it and the next; the last night is that of yesterday."""
MONTH = re.compile(
    rf"\b(?:in|during|throughout)\s+(?P<month>{_MONTH}|may)\b(?!\s+\d{{1,2}}\b)(?:\s+(?P<year>\d{{4}}))?",
    re.I,
)
_TO = r"\s*(?:\b(?:to|until|till|through)\b|[-\u2013])\s*"
_NUMBER = rf"\d{{1,2}}(?:st|nd|rd|th)?(?=(?:{_TO}|\s+and\s+)\d)"
SPAN = re.compile(
    rf"\b(?:between|from)\s+(?P<first>{_DAY}|{_NUMBER})(?:\s+and\s+|{_TO})(?P<last>{_DAY})\b"
    rf"|(?<![\w-])(?P<opens>{_DAY}|{_NUMBER}){_TO}(?P<ends>{_DAY})\b"
    rf"|(?:\b(?P<how>since|from|before|after|on|{_UP_TO})\s+)?(?<![\w-])(?P<day>{_DAY})\b",
    re.I,
)
CLOCK = re.compile(
    r"\b(?:between|from)\s+(?P<first>[0-2]?\d:[0-5]\d)\s*(?:and|to|until|till|[-\u2013])\s*(?P<last>[0-2]?\d:[0-5]\d)"
    r"(?:\s+UTC)?\b",
    re.I,
)
HOUR_OF = re.compile(
    r"\b(?P<how>since|after|before|until|till|at|around)\s+(?P<hour>[0-2]?\d)(?::(?P<minute>[0-5]\d)\b)?\s*"
    r"(?P<half>[ap]m\b)?(?:\s+UTC)?",
    re.I,
)


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


def period(question: str, now: datetime) -> Period | None:
    """The time that a question asks about, as it is seen at `now` (UTC); it ends there at the latest."""
    found = next(_named(question, now), None)
    return found[1] if found else None


def without_period(question: str, now: datetime) -> str:
    """The question without the words that name a time, which no document holds."""
    for words, _ in list(_named(question, now)):
        question = question.replace(words, " ")
    return question


def _named(question: str, now: datetime) -> Iterator[tuple[str, Period]]:
    """The words that name a time, and the time; one that lies ahead of `now` is none.

    A time of day is of the day that is named, else of today.
    """
    days = [each for each in _days(question, now) if each[1].since < each[1].until]
    day = days[0][1] if days else None
    if (clock := CLOCK.search(question)) and (hours := _hours(clock, day, now)):
        yield clock[0], hours
    for hour in HOUR_OF.finditer(question):
        if hours := _around(hour, day, now):
            yield hour[0], hours
    yield from days


def _days(question: str, now: datetime) -> Iterator[tuple[str, Period]]:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for rolling in ROLLING.finditer(question):
        yield rolling[0], _bound(rolling["how"], now - _long(rolling), now, now)
    for ago in AGO.finditer(question):
        since = now - _long(ago)
        whole = ago["unit"].lower() in ("day", "week", "month") and not ago["how"]
        since = since.replace(hour=0, minute=0, second=0, microsecond=0) if whole else since
        yield ago[0], _bound(ago["how"], since, since + DAY if whole else now, now)
    for this in THIS.finditer(question):
        week = this["unit"].lower() == "week"
        yield (
            this[0],
            _bound(this["how"], today - (today.weekday() if week else today.day - 1) * DAY, now, now),
        )
    for named in PART.finditer(question):
        day = today if (named["of"] or "").lower() == "this" else today - DAY
        starts, ends = PARTS[(named["part"] or "night").lower()]
        yield named[0], _bound(named["how"], day + starts * HOUR, day + ends * HOUR, now)
    for month in MONTH.finditer(question):
        begins = _day(f"1 {month['month']} {month['year'] or ''}".strip(), today)
        if begins:
            yield month[0], _bound(None, begins, (begins + 31 * DAY).replace(day=1), now)
    for span in SPAN.finditer(question):
        last = _day(span["last"] or span["ends"] or span["day"], today)
        first = _first(
            span["first"] or span["opens"] or span["day"], span["last"] or span["ends"], last, today
        )
        if first is not None and last is not None:
            yield span[0], _bound(span["how"], first, last + DAY, now)


def _bound(how: str | None, since: datetime, until: datetime, now: datetime) -> Period:
    """The time from `since` to `until`, or what lies before, after or up to it, as `how` says."""
    word = " ".join((how or "").lower().split())
    if word == "before":
        return Period(EVER.since, min(since, now))
    if word == "after":
        return Period(until, now)
    if word in ("until", "till", "up to", "through"):
        return Period(EVER.since, min(until, now))
    return Period(since, now if word in ("since", "from") else min(until, now))


def _long(found: re.Match[str]) -> timedelta:
    said = (found["count"] or "1").lower()
    return (COUNTS.get(said) or int(said)) * UNITS[found["unit"].lower()]


def _hours(clock: re.Match[str], day: Period | None, now: datetime) -> Period | None:
    """A time of a day; None where more than one day is named, or there is no such time."""
    start = day.since if day else now.replace(hour=0, minute=0, second=0, microsecond=0)
    if day and day.until - day.since > DAY:
        return None
    try:
        first, last = (datetime.strptime(clock[end], "%H:%M") for end in ("first", "last"))
    except ValueError:
        return None
    since, until = (start.replace(hour=each.hour, minute=each.minute) for each in (first, last))
    return Period(since, min(until, now)) if since < min(until, now) else None


def _around(found: re.Match[str], day: Period | None, now: datetime) -> Period | None:
    """What lies before or after a time of a day, or the hour from it on; of no day, the last such time."""
    hour, half = int(found["hour"]), (found["half"] or "").lower()
    if not (found["minute"] or half) or hour > (12 if half else 23) or (day and day.until - day.since > DAY):
        return None
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    start = (day.since if day else now).replace(hour=0, minute=0, second=0, microsecond=0)
    moment = start.replace(hour=hour, minute=int(found["minute"] or 0))
    if not day and moment > now:
        start, moment = start - DAY, moment - DAY
    how = found["how"].lower()
    if how in ("since", "after"):
        return Period(moment, min(start + DAY, now) if day else now)
    if how in ("at", "around"):
        return Period(moment, min(moment + HOUR, now))
    return Period(start, moment) if moment > start else None


def _first(words: str, last_words: str | None, last: datetime | None, today: datetime) -> datetime | None:
    """The day that a span begins on: `20` of `20 to 22 November`; a weekday before the one that ends it."""
    if last is None:
        return None
    if last_words and re.fullmatch(r"\d{1,2}\D{0,2}", words) and re.search(r"[a-z]{3}", last_words, re.I):
        words = re.sub(r"\b\d{1,2}(?:st|nd|rd|th)?\b", words, last_words, count=1)
    first = _day(words, today)
    return first - 7 * DAY if first and first > last and words.lower() in WEEKDAYS else first


def _day(words: str, today: datetime) -> datetime | None:
    """The beginning of a day; a weekday, and a date without its year, is the latest that has come."""
    words = words.lower()
    if words.endswith("yesterday"):
        return today - (1 + ("before" in words)) * DAY
    if words == "today":
        return today
    if words in WEEKDAYS:
        return today - ((today.weekday() - WEEKDAYS.index(words)) % 7) * DAY
    try:
        if words[4:5] == "-":
            return datetime.combine(date.fromisoformat(words), today.timetz())
        if "." in words:
            day, number, year = map(int, words.split("."))
            return today.replace(year=year, month=number, day=day)
        numbers = [int(number) for number in re.findall(r"\d+", words)]
        (month,) = [at for at, name in enumerate(MONTHS, 1) if re.search(rf"\b{name[:3]}", words)]
        year = numbers[1] if numbers[1:] else today.year
        dated = today.replace(year=year, month=month, day=numbers[0])
        return dated if numbers[1:] or dated <= today else dated.replace(year=year - 1)
    except ValueError:  # no such day
        return None
