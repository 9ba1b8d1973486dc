"""Times that questions name, seen on Thursday 26 November 2026."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ray_apps.copilot.evidence.evidence import Evidence
from ray_apps.copilot.evidence.lookup import Lookup
from ray_apps.copilot.question.follow_up import Turn, resolve
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.period import EVER, Period, period, without_period
from ray_apps.copilot.question.placing import placed
from ray_apps.copilot.question.planner import plan
from ray_apps.copilot.question.unread import without_unread
from tests.unit.guards import alike
from tests.unit.test_tools import ACME, Eventful, Manual

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
        ("errors since last Monday", at(23), NOW),
        ("errors before the last Monday", EVER.since, at(23)),
        ("errors until last Monday", EVER.since, at(24)),
        ("errors last Thursday", at(19), at(20)),
        ("errors this Monday", at(23), at(24)),
        ("errors since tue", at(24), NOW),
        ("errors since Monday until Tuesday", at(23), at(25)),
        ("errors by Monday", EVER.since, at(24)),
        ("errors since Monday morning", at(23, 6), NOW),
        ("errors last night at 2am", at(26, 2), at(26, 3)),
        ("errors on the 24th", at(24), at(25)),
        ("errors of 20-22 November", at(20), at(23)),
        ("errors since midnight", at(26), NOW),
        ("errors since yesterday noon", at(25, 12), NOW),
        ("errors between noon and midnight yesterday", at(25, 12), at(26)),
        ("errors since October", at(1, month=10), NOW),
        ("errors before last October", EVER.since, at(1, month=10)),
        ("November errors", at(1), NOW),
        ("errors from October to November", at(1, month=10), NOW),
        ("errors in 2025", at(1, month=1, year=2025), at(1, month=1)),
        ("errors this year", at(1, month=1), NOW),
        ("errors on the weekend", at(21), at(23)),
        ("errors since last weekend", at(21), NOW),
        ("errors in the past fortnight", at(12, 14, 30), NOW),
        ("errors of the last half hour", at(26, 14), NOW),
        ("errors since 2 days", at(24, 14, 30), NOW),
        ("errors since 2026-11-24 14:00", at(24, 14), NOW),
        ("errors since 14:00 yesterday", at(25, 14), NOW),
        ("errors at 2026-11-24T14:00Z", at(24, 14), at(24, 15)),
        ("errors before 24 November 14:00", EVER.since, at(24, 14)),
        ("from 2026-11-24 14:00 to 2026-11-24 16:00", at(24, 14), at(24, 16)),
        ("from Monday 22:00 to 06:00", at(23, 22), at(24, 6)),
        ("between Friday 8:00 and Tuesday", at(20, 8), at(25)),
        ("errors from 10:00 to 12:00 on Monday", at(23, 10), at(23, 12)),
        ("errors between 22:00 and 02:00", at(25, 22), at(26, 2)),
        ("errors from 6am to 9am", at(26, 6), at(26, 9)),
        ("errors since 8:00 CET", at(26, 7), NOW),
        ("errors since 23:00 EST", at(26, 4), NOW),
        ("errors yesterday between 8:00 and 10:00 CEST", at(25, 6), at(25, 8)),
        ("errors since 2026-11-24 08:00+02:00", at(24, 6), NOW),
        ("errors since 08:00 UTC-5", at(26, 13), NOW),
        ("errors from the 20th to the 22nd", at(20), at(23)),
        ("errors on 2026/11/24", at(24), at(25)),
        ("errors on Nov. 24", at(24), at(25)),
        ("errors in the last 1.5 hours", at(26, 13), NOW),
        ("errors of the last 90 seconds", at(26, 14, 28) + timedelta(seconds=30), NOW),
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
        "errors until 9999-12-31",
        "errors in december 9999",
        "errors since 0001-01-01 00:00+02:00",
        "errors not today",
        "errors every Monday",
        "errors until next Monday",
        "errors more than 3 days ago",
        "errors this Friday",
        "errors since 8:00 IST",
        "errors from 22:00 to 06:00 yesterday",
        "errors since 2026-11-24 until 8:00",
        "errors from 8:00 to Monday",
        "on the 2nd pump",
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


@pytest.mark.parametrize(
    ("question", "rest", "unread"),
    [
        ("errors in the last quarter", "errors", "in the last quarter"),
        ("E421 in Q3 2026", "E421", "in Q3 2026"),
        ("errors year to date", "errors", "year to date"),
        ("errors on the night shift", "errors", "on the night shift"),
        ("errors since 8:00 IST", "errors", "since 8:00 IST"),
        ("errors since 8:00 Berlin time", "errors", "since 8:00 Berlin time"),
        ("errors yesterday CET", "errors yesterday", "CET"),
        ("errors from 22:00 to 06:00 yesterday", "errors", "from 22:00 to 06:00 yesterday"),
        ("errors of the last 2 weeks but not today", "errors of the last 2 weeks", "but not today"),
        ("errors excluding today", "errors", "excluding today"),
        ("errors more than 3 days ago", "errors", "more than 3 days ago"),
        ("errors until 9999-12-31", "errors", "until 9999-12-31"),
        ("errors on 11/24", "errors", "on 11/24"),
        ("errors on 24.11.", "errors", "on 24.11"),
        ("errors between 8 and 10 this morning", "errors this morning", "between 8 and 10"),
        ("health at the beginning of the month", "health", "at the beginning of the month"),
        ("errors in the first week of November", "errors of November", "in the first week"),
        ("alerts open longer than 2 hours", "alerts open", "longer than 2 hours"),
        ("errors since the last service", "errors", "since the last service"),
        ("errors yesterday and today", None, "today"),
        ("errors after 8:00 and before 10:00", None, "before 10:00"),
        ("errors on Monday 23 November", None, ""),
        ("Which machines are silent for more than 3 hours?", None, ""),
        ("machines with a health over 80", None, ""),
        ("latest errors of firmware 2.4.12 on machines 1/2/13", None, ""),
        ("Is the quarter-turn valve of pump 7 ok now?", None, ""),
        ("machine-006 is offline since E421, what should I do?", None, ""),
    ],
)
def test_words_for_a_time_that_is_not_read_are_told_apart(question: str, rest: str | None, unread: str):
    assert without_unread(question, NOW) == (rest or question, unread)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("errors in the last quarter", "not limited to a time"),
        ("Which machines had E421 last summer?", "of the time from 2026-10-27 00:00 to 2026-11-26 14:30 UTC"),
        ("errors yesterday and today", "of the time from 2026-11-25 00:00 to 2026-11-26 00:00 UTC"),
    ],
)
def test_that_a_time_was_not_understood_comes_first(question: str, told: str):
    unread, found = gathered(question)
    assert found.passages[0].text == f'The time "{unread}" was not understood: what follows is {told}.'
    assert (found.lead, found.of_fleet) == (2, True)


def test_of_documents_alone_no_time_is_told():
    _, found = gathered("How often is the oil changed in the last quarter?")
    assert [passage.title for passage in found.passages] == ["Press"]


def gathered(question: str) -> tuple[str, Evidence]:
    """The words for a time that are not read, and what is found for a question."""
    asked = resolve(question, None, [], NOW)
    asked = replace(asked, plan=placed(asked.plan, Known()))
    lookup = Lookup(Manual(hangs=False), None, alike(), Eventful())
    return asked.plan.unread, asyncio.run(lookup.gather(ACME, asked, 5, lambda event: None))


def test_a_time_to_come_is_the_risks_own():
    assert plan("How likely is machine-006 to fail in the next 24 hours?", now=NOW).unread == ""


def test_a_time_that_is_not_read_is_so_of_codes_and_in_a_follow_up():
    assert placed(plan("E421 last quarter", now=NOW), Known(codes=frozenset({"e421"}))).reported == ("E421",)
    machine = Turn(question="Is machine-006 ok?", devices=["machine-006"])
    found = resolve("and last quarter?", None, [machine], NOW).plan
    assert (found.unread, found.state, found.of_device) == ("last quarter", True, True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", ["1 to ", "between 1 and ", "from may ", "last 1 ", "1-", "the ", "8:00 + ", " "]
)
def test_no_question_keeps_the_search_for_times_busy(piece: str):
    question = "errors " + piece * 5000 + "x"
    assert len(without_unread(question, NOW)[0]) <= len(question)
