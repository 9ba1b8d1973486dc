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
EMBEDDER, RERANKER, SHARED_INDEX = "embedder", "reranker", "shared index"
EMBEDDER_PATIENCE_S = 4.0
"""A query takes milliseconds; in a full batch, on two cores that six processes share, 2 s. Whoever looks up
documents as a tool waits 5 s, and is to have those that words find."""


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

        `vector` is the query's (d,) by the embedder, where the caller has it. `indexes` are those searched,
        as the method of that name has them. Where the query cannot be embedded, words alone are searched and
        `timings_ms` says "unavailable", as it does for the reranker. `failed` names the parts that there are
        and that did not answer: a moment later the ranking may be another.
        """
        started = time.perf_counter()
        wanted = Filters.of(filters)
        failed: set[str] = set()
        tenant, shared = await self._snapshots(tenant_id, failed)
        snapshots = [snapshot for snapshot in (tenant, shared) if snapshot is not None]
        timings: dict[str, float | str | None] = {"embed": None, **asdict(Timings()), "rerank": None}
        hits: list[Hit] = []
        if snapshots:
            if self._model is None:  # its vectors could be compared with none
                failed.add(EMBEDDER)
                timings["embed"] = UNAVAILABLE
            elif vector is None:
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
            "indexes": _ids(tenant, shared),
            "failed": sorted(failed),
        }

    async def passages(self, tenant_id: str, uri: str, at: int | None = None) -> list[dict[str, Any]]:
        """The chunks of a document, or the one that holds a character; see `chunks_of`.

        Empty where neither the tenant's index nor the shared one has it.
        """
        for snapshot in await self._snapshots(tenant_id, set()):
            if snapshot is not None and (found := await asyncio.to_thread(chunks_of, snapshot, uri, at)):
                return found
        return []

    async def indexes(self, tenant_id: str) -> str:
        """Ids of the snapshots that a search of the tenant's would read now, its own and the shared one."""
        return _ids(*await self._snapshots(tenant_id, set()))

    @serve.multiplexed(max_num_models_per_replica=TENANTS_PER_REPLICA)
    async def _tenant(self, tenant_id: str) -> LiveIndex:
        # No I/O here: Serve loads one model at a time, and one tenant's download must not hold up another's.
        return LiveIndex(self._lake, Tenant(tenant_id).id, self._cache)

    async def _snapshots(self, tenant_id: str, failed: set[str]) -> tuple[Snapshot | None, Snapshot | None]:
        live: LiveIndex = await self._tenant(Tenant(tenant_id).id)
        await self._identified()
        return await current(self._refreshes, live, self._shared, failed)

    async def _identified(self) -> None:
        """Have the embedder asked which model it is, as often as the lake is asked what is current: only the
        first search, and those after a failure, wait for the answer."""
        asked = self._identifying
        if asked is None or (asked.done() and (self._model is None or self._shared.due)):
            asked = self._identifying = asyncio.create_task(self._identify())
        if self._model is None:
            await asyncio.shield(asked)

    async def _identify(self) -> None:
        self._model = await identified(self._embedder, self._model)

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


async def current(
    refreshes: Refreshes, tenant: LiveIndex, shared: LiveIndex, failed: set[str]
) -> tuple[Snapshot | None, Snapshot | None]:
    """What a tenant's index and the shared one serve now; None where nothing was published, and for a shared
    one that cannot be read, which is added to `failed`. Raises where the tenant's cannot be read."""
    own, common = await asyncio.gather(
        refreshes.current(tenant), refreshes.current(shared), return_exceptions=True
    )
    if isinstance(own, BaseException):
        raise own
    if isinstance(common, BaseException):
        logger.error("the shared index cannot be read, searching %s alone: %s", tenant.owner, common)
        failed.add(SHARED_INDEX)
        common = None
    return own, common


async def identified(
    embedder: DeploymentHandle, known: EmbedderId | None, patience_s: float = EMBEDDER_PATIENCE_S
) -> EmbedderId | None:
    """The embedder's model; the `known` one where it has no time to say, None where it fails to."""
    try:
        async with asyncio.timeout(patience_s):
            return EmbedderId.model_validate(await embedder.describe.remote())
    except TimeoutError:
        logger.warning("the embedder has not said within %g s which model it is", patience_s)
        return known
    except Exception:
        logger.exception("the embedder does not say which model it is: searching words alone")
        return None


async def embedded(
    embedder: DeploymentHandle, query: str, failed: set[str], patience_s: float = EMBEDDER_PATIENCE_S
) -> tuple[Vectors | None, float | str]:
    """A query's vector (d,), and how long that took (ms); where there is none in time, `failed` says why."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(patience_s):
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


def _ids(*snapshots: Snapshot | None) -> str:
    return " ".join(each.manifest.snapshot_id if each else "none" for each in snapshots)


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1000
