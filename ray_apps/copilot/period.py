"""Times that a question names: `yesterday`, `in the last 24 hours`, `since Monday`, dates. All in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY = timedelta(days=1)
UNITS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": DAY,
    "week": 7 * DAY,
    "month": 30 * DAY,
}
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" if month != "may" else month for month in MONTHS)
_DAY = (
    rf"today|yesterday|{'|'.join(WEEKDAYS)}|\d{{4}}-\d\d-\d\d"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTH})(?:\s+\d{{4}})?"
    rf"|(?:{_MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+\d{{4}})?"
)
ROLLING = re.compile(
    rf"\b(?:(?:in|over|during|within|for)\s+)?(?:the\s+)?(?:last|past|previous)\s+(?:(\d{{1,4}})\s+)?({'|'.join(UNITS)})s?\b",
    re.I,
)
THIS_WEEK = re.compile(r"\b(?:since the (?:start|beginning) of )?this week\b", re.I)
SPAN = re.compile(
    rf"\b(?:between|from)\s+(?P<first>{_DAY})\s+(?:and|to|until|till)\s+(?P<last>{_DAY})\b"
    rf"|\b(?P<how>since|from|before|until|till|on)?\s*\b(?P<day>{_DAY})\b",
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
    """The words that name a time, and the time; one that lies ahead of `now` is none."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for rolling in ROLLING.finditer(question):
        yield rolling[0], Period(now - int(rolling[1] or 1) * UNITS[rolling[2].lower()], now)
    if week := THIS_WEEK.search(question):
        yield week[0], Period(today - today.weekday() * DAY, now)
    for span in SPAN.finditer(question):
        first, last = _day(span["first"] or span["day"], today), _day(span["last"] or span["day"], today)
        if first is None or last is None:
            continue
        how = (span["how"] or "on").lower()
        since = EVER.since if how in ("before", "until", "till") else first
        until = {"since": now, "from": now, "before": first}.get(how, last + DAY)
        if since < min(until, now):
            yield span[0], Period(since, min(until, now))


def _day(words: str, today: datetime) -> datetime | None:
    """The beginning of a day; a weekday, and a date without its year, is the latest that has come."""
    words = words.lower()
    if words in ("today", "yesterday"):
        return today - (words == "yesterday") * DAY
    if words in WEEKDAYS:
        return today - ((today.weekday() - WEEKDAYS.index(words)) % 7) * DAY
    try:
        if words[4:5] == "-":
            return datetime.combine(date.fromisoformat(words), today.timetz())
        numbers = [int(number) for number in re.findall(r"\d+", words)]
        (month,) = [at for at, name in enumerate(MONTHS, 1) if re.search(rf"\b{name[:3]}", words)]
        year = numbers[1] if numbers[1:] else today.year
        dated = today.replace(year=year, month=month, day=numbers[0])
        return dated if numbers[1:] or dated <= today else dated.replace(year=year - 1)
    except ValueError:  # no such day
        return None
