from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from benchmarks.retrieval.chunks import FixedSize
from benchmarks.retrieval.passages import of_markdown
from benchmarks.retrieval.semantic import SemanticCutter, chunk_semantically
from indexes.vector import Vectors
from pipelines.knowledge.chunking import chunk_documents, room_for, spans
from pipelines.knowledge.documents import document_id
from pipelines.knowledge.extracted import DocumentRefused
from tests.unit.test_chunking import LIMIT, MARKDOWN, document, words

SUBJECTS = ("pump", "filter", "valve")


def by_subject(texts: list[str]) -> Vectors:
    """Vectors that say which subject a text is of."""
    counts = np.array([[text.count(subject) for subject in SUBJECTS] for text in texts], np.float32)
    unit: Vectors = (counts + 1e-3) / np.linalg.norm(counts + 1e-3, axis=-1, keepdims=True)
    return unit


@settings(max_examples=200)
@given(MARKDOWN)
def test_semantic_spans_are_exact_fit_and_cover_any_markdown(text: str) -> None:
    try:
        doc = document("---\ntitle: Pump\n---\n" + text)
    except DocumentRefused:
        return
    at = doc.body_start
    for span in spans(doc, words, LIMIT, partial(SemanticCutter, encode=by_subject)):
        assert at <= span.start < span.end
        assert not doc.source[at : span.start].strip(), "something between two chunks was lost"
        assert words([doc.source[span.start : span.end]])[0] <= room_for(doc, span.path, words, LIMIT)
        at = span.end
    assert not doc.source[at:].strip(), "the end was lost"


def test_a_section_that_does_not_fit_is_cut_where_the_subject_changes() -> None:
    doc = document("# P\n\n" + "Check the pump. " * 10 + "Clean the filter. " * 14)
    texts = chunk_semantically([doc], words, LIMIT + 10, by_subject)["text"].to_pylist()
    greedy = chunk_documents([doc], words, LIMIT + 10)["text"].to_pylist()
    assert len(texts) == len(greedy) == 2
    assert ["pump" in text and "filter" in text for text in texts] == [False, False]
    assert any("pump" in text and "filter" in text for text in greedy)


def test_what_fits_is_cut_as_the_product_does() -> None:
    doc = document("# P\n\nThe pump runs.\n\n## Filter\n\nThe valve is shut.\n")
    assert chunk_semantically([doc], words, 256, by_subject) == chunk_documents([doc], words, 256)


def fixed_size(overlap: float) -> FixedSize:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return FixedSize(words, LIMIT, tokenizer, overlap)


def test_fixed_windows_cover_the_body_and_fit() -> None:
    doc = document("# Pump\n\n" + "a sentence, of words. " * 90)
    for overlap in (0.0, 0.2):
        windows = fixed_size(overlap).windows(doc)
        texts = [doc.source[window.start : window.end] for window in windows]
        assert max(words(texts)) <= room_for(doc, (), words, LIMIT)
        assert all(left.end >= right.start - 1 for left, right in pairwise(windows))
        assert windows[0].start == 0
        assert windows[-1].end == len(doc.source.rstrip())
        shared = sum(left.end - right.start for left, right in pairwise(windows))
        assert (shared > 0) == (overlap > 0)


def test_questions_point_to_the_middle_of_the_section_they_are_made_of(tmp_path: Path) -> None:
    for name in SUBJECTS:
        body = "\n\n".join(f"{name}{number} alpha{name} beta{name} gamma" for number in range(120))
        (tmp_path / f"{name}.md").write_text(f"# The {name}\n\n## Care of the {name}\n\n{body}\n")
    labelled = of_markdown(tmp_path, None, None)
    assert len(labelled.questions) == 2 * len(SUBJECTS)
    sources = {each.doc_id: each.source for each in labelled.documents}
    assert sorted(sources) == sorted(document_id(f"{name}.md") for name in SUBJECTS)
    for asked in labelled.questions:
        ((name, place),) = asked.places
        assert asked.grades == {name: 1}
        passage = sources[name][place - 250 : place + 250].lower()
        assert asked.text.startswith("What") or all(word in passage for word in asked.text.split())
