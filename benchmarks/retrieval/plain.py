"""What people would pick instead: bm25s and a sentence encoder over whole documents, fused by min-max."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import bm25s
import numpy as np
import snowballstemmer
from numpy.typing import NDArray

from benchmarks.retrieval.systems import DEPTH, Run
from indexes.encoder import SentenceEncoder
from indexes.vector import Vectors
from pipelines.knowledge.documents import Document

FUSED = 50
"""Documents of each ranking that are fused."""
STEMMER = snowballstemmer.stemmer("english")


def plain_runs(
    documents: Sequence[Document], queries: Mapping[str, str], vectors: Vectors, encoder: SentenceEncoder
) -> dict[str, Run]:
    """Runs of bm25s as it comes (with its English stop words and a stemmer), of the encoder, and of both."""
    names = [document.doc_id for document in documents]
    texts = [f"{document.about.title} {document.source}".strip() for document in documents]
    index = bm25s.BM25()
    index.index(_tokens(texts), show_progress=False)
    asked = _tokens(list(queries.values()))
    stored = encoder.encode(texts)
    runs: dict[str, Run] = {"plain: bm25s": {}, "plain: dense": {}, "plain: min-max": {}}
    for query, words, vector in zip(queries, asked, vectors, strict=True):
        known = [word for word in words if word in index.vocab_dict]
        bm25 = index.get_scores(known) if known else np.zeros(len(names), np.float32)
        near = stored @ vector
        for system, scores in zip(runs, (bm25, near, _fused(bm25, near)), strict=True):
            best = np.argsort(-scores, kind="stable")[:DEPTH]
            runs[system][query] = {names[at]: float(scores[at]) for at in best}
    return runs


def _tokens(texts: list[str]) -> list[list[str]]:
    found: list[list[str]] = bm25s.tokenize(
        texts, stopwords="en", stemmer=STEMMER.stemWords, return_ids=False, show_progress=False
    )
    return found


def _fused(*rankings: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each ranking's first documents' scores, scaled to 0..1; 0 for those it does not have."""
    fused = np.zeros_like(rankings[0])
    for scores in rankings:
        best = np.argpartition(-scores, FUSED)[:FUSED]
        low, high = scores[best].min(), scores[best].max()
        fused[best] += (scores[best] - low) / max(high - low, 1e-9) / len(rankings)
    return fused
