"""Which questions refer back, and what they are about then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ray_apps.copilot.question.conditions import Condition
from ray_apps.copilot.question.follow_up import Asked, Turn, refers_back, resolve
from ray_apps.copilot.question.lacking import lately
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.period import Period
from ray_apps.copilot.question.placing import placed

NOW, HOUR = datetime(2026, 11, 26, 12, tzinfo=UTC), timedelta(hours=1)
KNOWN = Known(("P-101", "P-102"), ("HX-200",), frozenset({"e421"}))
MACHINE = Turn(
    question="What is wrong with machine-007 and what should I do?",
    devices=["machine-007"],
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
Which seal fits the pump that runs hot? | Which is the best grease?
"""


def said(*questions: str, known: Known = KNOWN) -> Asked:
    """The last question of a conversation, each as one of a tenant of whom so much is known."""
    turns: list[Turn] = []
    for question in questions:
        asked = resolve(question, None, turns, NOW)
        asked = replace(asked, plan=placed(asked.plan, known))
        turns.append(asked.turn())
    return asked


def each(listed: str) -> list[str]:
    return [question.strip() for line in listed.strip().splitlines() for question in line.split("|")]


@pytest.mark.parametrize("question", each(REFERRING))
def test_a_follow_up_is_about_the_turn_before(question: str):
    assert refers_back(question)
    found = resolve(question, None, [MACHINE])
    assert "machine-007" in found.whole
    assert "machine-007" in found.plan.device_ids


@pytest.mark.parametrize("question", each(STANDING))
def test_a_question_that_stands_by_itself_is_not_touched(question: str):
    alone = resolve(question, None, [], NOW)
    fleet = resolve("Which machines had errors yesterday?", None, [], NOW).turn()
    for before in ([MACHINE, CODE], [fleet]):
        assert resolve(question, None, before, NOW) == alone
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


@pytest.mark.parametrize(
    ("question", "incidents", "alerts"),
    [("and today?", True, False), ("and alerts?", True, True), ("and on Monday?", True, False)],
)
def test_a_follow_up_of_the_fleet_is_of_the_fleet(question: str, incidents: bool, alerts: bool):
    before = resolve("Which errors happened yesterday?", None, []).turn()
    found = resolve(question, None, [before])
    assert (found.plan.fleet_incidents, found.plan.alerts) == (incidents, alerts)
    assert "yesterday" not in found.whole


def test_what_it_refers_to_is_meant_beside_what_is_named():
    found = resolve("did it have E310 last week?", None, [MACHINE])
    assert "machine-007" in found.plan.device_ids
    both = resolve("compare it with machine-003", None, [MACHINE])
    known = Known(("machine-007", "machine-003"))
    assert placed(both.plan, known).devices == ("machine-003", "machine-007")


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
    ],
)
def test_what_those_lack_of_the_fleet_is_asked_again(first: str, then: str, lack: str | None):
    before = resolve(first, None, [], NOW).turn()
    assert resolve(then, None, [before], NOW).plan.fleet_lack == lack


TODAY, YESTERDAY = Period(NOW - 12 * HOUR, NOW), Period(NOW - 36 * HOUR, NOW - 12 * HOUR)
WEEK, LATELY = Period(NOW - 84 * HOUR, NOW), lately(NOW)
SILENT, SENDS = (Condition("readings", has, Period(NOW - HOUR, NOW)) for has in (False, True))
ERRORS, NO_ERRORS = (Condition("errors", has, YESTERDAY) for has in (True, False))
E421 = Condition("errors", True, YESTERDAY, ("E421",))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("which machines had E421 yesterday? | and which did not?", [replace(E421, has=False)]),
        ("which machines had E421 yesterday? | the others?", [replace(E421, has=False)]),
        ("which machines had E421 yesterday? | and which did not? | who did?", [E421]),
        (
            "which machines had E421 yesterday? | and which didn’t today?",
            [replace(E421, has=False, period=TODAY)],
        ),
        ("which machines had E421 yesterday? | and which machines had none?", [replace(E421, has=False)]),
        ("which machines had errors? | and which don't?", [Condition("errors", False, LATELY)]),
        ("which machines have alerts? | and which don't?", [Condition("alerts", False)]),
        ("which machines are offline? | and which are not?", [SENDS]),
        ("which machines are offline? | and which are?", [SILENT]),
        ("which machines are offline? | and which are not? | and which are?", [SILENT]),
        ("which machines send no data? | and which do?", [SENDS]),
        ("which machines are error-free this week? | and which are not?", [Condition("errors", True, WEEK)]),
        ("which had no errors this week? | and today? | who did?", [Condition("errors", True, TODAY)]),
        ("which machines are offline? | and how many are online?", [SENDS]),
        ("how many are online? | and which are not?", [SILENT]),
        ("which had no errors this week? | who did?", [Condition("errors", True, WEEK)]),
        (
            "which machines had errors yesterday? | and no alerts?",
            [ERRORS, Condition("alerts", False, YESTERDAY)],
        ),
        ("which machines had errors yesterday? | which of them are offline?", [ERRORS, SILENT]),
        ("machines with errors yesterday | and without?", [NO_ERRORS]),
        ("which machines had errors yesterday? | which of them had E421?", [ERRORS, E421]),
        (
            "which machines had errors yesterday? | and which of them did not report E421?",
            [ERRORS, replace(E421, has=False)],
        ),
        (
            "which machines had more than 3 errors yesterday? | and which did not?",
            [replace(ERRORS, bound="at most", number=3)],
        ),
        ("which machines had more than 3 errors? | and more than 10?", []),
        ("which machines have a health below 60? | and above 80?", []),
        ("which machines had errors but no alerts? | and which don't?", []),
        ("which machines had errors yesterday? | and not on Monday?", []),
    ],
)
def test_a_follow_up_that_turns_the_question_round_is_answered_so(asked: str, wanted: list[Condition]):
    assert [*said(*each(asked)).plan.conditions.all] == wanted


