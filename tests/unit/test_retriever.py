"""What a search does without its embedder or its reranker, and how it tells a failed one from none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem
from ray.serve.handle import DeploymentHandle

from indexes.hits import Hit, HitScores
from indexes.live import LiveIndex, Refreshes
from indexes.snapshot import Snapshot
from iotops.errors import SnapshotError
from ray_apps.retriever import (
    EMBEDDER,
    RERANKER,
    SHARED_INDEX,
    UNAVAILABLE,
    current,
    embedded,
    identified,
    reranked,
)
from tests.unit.shelves import EMBEDDER as KNOWN
from tests.unit.shelves import damage, published

HUNG = object()
PATIENCE_S = 60


class Handle:
    """Of a deployment that answers each call so, or fails; one that is `HUNG` never answers."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.score = self.encode_query = self.describe = self

    async def remote(self, *given: Any) -> Any:
        if self._answer is HUNG:
            await asyncio.Event().wait()
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


def test_an_embedder_that_hangs_is_waited_for_no_longer_than_words_can_wait():
    async def in_time() -> None:
        told: set[str] = set()
        waited = asyncio.wait_for(embedded(handle(HUNG), "query", told, 0.01), PATIENCE_S)
        assert (await waited, told) == ((None, UNAVAILABLE), {EMBEDDER})
        for known in (None, KNOWN):
            assert await asyncio.wait_for(identified(handle(HUNG), known, 0.01), PATIENCE_S) is known

    asyncio.run(in_time())
    assert asyncio.run(identified(handle(KNOWN.model_dump()), None)) == KNOWN
    assert asyncio.run(identified(handle(RuntimeError("gone")), KNOWN)) is None


def test_a_shared_index_that_cannot_be_read_is_told(tmp_path: Path):
    (tmp_path / "lake").mkdir()
    lake: FileSystem = SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())
    torn = published(lake, "shared/indexes", tmp_path, "text")
    damage(tmp_path / "lake" / "shared" / "indexes" / torn.snapshot_id / "vectors.faiss")

    async def found(*owners: str) -> tuple[tuple[Snapshot | None, Snapshot | None], set[str]]:
        told: set[str] = set()
        live = [LiveIndex(lake, owner, tmp_path / "cache") for owner in owners]
        return await current(Refreshes(), *live, told), told

    assert asyncio.run(found("acme", "shared")) == ((None, None), {SHARED_INDEX})
    assert asyncio.run(found("acme", "rival")) == ((None, None), set()), "there is none"
    with pytest.raises(SnapshotError, match="index of shared cannot be read"):
        asyncio.run(found("shared", "acme"))
