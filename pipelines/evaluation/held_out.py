"""Questions parted by the documents that answer them, so that nothing learned from one part answers another.

Two questions often have the same answer (a claim and its contrary, a code and its name): what is fitted to
the one would be flattered by the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipelines.evaluation.known_items import Question


def place(uri: str) -> float:
    """Where a document stands in 0..1, the same each time, however many others there are."""
    return int.from_bytes(hashlib.sha256(uri.encode()).digest()[:8]) / 2**64


def of_part(questions: Sequence[Question], start: float, end: float) -> list[Question]:
    """The questions all of whose relevant documents stand in start <= place < end."""
    return [
        question
        for question in questions
        if all(start <= place(uri) < end for uri, grade in question.grades.items() if grade > 0)
    ]
