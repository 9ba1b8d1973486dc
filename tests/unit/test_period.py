"""Times that questions name, seen on Thursday 26 November 2026."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ray_apps.copilot.question.period import EVER, Period, period, without_period

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
        ("errors of the 5th of May", at(5, month=5), at(6, month=5)),
        ("Which errors were there on 5 May?", at(5, month=5), at(6, month=5)),
        ("errors after Monday", at(24), NOW),
        ("errors after 2026-11-20", at(21), NOW),
        ("errors up to Monday", EVER.since, at(24)),
        ("the day before yesterday", at(24), at(25)),
        ("errors before this week", EVER.since, at(23)),
        ("errors before the last 24 hours", EVER.since, at(25, 14, 30)),
        ("errors from Monday through Tuesday", at(23), at(25)),
        ("errors Monday to Tuesday", at(23), at(25)),
        ("errors 2026-11-20 to 2026-11-22", at(20), at(23)),
        ("errors between 2026-11-20 - 2026-11-22", at(20), at(23)),
        ("errors from 20 to 22 November", at(20), at(23)),
        ("errors of 20–22 November", at(20), at(23)),
        ("errors between Friday and Tuesday", at(20), at(25)),
        ("errors between Monday and Friday", at(16), at(21)),
        ("yesterday between 10:00 and 12:00", at(25, 10), at(25, 12)),
        ("between 10:00 and 12:00", at(26, 10), at(26, 12)),
        ("errors in the last 24h", at(25, 14, 30), NOW),
        ("errors in the last two hours", at(26, 12, 30), NOW),
        ("errors of the past 30 min", at(26, 14), NOW),
        ("errors in the last 24 hrs", at(25, 14, 30), NOW),
        ("What happened 2 hours ago?", at(26, 12, 30), NOW),
        ("What happened three days ago?", at(23), at(24)),
        ("what broke last night?", at(25, 18), at(26, 6)),
        ("what happened overnight", at(25, 18), at(26, 6)),
        ("errors this morning", at(26, 6), at(26, 12)),
        ("errors this afternoon", at(26, 12), NOW),
        ("errors yesterday evening", at(25, 18), at(26)),
        ("errors since last night", at(25, 18), NOW),
        ("errors since 06:00", at(26, 6), NOW),
        ("errors since 6am", at(26, 6), NOW),
        ("errors since 22:00", at(25, 22), NOW),
        ("errors before 10:00", at(26), at(26, 10)),
        ("errors yesterday at 10:00", at(25, 10), at(25, 11)),
        ("errors yesterday after 10pm", at(25, 22), at(26)),
        ("errors on 24.11.2026", at(24), at(25)),
        ("errors in the past few hours", at(26, 11, 30), NOW),
        ("errors in the last couple of days", at(24, 14, 30), NOW),
        ("errors this month", at(1), NOW),
        ("errors in October", at(1, month=10), at(1)),
        ("errors in December", at(1, month=12, year=2025), at(1, month=1, year=2026)),
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
        "Machine 1 may have a fault, is it ok?",
        "machine 6 and 7 may need service",
        "pump-12 may be leaking",
        "unit 7 may need service",
        "what happens at 75 bar",
        "before 4.1.0 it was worse",
        "at 25:00",
        "between 25:00 and 26:00",
    ],
)
def test_what_is_no_time_that_has_come_is_none(question: str):
    assert period(question, NOW) is None
    assert without_period(question, NOW) == question


def test_the_words_of_a_time_are_left_out():
    assert without_period("Errors of machine-006 in the last 24 hours?", NOW) == "Errors of machine-006  ?"
    assert without_period("Errors of pump-2 yesterday from 10:00 to 12:00", NOW).split() == [
        "Errors",
        "of",
        "pump-2",
    ]


def test_no_question_keeps_the_search_for_times_busy():
    for piece in ("1 to ", "between 1 and ", "from may ", "last 1 ", "1-", "the "):
        assert period(piece * 5000, NOW) is None
