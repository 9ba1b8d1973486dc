"""Precedents: questions of which it is known what answers them, so that one like them finds the same.

They bridge the words of those who ask and those of the documents: a symptom as operators tell it, and the
runbook that solved it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexes.codes import codes_in
from indexes.vector import Vectors

ALIKE = 0.6
"""Cosine of two questions below which they have nothing in common. Of SciFact's training questions, each
without itself, .5 gained as much, but cost where no other asks for the same document; .7 gained less."""
MOST_DOCUMENTS = 20
"""Documents that a search has from precedents: those of the questions most alike."""


@dataclass(frozen=True)
class Precedents:
    """Questions and a document that answers each: n pairs, and the questions' unit vectors (n, d).

    Raises `ValueError` where their numbers differ or a vector is not finite.
    """

    questions: Sequence[str] = ()
    uris: Sequence[str] = ()
    vectors: Vectors | None = None

    def __post_init__(self) -> None:
        vectors = np.empty((0, 0), np.float32) if self.vectors is None else self.vectors
        counts = (len(self.questions), len(self.uris), len(vectors))
        if len(set(counts)) != 1 or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise ValueError(
                f"precedents need as many finite vectors as questions and documents; got {counts}"
            )

    @classmethod
    def load(cls, path: Path) -> Precedents:
        """Those that `save` wrote."""
        table = pq.read_table(path)
        vectors = np.stack(table["vector"].to_numpy()).astype(np.float32)
        return cls(table["question"].to_pylist(), table["uri"].to_pylist(), vectors)

    def save(self, path: Path) -> None:
        """Write them as Parquet; at least one."""
        vectors = [] if self.vectors is None else list(self.vectors)
        columns = {"question": self.questions, "uri": self.uris, "vector": vectors}
        pq.write_table(pa.table(columns), path, compression="zstd")

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def dimension(self) -> int:
        """Length of one vector; 0 where there is none."""
        return 0 if self.vectors is None else int(self.vectors.shape[1])

    def same(self, other: Precedents) -> bool:
        """Whether the other has the same pairs, in whatever order."""
        return set(zip(self.questions, self.uris, strict=True)) == set(
            zip(other.questions, other.uris, strict=True)
        )

    def without(self, question: str) -> Precedents:
        """All but those of this question, however it is typed: to measure how it would be answered if it were
        new."""
        plain = _plain(question)
        if self.vectors is None or plain not in self._plain_questions:
            return self
        kept = [at for at, each in enumerate(self._plain_questions) if each != plain]
        questions, uris = [self.questions[at] for at in kept], [self.uris[at] for at in kept]
        return Precedents(questions, uris, self.vectors[kept])

    def answers(self, query: str, vector: Vectors) -> dict[str, float]:
        """The documents (URIs) that answer questions like this one, of unit vector (d,), and how alike the
        most alike of these is: above 0, and 1 for the same. Questions that name other codes are not alike."""
        found: defaultdict[str, float] = defaultdict(float)
        if self.vectors is None:
            return found
        codes, cosines = codes_in(query), self.vectors @ vector
        for at in np.flatnonzero(cosines > ALIKE):
            if _codes_in(self.questions[at]) == codes:
                alike = (float(cosines[at]) - ALIKE) / (1 - ALIKE)
                found[self.uris[at]] = max(found[self.uris[at]], min(alike, 1.0))
        return dict(sorted(found.items(), key=lambda item: -item[1])[:MOST_DOCUMENTS])

    @cached_property
    def _plain_questions(self) -> list[str]:
        return [_plain(question) for question in self.questions]


@lru_cache(maxsize=10_000)  # the same questions are near many
def _codes_in(question: str) -> frozenset[str]:
    return frozenset(codes_in(question))


def _plain(question: str) -> str:
    """A question without what only typing tells apart."""
    return " ".join(question.casefold().split()).strip(".?! ")
