"""Which questions refer back, and what they are about then."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ray_apps.copilot.question.follow_up import Turn, refers_back, resolve

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MACHINE = Turn(
    question="What is wrong with machine-007 and what should I do?",
    devices=["machine-007"],
    codes=["machine-007"],
    titles=["Device machine-007"],
)
CODE = Turn(question="What does E421 mean on an HX-200?", codes=["E421", "HX-200"])

REFERRING = """
and its bearings? | What about the bearings? | How do I fix it? | Why is it vibrating?
What should I do first? | And then? | why? | What is the cause of it? | Does it need new bearings?
How bad is it? | Is it safe to keep running? | Is it safe to run it until the weekend?
What spare parts does it need? | Explain that | Can you explain this? | Which oil goes in this pump?
What does that mean? | Is that dangerous? | How long does it take to fill? | What problems do they have?
How do I replace them? | When was it last serviced? | Has anyone checked it? | Did maintenance look at it?
How high is its vibration? | Does that machine need oil? | what about its temperature
How about after a restart? | tell me more about it | Should I stop it? | What is the state of its bearings?
How often does that happen? | What next? | what causes this | and how often? | What happens if I ignore it?
Is it going to fail? | show me the same machine | Who repaired it? | What else?
What temperature is it running at? | what are those codes? | Why that? | When will it fail?
Is it safe now? | Since when? | What are the next steps?
"""
STANDING = """
How do I check the bearings and replace them? | When the pump vibrates, what does it mean?
Is it safe to open the valve while hot? | How long does it take to drain the tank?
How do I align the coupling? | What does it mean when the lamp blinks?
Does a pump need its filter changed weekly? | How long is the warranty?
Do pumps lose their prime when hot? | Does oil lose its viscosity when hot?
What oil does the compressor take? | Why do seals leak and how do I replace them?
What is the pump that is leaking? | Is it normal that pumps hum? | How many alarms came in this week?
Who is the president of France? | How do I clean the filter before it clogs?
Make sure that the valve is closed? | Is it possible to run the compressor dry?
What is the meaning of life? | If a bearing is worn, can it be greased?
How do I bleed the oil line and refill it? | What is the torque of the bolts and their grade?
Which seal fits the pump that runs hot?
"""


def each(listed: str) -> list[str]:
    return [question.strip() for line in listed.strip().splitlines() for question in line.split("|")]


@pytest.mark.parametrize("question", each(REFERRING))
def test_a_follow_up_is_about_the_turn_before(question: str):
    assert refers_back(question)
    found = resolve(question, None, [MACHINE])
    assert "machine-007" in found.whole
    assert "machine-007" in found.plan.device_ids
    assert "machine007" in found.plan.codes


@pytest.mark.parametrize("question", each(STANDING))
def test_a_question_that_stands_by_itself_is_not_touched(question: str):
    alone = resolve(question, None, [], NOW)
    assert resolve(question, None, [MACHINE, CODE], NOW) == alone
    assert alone.whole == question


@pytest.mark.parametrize(
    "question",
    [
        "What does E310 mean and how do I fix it?",
        "and machine-008?",
        "What about machine 9, is it hot?",
        "what about the CR-110?",
        "And which machines have the worst health?",
    ],
)
def test_a_question_with_a_subject_of_its_own_keeps_it(question: str):
    assert resolve(question, None, [MACHINE]) == resolve(question, None, [])


def test_the_device_beside_the_question_is_its_subject():
    other = resolve("Why is it hot?", "machine-003", [MACHINE])
    assert (other.subject, other.plan.names) == ("", ("machine-003",))
    same = resolve("and how do I fix it?", "machine-007", [MACHINE.model_copy(update={"codes": ["E421"]})])
    assert "e421" in same.plan.codes


def test_the_subject_is_said_in_the_words_of_the_earlier_question():
    assert resolve("How do I fix it?", None, [CODE]).whole == "How do I fix it? (E421 HX-200)"
    words = Turn(question="How do I align the coupling?", titles=["Shaft alignment", "Safety"])
    assert resolve("and how often?", None, [words]).whole == "and how often? (align coupling Shaft alignment)"


def test_a_chain_of_follow_ups_keeps_its_subject():
    turns, asked = [MACHINE], ["and its bearings?", "how do I replace them?", "and how often?"]
    for question in asked:
        found = resolve(question, None, turns)
        turns.append(Turn(question=found.whole, devices=["machine-007"], codes=found.codes))
        assert "machine-007" in found.plan.device_ids
    assert turns[2].question == "how do I replace them? (machine-007 bearings)"
    assert turns[3].question == "and how often? (machine-007 replace bearings)"


def test_a_turn_about_nothing_is_passed_over():
    assert (
        resolve("and its oil?", None, [MACHINE, Turn(question="What should I do?")]).subject == "machine-007"
    )
    assert resolve("and its oil?", None, [Turn(question="why?")]).subject == ""


def test_what_is_taken_over_stays_bounded():
    long = Turn(question=" ".join(f"word{letter}" for letter in "abcdefghijklmnop"))
    assert len(resolve("and then?", None, [long]).subject.split()) == 8


FLEET = Turn(question="Which errors happened yesterday?")


@pytest.mark.parametrize(
    ("question", "incidents", "alerts"),
    [("and today?", True, False), ("and alerts?", True, True), ("and on Monday?", True, False)],
)
def test_a_follow_up_of_the_fleet_is_of_the_fleet(question: str, incidents: bool, alerts: bool):
    found = resolve(question, None, [FLEET])
    assert (found.plan.fleet_incidents, found.plan.alerts) == (incidents, alerts)
    assert "yesterday" not in found.whole


def test_what_it_refers_to_is_meant_beside_what_is_named():
    found = resolve("did it have E310 last week?", None, [MACHINE])
    assert "machine-007" in found.plan.device_ids
    both = resolve("compare it with machine-003", None, [MACHINE])
    assert both.plan.devices({"machine-003", "machine-007"}) == ["machine-003", "machine-007"]


def test_what_to_do_is_asked_about_the_code_that_was_spoken_of():
    before = Turn(question="Did machine-006 report E425?", devices=["machine-006"], codes=["E425"])
    found = resolve("how do I fix it?", None, [before])
    assert found.plan.error_codes == ["E425"]
    assert "report" not in found.subject
    assert resolve("is it ok?", None, [before]).plan.error_codes == []


def test_silence_is_asked_of_what_was_spoken_of():
    before = Turn(question="What is wrong with machine-006?", devices=["machine-006"])
    for question in ("Is it offline?", "when was it last seen?"):
        assert resolve(question, None, [before]).plan.state, question


@pytest.mark.parametrize(
    ("first", "then", "lack"),
    [
        ("Which machines had no errors this week?", "and today?", "errors"),
        ("Which machines had no errors this week?", "and which had no alerts?", "alerts"),
        ("Which machines are offline?", "and yesterday?", "readings"),
        ("Which machines are offline?", "and which had errors?", None),
        ("Which machines had no errors this week?", "and which didn't?", None),
    ],
)
def test_what_those_lack_of_the_fleet_is_asked_again(first: str, then: str, lack: str | None):
    assert resolve(then, None, [Turn(question=first)], NOW).plan.fleet_lack == lack


@pytest.mark.parametrize(
    ("first", "then", "apart"),
    [
        ("Which machines had errors yesterday?", "and which did not?", True),
        ("Which machines had errors yesterday?", "and which don't?", True),
        ("Which machines had no errors yesterday?", "and which did?", True),
        ("Which machines had more than 3 errors?", "and more than 10?", True),
        ("Which machines had more than 3 errors?", "and today?", False),
        ("Which machines had errors yesterday?", "and today?", False),
        ("Which machines had errors yesterday?", "not the HX-200", False),
    ],
)
def test_what_a_follow_up_asks_otherwise_of_the_fleet_is_not_told_as_before(
    first: str, then: str, apart: bool
):
    asked = resolve(then, None, [Turn(question=first)], NOW)
    assert asked.plan.conditions.apart is apart
    assert not (apart and (asked.plan.conditions.all or asked.plan.lack))
    assert not resolve("and on Monday?", None, [Turn(question=asked.whole)], NOW).plan.numbered


def test_what_is_closed_is_not_asked_of_the_fleet_unless_alerts_are():
    assert not resolve("Which were closed?", None, [], NOW).plan.fleet
