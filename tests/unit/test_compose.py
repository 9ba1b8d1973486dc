from dataclasses import replace

import numpy as np

from ray_apps.copilot.answer.compose import coverage, extract, in_order, items_before, steps
from ray_apps.copilot.answer.grounding import Support
from ray_apps.copilot.evidence.passages import Passage, quotes

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


FAN = Passage(
    "fan.md", "Loud fan", "lake://x", "", "1. Lock the machine out.\n2. Clean the fan's blades.\n", 0
)
HALF = Passage("fan.md", "Loud fan", "lake://x", "", "5. Fasten the loud fan.\n6. Start it.\n", 900)
CAUSED = Passage("e421.md", "E421: Vibration high", "lake://x", "Causes", "1. The shaft is bent.\n", 700)
OTHER = Passage("e102.md", "E102: Loud fan", "lake://x", "Immediate actions", "1. Turn the fan.\n", 0)


def test_steps_are_whole_items_in_order_of_the_section_in_focus():
    found = steps("", frozenset({"e421"}), [MEANING, FAN, RUNBOOK], 4)
    assert [quote.text for quote in found] == [
        "1. Read the trend. A steady rise points to the bearing.",
        "2. Check E425.",
    ]
    of_model = [
        replace(RUNBOOK, title=f"E421 on the {model}", text=f"1. Open the {model}.\n2. Wait a minute.\n")
        for model in ("CR-110", "HX-200")
    ]
    chosen = steps("", frozenset({"e421", "hx200"}), of_model, 1)
    assert [quote.text for quote in chosen] == ["1. Open the HX-200."], "of the device's model"
    assert steps("", frozenset({"e102"}), [RUNBOOK], 4) == []
    assert len(steps("", frozenset(), [RUNBOOK], 1)) == 1


def test_steps_are_of_the_procedure_that_the_symptom_tells():
    shelf = [CAUSED, RUNBOOK, HALF, OTHER, FAN]

    def chosen(symptom: str, *focus: str) -> Passage | None:
        found = steps(symptom, frozenset(focus), shelf, 4)
        return shelf[found[0].passage] if found else None

    assert chosen("The fan is loud", "e421") is FAN
    assert chosen("The vibration is high", "e421") is RUNBOOK
    assert chosen("The shaft is bent", "e421") is RUNBOOK, "causes are no steps"
    assert chosen("It is on fire", "e421") is RUNBOOK
    assert chosen("It is on fire", "x7") is None
    assert chosen("The fan is loud") is FAN, "its heading says so"
    assert chosen("It is on fire") is None, "no runbook is about that"


def test_steps_are_of_the_section_that_is_headed_by_the_task():
    manual = [
        Passage("m.md", "Pump", "lake://x", section, f"1. {step}.\n2. Wait a minute.\n", place)
        for place, (section, step) in enumerate(
            [
                ("Starting", "Press Start"),
                ("Stopping", "Press Stop"),
                ("Returning to service", "Remove the lock"),
            ]
        )
    ]
    (first, _) = steps("stop the pump", frozenset(), manual, 4)
    assert first.text == "1. Press Stop."
    assert steps("isolate the pump", frozenset(), [RUNBOOK, *manual], 4) == []


def test_a_word_or_code_that_no_source_holds_lowers_the_coverage():
    full = coverage("Does E421 mean that vibration is high?", [MEANING, RUNBOOK])
    assert full == 1.0
    assert coverage("Does E421 mean that the warranty is high?", [MEANING, RUNBOOK]) < 0.7
    assert coverage("Does E422 mean that vibration is high?", [MEANING, RUNBOOK]) == 0.0
    assert coverage("Are the two meanings of E421 that vibration is high?", [MEANING]) > 0.5, (
        "so many are asked for"
    )
    assert coverage("What is it?", [MEANING]) == 0.0
    assert coverage("vibration", []) == 0.0


def test_what_a_code_means_comes_first_where_that_is_asked():
    text = "On the HX-200, E421 is raised when vibration stays high. E421 means that it shakes too much."
    sources = quotes([Passage("e421.md", "E421", "lake://x", "", text, 0)])
    cosines = np.array([0.7, 0.5], np.float32)

    def first(question: str) -> int:
        return extract(question, frozenset({"e421"}), sources, cosines, 1)[0].quote

    assert first("What does E421 mean on an HX-200?") == 1
    assert first("What is the meaning of E421 on the HX-200?") == 1
    assert first("When is E421 raised on an HX-200?") == 0
    assert first("What does E422 mean on an HX-200?") == 0, "it is not E421 that is asked for"


def test_causes_come_first_where_they_are_asked_for():
    listed = "1. A bearing that ran dry. It then wears out quickly.\n\nIts usual cause is a lack of grease."
    passages = [
        Passage("e421.md", "E421", "lake://x", "Raised", "E421 is raised when vibration stays high.", 0),
        Passage("e421.md", "E421", "lake://x", "Likely causes", listed, 99),
    ]
    sources, cosines = quotes(passages), np.array([0.9, 0.5, 0.7, 0.4], np.float32)

    def ranked(question: str) -> list[int]:
        return [each.quote for each in extract(question, frozenset({"e421"}), sources, cosines, 3)]

    assert set(ranked("What causes E421?")[:2]) == {1, 3}
    assert ranked("What raises E421?")[0] == 0


def test_other_machines_are_put_behind_and_other_things_with_numbers_are_not():
    grease = "On the HX-200, the bearing is greased with 18g of LG-2."
    text = f"On the HX-450, the bearing is greased with 25g of LG-2. {grease} Every bearing needs its grease."
    sources = quotes([Passage("m.md", "Manual", "lake://x", "", text, 0)])
    cosines = np.array([0.9, 0.8, 0.5], np.float32)
    found = extract(
        "How much grease takes the bearing of the HX-200?", frozenset({"hx200"}), sources, cosines, 3
    )
    assert [sources[support.quote].text for support in found] == [
        grease,
        "Every bearing needs its grease.",
        text[: text.index(grease) - 1],
    ]


def test_scores_lifted_above_one_still_decide_the_order():
    text = "Vibration is caused by a worn bearing. High vibration is caused by a loose foot."
    sources = quotes([Passage("hx.md", "HX-200", "lake://x", "", text, 0)])
    found = extract("What causes high vibration?", frozenset(), sources, np.array([0.9, 0.95]), 2)
    assert [(each.quote, each.score) for each in found] == [(1, 1.0), (0, 1.0)]


FAN = Passage(
    "fan.md", "Cooling fan", "lake://x", "When the fan is loud",
    "A loud fan is worn.\n\n1. Stop the machine and lock the main switch.\n"
    "2. Clean the grille with a dry brush. Use no water on it.\n"
    "3. Replace the loud fan.\n\nThen measure:\n\n1. Start the machine again.\n", 0,
)  # fmt: skip


def test_a_step_is_told_after_those_before_it_in_its_list() -> None:
    sources = quotes([FAN])
    assert [" ".join(quote.text.split()[:2]) for quote in sources] == [
        "A loud", "1. Stop", "2. Clean", "Use no", "3. Replace", "1. Start"
    ]  # fmt: skip
    worn, stop, clean, water, replace, start = range(6)
    best = [Support(replace, 0.8), Support(worn, 0.7), Support(start, 0.6)]
    ordered = [each.quote for each in in_order(best, sources, [FAN], [])]
    assert ordered == [stop, clean, water, replace, worn, start]
    given = [each.quote for each in in_order(best, sources, [FAN], [sources[replace]])]
    assert given == [replace, worn, start], "the guide gives it"
    assert items_before(sources[start], [FAN]) == [], "another list"
