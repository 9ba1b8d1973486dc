"""Days, months, times of a day and lengths of time, as questions spell them; in UTC but for a zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
UNITS = {
    "second": timedelta(seconds=1),
    "sec": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "hour": HOUR,
    "hr": HOUR,
    "h": HOUR,
    "day": DAY,
    "week": 7 * DAY,
    "fortnight": 14 * DAY,
    "month": 30 * DAY,
    "year": 365 * DAY,
}
_NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
_COUNTS: dict[str, float] = {"half": 0.5, "a": 1, "an": 1, "couple": 2, "few": 3}
_COUNTS |= {word: count for count, word in enumerate(_NUMBERS, 1)}
COUNT = rf"(?P<count>\d{{1,4}}(?:\.\d{{1,2}})?|half(?:\s+an?)?|{'|'.join([*_COUNTS][1:])})(?:\s+of)?"
UNIT = rf"(?P<unit>{'|'.join(UNITS)})s?\b"
LONGEST = 1000 * UNITS["year"]
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = "january february march april may june july august september october november december".split()
MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in MONTHS if month != "may")
_NTH = r"\d{1,2}(?:st|nd|rd|th)"
# `Machine 1 may have a fault` names no day: of May are an ordinal, a number before a year, at the end, or
# after a word that a time follows, unless a verb comes behind it.
_VERB = (
    r"(?!\s+(?:also|be|become|cause|fail|get|go|have|indicate|mean|need|not|only|require|show|still|trip)\b)"
)
_FOLLOWS = "|".join(
    rf"(?<=\b{word} )" for word in "on since from before after until till to and between by".split()
)
_OF_MAY = (
    rf"{_NTH}\s+(?:of\s+)?may|\d{{1,2}}\s+may(?=\s+\d{{4}}\b|\W*$)|(?:{_FOLLOWS})\d{{1,2}}\s+may\b{_VERB}"
    r"|may\s+\d{1,2}(?:st|nd|rd|th)\b"
    rf"|(?:{_FOLLOWS})may\s+\d{{1,2}}\b(?!\d)"
)
_SHORT_DAYS = [day[:3] for day in WEEKDAYS]
_SHORT = "(?:mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)"
_OF_WEEK = (
    rf"(?:the\s+)?(?:last|past|previous|this)\s+(?:{'|'.join(WEEKDAYS)}|{_SHORT})\b"
    rf"|{'|'.join(WEEKDAYS)}|(?:{_FOLLOWS}){_SHORT}\b"
)
DATE = (
    rf"today|(?:the\s+)?day\s+before\s+yesterday|yesterday|{_OF_WEEK}|\d{{4}}[-/]\d\d[-/]\d\d|\d{{1,2}}\.\d{{1,2}}\.\d{{4}}"
    rf"|(?<!\w)(?<![a-z]-)(?:(?:\d{{1,2}}|{_NTH})\s+(?:of\s+)?(?:{MONTH})|{_OF_MAY})(?:,?\s+\d{{4}})?"
    rf"|(?:{MONTH})\.?\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+\d{{4}})?"
    rf"|(?:{_FOLLOWS})the\s+{_NTH}(?=\W*$)"
)
"""A day."""
ZONES = {"z": 0, "utc": 0, "gmt": 0, "cet": 1, "cest": 2, "est": -5, "edt": -4, "pst": -8, "pdt": -7}
"""Hours that they are ahead of UTC; others have several meanings."""
_ZONE = rf"(?:(?:utc|gmt)?\+\d\d?(?::?[0-5]\d)?|(?:utc|gmt)-\d\d?(?::?[0-5]\d)?|(?:{'|'.join(ZONES)})\b)"
_NAMED = {"midnight": 0, "noon": 12, "midday": 12}
CLOCK = (
    rf"(?:(?:[0-2]?\d:[0-5]\d(?::[0-5]\d)?(?:\s*[ap]m\b)?|\d{{1,2}}\s*[ap]m\b)(?:\s*{_ZONE})?|(?:{'|'.join(_NAMED)})\b)"
    r"(?!\d|\s*(?:\+|local\b|(?-i:[A-Z]{1,4}T\b|[A-Z]\w+ time\b)))"
)
"""A time of a day, in a zone that is known."""


def long(count: str | None, unit: str) -> timedelta:
    """How long so many of a unit are: `2 hours`, `half an hour`, `day`."""
    said = (count or "1").lower().split()[0]
    return min((_COUNTS.get(said) or float(said)) * UNITS[unit.lower()], LONGEST)


def midnight(moment: datetime) -> datetime:
    """The beginning of the day of a moment."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def is_weekday(words: str) -> bool:
    """Whether a day is named as one of the week."""
    return words.lower().split()[-1][:3] in _SHORT_DAYS


def of_day(words: str, today: datetime) -> datetime:
    """The beginning of a day; a weekday, and a date without its year or month, is the latest that has come,
    though `last Monday` is not today. ValueError where there is no such day."""
    words = " ".join(words.lower().split())
    if words.endswith("yesterday"):
        return today - (1 + ("before" in words)) * DAY
    if words == "today":
        return today
    if weekday := re.fullmatch(r"(?:the )?(last |past |previous |this )?([a-z]+)", words):
        ahead = _SHORT_DAYS.index(weekday[2][:3]) - today.weekday()
        if weekday[1] == "this ":
            return today + ahead * DAY
        return today - (-ahead % 7 or 7 * bool(weekday[1])) * DAY
    if re.match(r"\d{4}[-/]", words):
        return datetime.fromisoformat(words.replace("/", "-")).replace(tzinfo=UTC)
    numbers = [int(number) for number in re.findall(r"\d+", words)]
    if re.match(r"\d+\.", words):
        day, number, year = numbers
        return today.replace(year=year, month=number, day=day)
    named = [at for at, name in enumerate(MONTHS, 1) if re.search(rf"\b{name[:3]}", words)]
    if not named:  # the 24th
        of_month = today if numbers[0] <= today.day else today.replace(day=1) - DAY
        return of_month.replace(day=numbers[0])
    dated = today.replace(year=(numbers[1:] or [today.year])[0], month=named[0], day=numbers[0])
    return dated if numbers[1:] or dated <= today else dated.replace(year=dated.year - 1)


def of_clock(words: str) -> tuple[timedelta, timedelta | None]:
    """How long after midnight a time of a day is, and how far its zone is ahead of UTC, if it names one.
    ValueError where there is no such time."""
    words = words.lower()
    if words in _NAMED:
        return _NAMED[words] * HOUR, None
    zone = "".join(re.findall(rf"{_ZONE}$", words))
    time = words.removesuffix(zone)
    half = "".join(re.findall("[ap]m", time))
    hour, minute, second = [*map(int, re.findall(r"\d+", time)), 0, 0][:3]
    if hour > (12 if half else 23):
        raise ValueError(words)
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    return timedelta(hours=hour, minutes=minute, seconds=second), _ahead(zone) if zone else None


def _ahead(zone: str) -> timedelta:
    """How far a zone is ahead of UTC: `cet`, `+02:00`, `utc-5`."""
    if zone in ZONES:
        return ZONES[zone] * HOUR
    digits = "".join(re.findall(r"\d", zone))
    hours, minutes = (digits[:-2], digits[-2:]) if digits[2:] else (digits, "0")
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    return -ahead if "-" in zone else ahead
