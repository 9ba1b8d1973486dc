"""What a language model is given: as much of the sources as fits, the best first, and all of the question."""

from __future__ import annotations

from indexes.tokens import CHARACTERS_PER_TOKEN
from ray_apps.copilot.answer.prompt import messages
from ray_apps.copilot.evidence.passages import Passage
from tests.unit.word_tokens import words


def passage(title: str, text: str) -> Passage:
    return Passage("d", title, "lake://d", "", text, 0)


def test_sources_are_cut_at_the_budget_in_tokens_and_the_question_is_whole() -> None:
    found = [passage("First", "one two three"), passage("Second", "four five six"), passage("Third", "seven")]
    told = messages("what is the matter with it", found, 7, words())[-1]["content"]
    assert (
        told == "First\none two three\n\nSecond\nfour five\n\nQuestion: what is the matter with it\nAnswer:"
    )


def test_tokens_are_counted_and_cut_at_their_ends() -> None:
    tokens = words()
    assert tokens.count(["valve stuck, open", ""]) == [4, 0]
    assert tokens.cut("valve stuck, open", 3) == ("valve stuck,", 3)
    assert tokens.cut("valve stuck", 9) == ("valve stuck", 2)
    assert tokens.cut("valve stuck", 0) == ("", 0)


def test_a_word_without_end_is_no_way_around_the_budget() -> None:
    found = [passage("Key", "0f" * 1000) for _ in range(20)]
    told = messages("what is the key", found, 10, words())[-1]["content"]
    assert len(told) < 10 * (CHARACTERS_PER_TOKEN + 8)
