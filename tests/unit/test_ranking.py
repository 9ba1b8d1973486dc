"""Which end of the fleet, and which alerts, a question asks for."""

from __future__ import annotations

import pytest

from ray_apps.copilot.question.follow_up import Turn, resolve
from ray_apps.copilot.question.planner import of_fleet, of_models, plan


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
    asked = of_models(of_fleet(plan(question)), ["HX-450"])
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
    assert not of_models(of_fleet(plan(question)), ["CR-310"]).fleet


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
    asked = of_models(of_fleet(plan(question)), ["HX-200"])
    assert (asked.fleet_incidents, asked.alerts, asked.resolved) == (True, True, resolved)


def test_those_without_an_alert_that_is_over_are_not_told():
    asked = plan("Which machines have no resolved alerts?")
    assert (asked.lack, asked.conditions.apart) == (None, True)


def test_after_the_worst_the_best_may_be_asked_for_and_the_other_way_round():
    for first, then, best in (
        ("worst machines?", "and the best?", True),
        ("best machines?", "and the worst?", False),
        ("best machines?", "and yesterday?", True),
    ):
        asked = resolve(then, None, [Turn(question=first)]).plan
        assert (asked.fleet_health, asked.best) == (True, best), then


def test_after_the_open_alerts_those_that_are_over_may_be_asked_for_and_the_other_way_round():
    fleet = [Turn(question="Which alerts are open?")]
    closed = resolve("and closed?", None, fleet)
    assert (closed.plan.fleet_incidents, closed.plan.alerts, closed.plan.resolved) == (True, True, True)
    again = [*fleet, Turn(question=closed.whole)]
    for question, resolved in (("and yesterday?", True), ("and open?", False)):
        assert resolve(question, None, again).plan.resolved is resolved
