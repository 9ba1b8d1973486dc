"""What a search does without its embedder or its reranker, and how it tells a failed one from none."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from ray.serve.handle import DeploymentHandle

from indexes.hits import Hit, HitScores
from ray_apps.retriever import EMBEDDER, RERANKER, UNAVAILABLE, embedded, reranked


class Handle:
    """Of a deployment that answers each call so, or fails."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.score = self.encode_query = self

    async def remote(self, *given: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def handle(answer: Any) -> DeploymentHandle:
    return cast(DeploymentHandle, Handle(answer))


def hit(name: str, score: float) -> Hit:
    scores = HitScores(vector=None, bm25=None, rerank=None, freshness=1.0)
    return Hit(name, name, "", "", "", name, 0, 1, "", "", [], [], [], None, score, scores)


HITS = [hit("a", 0.9), hit("b", 0.1)]


@pytest.mark.parametrize(
    ("answer", "order", "timing", "failed"),
    [
        ([0.0, 5.0], ["b", "a"], float, set()),
        (None, ["a", "b"], UNAVAILABLE, set()),
        (RuntimeError("gone"), ["a", "b"], UNAVAILABLE, {RERANKER}),
    ],
    ids=["reranks", "has no model", "fails"],
)
def test_a_reranker_that_fails_is_told_from_one_without_a_model(
    answer: Any, order: list[str], timing: Any, failed: set[str]
):
    told: set[str] = set()
    hits, took = asyncio.run(reranked(handle(answer), "query", HITS, 1.0, "", told))
    assert [each.doc_id for each in hits] == order
    assert isinstance(took, float) if timing is float else took == timing
    assert told == failed
    assert asyncio.run(reranked(handle(answer), "query", HITS, 0, "", set())) == (HITS, None)


def test_a_query_that_cannot_be_embedded_is_told():
    told: set[str] = set()
    assert asyncio.run(embedded(handle(RuntimeError("gone")), "query", told)) == (None, UNAVAILABLE)
    assert told == {EMBEDDER}
    vector, took = asyncio.run(embedded(handle(np.ones(3)), "query", healthy := set[str]()))
    assert vector is not None
    assert (vector.tolist(), type(took), healthy) == ([1, 1, 1], float, set())
