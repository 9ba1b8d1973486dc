"""Questions for the devices that meet several conditions at once, have a score, or had so many errors."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from iotops.tenancy import Tenant
from ray_apps.copilot.evidence import sentences
from ray_apps.copilot.evidence.devices import Scope
from ray_apps.copilot.evidence.evidence import APART, Evidence
from ray_apps.copilot.evidence.lookup import Lookup
from ray_apps.copilot.evidence.names import Names
from ray_apps.copilot.question.conditions import Condition, Conditions, conditions
from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.question.leaving_out import LeftOut
from ray_apps.copilot.question.period import Period
from ray_apps.copilot.question.planner import plan
from tests.unit.guards import alike
from tests.unit.test_tools import ACME, Eventful, Shelf

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)
TODAY = Period(datetime(2026, 11, 26, tzinfo=UTC), NOW)
YESTERDAY = Period(TODAY.since - timedelta(days=1), TODAY.since)
LATELY = Period(datetime(2026, 10, 27, tzinfo=UTC), NOW)
HOUR = Period(NOW - timedelta(hours=1), NOW)

ERRORS, NO_ERRORS = "reported an error code", "reported no error code"
ALERT, NO_ALERT, HAD_NO_ALERT = "have an open alert", "have no open alert", "had no open alert"
SILENT, SENDS = "sent no reading", "sent readings"


def told(question: str) -> list[str]:
    return [each.told() for each in plan(question, now=NOW).conditions.all]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which machines had errors but no alerts?", [ERRORS, NO_ALERT]),
        ("How many machines had alerts but haven't reported any errors?", [ALERT, NO_ERRORS]),
        ("errors and no alerts this week", [ERRORS, HAD_NO_ALERT]),
        ("Which machines had errors without alerts?", [ERRORS, NO_ALERT]),
        ("Which machines have both alerts and errors?", [ALERT, ERRORS]),
        ("Which machines have neither errors nor alerts?", [NO_ERRORS, NO_ALERT]),
        ("Which machines had no errors or open alerts?", [NO_ERRORS, NO_ALERT]),
        ("Which machines had no errors and no alerts?", [NO_ERRORS, NO_ALERT]),
        ("Which HX-200s had E421 but no alert?", ["reported E421", NO_ALERT]),
        ("Which machines are offline and had errors?", [SILENT, ERRORS]),
        ("which machines with open alerts are offline?", [ALERT, SILENT]),
        ("Which offline HX-200 had faults?", [SILENT, ERRORS]),
        ("Which machines had E421 but are not offline?", ["reported E421", SENDS]),
        ("Which machines are online and have errors?", [SENDS, ERRORS]),
        ("Which machines had E421 and E425?", ["reported E421", "reported E425"]),
        ("Who had both E-421 and E425 yesterday?", ["reported E-421", "reported E425"]),
        ("Which machines reported E421 as well as error E425?", ["reported E421", "reported E425"]),
        ("Which had E421, E425 and E310?", ["reported E421", "reported E425", "reported E310"]),
        ("Which machines had E421, E425 or E310 and are offline?", ["reported E421 or E425 or E310", SILENT]),
        ("Which machines had no E421 or E425 but alerts?", ["reported no E421 or E425", ALERT]),
        ("How many machines have a score below 60?", ["have a health score below 60 of 100"]),
        ("machines with a health score of less than 59.5%", ["have a health score below 59.5 of 100"]),
        ("Which HX-200s score above 80 of 100?", ["have a health score above 80 of 100"]),
        ("Which machines' health is at least 70?", ["have a health score of at least 70 of 100"]),
        ("devices with health <= 50", ["have a health score of at most 50 of 100"]),
        ("Which have no health below 70?", ["have no health score below 70 of 100"]),
        ("Which pumps have a health under 60 and alerts?", ["have a health score below 60 of 100", ALERT]),
        ("Which machines have a health of 60 or less?", ["have a health score of at most 60 of 100"]),
        (
            "Which machines have a health between 40 and 70?",
            ["have a health score of at least 40 of 100", "have a health score of at most 70 of 100"],
        ),
        ("Which machines had more than 3 errors?", ["reported error codes more than 3 times"]),
        ("Which machines had fewer than 3 errors today?", ["reported error codes fewer than 3 times"]),
        ("Which machines did not have more than 3 errors?", ["reported error codes at most 3 times"]),
        ("more than 3 errors and no alerts today", ["reported error codes more than 3 times", HAD_NO_ALERT]),
        ("Who had at least two E421 this week?", ["reported E421 at least 2 times"]),
        ("Which machines had E421 more than once?", ["reported E421 more than 1 time"]),
        ("Which HX-200 had 2 or more open alerts?", ["have at least 2 open alerts"]),
        ("Which machines are not offline?", [SENDS]),
        ("Which machines did not go offline?", [SENDS]),
        ("Which machines didn't stop reporting?", [SENDS]),
        ("Which machines are online?", [SENDS]),
        ("machines w/ errors w/o alerts", [ERRORS, NO_ALERT]),
        ("Which machines had no E421 but E425?", ["reported no E421", "reported E425"]),
        ("Which machines had no alerts but E421?", [NO_ALERT, "reported E421"]),
    ],
)
def test_conditions_that_hold_at_once_are_read(question: str, expected: list[str]):
    assert told(question) == expected


@pytest.mark.parametrize(
    "question",
    [
        "Which machines had E421 or E425?",
        "Which machines had errors or alerts?",
        "Which machines had E421 and which had E425?",
        "Which errors and alerts happened on the machines?",
        "How many errors and alerts did the machines have?",
        "errors and alerts today",
        "E421 and E425 today",
        "How often did E421 and E425 occur?",
        "Why do machines have errors but no alerts?",
        "What does a health score below 60 mean for machines?",
        "Did it have errors but no alerts?",
        "Does machine-006 have errors but no alerts?",
        "Which machines are offline?",
        "Which machines had no E421 and no E425?",
        "Which machines have the worst health?",
    ],
)
def test_what_is_no_such_question_is_left_as_it_was(question: str):
    assert plan(question, now=NOW).conditions == Conditions()


@pytest.mark.parametrize(
    "question",
    [
        "Which machines had errors before going offline?",
        "Which machines in Berlin had errors but no alerts?",
        "Which machines have no errors or are offline?",
        "Which unhealthy machines are offline?",
        "Which machines had exactly 3 errors?",
        "Which machines had 3 alerts?",
        "Which machines had E421 twice?",
        "Which machines had at least 2 E421 or E425?",
        "Which machines had the fewest errors?",
        "Which machines had only E421?",
        "Which machines had several errors?",
        "Which machines had no errors yesterday but some this morning?",
        "Which machines are okay and have no alerts?",
        "Which machines had nothing but E421?",
        "Which machines in hall 3 are not offline?",
        "Which machines have never been offline?",
        "Which machines have a vibration above 60?",
        "Which machines have a health not between 40 and 70?",
        "Which machines have not had both alerts and errors?",
        "Which machines had " + " and ".join(f"E{n}" for n in range(9)) + " and no alerts?",
    ],
)
def test_of_conditions_that_are_not_read_none_is_answered_as_if_it_were_all(question: str):
    asked = plan(question, now=NOW)
    assert asked.conditions == Conditions(apart=True)
    assert asked.lack is None


@pytest.mark.parametrize(
    ("question", "times"),
    [
        ("Which machines had errors but no alerts?", [LATELY, None]),
        ("Which machines had errors but no alerts yesterday?", [YESTERDAY, YESTERDAY]),
        ("Which machines had errors yesterday but no alerts today?", [YESTERDAY, TODAY]),
        ("Which machines have open alerts but no errors today?", [None, TODAY]),
        ("Which offline machines had errors today?", [HOUR, TODAY]),
        (
            "Which machines were silent for 2 days and had E421?",
            [Period(NOW - timedelta(days=2), NOW), LATELY],
        ),
        ("Which machines were offline yesterday and had alerts?", [YESTERDAY, YESTERDAY]),
        ("Which machines had a score below 60 yesterday?", [YESTERDAY]),
        ("Which machines were not offline yesterday?", [YESTERDAY]),
        ("Which machines have more than 2 open alerts?", [None]),
        ("Which machines had more than 2 alerts yesterday?", [YESTERDAY]),
    ],
)
def test_each_condition_is_of_its_own_time_or_the_questions(question: str, times: list[Period | None]):
    assert [each.period for each in conditions(question, NOW).all] == times


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "much", [" ", "-", "no ", "a1 ", "E421, ", "error code ", "health is below ", "not sent "]
)
def test_a_hostile_question_is_read_at_once(much: str):
    question = "Which machines had errors but no alerts " + much * 20_000 + "x"
    assert not conditions(question, NOW).all


def test_the_fleet_is_asked_for_those_who_meet_them_and_nothing_else():
    asked = plan("Which machines have a health below 60 and had E421 but not E425?", now=NOW)
    assert (asked.fleet, asked.fleet_health, asked.state, asked.lack) == (True, False, True, None)
    assert asked.left_out == LeftOut((), ("E425",))


@pytest.mark.parametrize(
    ("then", "times"),
    [("and yesterday?", [YESTERDAY, YESTERDAY]), ("and which errors?", []), ("and?", [LATELY, None])],
)
def test_they_are_asked_again_of_another_time(then: str, times: list[Period | None]):
    before = resolve("Which machines had errors but no alerts?", None, [], NOW).turn()
    assert [each.period for each in resolve(then, None, [before], NOW).plan.conditions.all] == times


class Met(Eventful):
    """Records of a fleet of which two devices meet what is asked."""

    asked: tuple[Any, ...] = ()

    def meeting(self, tenant: Tenant, *asked: Any) -> dict[str, Any]:
        self.asked = (tenant, *asked)
        found = {"day": date(2026, 11, 26), "devices": 9, "met": 2, "named": ["p1", "p2"]}
        return {**asdict(Scope(["HX-200"])), **found, "scores": [31.0, 44.25]}


def gathered(question: str) -> tuple[Met, Evidence]:
    records, shelf = Met(), Shelf(hangs=False)
    lookup = Lookup(shelf, None, alike(), records)

    async def find() -> Evidence:
        asked = await Names(records, shelf).placed(ACME, resolve(question, None, [], NOW))
        return await lookup.gather(ACME, asked, 5, lambda event: None)

    return records, asyncio.run(find())


def test_the_records_tell_who_meets_them():
    records, found = gathered("Which HX-200 machines had E421 yesterday and a health below 60?")
    assert records.asked == (
        ACME,
        (
            Condition("errors", True, YESTERDAY, ("E421",)),
            Condition("score", True, YESTERDAY, bound="below", number=60),
        ),
        YESTERDAY,
        {"hx200", "e421"},
        LeftOut(),
    )
    assert [passage.text for passage in found.passages] == [
        f"2 of 9 HX-200 devices reported E421 {YESTERDAY} and have a health score below 60 of 100 "
        "on 2026-11-26: p1 (31), p2 (44.25)."
    ]
    (tool,) = found.tools
    assert (tool.name, tool.result["met"], found.of_fleet) == ("find_devices", 2, True)
    assert tool.arguments["conditions"][0] == f"reported E421 {YESTERDAY}"


@pytest.mark.parametrize(
    "question",
    [
        "Which machines had errors before going offline?",
        "Which machines on E310 had errors but no alerts?",
    ],
)
def test_that_not_every_condition_is_answered_comes_first(question: str):
    _, found = gathered(question)
    assert found.passages[0] == APART
    assert found.lead > 1


def test_who_meets_them_is_told_with_all_of_them():
    no_alert = Condition("alerts", False, YESTERDAY)
    errors = (Condition("errors", True, YESTERDAY), no_alert)
    of = asdict(Scope([], other_codes=["E7"])) | {
        "day": date(2026, 11, 26),
        "devices": 9,
        "met": 0,
        "named": None,
    }
    assert sentences.meeting(of, errors) == [
        f"None of the 9 devices reported an error code other than E7 and had no open alert {YESTERDAY}."
    ]
    many = of | {"devices": 90, "met": 12, "named": [f"p{n}" for n in range(10)]}
    (told,) = sentences.meeting(many, (Condition("readings", False, HOUR), Condition("alerts", True)))
    assert told.startswith(f"12 of 90 devices sent no reading {HOUR} and have an open alert: p0, p1, ")
    assert told.endswith(" p9 and 2 others.")
    assert sentences.meeting(of | {"devices": 0}, errors) == ["None of the devices has a health score yet."]
