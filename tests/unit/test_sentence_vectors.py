"""Vectors of sentences are asked for once per tenant."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest
from ray.serve.handle import DeploymentHandle

from iotops.tenancy import Tenant
from ray_apps.copilot.evidence.sentence_vectors import SentenceVectors

ACME, RIVAL = Tenant("acme"), Tenant("rival")


class Lengths:
    """An embedder whose vectors are the texts' lengths, and that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.encode = self
        self.fails = False

    async def remote(self, texts: list[str]) -> np.ndarray:
        self.asked.append(texts)
        if self.fails:
            raise RuntimeError("the embedder is gone")
        return np.array([[len(text)] for text in texts], np.float32)


@pytest.fixture
def embedder() -> Lengths:
    return Lengths()


def of(vectors: SentenceVectors, tenant: Tenant, *texts: str) -> list[float]:
    return asyncio.run(vectors.of(tenant, texts))[:, 0].tolist()


def test_each_sentence_is_embedded_once_in_the_order_asked(embedder: Lengths):
    vectors = SentenceVectors(cast(DeploymentHandle, embedder))
    assert of(vectors, ACME, "aa", "b", "aa") == [2, 1, 2]
    assert of(vectors, ACME, "ccc", "aa") == [3, 2]
    assert of(vectors, ACME, "b") == [1]
    assert embedder.asked == [["aa", "b"], ["ccc"]]


def test_a_tenant_is_never_served_from_what_another_had_embedded(embedder: Lengths):
    vectors = SentenceVectors(cast(DeploymentHandle, embedder))
    assert of(vectors, ACME, "aa") == of(vectors, RIVAL, "aa")
    assert embedder.asked == [["aa"], ["aa"]]


def test_more_sentences_than_are_kept_are_answered_all_the_same(embedder: Lengths):
    vectors = SentenceVectors(cast(DeploymentHandle, embedder), most=2)
    assert of(vectors, ACME, "a", "bb", "ccc") == [1, 2, 3]
    assert of(vectors, ACME, "a", "ccc") == [1, 3]
    assert embedder.asked == [["a", "bb", "ccc"], ["a"]]


def test_who_asks_at_the_same_time_waits_for_the_same_answer_and_takes_it_from_nobody_by_leaving(
    embedder: Lengths,
):
    vectors = SentenceVectors(cast(DeploymentHandle, embedder))

    async def run() -> None:
        first = asyncio.create_task(vectors.of(ACME, ["aa", "b"]))

        async def leave() -> None:
            first.cancel()

        waiting = first, vectors.of(ACME, ["b", "ccc", "aa"]), leave()
        left, stayed, _ = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(left, asyncio.CancelledError)
        assert isinstance(stayed, np.ndarray)
        assert stayed[:, 0].tolist() == [1, 3, 2]

    asyncio.run(run())
    assert embedder.asked == [["aa", "b"], ["ccc"]]


def test_after_a_failure_a_sentence_is_asked_for_again(embedder: Lengths):
    vectors = SentenceVectors(cast(DeploymentHandle, embedder))
    embedder.fails = True
    with pytest.raises(RuntimeError, match="gone"):
        of(vectors, ACME, "aa")
    embedder.fails = False
    assert of(vectors, ACME, "aa") == [2]
