"""An answer as it is written: what is shown, when, and when the model is stopped."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from iotops.models.catalogue import ModelSpec
from iotops.settings import CopilotSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.answer.answer import FACTS, Answerer
from ray_apps.copilot.answer.unknown import UNKNOWN, unknown
from ray_apps.copilot.contracts import Citation, Token
from ray_apps.copilot.evidence.evidence import Evidence
from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.placing import placed
from tests.unit.answering import MEANING, RECORD, RUNBOOK, Author, Shelf, answer
from tests.unit.guards import rules_alone
from tests.unit.word_tokens import words


def test_records_are_shown_before_the_model_writes_and_each_sentence_once_it_is_complete():
    author = Author("The bearing wears when vibration stays high. The warranty is nine years. Yes it is.")
    draft, heard = answer(author)
    shown = [(event.text, written) for event, written in heard if isinstance(event, Token)]
    assert shown[0] == ("The health score of machine-007 (HX-200) is 41 of 100. [1]", 0)
    assert shown[1][1] == 0
    (told,) = [written for text, written in shown if "bearing wears" in text]
    assert told == len("The bearing wears when vibration stays high. The".split())
    assert draft.answer == "".join(text for text, _ in shown)
    assert "warranty" not in draft.answer
    assert (draft.model, [each.prompt_tokens for each in draft.completions]) == ("author", [90])


def test_a_marker_is_cited_before_it_is_used():
    draft, heard = answer(Author("E421 means that vibration is high."))
    known = set()
    for event, _ in heard:
        if isinstance(event, Citation):
            known.add(event.marker)
        elif isinstance(event, Token):
            assert event.text.rpartition(" ")[2] in known
    assert [citation.marker for citation in draft.citations] == [
        event.marker for event, _ in heard if isinstance(event, Citation)
    ]


def test_the_model_is_stopped_as_soon_as_the_answer_is_full():
    supported = (
        "E421 means that vibration is high. A loose coupling shakes the shaft. "
        "Dry grease heats the bearing quickly. "
    )
    author = Author(supported + "And so on without an end. " * 50)
    draft, _ = answer(author)
    assert author.stopped
    assert len(author.written) == len(supported.split()) + 1
    assert [each.completion_tokens for each in draft.completions] == [len(author.written)]
    assert sum(sentence in draft.answer for sentence in supported.split(". ")) >= FACTS


def test_without_the_models_words_the_sources_are_quoted_and_it_is_said_so():
    draft, _ = answer(Author("E421 means that vibration is high. The", fails=True))
    assert not draft.complete
    assert draft.grounded
    assert "E421 means that vibration is high." in draft.answer
    assert len(draft.citations) > 3
    assert not draft.extractive
    assert answer(Author("Nobody knows what the", fails=True))[0].extractive


@pytest.mark.parametrize(
    ("written", "finish", "told"),
    [
        ("The bearing wears when vibration", "stop", "The bearing wears when vibration stays high. [2]"),
        ("High vibration wears the bearing", "stop", "High vibration wears the bearing [2]"),
        ("High vibration wears the bearing", "length", ""),
    ],
)
def test_a_sentence_that_was_cut_off_is_completed_or_not_told(written: str, finish: str, told: str):
    author = Author(f"E421 means that vibration is high. {written}", finish=finish)
    draft, _ = answer(author, "What does E421 mean?", lead=0, passages=[MEANING])
    assert told in draft.answer
    assert (written in draft.answer) is bool(told)


def test_what_the_sources_do_not_hold_is_not_known_and_the_model_not_asked():
    author = Author("The warranty is nine years.")
    draft, heard = answer(author, "Who is president of France E999?", lead=0, passages=[MEANING])
    assert (draft.grounded, draft.extractive, author.written) == (False, False, [])
    assert draft.answer.startswith(UNKNOWN)
    assert (
        "- the spelling of E999: no device is called so, no record or document names it"
        in draft.answer.splitlines()
    )
    assert [event.text for event, _ in heard if isinstance(event, Token)] == [draft.answer]
    assert draft.citations


def test_of_names_that_could_not_be_looked_up_nothing_is_said():
    asked = resolve("Errors of P-101 today?", None, [])
    assert "P-101" not in unknown(asked, Evidence())
    assert "P-101" in unknown(replace(asked, plan=placed(asked.plan, Known())), Evidence())


def test_of_what_a_question_leaves_out_nothing_need_be_known():
    draft, _ = answer(Author(""), "Is machine-007 ok, not machine-008?")
    assert draft.answer.startswith("The health score of machine-007 (HX-200) is 41 of 100.")


@pytest.mark.parametrize("lead", [0, 1])
def test_a_sentence_is_not_repeated(lead: int):
    draft, _ = answer(Author("E421 means that vibration is high. " * 3), lead=lead)
    assert draft.answer.count("E421 means") == 1


def test_a_sentence_that_fits_the_question_opens_the_answer_before_the_model_writes():
    author = Author("Dry grease heats the bearing quickly.")
    _, heard = answer(author, "Is E421 that vibration is high?", lead=0, passages=[MEANING])
    told = [(event.text, written) for event, written in heard if isinstance(event, Token)]
    assert told[0] == ("E421 means that vibration is high. [1]", 0)
    assert told[1] == (" Dry grease heats the bearing quickly. [2]", 6)


@pytest.mark.parametrize(
    ("question", "passages", "lead", "read", "last"),
    [
        ("What is the vibration of machine-007 today?", [RECORD, MEANING, RUNBOOK], 1, 1, 1),
        ("Is E421 that vibration is high?", [MEANING, RECORD, RUNBOOK], 0, 2, 3),
        ("How do I fix E421, that vibration is high?", [MEANING, RECORD, RUNBOOK], 0, 3, 3),
    ],
)
def test_what_opens_an_answer_does_not_wait_for_the_rest_to_be_read(question, passages, lead, read, last):
    shelf, read_by = Shelf(passages, lead), []
    answerer = Answerer(
        CopilotSettings(least_confidence=0.2), ModelSpec(), words(), shelf, Author("Yes."), rules_alone()
    )

    def tell(event):
        if isinstance(event, Token):
            read_by.append(shelf.read)

    asyncio.run(answerer.answer(Tenant("acme"), resolve(question, None, []), 5, tell))
    assert (read_by[0], read_by[-1]) == (read, last), "beside a record only what fits is told"


def test_without_such_a_sentence_the_models_words_come_first():
    author = Author("A loose coupling shakes the shaft.")
    _, heard = answer(author, "Which coupling tears, and how quickly?", lead=0, passages=[MEANING])
    first = next((event.text, written) for event, written in heard if isinstance(event, Token))
    assert first == ("A loose coupling shakes the shaft. [1]", 6)


def test_a_model_that_shows_nothing_is_not_waited_for():
    question = "Which loose coupling shakes, and which dry grease heats it?"
    author = Author("Sixty couplings were sold.", hangs=True)
    draft, heard = answer(author, question, lead=0, passages=[MEANING], answer_s=1.0)
    shown = [(event.text, author.stopped) for event, _ in heard if isinstance(event, Token)]
    assert shown[0][0] == "A loose coupling shakes the shaft. [1]"
    assert draft.timings_ms["first_token"] < 900 < draft.timings_ms["total"]
    assert draft.complete, "asked again it would have no more time"


def test_what_the_model_does_not_write_in_time_is_quoted():
    author = Author("E421 means that vibration is high. The", hangs=True)
    draft, _ = answer(author, answer_s=0.5)
    assert draft.complete
    assert author.stopped
    assert [each.completion_tokens for each in draft.completions] == [7]
    assert len(draft.citations) > 3


@pytest.mark.parametrize("to_others", [0, 1])
def test_a_model_that_hangs_leaves_an_answer_incomplete_and_is_sounded_out_unless_it_writes_for_others(
    to_others: int,
):
    class Waiting(Author):
        async def _pieces(self):
            self.said += to_others
            await asyncio.Event().wait()
            yield

    author = Waiting("")
    draft, _ = answer(author, answer_s=0.3)
    assert draft.grounded
    assert (draft.complete, draft.model, draft.completions) == (bool(to_others), "none", [])
    assert author.sounded_out == 1 - to_others


def test_an_answer_without_the_tools_that_the_model_may_have_wanted_is_not_complete():
    class Mute(Author):
        async def propose(self, messages, tools, max_tokens):
            raise TimeoutError

    draft, _ = answer(Mute("E421 means that vibration is high."))
    assert draft.grounded
    assert not draft.complete


@pytest.mark.parametrize("incomplete", [False, True])
def test_an_answer_that_lacks_a_look_up_is_not_complete(incomplete: bool):
    shelf = Shelf([MEANING], 0)
    shelf.incomplete = incomplete
    answerer = Answerer(
        CopilotSettings(least_confidence=0.2), ModelSpec(), words(), shelf, Author("Yes."), rules_alone()
    )
    asked = resolve("Is E421 that vibration is high?", None, [])
    draft = asyncio.run(answerer.answer(Tenant("acme"), asked, 5, lambda event: None))
    assert draft.complete is not incomplete


@pytest.mark.parametrize("written", ["Yes.", "The alarm clears when vibration falls below 45 [2]."])
def test_each_marker_in_an_answer_is_of_a_source(written: str):
    noted = replace(
        MEANING, text="The alarm clears when vibration falls below 45 [2]. E421 means high vibration."
    )
    steps = replace(RUNBOOK, text="1. Read the trend of the alarm [7].\n2. Check E425.\n")
    question = "What should I do about E421, when the alarm clears?"
    draft, _ = answer(Author(written), question, lead=0, passages=[noted, steps])
    assert "falls below 45 (2). [" in draft.answer
    assert "1. Read the trend of the alarm (7). [" in draft.answer
    assert re.findall(r"\[\d+\]", draft.answer) == [citation.marker for citation in draft.citations]
    assert any("[2]" in citation.quote for citation in draft.citations), "a quote is as it stands"
