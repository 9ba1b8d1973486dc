import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.copilot.grounding import Passage, claims, content_words, facts, quotes, sentences, support

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


def supported(claim):
    sources = quotes([PASSAGE])
    embedded = vectors([claim, *(quote.text for quote in sources)])
    found = support([claim], embedded[:1], sources, embedded[1:])[0]
    return sources[found.quote].text if found else None


def test_a_true_claim_finds_its_sentence():
    assert supported("E421 is raised on the HX-200 when vibration stays above 52.") is not None
    assert supported("Stop the pump and isolate it.") == "- Stop the pump and isolate it."


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


def test_facts_are_numbers_and_codes():
    assert facts("On the HX-200, wait 1,500 s or 2.5 h after E421.") == {"hx-200", "1500", "2.5", "e421"}


@given(st.text(alphabet="ab. \n-|#1)!*", max_size=200))
def test_spans_of_sentences_are_exact_and_leave_no_text_out(text):
    spans = sentences(text)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert [end for _, end in spans] == sorted(end for _, end in spans)
    covered = "".join(text[start:end] for start, end in spans)
    assert sorted(set("ab1#|*") & set(text)) == sorted(set("ab1#|*") & set(covered))


def test_an_echoed_title_is_cut_off_and_a_stutter_dropped():
    title = "E421: Vibration high"
    draft = f"{title} E421 means too much vibration. {' '.join([title] * 9)} E421. Stop it at once."
    assert claims(draft, [title, ""]) == ["E421 means too much vibration.", "E421.", "Stop it at once."]
    stutter = "Stop the pump and stop the pump again. Stop the pump. Stop the pump."
    assert claims(stutter, []) == ["Stop the pump."]
