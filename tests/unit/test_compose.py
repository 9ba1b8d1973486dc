import numpy as np

from ray_apps.copilot.answer import Draft, Evidence, _write
from ray_apps.copilot.compose import Sentence, coverage, steps
from ray_apps.copilot.grounding import Passage, Support, quotes

RUNBOOK = Passage(
    "e421.md",
    "E421: Vibration high",
    "lake://acme/documents/e421.md",
    "Immediate actions",
    "## Immediate actions\n\n1. Read the trend. A steady rise points to the bearing.\n2. Check E425.\n",
    500,
)
MEANING = Passage(
    "e421.md", "E421: Vibration high", "lake://x", "Meaning", "E421 means that vibration is high.", 10
)


def test_steps_are_whole_items_in_order_of_the_section_in_focus():
    found = steps(frozenset({"e421"}), [MEANING, RUNBOOK], 4)
    assert [quote.text for quote in found] == [
        "1. Read the trend. A steady rise points to the bearing.",
        "2. Check E425.",
    ]
    assert steps(frozenset({"e102"}), [RUNBOOK], 4) == []
    assert len(steps(frozenset(), [RUNBOOK], 1)) == 1


def test_a_word_or_code_that_no_source_holds_lowers_the_coverage():
    full = coverage("Does E421 mean that vibration is high?", [MEANING, RUNBOOK])
    assert full == 1.0
    assert coverage("Does E421 mean that the warranty is high?", [MEANING, RUNBOOK]) < 0.7
    assert coverage("Does E422 mean that vibration is high?", [MEANING, RUNBOOK]) == 0.0
    assert coverage("What is it?", [MEANING]) == 0.0
    assert coverage("vibration", []) == 0.0


def test_an_answer_cites_each_quote_once_and_tells_a_step_once():
    sources = quotes([MEANING, RUNBOOK])
    found = Evidence([MEANING, RUNBOOK], 0, frozenset(), sources, np.zeros(2), np.zeros((len(sources), 2)))
    trend = next(n for n, quote in enumerate(sources) if "steady rise" in quote.text)
    draft = Draft()
    sentences = [Sentence(quote.text, Support(n, 0.9)) for n, quote in enumerate(sources) if n in (0, trend)]
    _write([*sentences, sentences[0]], steps(frozenset(), [MEANING, RUNBOOK], 4), found, draft)
    assert draft.grounded
    assert draft.answer.startswith("E421 means that vibration is high. [1]")
    assert draft.answer.count("A steady rise") == 1
    assert [citation.marker for citation in draft.citations] == ["[1]", "[2]", "[3]"]
    assert draft.citations[1].start == 500 + RUNBOOK.text.index("1. Read")


def test_without_guide_and_sentences_the_answer_is_not_known():
    draft = Draft()
    _write([], [], Evidence(), draft)
    assert not draft.grounded
    assert draft.answer.startswith("I don't know")
