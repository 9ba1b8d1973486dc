"""The benchmark's questions and schedule: deterministic, never the same question twice, open in its loop."""

from __future__ import annotations

from itertools import islice

import pytest

from benchmarks.copilot.asking import Outcome
from benchmarks.copilot.load import arrivals, most_at_once
from benchmarks.copilot.peer import Answered, unsupported
from benchmarks.copilot.questions import MIX, Known, Mix, Question
from benchmarks.copilot.summary import stages
from iotops.errors import IotOpsError
from ray_apps.copilot.cache import normalised

KNOWN = Known(
    devices=["machine-001", "machine-002"],
    models={"E421": {"HX-200", "HX-450"}, "E310": {"CR-110"}},
    sections={"E421": {"likely causes", "when to escalate"}, "E310": {"likely causes"}},
)


def test_the_mix_is_the_seeds_and_no_question_comes_twice_but_the_cached() -> None:
    before = Mix(KNOWN, 1).take("new", 2)
    mix = Mix(KNOWN, 1)
    assert mix.take("new", 2) == before
    asked = list(islice(mix.endless(before), 5 * len(MIX)))
    assert [question.kind for question in asked[: len(MIX)]] == list(MIX)
    cached = {question.text for question in asked if question.kind == "cached"}
    assert cached == {question.text for question in before}
    others = [normalised(question.text) for question in asked if question.kind != "cached"]
    assert len({*others, *map(normalised, cached)}) == len(others) + len(cached)
    assert [q.text for q in Mix(KNOWN, 2).take("new", 5)] != [q.text for q in Mix(KNOWN, 1).take("new", 5)]


def test_a_question_is_about_what_the_code_has() -> None:
    mix = Mix(KNOWN, 1)
    with pytest.raises(IotOpsError, match="questions of the kind 'new' are left"):
        mix.take("new", 1000)
    for question in mix.take("new", 30):
        assert question.code in question.text
        assert any(model in question.text for model in KNOWN.models[question.code])
        assert any(section in question.text for section in KNOWN.sections[question.code])


def test_arrivals_come_at_the_rate_and_always_the_same() -> None:
    times = arrivals(2.0, 1000, seed=3)
    assert times == arrivals(2.0, 1000, seed=3) == sorted(times)
    assert times[-1] < 1000
    assert 1850 < len(times) < 2150


def test_how_many_are_under_way_at_once() -> None:
    question = Question("?", "new")
    spans = [(0.0, 1000.0), (0.5, 1000.0), (0.9, 50.0), (2.0, 100.0)]
    outcomes = [Outcome(question, due, "200", whole, whole) for due, whole in spans]
    refused = Outcome(question, 0.6, "503")
    assert most_at_once([*outcomes, refused]) == 3


def test_stages_add_up_to_what_the_client_waited_for() -> None:
    timings = {"embed": 10.0, "rerank": "unavailable", "llm": 100.0, "first_token": 60.0, "total": 115.0}
    outcome = Outcome(Question("?", "new"), 0.0, "200", 70.0, 130.0, {"timings_ms": timings})
    assert stages([outcome]) == {"embed": 10.0, "llm": 100.0, "rest": 20.0}


def test_what_stands_in_no_source() -> None:
    answer = Answered(
        Question("What does E421 mean?", "new", "E421"), 1.0, 2.0,
        "E421 is raised above 52. [1]\n1. Wait 30 minutes, then call 112. [2]",
        ["E421: Vibration high"], ["raised when vibration stays above 52", "wait for 30 minutes"],
    )  # fmt: skip
    assert unsupported(answer) == {"112"}
