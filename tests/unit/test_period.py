"""Times that questions name, seen on Thursday 26 November 2026."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ray_apps.copilot.period import EVER, Period, period, without_period

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)


def at(day: int, hour: int = 0, minute: int = 0, month: int = 11, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("question", "since", "until"),
    [
        ("What did machine-006 report yesterday?", at(25), at(26)),
        ("Any errors today", at(26), NOW),
        ("errors in the last 24 hours", at(25, 14, 30), NOW),
        ("errors of the past hour", at(26, 13, 30), NOW),
        ("How was it over the last 2 weeks?", at(12, 14, 30), NOW),
        ("what happened since Monday?", at(23), NOW),
        ("what happened on monday", at(23), at(24)),
        ("what happened on Thursday", at(26), NOW),
        ("errors this week", at(23), NOW),
        ("What happened on 2026-11-24?", at(24), at(25)),
        ("errors before 2026-11-24", EVER.since, at(24)),
        ("errors until 2026-11-24", EVER.since, at(25)),
        ("errors between 2026-11-20 and 2026-11-22", at(20), at(23)),
        ("errors from Monday to yesterday", at(23), at(26)),
        ("since 24 November", at(24), NOW),
        ("on November 24th, why did it stop?", at(24), at(25)),
        ("on the 3rd of Dec", at(3, month=12, year=2025), at(4, month=12, year=2025)),
        ("on 5 May 2024", at(5, month=5, year=2024), at(6, month=5, year=2024)),
    ],
)
def test_times_are_recognised(question: str, since: datetime, until: datetime):
    assert period(question, NOW) == Period(since, until)


@pytest.mark.parametrize(
    "question",
    [
        "What does E421 mean on an HX-200?",
        "What is the last error of machine-006?",
        "May 300 be exceeded?",
        "on 2026-02-30",
        "on 2026-12-24",
        "since 2027-01-01",
        "Is the march of 12 pumps normal?",
    ],
)
def test_what_is_no_time_that_has_come_is_none(question: str):
    assert period(question, NOW) is None
    assert without_period(question, NOW) == question


def test_the_words_of_a_time_are_left_out():
    assert without_period("Errors of machine-006 in the last 24 hours?", NOW) == "Errors of machine-006  ?"
