"""The library's own search, timed by stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.figures import latencies
from benchmarks.retrieval_speed.corpus import Model
from benchmarks.retrieval_speed.scorer import reranked
from indexes.cross_encoder import RelevanceScorer
from indexes.hybrid import HybridIndex, Timings, search_all
from indexes.vector import Vectors

TOP_K = 10
STAGES = ("embed", "vector", "bm25", "fuse", "rerank")
POOL = 20
"""Hits that are reranked, as the retriever has it."""


@dataclass(frozen=True)
class Search:
    """One search, in milliseconds; `stages` are of its parts."""

    total: float
    stages: dict[str, float]


def measured(
    index: HybridIndex,
    model: Model,
    texts: list[str],
    vectors: Vectors | None,
    clients: int,
    scorer: RelevanceScorer | None = None,
) -> dict[str, Any]:
    """Latencies, searches per second and the stages' medians, after a few searches to warm up."""

    def one(at: int) -> Search:
        return search([index], model, texts[at], None if vectors is None else vectors[at], scorer)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(min(10, len(texts)))))
        started = time.perf_counter()
        found = list(pool.map(one, range(len(texts))))
        spent = time.perf_counter() - started
    stages = {name: float(np.median([each.stages[name] for each in found])) for name in STAGES}
    totals = latencies([each.total for each in found])
    return {**totals, "per_s": len(texts) / spent, "stages_ms": stages}


def search(
    indexes: Sequence[HybridIndex],
    model: Model,
    text: str,
    vector: Vectors | None,
    scorer: RelevanceScorer | None = None,
) -> Search:
    """Search for the best `TOP_K`, of which a scorer puts the best first; the query is embedded unless its
    vector is given."""
    started = time.perf_counter()
    if vector is None:
        vector = model.encoder.encode([text])[0]
        embed = (time.perf_counter() - started) * 1000
    else:
        embed = 0.0
    spent = Timings()
    hits = search_all(indexes, text, vector, POOL if scorer else TOP_K, spent=spent)
    found = time.perf_counter()
    if scorer:
        reranked(scorer, text, hits)
    ended = time.perf_counter()
    stages = {"embed": embed, **asdict(spent), "rerank": (ended - found) * 1000}
    return Search((ended - started) * 1000, stages)
