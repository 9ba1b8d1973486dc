"""Known-item questions: made from a shelf's own titles, headings and codes, so that the answer is known.

They say whether retrieval still finds what it found, not how well it answers people's own questions, which
are in other words than the documents'.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from heapq import nsmallest

import pyarrow as pa

from indexes.codes import code_key, codes_in, keys
from pipelines.evaluation.measures import Grades

MOST_QUESTIONS = 200
MOST_ANSWERS = 3
"""A question that more documents answer, such as a heading of every manual, points at none of them."""
ABOUT_CODE = "What does {} mean and what should I do about it?"
ABOUT = "What should I know about {}?"
_AT_ONCE = 1_000
COLUMNS = ["uri", "title", "section", "error_codes"]


@dataclass(frozen=True)
class Question:
    """What is asked, and how relevant each document (its URI) is to it; one at least is above 0."""

    text: str
    grades: Grades


def known_items(chunks: pa.Table, limit: int = MOST_QUESTIONS) -> list[Question]:
    """At most `limit` questions on the documents of a chunk table, the same ones for the same table.

    They ask for each error code, each title without its codes, and each heading. The sample follows the
    questions' hashes: a new document displaces few of the others' questions.
    """
    codes, subjects = _Codes(), defaultdict[str, set[str]](set)
    for batch in chunks.select(COLUMNS).to_batches(max_chunksize=_AT_ONCE):
        for row in batch.to_pylist():
            uri, title, declared = row["uri"], row["title"], row["error_codes"]
            codes.add(uri, title, declared)
            heading = row["section"].rpartition(" > ")[2]
            for subject in (_without_codes(title, declared), heading):
                if subject:
                    _note(subjects[ABOUT.format(subject)], uri)
    answers = codes.questions() | subjects
    asked = (text for text, uris in answers.items() if len(uris) <= MOST_ANSWERS)
    return [
        Question(text, dict.fromkeys(sorted(answers[text]), 1)) for text in nsmallest(limit, asked, _digest)
    ]


def _note(answers: set[str], uri: str) -> None:
    """Note one answer more; of too many only that they are too many."""
    if len(answers) <= MOST_ANSWERS:
        answers.add(uri)


class _Codes:
    """Which documents declare an error code, and which of them are named after it."""

    def __init__(self) -> None:
        self._spelled: dict[str, str] = {}
        self._declared = defaultdict[str, set[str]](set)
        self._named = defaultdict[str, set[str]](set)

    def add(self, uri: str, title: str, declared: list[str]) -> None:
        in_title = codes_in(title)
        for code in declared:
            key = code_key(code)
            self._spelled[key] = min(code, self._spelled.get(key, code))
            _note(self._declared[key], uri)
            if key in in_title:
                _note(self._named[key], uri)

    def questions(self) -> dict[str, set[str]]:
        """By question the articles on the code: those named after it, else all that declare it."""
        return {
            ABOUT_CODE.format(code): self._named.get(key) or self._declared[key]
            for key, code in self._spelled.items()
        }


def _without_codes(title: str, declared: list[str]) -> str:
    """The title as one who does not know the code would say it: `E421: Vibration high` is its last words."""
    codes = keys(declared)
    return " ".join(word for word in title.split() if not codes & keys([word.strip(".,:;()[]")])).strip(
        " -–—:,;"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
