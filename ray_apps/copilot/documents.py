"""The documents that a tenant may see, searched so that whoever waits for an answer hears of it."""

from __future__ import annotations

import time
from typing import Any

from ray.serve.handle import DeploymentHandle

from iotops.tenancy import Tenant
from ray_apps.copilot.contracts import Trace
from ray_apps.copilot.events import Tell, ms


class Documents:
    """The retriever, asked as a tenant."""

    def __init__(self, retriever: DeploymentHandle) -> None:
        self._retriever = retriever

    async def search(
        self, tenant: Tenant, query: str, top_k: int, tell: Tell
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The best chunks, and how long each stage took (ms)."""
        trace = Trace(message="searching the documents", tool="search_documents", arguments={"query": query})
        tell(trace)
        started = time.perf_counter()
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        found = await retriever.search.remote(tenant.id, query, top_k, {})
        tell(trace.model_copy(update={"message": _told(found["hits"], query), "duration_ms": ms(started)}))
        return found["hits"], found["timings_ms"]


def _told(hits: list[dict[str, Any]], query: str) -> str:
    documents = len({hit["uri"] for hit in hits})
    return f"{len(hits)} passage{'s' * (len(hits) != 1)} of {documents} documents: {query}"
