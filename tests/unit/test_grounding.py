import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.copilot.answer.grounding import claim, support
from ray_apps.copilot.evidence.passages import Passage, quotes
from ray_apps.copilot.language.text import sentences, spoken
from ray_apps.copilot.language.words import content_words

PASSAGE = Passage(
    "e421.md",
    "E421: Vibration high",
    "lake://acme/documents/e421.md",
    "Meaning",
    "On the HX-200, E421 is raised when vibration stays above 52 for two hours. Do not restart the pump.\n\n"
    "- Stop the pump and isolate it.\n- Check the coupling for wear.",
    100,
)


def vectors(texts):
    """Bag-of-words vectors: enough geometry to tell sentences apart without a model."""
    vocabulary = sorted({word for text in texts for word in content_words(text)})
    rows = np.array(
        [[word in content_words(text) for word in vocabulary] for text in texts], dtype=np.float32
    )
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def supported(claim, passage=PASSAGE):
    sources = quotes([passage])
    embedded = vectors([claim, *(quote.text for quote in sources)])
    found = support(claim, embedded[0], sources, embedded[1:])
    return sources[found.quote].text if found else None


def test_a_part_of_a_code_or_of_a_device_is_no_word():
    words = content_words("HX-200, machine-006, e-mail --force node_exporter 3-phase word--other")
    assert {"hx", "machine"}.isdisjoint(words)
    assert words >= {"e-mail", "forc", "node", "phase", "word", "other"}


def test_a_true_claim_finds_its_sentence():
    assert supported("E421 is raised on the HX-200 when vibration stays above 52.") is not None
    assert supported("Stop the pump and isolate it.") == "- Stop the pump and isolate it."


def test_a_claim_of_two_words_is_not_supported_however_they_stand_in_a_sentence():
    assert supported("The coupling is wear.") is None


@pytest.mark.parametrize(
    "claim",
    [
        "On the HX-200, E421 is raised when vibration stays above 62 for two hours.",
        "On the HX-450, E421 is raised when vibration stays above 52 for two hours.",
        "On the HX-200, E313 is raised when vibration stays above 52 for two hours.",
        "Restart the pump.",
        "The gear box contains synthetic oil.",
        "",
    ],
)
def test_a_changed_number_code_or_negation_is_not_supported(claim):
    assert supported(claim) is None


LIMITS = replace(
    PASSAGE,
    text="The alarm is raised when vibration stays above 52mm/s for two hours. Store the unit below -5 °C "
    "before the seal is fitted. The gap of the coupling is set to 1,5 mm. Wait for two hours.",
)


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("The alarm is raised when vibration stays above 52 mm/s for 2h.", True),
        ("The alarm is raised when vibration stays above 99mm/s for two hours.", False),
        ("The alarm is raised when vibration stays above 52mm/s for nine hours.", False),
        ("Store the unit below \u22125 °C before the seal is fitted.", True),
        ("Store the unit below 5 °C before the seal is fitted.", False),
        ("The gap of the coupling is set to 1.5 mm.", True),
        ("The gap of the coupling is set to 15 mm.", False),
        ("Two hours.", False),
    ],
)
def test_a_number_holds_in_another_spelling_and_not_in_another_size(claim: str, holds: bool):
    assert (supported(claim, LIMITS) is not None) is holds


@given(st.text(alphabet="ab. \n-|#1)!*", max_size=200))
def test_spans_of_sentences_are_exact_and_leave_no_text_out(text):
    spans = sentences(text)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert [end for _, end in spans] == sorted(end for _, end in spans)
    covered = "".join(text[start:end] for start, end in spans)
    assert sorted(set("ab1#|*") & set(text)) == sorted(set("ab1#|*") & set(covered))


def test_an_echoed_title_is_cut_off_and_a_stutter_dropped():
    title = "E421: Vibration high"
    assert claim(f"{title} {title} - E421 means a **leak**.", [title, ""]) == "E421 means a leak."
    assert claim("Stop the pump and stop the pump again.", []) == ""


def whole(pieces):
    async def written():
        for piece in pieces:
            yield piece

    async def read():
        return [sentence async for sentence in spoken(written())]

    return asyncio.run(read())


@given(st.text(alphabet='ab. \n-|#1)!*"', max_size=120), st.lists(st.integers(1, 9), max_size=40))
def test_a_text_in_pieces_has_the_sentences_of_the_whole(text, sizes):
    pieces, start = [], 0
    for size in sizes:
        pieces.append(text[start : start + size])
        start += size
    pieces.append(text[start:])
    assert whole(pieces) == [text[start:end] for start, end in sentences(text)]


def test_a_sentence_is_spoken_before_the_next_one_is_written():
    written = []

    async def writing():
        for piece in ("1. Stop", " the pump.", " Then", " wait."):
            written.append(piece)
            yield piece

    async def first():
        return await anext(spoken(writing()))

    assert asyncio.run(first()) == "1. Stop the pump."
    assert written == ["1. Stop", " the pump.", " Then"]


def test_markup_is_no_sentence():
    table = '<td class="x">reads the battery</td><td class="x">and no alarm at all</td>'
    page = replace(PASSAGE, text=f"{table}\n\nIt <b>beeps</b> at once.")
    assert [quote.text for quote in quotes([page])] == ["It <b>beeps</b> at once."]
