"""The ways to cut documents that are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from tokenizers import Tokenizer

from benchmarks.retrieval.semantic import Encode, chunk_semantically
from pipelines.knowledge.build import EmbeddingModel
from pipelines.knowledge.chunking import CHUNKER, Span, TokenCounter, chunk_documents, chunk_table, room_for
from pipelines.knowledge.documents import Document

OVERLAP = 0.2
SMALL = 128

Chunk = Callable[[list[Document]], pa.Table]
"""Documents to a table of `CHUNK_SCHEMA`."""


@dataclass(frozen=True)
class FixedSize:
    """Windows of as many tokens as fit the model beside the title, whatever the text's structure."""

    count: TokenCounter
    limit: int
    """The model's input size in tokens."""
    tokenizer: Tokenizer
    overlap: float = 0.0
    """The share of a window that the next one repeats."""

    def __call__(self, documents: list[Document]) -> pa.Table:
        """The windows of documents as a table of `CHUNK_SCHEMA`."""
        return pa.concat_tables([chunk_table(each, self.windows(each)) for each in documents])

    def windows(self, document: Document) -> list[Span]:
        """The spans of one document in order; each begins and ends between words where there is one."""
        body = document.source[document.body_start :]
        offsets: list[tuple[int, int]] = self.tokenizer.encode(body, add_special_tokens=False).offsets
        size = room_for(document, (), self.count, self.limit)
        found, start = list[Span](), 0
        while start < len(offsets):
            end = _word_start(offsets, min(start + size, len(offsets)), start + size // 2)
            first, last = (document.body_start + at for at in (offsets[start][0], offsets[end - 1][1]))
            found.append(Span(first, last, (), end - start))
            if end == len(offsets):
                break
            start = _word_start(offsets, end - int(size * self.overlap), start + 1)
        return found


def _word_start(offsets: list[tuple[int, int]], token: int, least: int) -> int:
    """The last token up to this one, not before `least`, that has a space before it."""
    if token == len(offsets):
        return token
    starts = (at for at in range(token, least, -1) if offsets[at][0] > offsets[at - 1][1])
    return next(starts, token)


def chunkers(model: EmbeddingModel, tokenizer: Tokenizer, encode: Encode) -> dict[str, Chunk]:
    """By name; the product's own under its own name."""
    count, limit = model.count_tokens, model.max_tokens
    return {
        f"fixed, {limit} tokens": FixedSize(count, limit, tokenizer),
        f"fixed, {limit} tokens, {OVERLAP:.0%} overlap": FixedSize(count, limit, tokenizer, OVERLAP),
        CHUNKER: lambda documents: chunk_documents(documents, count, limit),
        f"{CHUNKER}, {SMALL} tokens": lambda documents: chunk_documents(documents, count, SMALL),
        "semantic": lambda documents: chunk_semantically(documents, count, limit, encode),
    }
