"""Which end of the fleet, and which alerts, a question asks for."""

from __future__ import annotations

import pytest

from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.placing import placed
from ray_apps.copilot.question.planner import of_fleet, plan


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("Which machine has the best health?", True),
        ("Which machines are healthy?", True),
        ("How many machines are ok right now?", True),
        ("best HX-450", True),
        ("best machine yesterday", True),
        ("highest health score", True),
        ("healthiest machines", True),
        ("Which machines do not need attention?", True),
        ("Which machines don't need attention?", True),
        ("Which machines are not critical?", True),
        ("Which machines are least likely to fail?", True),
        ("Which machines can I ignore?", True),
        ("Which machines are not healthy?", False),
        ("Which machines aren't ok?", False),
        ("least healthy machine", False),
        ("Are all machines ok?", False),
        ("Which machines need attention?", False),
        ("unhealthy machines", False),
        ("How is the fleet doing?", False),
    ],
)
def test_the_healthiest_are_told_from_the_least_healthy(question: str, best: bool):
    asked = placed(of_fleet(plan(question)), Known(models=("HX-450",)))
    assert (asked.fleet_health, asked.best) == (True, best)


@pytest.mark.parametrize(
    "question",
    [
        "What is the best oil for the pumps?",
        "Which compressor oil is best for the CR-310?",
        "best practice for pumps",
    ],
)
def test_what_is_best_is_not_always_a_machine(question: str):
    assert not placed(of_fleet(plan(question)), Known(models=("CR-310",))).fleet


@pytest.mark.parametrize(
    ("question", "resolved"),
    [
        ("Which alerts were resolved today?", True),
        ("resolved alerts yesterday", True),
        ("Which alarms are closed?", True),
        ("cleared alarms", True),
        ("alerts that are not open", True),
        ("Which HX-200 alerts are no longer active?", True),
        ("past alerts", True),
        ("Which alerts are open?", False),
        ("Which alerts are not resolved yet?", False),
        ("unresolved alerts", False),
        ("Which alerts haven't been closed?", False),
        ("alerts of the past 3 days", False),
    ],
)
def test_alerts_that_are_over_are_told_from_those_that_are_open(question: str, resolved: bool):
    asked = placed(of_fleet(plan(question)), Known(models=("HX-200",)))
    assert (asked.fleet_incidents, asked.alerts, asked.resolved) == (True, True, resolved)


def test_those_without_an_alert_that_is_over_are_not_told():
    asked = plan("Which machines have no resolved alerts?")
    assert (asked.lack, asked.conditions.apart) == (None, True)


@pytest.mark.parametrize(
    ("first", "then", "best"),
    [
        ("worst machines?", "and the best?", True),
        ("best machines?", "and the worst?", False),
        ("best machines?", "and yesterday?", True),
        ("Which machines need attention?", "and which don't?", True),
        ("Which machines are healthy?", "and which are not?", False),
    ],
)
def test_after_the_worst_the_best_may_be_asked_for_and_the_other_way_round(first: str, then: str, best: bool):
    asked = resolve(then, None, [resolve(first, None, []).turn()]).plan
    assert (asked.fleet_health, asked.best) == (True, best)


def test_after_the_open_alerts_those_that_are_over_may_be_asked_for_and_the_other_way_round():
    open_ones = resolve("Which alerts are open?", None, [])
    for question in ("and closed?", "which were closed?"):
        closed = resolve(question, None, [open_ones.turn()])
        assert (closed.plan.fleet_incidents, closed.plan.alerts, closed.plan.resolved) == (True, True, True)
    for question, resolved in (("and yesterday?", True), ("and open?", False)):
        assert resolve(question, None, [closed.turn()]).plan.resolved is resolved


def test_what_is_closed_is_not_asked_of_the_fleet_unless_alerts_are():
    assert not resolve("Which were closed?", None, []).plan.fleet
