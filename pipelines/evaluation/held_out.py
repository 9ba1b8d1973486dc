"""Questions parted by the documents that answer them, so that nothing learned from one part answers another.

Two questions often have the same answer (a claim and its contrary, a code and its name): what is fitted to
the one would be flattered by the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipelines.evaluation.known_items import Question


def place(name: str) -> float:
    """Where a document, or whatever has a name, stands in 0 <= place < 1, by its hash alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def of_part(questions: Sequence[Question], start: float, end: float) -> list[Question]:
    """The questions all of whose relevant documents stand in start <= place < end."""
    return [
        question
        for question in questions
        if all(start <= place(uri) < end for uri, grade in question.grades.items() if grade > 0)
    ]
