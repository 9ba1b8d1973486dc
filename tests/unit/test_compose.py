from ray_apps.copilot.compose import coverage, steps
from ray_apps.copilot.grounding import Passage

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