@pytest.mark.parametrize(
    ("asked", "reported", "lack", "time"),
    [
        ("What does E421 mean on an HX-200? | Which machines had it?", ("E421",), None, LATELY),
        ("What does E421 mean? | have any machines had it today?", ("E421",), None, TODAY),
        ("What does E421 mean? | which machines never had it?", ("E421",), "errors", LATELY),
        ("which machines had E421 yesterday? | how many machines had that?", ("E421",), None, YESTERDAY),
        ("Did P-101 report E421 yesterday? | who did?", ("E421",), None, YESTERDAY),
        ("Did P-101 report E421 yesterday? | which machines had it today?", ("E421",), None, TODAY),
        ("E421 errors yesterday? | on which machines?", ("E421",), None, YESTERDAY),
        ("E421 errors yesterday? | which ones?", ("E421",), None, YESTERDAY),
        ("who had E421 yesterday? | and today?", ("E421",), None, TODAY),
        ("which machines had alerts yesterday? | and which had no errors?", (), "errors", YESTERDAY),
    ],
)
def test_machines_that_had_it_are_those_that_reported_the_code_before(
    asked: str, reported: tuple[str, ...], lack: str | None, time: Period
):
    found = said(*each(asked)).plan
    assert (found.reported, found.lack, found.period) == (reported, lack, time)
    assert (found.fleet_incidents, found.fleet_health) == (True, False)


@pytest.mark.parametrize(
    "asked", ["Which machines had it?", "Is P-101 ok? | Which machines had it?", "Which machines did not?"]
)
def test_where_it_stands_for_nothing_the_least_healthy_are_no_answer(asked: str):
    found = said(*each(asked))
    assert (found.plan.fleet_health, found.plan.fleet_incidents, found.subject) == (False, False, "")


@pytest.mark.parametrize(
    ("asked", "devices", "codes"),
    [
        ("What is wrong with P-101? | did it have E421?", ["P-101"], ["E421"]),
        ("What is wrong with p-101? | how do I fix it?", ["P-101"], []),
        ("Did P-101 report E421? | how do I fix it?", ["P-101"], ["E421"]),
        ("Are P-101 and P-102 ok? | which is worse?", ["P-101", "P-102"], []),
        ("Did P-101 and P-102 report E421? | which did not?", ["P-101", "P-102"], ["E421"]),
        ("What is wrong with P-999? | and its errors today?", [], ["P-999"]),
    ],
)
def test_the_devices_that_were_spoken_of_are_no_codes(asked: str, devices: list[str], codes: list[str]):
    found = said(*each(asked))
    assert ([*found.plan.devices], found.plan.error_codes) == (devices, codes)
    assert found.plan.of_device
    assert found.turn().codes == codes


@pytest.mark.parametrize(
    "question", ["Are there machines that are not offline?", "machines that do have alerts"]
)
def test_that_behind_machines_refers_to_them(question: str):
    assert resolve(question, None, [], NOW).plan.fleet


def test_a_number_that_is_compared_with_names_no_machine():
    assert not said("Which machines had more than 3 errors?", "and more than 10?", "and today?").plan.numbered
