"""An answer as it is written: what is shown, when, and when the model is stopped."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from iotops.models.catalogue import ModelSpec
from iotops.settings import CopilotSettings
from iotops.tenancy import Tenant
from ray_apps.chat import Piece, Writing
from ray_apps.copilot.answer import FACTS, Answerer
from ray_apps.copilot.contracts import Citation, Token
from ray_apps.copilot.evidence import Evidence
from ray_apps.copilot.follow_up import resolve
from ray_apps.copilot.grounding import Passage, content_words, facts, plain, quotes
from ray_apps.copilot.unknown import UNKNOWN
from tests.unit.guards import rules_alone
from tests.unit.word_tokens import words

RECORD = Passage(
    "device:machine-007", "Device machine-007", "/insights/machine-007", "Health",
    "The health score of machine-007 (HX-200) is 41 of 100.\n\nIts vibration is 61 today.", 0,
)  # fmt: skip
MEANING = Passage(
    "e421.md", "E421: Vibration high", "lake://x", "Meaning",
    "E421 means that vibration is high. The bearing wears when vibration stays high. "
    "A loose coupling shakes the shaft. The alarm clears when vibration falls below 45. "
    "Dry grease heats the bearing quickly.", 10,
)  # fmt: skip
RUNBOOK = Passage(
    "e421.md", "E421: Vibration high", "lake://x", "Immediate actions",
    "1. Read the trend. A steady rise points to the bearing.\n2. Check E425.\n", 500,
)  # fmt: skip
WORDS = {
    word: place
    for place, word in enumerate(
        sorted(
            content_words(f"{RECORD.text} {MEANING.text} {RUNBOOK.text}")
            | facts(f"{RECORD.text} {MEANING.text} {RUNBOOK.text}")
        )
    )
}


def vector(text: str) -> np.ndarray:
    """Bag of words: enough geometry to tell sentences apart without a model."""
    row = np.zeros(len(WORDS) + 1, np.float32)
    for word in content_words(text) | facts(text):
        row[WORDS.get(word, len(WORDS))] = 1
    return row / max(float(np.linalg.norm(row)), 1e-6)


class Shelf:
    """A look-up that finds the same passages for every question."""

    def __init__(self, passages: list[Passage], lead: int, unreported: frozenset[str] = frozenset()) -> None:
        self._passages, self._lead, self.read, self.lacking = passages, lead, 0, False
        self._unreported = unreported

    async def gather(self, tenant, asked, top_k, tell):
        return Evidence(
            list(self._passages),
            self._lead,
            asked.plan.codes,
            unreported=self._unreported,
            lacking=self.lacking,
        )

    async def embed(self, tenant, asked, found, end):
        new = quotes(found.passages[:end], found.read)
        rows = np.array([vector(plain(quote.text)) for quote in new], np.float32)
        rows = rows.reshape(len(new), len(WORDS) + 1)
        self.read = min(end, len(found.passages))
        found.take(new, vector(asked.whole), rows, min(end, len(found.passages)))

    async def vector(self, sentence):
        return vector(sentence)


class Author:
    """A model that writes what it is given, a word at a time, and notices when it is stopped."""

    def __init__(self, text: str, fails: bool = False, hangs: bool = False, finish: str = "stop") -> None:
        self.words, self.fails, self.hangs, self.finish = text.split(" "), fails, hangs, finish
        self.written: list[str] = []
        self.stopped = False

    def stream(self, messages, max_tokens):
        return Writing(self._pieces())

    async def propose(self, messages, tools, max_tokens):
        return None

    async def _pieces(self):
        try:
            for word in self.words:
                self.written.append(word)
                yield Piece(
                    text=f"{word} ",
                    prompt_tokens=90,
                    completion_tokens=len(self.written),
                    finish_reason=self.finish if word == self.words[-1] else "",
                    model="author",
                )
                await asyncio.sleep(0)
            if self.hangs:
                await asyncio.Event().wait()
            if self.fails:
                raise RuntimeError("the engine is gone")
        finally:
            self.stopped = True


def answer(
    author,
    question="What is wrong with machine-007, is vibration high?",
    lead=1,
    passages=None,
    least_confidence=0.2,
    answer_s=20.0,
    unreported=frozenset(),
):
    heard = []
    asked = resolve(question, None, [])
    answerer = Answerer(
        CopilotSettings(least_confidence=least_confidence),
        ModelSpec(answer_s=answer_s),
        words(),
        Shelf(passages or [RECORD, MEANING], lead, unreported),
        author,
        rules_alone(),
    )

    def tell(event):
        heard.append((event, len(author.written)))

    return asyncio.run(answerer.answer(Tenant("acme"), asked, 5, tell)), heard


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
    assert draft.completion
    assert (draft.model, draft.completion.prompt_tokens) == ("author", 90)


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
    assert draft.completion is not None
    assert draft.completion.completion_tokens == len(author.written)
    assert sum(sentence in draft.answer for sentence in supported.split(". ")) >= FACTS


def test_without_the_models_words_the_sources_are_quoted_and_it_is_said_so():
    draft, _ = answer(Author("E421 means that vibration is high. The", fails=True))
    assert not draft.complete
    assert draft.grounded
    assert "E421 means that vibration is high." in draft.answer
    assert len(draft.citations) > 3
    assert not draft.extractive
    assert answer(Author("Nobody knows what the", fails=True))[0].extractive


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
    assert ("- the spelling of E999: nothing that I may see names it" in draft.answer) is not known


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


def test_what_the_sources_do_not_hold_is_not_known_and_the_model_not_asked():
    author = Author("The warranty is nine years.")
    draft, heard = answer(author, "Who is president of France E999?", lead=0, passages=[MEANING])
    assert (draft.grounded, draft.extractive, author.written) == (False, False, [])
    assert draft.answer.startswith(UNKNOWN)
    assert "- the spelling of E999: nothing that I may see names it" in draft.answer.splitlines()
    assert [event.text for event, _ in heard if isinstance(event, Token)] == [draft.answer]
    assert draft.citations


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


def test_what_to_do_about_a_device_is_told_though_no_document_knows_the_symptom():
    draft, _ = answer(Author("Yes."), "machine-007 smells odd, what do I do?", least_confidence=0.9)
    assert draft.answer.startswith("The health score of machine-007 (HX-200) is 41 of 100. [1]")
    draft, _ = answer(Author("Yes."), "Who bought machine-007?", least_confidence=0.9)
    assert not draft.grounded


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
    assert draft.completion
    assert draft.completion.completion_tokens == 7
    assert len(draft.citations) > 3


def test_an_answer_without_the_tools_that_the_model_may_have_wanted_is_not_complete():
    class Mute(Author):
        async def propose(self, messages, tools, max_tokens):
            raise TimeoutError

    draft, _ = answer(Mute("E421 means that vibration is high."))
    assert draft.grounded
    assert not draft.complete


@pytest.mark.parametrize("lacking", [False, True])
def test_an_answer_that_lacks_a_look_up_is_not_complete(lacking: bool):
    shelf = Shelf([MEANING], 0)
    shelf.lacking = lacking
    answerer = Answerer(
        CopilotSettings(least_confidence=0.2), ModelSpec(), words(), shelf, Author("Yes."), rules_alone()
    )
    asked = resolve("Is E421 that vibration is high?", None, [])
    draft = asyncio.run(answerer.answer(Tenant("acme"), asked, 5, lambda event: None))
    assert draft.complete is not lacking


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
