"""The retriever: hybrid search over a tenant's index and the shared one.

Tenants are multiplexed models: a replica keeps the indexes of its hot tenants mapped and drops the coldest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import asdict
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow.compute as pc
from ray import serve
from ray.serve.handle import DeploymentHandle

from indexes.filters import Filters
from indexes.hits import Hit, rerank
from indexes.hybrid import HybridIndex, Ranking, Timings, search_all
from indexes.live import LiveIndex, Refreshes
from indexes.schema import passage
from indexes.snapshot import EmbedderId, Snapshot
from indexes.vector import Vectors
from iotops.lake import lake_filesystem
from iotops.metrics import EMPTY_RESULTS, RETRIEVAL_DURATION
from iotops.settings import get_settings
from iotops.tenancy import SHARED_PREFIX, Tenant

logger = logging.getLogger(__name__)

TENANTS_PER_REPLICA = 32
RERANK_POOL = 20
"""Hits that the reranker reads at least; each costs a pass of the cross-encoder."""
UNAVAILABLE = "unavailable"
EMBEDDER, RERANKER = "embedder", "reranker"


@serve.deployment
class Retriever:
    """Answers searches; `embedder` and `reranker` are handles of deployments, either may have no model."""

    def __init__(self, embedder: DeploymentHandle, reranker: DeploymentHandle, ranking: Ranking) -> None:
        settings = get_settings()
        self._embedder, self._reranker, self._ranking = embedder, reranker, ranking
        self._lake = lake_filesystem(settings.lake)
        self._cache = settings.home / "index-cache"
        self._shared = LiveIndex(self._lake, SHARED_PREFIX, self._cache)
        self._refreshes = Refreshes()
        self._model: EmbedderId | None = None
        self._identifying: asyncio.Task[None] | None = None

    async def search(
        self,
        tenant_id: str,
        query: str,
        top_k: int = 10,
        filters: dict[str, Any] | None = None,
        vector: Vectors | None = None,
    ) -> dict[str, Any]:
        """The `top_k` best chunks for a query: `hits` and `timings_ms` as `POST /search` answers them.

        `vector` is the query's (d,) by the embedder, where the caller has it.
        `index` and `shared_index` are the snapshots searched, None where there is none. Where the query
        cannot be embedded, words alone are searched and `timings_ms` says "unavailable", as it does for the
        reranker. `failed` names the parts that there are and that did not answer: a moment later the ranking
        may be another.
        """
        started = time.perf_counter()
        wanted = Filters.of(filters)
        tenant, shared = await self._snapshots(tenant_id)
        snapshots = [snapshot for snapshot in (tenant, shared) if snapshot is not None]
        timings: dict[str, float | str | None] = {"embed": None, **asdict(Timings()), "rerank": None}
        hits: list[Hit] = []
        failed: set[str] = set()
        if snapshots:
            if self._model is None:
                failed.add(EMBEDDER)
            if vector is None:
                vector, timings["embed"] = await embedded(self._embedder, query, failed)
            indexes = [
                HybridIndex(snapshot, self._ranking, self._comparable(snapshot)) for snapshot in snapshots
            ]
            spent = Timings()
            pool = max(top_k, RERANK_POOL)
            hits = await asyncio.to_thread(search_all, indexes, query, vector, pool, wanted, spent=spent)
            timings |= asdict(spent)
            own = tenant.manifest.reranker if tenant else ""
            weight, tuned = snapshots[0].manifest.reranker_weight, f"{tenant_id}/{own}" if own else ""
            hits, timings["rerank"] = await reranked(self._reranker, query, hits, weight, tuned, failed)
        timings["total"] = total = _milliseconds(started)
        RETRIEVAL_DURATION.observe(total / 1000)
        EMPTY_RESULTS.observe(tenant_id, not hits)
        return {
            "hits": [asdict(hit) for hit in hits[:top_k]],
            "timings_ms": {name: round(t, 2) if isinstance(t, float) else t for name, t in timings.items()},
            "index": tenant and tenant.manifest.snapshot_id,
            "shared_index": shared and shared.manifest.snapshot_id,
            "failed": sorted(failed),
        }

    async def passages(self, tenant_id: str, uri: str, at: int | None = None) -> list[dict[str, Any]]:
        """The chunks of a document, or the one that holds a character; see `chunks_of`.

        Empty where neither the tenant's index nor the shared one has it.
        """
        for snapshot in await self._snapshots(tenant_id):
            if snapshot is not None and (found := await asyncio.to_thread(chunks_of, snapshot, uri, at)):
                return found
        return []

    async def describe(self, tenant_id: str) -> dict[str, Any]:
        """What a search of the tenant's would read now: snapshot ids and counts; None where there is none."""
        tenant, shared = await self._snapshots(tenant_id)
        return {"index": _summary(tenant), "shared_index": _summary(shared)}

    @serve.multiplexed(max_num_models_per_replica=TENANTS_PER_REPLICA)
    async def _tenant(self, tenant_id: str) -> LiveIndex:
        # No I/O here: Serve loads one model at a time, and one tenant's download must not hold up another's.
        return LiveIndex(self._lake, Tenant(tenant_id).id, self._cache)

    async def _snapshots(self, tenant_id: str) -> tuple[Snapshot | None, Snapshot | None]:
        live: LiveIndex = await self._tenant(Tenant(tenant_id).id)
        await self._identified()
        tenant, shared = await asyncio.gather(
            self._refreshes.current(live), self._refreshes.current(self._shared), return_exceptions=True
        )
        if isinstance(tenant, BaseException):
            raise tenant
        if isinstance(shared, BaseException):
            logger.error("the shared index cannot be read, searching %s alone: %s", tenant_id, shared)
            shared = None
        return tenant, shared

    async def _identified(self) -> None:
        """Have the embedder asked which model it is, as often as the lake is asked what is current: only the
        first search, and those after a failure, wait for the answer."""
        asked = self._identifying
        if asked is None or (asked.done() and (self._model is None or self._shared.due)):
            asked = self._identifying = asyncio.create_task(self._identify())
        if self._model is None:
            await asyncio.shield(asked)

    async def _identify(self) -> None:
        try:
            self._model = EmbedderId.model_validate(await self._embedder.describe.remote())
        except Exception:
            logger.exception("the embedder does not say which model it is: searching words alone")
            self._model = None

    def _comparable(self, snapshot: Snapshot) -> bool:
        made_by = snapshot.manifest.embedder
        same = self._model is not None and (self._model.checksum, self._model.dimension) == (
            made_by.checksum,
            made_by.dimension,
        )
        if not same:
            logger.warning(
                "%s was embedded by %s, not %s", snapshot.manifest.snapshot_id, made_by, self._model
            )
        return same


