"""How good the chunks of a corpus are for search, question by question.

A passage is found where a chunk's span covers its middle.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.retrieval.passages import Asked
from benchmarks.retrieval.systems import DEPTH, indexed
from indexes.encoder import SentenceEncoder
from indexes.hits import Hit
from indexes.hybrid import HybridIndex, search_all
from indexes.schema import passage
from indexes.vector import Vectors
from pipelines.evaluation.measures import ndcg, recall
from pipelines.knowledge.build import EmbeddingModel

RESAMPLES = 2000
FIRST_HITS = 5
BUDGET = 1000
"""Tokens of passages that a small model is given: of small chunks it reads more."""

Values = NDArray[np.float64]


@dataclass
class Embedding:
    """The shelf's model, and the seconds that it spent."""

    model: EmbeddingModel
    encoder: SentenceEncoder
    tokenizer: Tokenizer
    seconds: float = 0.0

    def encode(self, texts: list[str]) -> Vectors:
        """Unit vectors (n, d)."""
        started = time.perf_counter()
        vectors = self.encoder.encode(texts)
        self.seconds += time.perf_counter() - started
        return vectors


def judged(asked: Asked, hits: list[Hit], tokens: dict[str, int]) -> dict[str, float]:
    """The measures of one question, each 0 to 1; of passages where their place is known."""
    documents = list(dict.fromkeys(hit.doc_id for hit in hits))
    found = {"ndcg@10": ndcg(documents, asked.grades), "recall@10": recall(documents, asked.grades)}
    if not asked.places:
        return found
    covering = (rank for rank, hit in enumerate(hits, start=1) if _covers(hit, asked))
    rank = next(covering, DEPTH + 1)
    read = sum(tokens[hit.chunk_id] for hit in hits[:rank])
    return found | {
        f"passage hit@{FIRST_HITS}": float(rank <= FIRST_HITS),
        "passage MRR@10": 1 / rank if rank <= 10 else 0.0,
        f"passage in {BUDGET} tokens": float(rank <= DEPTH and read <= BUDGET),
    }


def _covers(hit: Hit, asked: Asked) -> bool:
    return any(hit.doc_id == name and hit.start <= place < hit.end for name, place in asked.places)


def measured(
    questions: list[Asked], vectors: Vectors, chunks: pa.Table, embedding: Embedding
) -> dict[str, Any]:
    """What questions (n) of known vectors (n, d) find: the chunks' number and size, each measure's values."""
    columns = (chunks[name].to_pylist() for name in ("title", "section", "text"))
    texts = [passage(*each) for each in zip(*columns, strict=True)]
    sizes = embedding.model.count_tokens(texts)
    tokens = dict(zip(chunks["chunk_id"].to_pylist(), sizes, strict=True))
    with indexed(chunks, embedding.encode(texts), embedding.model) as snapshot:
        index = HybridIndex(snapshot)
        rows = [
            judged(each, search_all([index], each.text, vector, DEPTH), tokens)
            for each, vector in zip(questions, vectors, strict=True)
        ]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        "chunks": chunks.num_rows,
        "mean_tokens": float(np.mean(sizes)),
        "embed_seconds": embedding.seconds,
        "values": values,
    }


def interval(values: Values) -> dict[str, float]:
    """The mean over questions and its 95 % interval (percentile bootstrap)."""
    chosen = np.random.default_rng(1).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
