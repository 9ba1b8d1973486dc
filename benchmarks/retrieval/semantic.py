"""Semantic chunking: a section that does not fit is cut where its text changes the subject.

Structure goes first, as in the product: what fits stays whole. Where a section does not fit, its blocks (and
of a block that is too large its items, lines or sentences) are embedded, and the cuts go where the text
before is least like the text after, instead of wherever the limit is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes.vector import Vectors
from pipelines.knowledge.chunking import Cutter, Span, TokenCounter, chunk_table, fits, spans
from pipelines.knowledge.documents import Document
from pipelines.knowledge.sections import Section

WINDOW = 3
"""Pieces on each side of a cut that are compared."""

Encode = Callable[[list[str]], Vectors]
"""Unit vectors (n, d) of n texts."""


def chunk_semantically(
    documents: list[Document], count: TokenCounter, limit: int, encode: Encode
) -> pa.Table:
    """Chunks of documents as a table of `CHUNK_SCHEMA`; all their pieces are embedded in one call."""
    texts: dict[str, int] = {}

    def noted(pieces: list[str]) -> Vectors:
        for piece in pieces:
            texts.setdefault(piece, len(texts))
        return np.zeros((len(pieces), 1), np.float32)

    for document in documents:
        spans(document, count, limit, partial(SemanticCutter, encode=noted))
    vectors = encode(list(texts))

    def known(pieces: list[str]) -> Vectors:
        found: Vectors = vectors[[texts[piece] for piece in pieces]]
        return found

    cutter = partial(SemanticCutter, encode=known)
    return pa.concat_tables(
        [chunk_table(document, spans(document, count, limit, cutter)) for document in documents]
    )


@dataclass(frozen=True)
class SemanticCutter(Cutter):
    """Cuts a section that does not fit at its changes of subject."""

    encode: Encode

    def section(self, section: Section) -> list[Span]:
        """The spans that partition a section."""
        whole = super().section(section)
        if len(whole) == 1:
            return whole
        pieces = list(self._pieces([*section.blocks, section.end], 0))
        vectors = self.encode([self.source[piece.start : piece.end].strip() for piece in pieces])
        likeness = similarities(vectors, np.array([piece.tokens for piece in pieces], np.float64))
        return [replace(span, path=section.path) for span in least_alike(pieces, likeness, self.room)]

    def _pieces(self, bounds: list[int], depth: int) -> Iterator[Span]:
        """Blocks, items, lines or sentences: the largest that fit."""
        for piece in self._measured(bounds):
            ways = ((deeper, self._cuts(piece, deeper)) for deeper in range(depth, self.sentences + 1))
            if fits(piece, self.room):
                yield piece
            elif found := next(((deeper, cuts) for deeper, cuts in ways if cuts), None):
                yield from self._pieces([piece.start, *found[1], piece.end], found[0] + 1)
            else:
                yield from self._deeper(piece, self.sentences + 1)


def similarities(vectors: Vectors, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine (n - 1,) of the text before and after each place between n pieces, `WINDOW` of them each way.

    Hearst 1997, "TextTiling: Segmenting Text into Multi-paragraph Subtopic Passages", on sums of embeddings
    (n, d) weighted by size (n,) in the place of word counts. Unlike texts of opposite direction count as 0.
    """
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors * weights[:, None], axis=0)])
    places = np.arange(1, len(vectors))
    before = sums[places] - sums[np.maximum(places - WINDOW, 0)]
    after = sums[np.minimum(places + WINDOW, len(vectors))] - sums[places]
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines: NDArray[np.float64] = (before * after).sum(axis=1) / np.maximum(lengths, 1e-12)
    return np.maximum(cosines, 0.0)


def least_alike(pieces: list[Span], likeness: NDArray[np.float64], room: int) -> list[Span]:
    """The partition of n pieces into spans that fit, whose cuts have the least sum of likeness (n - 1,).

    A sum, so that a cut is made only where it saves dearer ones. Of equal partitions the one whose last spans
    are larger.
    """
    sizes = [0, *accumulate(piece.tokens for piece in pieces)]

    def whole(first: int, end: int) -> Span:
        return Span(pieces[first].start, pieces[end - 1].end, (), sizes[end] - sizes[first])

    least, come_from = [0.0], [0]
    for end in range(1, len(pieces) + 1):
        best, start = np.inf, end - 1
        for first in range(end - 1, -1, -1):
            if first < end - 1 and not fits(whole(first, end), room):
                break
            cost = least[first] + (likeness[first - 1] if first else 0.0)
            if cost <= best:
                best, start = cost, first
        least.append(best)
        come_from.append(start)
    cuts, end = [], len(pieces)
    while end:
        cuts.append((come_from[end], end))
        end = come_from[end]
    return [whole(first, end) for first, end in reversed(cuts)]