async def embedded(
    embedder: DeploymentHandle, query: str, failed: set[str]
) -> tuple[Vectors | None, float | str]:
    """A query's vector (d,), and how long that took (ms); where there is none, `failed` says why."""
    started = time.perf_counter()
    try:
        vector = np.asarray(await embedder.encode_query.remote(query), np.float32)
    except Exception:
        logger.exception("the query cannot be embedded: searching words alone")
        failed.add(EMBEDDER)
        return None, UNAVAILABLE
    return vector, _milliseconds(started)


async def reranked(
    reranker: DeploymentHandle, query: str, hits: list[Hit], weight: float, tuned: str, failed: set[str]
) -> tuple[list[Hit], float | str | None]:
    """Hits by the reranker, and how long that took (ms). As they are where it counts for nothing or has no
    model, or where it fails, which is added to `failed`."""
    if not hits or weight == 0:
        return hits, None
    started = time.perf_counter()
    texts = [passage(hit.title, hit.section, hit.text) for hit in hits]
    try:
        scores = await reranker.score.remote(query, texts, tuned)
    except Exception:
        logger.exception("the reranker failed: hits keep their fused order")
        failed.add(RERANKER)
        scores = None
    if scores is None:
        return hits, UNAVAILABLE
    return rerank(hits, scores, weight), _milliseconds(started)


def chunks_of(snapshot: Snapshot, uri: str, at: int | None) -> list[dict[str, Any]]:
    """The chunks of a document, in its order, or the one that holds a character.

    Each has doc_id, title, uri, section, text and start.
    """
    columns = ["doc_id", "title", "uri", "section", "text", "start"]
    found: list[dict[str, Any]] = []
    for part in snapshot.parts:
        if uri not in part.outdated:
            chunks = part.snapshot.chunks  # `part.chunks` would copy all that count
            wanted = pc.equal(chunks["uri"], uri)
            if at is not None:
                holds = pc.and_(pc.less_equal(chunks["start"], at), pc.greater(chunks["end"], at))
                wanted = pc.and_(wanted, holds)
            found += chunks.select(columns).filter(wanted).to_pylist()
    return sorted(found, key=itemgetter("start"))


def _summary(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    manifest = snapshot.manifest
    return {"snapshot_id": manifest.snapshot_id, "documents": manifest.documents, "chunks": manifest.chunks}


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1000
