"""The copilot's HTTP API: the ingress of the served graph."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response
from ray import serve
from ray.serve.handle import DeploymentHandle

from iotops.auth import Principal
from iotops.http import ApiError, caller, install, request_id
from iotops.settings import get_settings
from ray_apps.chat import ChatModel
from ray_apps.copilot.actions import load_rules, suggest
from ray_apps.copilot.answer import Answerer
from ray_apps.copilot.cache import AnswerCache
from ray_apps.copilot.contracts import (
    AskRequest,
    AskResponse,
    DeviceIdField,
    Insights,
    SearchRequest,
    SearchResponse,
)
from ray_apps.copilot.devices import DeviceRecords
from ray_apps.copilot.guard.guard import Guard

PROBE_TIMEOUT_S = 10.0

app = FastAPI(
    title="IoT Ops Copilot",
    version="1",
    description="What is wrong with this device, and what do I do? Answers with sources, per tenant.",
)
install(app)

Caller = Annotated[Principal, Depends(caller("operator", "analyst", "admin"))]


async def _probe(probe: Any) -> dict[str, Any]:
    """What a part says of itself; a part that fails is reported by the kind of its error, not by its text."""
    try:
        found = await asyncio.wait_for(_awaited(probe), PROBE_TIMEOUT_S)
    except Exception as error:
        return {"ok": False, "error": type(error).__name__}
    return {"ok": True, **(found if isinstance(found, dict) else {})}


async def _awaited(probe: Any) -> Any:
    return await probe


# Serve keeps the routes as they are when the class is decorated: what they call must stand above it.
@serve.deployment
@serve.ingress(app)
class Copilot:
    """Authenticates, answers, and says what it is made of."""

    def __init__(
        self,
        retriever: DeploymentHandle,
        embedder: DeploymentHandle,
        reranker: DeploymentHandle,
        llm: DeploymentHandle,
    ) -> None:
        settings = get_settings()
        self._retriever, self._embedder, self._reranker = retriever, embedder, reranker
        self._chat = ChatModel(llm)
        self._devices = DeviceRecords(settings.database)
        self._cache = AnswerCache(settings.cache)
        self._rules = load_rules(settings.configs)
        self._guard = Guard(settings.guard, embedder)
        self._answerer = Answerer(
            settings.copilot, retriever, embedder, self._chat, self._devices, self._guard
        )

    @app.post("/ask", summary="Ask about a device, an error code or the fleet")
    async def ask(self, body: AskRequest, request: Request, principal: Caller) -> AskResponse:
        """An answer whose every sentence is cited; `grounded` is false where nothing supports one."""
        started = time.perf_counter()
        await self._guard.refuse_attacks(body.question)
        versions = await self._versions(principal)
        parts = (body.question, body.device_id or "", str(body.top_k), *versions)
        conversation = body.conversation_id or uuid.uuid4().hex
        if stored := await self._cache.get(principal.tenant, *parts):
            answer = AskResponse.model_validate_json(stored)
            timings: dict[str, Any] = {"total": round((time.perf_counter() - started) * 1000, 1)}
            return answer.model_copy(
                update={
                    "cached": True,
                    "timings_ms": timings,
                    "request_id": request_id(request),
                    "conversation_id": conversation,
                }
            )
        draft = await self._answerer.ask(principal.tenant, body)
        answer = AskResponse(
            answer=draft.answer,
            citations=draft.citations,
            grounded=draft.grounded,
            tools=draft.tools,
            guard=draft.guard,
            model=draft.model,
            cached=False,
            conversation_id=conversation,
            request_id=request_id(request),
            timings_ms=draft.timings_ms,
        )
        if draft.complete:
            await self._cache.put(principal.tenant, answer.model_dump_json().encode(), *parts)
        return answer

    @app.post("/search", summary="Search the documents")
    async def search(self, body: SearchRequest, principal: Caller) -> SearchResponse:
        """Ranked chunks of the tenant's documents and the shared ones."""
        retriever = self._retriever.options(multiplexed_model_id=principal.tenant.id)
        found = await retriever.search.remote(
            principal.tenant.id, body.query, body.top_k, body.filters.model_dump()
        )
        return SearchResponse.model_validate({name: found[name] for name in ("hits", "timings_ms")})

    @app.get("/insights/{device_id}", summary="A device's health and what to do")
    async def insights(self, device_id: Annotated[DeviceIdField, Path()], principal: Caller) -> Insights:
        """Health score and components, recent events, trend and suggested actions."""
        found = await asyncio.to_thread(self._devices.insights, principal.tenant, device_id)
        if found is None:
            raise ApiError(404, "unknown_device", f"device {device_id!r} has sent nothing for this tenant")
        return Insights(**found, actions=suggest(self._rules, found["components"]))

    @app.get("/insights", summary="The fleet's least healthy devices")
    async def fleet(self, principal: Caller, limit: int = 5) -> dict[str, Any]:
        """The worst devices of the newest day, each with the reason that weighs most."""
        if not 1 <= limit <= 100:
            raise ApiError(422, "invalid_request", f"limit {limit} is refused: ask for 1 to 100 devices")
        return {"devices": await asyncio.to_thread(self._devices.worst, principal.tenant, limit)}

    @app.get("/healthz", summary="The process answers")
    async def healthz(self) -> dict[str, str]:
        """Liveness: says nothing of what it depends on."""
        return {"status": "ok"}

    @app.get("/readyz", summary="What the graph is made of, and whether each part answers")
    async def readyz(self, response: Response) -> dict[str, Any]:
        """503 while a part that answers need is missing; the reranker and the cache are not such parts."""
        probes = {
            "embedder": self._embedder.describe.remote(),
            "reranker": self._reranker.describe.remote(),
            "llm": self._chat.describe(),
            "database": asyncio.to_thread(self._devices.ping),
            "cache": self._cache.ping(),
            "guard": self._guard.describe(),
        }
        answers = await asyncio.gather(*(_probe(probe) for probe in probes.values()))
        parts = dict(zip(probes, answers, strict=True))
        ready = all(parts[name]["ok"] for name in ("embedder", "llm", "database"))
        response.status_code = 200 if ready else 503
        return {"status": "ready" if ready else "not ready", "parts": parts}

    async def _versions(self, principal: Principal) -> tuple[str, str]:
        """What an answer rests on: the index snapshots and the newest data, for the cache's key."""
        retriever = self._retriever.options(multiplexed_model_id=principal.tenant.id)
        index, data = await asyncio.gather(
            _awaited(retriever.describe.remote(principal.tenant.id)),
            asyncio.to_thread(self._devices.version, principal.tenant),
        )
        return str(index), data
