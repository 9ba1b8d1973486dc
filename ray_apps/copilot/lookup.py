"""Looking up what an answer may rest on: device records and documents, under the caller's tenant."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.tenancy import Tenant
from ray_apps.copilot import evidence, grounding
from ray_apps.copilot.contracts import ToolCall, Trace
from ray_apps.copilot.devices import DeviceRecords
from ray_apps.copilot.events import Tell, ms
from ray_apps.copilot.evidence import Evidence
from ray_apps.copilot.follow_up import Asked
from ray_apps.copilot.grounding import Vectors
from ray_apps.copilot.planner import Plan
from ray_apps.copilot.sentence_vectors import SentenceVectors

MOST_DEVICES = 2


class Lookup:
    """Gathers evidence and embeds it."""

    def __init__(
        self,
        retriever: DeploymentHandle,
        embedder: DeploymentHandle,
        vectors: SentenceVectors,
        devices: DeviceRecords,
    ) -> None:
        self._retriever, self._embedder, self._vectors = retriever, embedder, vectors
        self._devices = devices

    async def gather(self, tenant: Tenant, asked: Asked, top_k: int, tell: Tell) -> Evidence:
        """Documents and records in parallel; the records first."""
        found = Evidence(focus=asked.plan.codes)
        (hits, found.timings_ms), insights = await asyncio.gather(
            self._search(tenant, asked.whole, top_k, tell), self._records(tenant, asked.plan, found, tell)
        )
        if insights or asked.plan.action:
            query = evidence.action_query(asked.whole, insights)
            about, _ = await self._search(tenant, query, top_k, tell)
            known = {hit["chunk_id"] for hit in about}
            hits = [*about, *(hit for hit in hits if hit["chunk_id"] not in known)]
        found.lead = len(found.passages)
        found.passages += evidence.document_passages(hits)
        return found

    async def embed(self, tenant: Tenant, asked: Asked, found: Evidence) -> None:
        """Cut the passages into sentences, and give them and the question their vectors."""
        started = time.perf_counter()
        found.sources = grounding.quotes(found.passages)
        texts = [asked.whole, *(grounding.plain(quote.text) for quote in found.sources)]
        vectors = await self._vectors.of(tenant, texts)
        found.question, found.vectors = vectors[0], vectors[1:]
        found.timings_ms["embed_sources"] = ms(started)

    async def vector(self, sentence: str) -> Vectors:
        """The vector (d,) of a sentence."""
        return np.asarray(await self._embedder.encode_query.remote(sentence), dtype=np.float32)

    async def _search(
        self, tenant: Tenant, query: str, top_k: int, tell: Tell
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        trace = Trace(message="searching the documents", tool="search_documents", arguments={"query": query})
        tell(trace)
        started = time.perf_counter()
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        found = await retriever.search.remote(tenant.id, query, top_k, {})
        tell(trace.model_copy(update={"message": _found(found["hits"]), "duration_ms": ms(started)}))
        return found["hits"], found["timings_ms"]

    async def _records(self, tenant: Tenant, plan: Plan, found: Evidence, tell: Tell) -> list[dict[str, Any]]:
        """Put the records of the devices that the question names into the evidence, else the fleet's."""
        insights = []
        for device in (await asyncio.to_thread(self._devices.known, tenant, list(plan.names)))[:MOST_DEVICES]:
            tell(Trace(message=f"reading the records of {device}"))
            started = time.perf_counter()
            if record := await asyncio.to_thread(self._devices.insights, tenant, device):
                insights.append(record)
                found.passages.append(evidence.device_passage(record))
                found.focus |= {code_key(code) for code in evidence.device_codes(record)}
                _tell_tools(evidence.device_tools(record), found, tell, ms(started))
        if plan.fleet and not insights:
            tell(Trace(message="reading the health of the fleet"))
            started = time.perf_counter()
            if worst := await asyncio.to_thread(self._devices.worst, tenant):
                found.passages.append(evidence.fleet_passage(worst))
                tool = ToolCall(name="get_fleet_health", arguments={}, result={"worst": worst})
                _tell_tools([tool], found, tell, ms(started))
        return insights


def _tell_tools(tools: list[ToolCall], found: Evidence, tell: Tell, duration_ms: float) -> None:
    """Keep the tools of one look-up, which took so long for all of them together."""
    found.tools += tools
    for tool in tools:
        tell(
            Trace(
                message=tool.name.replace("_", " "),
                tool=tool.name,
                arguments=tool.arguments,
                duration_ms=duration_ms,
            )
        )


def _found(hits: list[dict[str, Any]]) -> str:
    return f"{len(hits)} passage{'s' * (len(hits) != 1)} of {len({hit['doc_id'] for hit in hits})} documents"
