"""What an answer tells of devices and the fleet by their records, and which steps to take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ray_apps.copilot.contracts import Token
from ray_apps.copilot.evidence.evidence import left_out_passage
from ray_apps.copilot.evidence.passages import Passage
from tests.unit.answering import MEANING, RECORD, RUNBOOK, Author, answer


def test_a_step_is_told_once_and_each_quote_cited_once():
    author = Author("A steady rise points to the bearing. A steady rise points to the bearing.")
    draft, heard = answer(
        author, "What should I do about E421 vibration high?", lead=0, passages=[MEANING, RUNBOOK]
    )
    assert draft.answer.count("A steady rise") == 1
    *_, first, second = [event.text for event, _ in heard if isinstance(event, Token)]
    assert first.startswith("\n1. Read the trend. A steady rise")
    assert second.startswith("\n2. Check E425.")
    spans = [(citation.start, citation.end) for citation in draft.citations]
    assert len(set(spans)) == len(spans)
    assert draft.citations[-2].start == RUNBOOK.start


@pytest.mark.parametrize(
    ("question", "known"),
    [
        ("How do I fix E421?", True),
        ("How do I fix the gearbox with E421?", False),
        ("Who fixes E421?", False),
    ],
)
def test_steps_answer_a_question_for_them_in_other_words(question: str, known: bool):
    author = Author("E421 means that vibration is high.")
    draft, _ = answer(author, question, lead=0, passages=[MEANING, RUNBOOK], least_confidence=0.6)
    assert draft.grounded is known


@pytest.mark.parametrize(
    ("question", "grounded"),
    [
        ("Is machine-007 ok?", True),
        ("What is the matter with machine 7?", True),
        ("Who bought machine-007?", False),
        ("Does machine-007 have E999?", False),
    ],
)
def test_how_a_device_is_is_told_by_its_record_in_whatever_words(question: str, grounded: bool):
    draft, _ = answer(Author("Yes."), question, least_confidence=0.9)
    assert draft.grounded is grounded
    assert draft.answer.startswith("The health score of machine-007 (HX-200) is 41 of 100. [1]") is grounded


def test_devices_that_are_left_out_are_named_after_the_records():
    devices = ("machine-007", "machine-008", "machine-009")
    passages = [RECORD, left_out_passage(devices[1:], 4), MEANING]
    draft, _ = answer(Author("Yes."), "Are machines 7 to 9 ok?", devices, lead=2, passages=passages)
    assert "machine-008 and machine-009 are left out: 4 devices are the most" in draft.answer


def test_beside_how_a_device_is_documents_tell_what_its_codes_mean_and_no_more():
    draft, _ = answer(Author("Yes."), "Is machine-007 with E421 ok?")
    assert draft.answer.endswith("E421 means that vibration is high. [3]")


@pytest.mark.parametrize(("code", "known"), [("E999", False), ("E421", True)])
def test_what_to_do_about_a_code_that_nobody_knows_is_not_known(code: str, known: bool):
    record = Passage(
        "device:machine-007", "Device machine-007", "/insights/machine-007", "Health",
        f"No {code} is on record for machine-007.", 0,
    )  # fmt: skip
    draft, _ = answer(
        Author("Yes."),
        f"machine-007 shows {code}, what should I do?",
        passages=[record, MEANING, RUNBOOK],
        unreported=frozenset({code}),
    )
    assert draft.grounded is known
    assert (
        "- the spelling of E999: no device is called so, no record or document names it" in draft.answer
    ) is not known


def test_no_step_of_another_procedure_is_told_beside_the_steps_to_take():
    other = Passage(
        "swap.md", "Replacing the drive", "lake://x", "Removal", "1. Unplug the control connector first.\n", 0
    )
    author = Author("Unplug the control connector first. The bearing wears when vibration stays high.")
    draft, _ = answer(
        author, "How do I fix machine-007 with E421?", passages=[RECORD, MEANING, RUNBOOK, other]
    )
    assert "1. Read the trend." in draft.answer
    assert "connector" not in draft.answer
    assert "The bearing wears" in draft.answer
    fitting = replace(other, text="1. To fix machine-007 with E421 unplug the connector.\n")
    draft, _ = answer(
        Author("Yes."), "How do I fix machine-007 with E421?", passages=[RECORD, MEANING, RUNBOOK, fitting]
    )
    assert "connector" not in draft.answer, "nor quoted"


def test_how_the_fleet_is_is_told_by_its_records_alone():
    fleet = Passage("fleet:health", "Fleet health", "/insights", "", "Of 9 devices 2 need a look.", 0)
    author = Author("Read the trend. A steady rise points to the bearing.")
    draft, _ = answer(author, "Which machine should I look at first?", passages=[fleet, RUNBOOK])
    assert draft.answer == "Of 9 devices 2 need a look. [1]"
    assert (draft.model, author.written) == ("none", []), "nothing is left to write"


def test_what_to_do_about_a_device_is_told_though_no_document_knows_the_symptom():
    draft, _ = answer(Author("Yes."), "machine-007 smells odd, what do I do?", least_confidence=0.9)
    assert draft.answer.startswith("The health score of machine-007 (HX-200) is 41 of 100. [1]")
    draft, _ = answer(Author("Yes."), "Who bought machine-007?", least_confidence=0.9)
    assert not draft.grounded


@pytest.mark.parametrize(
    ("question", "numbered"),
    [
        ("A loud vibration of the bearing, what do I do?", True),
        ("The casing rattles and hums with a loud vibration, what do I do?", False),
    ],
)
def test_no_step_of_a_list_is_told_before_those_above_it(question: str, numbered: bool):
    fan = Passage(
        "fan.md", "Cooling fan", "lake://x", "When it is loud",
        "1. Stop the bearing and lock the alarm.\n2. Tears of grease are dried.\n"
        "3. A loud vibration: replace the bearing.\n", 0,
    )  # fmt: skip
    author = Author("Replace the bearing when the vibration is loud.")
    draft, _ = answer(author, question, lead=0, passages=[fan])
    told = [draft.answer.find(word) for word in ("Stop", "Tears", "loud vibration")]
    assert told == sorted(told)
    assert told[0] >= 0, draft.answer
    assert draft.answer.startswith("1. ") is numbered, draft.answer
