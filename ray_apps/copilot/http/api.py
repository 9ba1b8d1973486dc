"""The copilot's HTTP API: the ingress of the served graph."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response
from ray import serve
from ray.serve.handle import DeploymentHandle

from indexes.tokens import Tokens
from iotops.auth import Principal
from iotops.http import ApiError, Front, install, request_id
from iotops.models import load_catalogue, resolve_role
from iotops.refusals import refusals
from iotops.settings import get_settings
from ray_apps import console
from ray_apps.copilot.actions import fired, load_rules, suggest
from ray_apps.copilot.answer.answer import Answerer
from ray_apps.copilot.cache import AnswerCache, CacheServer, redis_client
from ray_apps.copilot.contracts import (
    AskRequest,
    AskResponse,
    DeviceIdField,
    FeedbackRequest,
    FeedbackResponse,
    Fleet,
    Health,
    Insights,
    Readiness,
    SearchRequest,
    SearchResponse,
    SourcePassage,
    Trace,
)
from ray_apps.copilot.conversation import Conversations
from ray_apps.copilot.events import Tell, heard, ms, unheard
from ray_apps.copilot.evidence.devices import DeviceRecords
from ray_apps.copilot.evidence.lookup import Lookup
from ray_apps.copilot.evidence.names import Names
from ray_apps.copilot.evidence.sentence_vectors import SentenceVectors
from ray_apps.copilot.feedback import Feedback
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.http import openai_api, responses, sse
from ray_apps.copilot.http.bounds import Bounded
from ray_apps.copilot.http.examples import CITATION, DEVICE, GUIDE
from ray_apps.copilot.http.limits import admission, admitted
from ray_apps.copilot.http.openai_api import ChatCompletion, ChatRequest, Chunks, Model, ModelList
from ray_apps.copilot.http.sse import EventStream, streamed
from ray_apps.copilot.pipeline import Pipeline
from ray_apps.copilot.recording import Recorded, note, recorder
from ray_apps.copilot.troubleshoot.contracts import Guide, StepOutcome, TroubleshootRequest
from ray_apps.copilot.troubleshoot.guide import GuideChanged, reported
from ray_apps.copilot.troubleshoot.runbooks import Runbooks
from ray_apps.copilot.troubleshoot.store import Guides
from ray_apps.copilot.troubleshoot.workflow import Troubleshooter
from ray_apps.copilot.versions import Versions
from ray_apps.routing import chat_model

PROBE_TIMEOUT_S = 10.0
LAST_CHARACTER = 2**31 - 1
"""No document is that long; what is beyond an index's integers is refused by name."""

app = Front(
    title="IoT Ops Copilot",
    version="1",
    description="What is wrong with this device, and what do I do? Answers with sources, per tenant.",
    responses=refusals(408, 413, 504),
)
app.add_middleware(Bounded)  # each within those that are added after it
app.add_middleware(Recorded, recorder=recorder)
install(app)
console.install(app)

Asker = Annotated[Principal, Depends(admitted("ask"))]
Searcher = Annotated[Principal, Depends(admitted("search"))]
Caller = Annotated[Principal, Depends(admitted("read"))]
GuideId = Annotated[uuid.UUID, Path(examples=[GUIDE.id])]


def unknown_device(device_id: str) -> ApiError:
    """A refusal."""
    return ApiError(404, "unknown_device", f"device {device_id!r} has sent nothing for this tenant")


def unknown_guide(guide_id: uuid.UUID) -> ApiError:
    """A refusal."""
    return ApiError(404, "unknown_guide", f"this tenant has no guide {guide_id}")


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
        llm: DeploymentHandle | None,
    ) -> None:
        settings = get_settings()
        self._retriever, self._embedder, self._reranker = retriever, embedder, reranker
        catalogue = load_catalogue(settings)
        model = catalogue.spec(catalogue.name("llm"))
        self._chat = chat_model(catalogue, llm)
        self._devices = DeviceRecords(settings.database)
        self._rules = load_rules(settings.configs)
        self._guides = Guides(settings.database)
        server = CacheServer(redis_client(settings.cache))
        self._cache = AnswerCache(server, settings.cache.answer_ttl_s)
        self._versions = Versions(retriever, self._chat, self._devices)
        vectors = SentenceVectors(embedder)
        self._guard = Guard(settings.guard, embedder, vectors)
        self._troubleshooter = Troubleshooter(retriever, vectors, self._rules, self._guard)
        self._runbooks = Runbooks(retriever, self._guard)
        tokens = Tokens.of(resolve_role(settings, "embedder"))
        lookup = Lookup(retriever, embedder, vectors, self._devices)
        self._pipeline = Pipeline(
            self._guard,
            Answerer(settings.copilot, model, tokens, lookup, self._chat, self._guard),
            self._versions,
            self._cache,
            Conversations(server, settings.copilot.conversation_ttl_s),
            Names(self._devices, retriever),
        )
        self._feedback = Feedback(settings.database)
        admission()  # made now, as the recorder is: a mistake in their files stops the start, not a call
        recorder()

    async def __del__(self) -> None:
        """Serve calls it when the replica ends, after its last request."""
        await asyncio.to_thread(recorder().trail.close)

    @app.post(
        "/ask",
        summary="Ask about a device, an error code or the fleet",
        response_model=AskResponse,
        responses=responses.ANSWERS,
    )
    async def ask(self, body: AskRequest, request: Request, principal: Asker) -> AskResponse | EventStream:
        """An answer whose every sentence is cited; `grounded` is false where nothing supports one.

        With `Accept: text/event-stream` it is told as it comes about: `trace` says what is done, `token`
        carries a piece of the answer, `citation` a source, `done` the whole answer; `error` ends it early.
        """
        asked = request_id(request)
        return await sse.answered(request, lambda tell: self._pipeline.ask(principal, body, asked, tell))

    @app.post(
        "/v1/chat/completions",
        summary="Ask through OpenAI-compatible chat completions",
        response_model=ChatCompletion,
        responses=responses.COMPLETIONS,
    )
    async def chat(
        self, body: ChatRequest, request: Request, principal: Asker
    ) -> ChatCompletion | EventStream:
        """The answer to the last message of the user, which may refer to earlier ones; sources below it."""
        question, earlier = body.question()
        asked, model = request_id(request), self._chat.author
        if not body.stream:
            answer = await self._pipeline.ask(principal, question, asked, unheard, earlier)
            return openai_api.completion(answer, model)
        chunks = Chunks(asked, model, bool(body.stream_options and body.stream_options.include_usage))
        events = heard(lambda tell: self._pipeline.ask(principal, question, asked, tell, earlier))
        return await streamed(events, chunks.told, chunks.failed, openai_api.END)

    @app.get("/v1/models", summary="The served language model, in OpenAI's words", responses=responses.MODELS)
    async def models(self, principal: Caller) -> ModelList:
        """A list of one, which stays the same while a fallback writes."""
        return ModelList(data=[Model(id=self._chat.first)])

    @app.post("/search", summary="Search the documents", responses=responses.FOUND)
    async def search(self, body: SearchRequest, principal: Searcher) -> SearchResponse:
        """Ranked chunks of the tenant's documents and the shared ones."""
        note().question = body.query
        retriever = self._retriever.options(multiplexed_model_id=principal.tenant.id)
        found = await retriever.search.remote(
            principal.tenant.id, body.query, body.top_k, body.filters.model_dump()
        )
        return SearchResponse.model_validate({name: found[name] for name in ("hits", "timings_ms")})

    @app.get(
        "/insights/{device_id}", summary="A device's health and what to do", responses=responses.INSIGHTS
    )
    async def insights(
        self, device_id: Annotated[DeviceIdField, Path(examples=[DEVICE])], principal: Caller
    ) -> Insights:
        """Health score and components, recent events, trend and suggested actions."""
        found = await asyncio.to_thread(self._devices.insights, principal.tenant, device_id)
        if found is None:
            raise unknown_device(device_id)
        rules = [rule for rule, _ in fired(self._rules, found["components"])]
        runbooks = await self._runbooks.about(principal.tenant, found, rules)
        return Insights(**found, actions=suggest(self._rules, found["components"], runbooks))

    @app.get("/insights", summary="The fleet's least healthy devices", responses=responses.FLEET)
    async def fleet(
        self, principal: Caller, limit: Annotated[int, Query(ge=1, le=100, examples=[5])] = 5
    ) -> Fleet:
        """The worst devices of the newest day with the reason that weighs most, and all devices by score."""
        found = await asyncio.to_thread(self._devices.fleet, principal.tenant, limit=limit)
        return Fleet(devices=found["worst"], distribution=found["distribution"])

    @app.get("/passages", summary="The passage that a citation points into", responses=responses.PASSAGE)
    async def passage(
        self,
        principal: Caller,
        uri: Annotated[str, Query(max_length=1000, examples=[CITATION.uri])],
        start: Annotated[int, Query(ge=0, le=LAST_CHARACTER, examples=[CITATION.start])],
    ) -> SourcePassage:
        """The indexed text around a character of one of the tenant's documents or of the shared ones."""
        note().object = uri
        retriever = self._retriever.options(multiplexed_model_id=principal.tenant.id)
        found = await retriever.passages.remote(principal.tenant.id, uri, start)
        if not found:
            raise ApiError(
                404, "unknown_passage", f"no passage at {start} of {uri!r} is indexed for this tenant"
            )
        return SourcePassage.model_validate(found[0])

    @app.post(
        "/troubleshoot",
        summary="Find out what is wrong with a device, step by step",
        response_model=Guide,
        responses=responses.GUIDES,
    )
    async def troubleshoot(
        self, body: TroubleshootRequest, request: Request, principal: Asker
    ) -> Guide | EventStream:
        """Checks, likely causes, and a guide; report each step's outcome to have the guide go on.

        With `Accept: text/event-stream` a `trace` tells of each check and search as it is done, and `done`
        has the guide; `error` ends it early.
        """
        note().object, note().question = body.device_id, body.symptom

        async def work(tell: Tell) -> Guide:
            if body.symptom:
                await self._guard.refuse_attacks(principal.tenant, body.symptom)
            started = time.perf_counter()
            insights = await asyncio.to_thread(self._devices.insights, principal.tenant, body.device_id)
            if insights is None:
                raise unknown_device(body.device_id)
            tell(Trace(message=f"read the records of {body.device_id}", duration_ms=ms(started)))
            found = await self._troubleshooter.guide(principal.tenant, body, insights, tell)
            await asyncio.to_thread(self._guides.keep, principal.tenant, principal.subject, found)
            return found

        return await sse.answered(request, work)

    @app.get("/troubleshoot/{guide_id}", summary="A guide as it stands", responses=responses.GUIDE)
    async def guide(self, guide_id: GuideId, principal: Caller) -> Guide:
        """The tenant's guide of this id, to go on with it."""
        found = await asyncio.to_thread(self._guides.find, principal.tenant, guide_id)
        if found is None:
            raise unknown_guide(guide_id)
        return found

    @app.post(
        "/troubleshoot/{guide_id}/steps/{number}",
        summary="Report what came of a step",
        responses=responses.STEP,
    )
    async def report(
        self,
        guide_id: GuideId,
        number: Annotated[int, Path(examples=[1])],
        body: StepOutcome,
        principal: Caller,
    ) -> Guide:
        """The guide with the outcome, and the step to do next."""

        def change(guide: Guide) -> Guide:
            return reported(guide, number, body.outcome, body.note, body.version)

        try:
            found = await asyncio.to_thread(self._guides.change, principal.tenant, guide_id, change)
        except KeyError:
            raise ApiError(404, "unknown_step", f"guide {guide_id} has no step {number}") from None
        except GuideChanged as error:
            raise ApiError(409, "guide_changed", str(error)) from None
        if found is None:
            raise unknown_guide(guide_id)
        return found

    @app.post("/feedback", summary="Say whether an answer helped", responses=responses.FEEDBACK)
    async def feedback(self, body: FeedbackRequest, principal: Caller) -> FeedbackResponse:
        """Keeps a thumb up or down on an answer of the tenant's; a user's second one replaces the first."""
        note().object = body.request_id
        if not await self._feedback.keep(principal, body):
            raise ApiError(
                404,
                "unknown_request",
                f"no answer of this tenant has the request id {body.request_id!r}",
            )
        return FeedbackResponse(request_id=body.request_id, rating=body.rating)

    @app.get("/healthz", summary="The process answers", responses=responses.HEALTHY)
    async def healthz(self) -> Health:
        """Liveness: says nothing of what it depends on."""
        return Health()

    @app.get(
        "/readyz",
        summary="What the graph is made of, and whether each part answers",
        responses=responses.READY,
    )
    async def readyz(self, response: Response) -> Readiness:
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
        return Readiness.model_validate({"status": "ready" if ready else "not ready", "parts": parts})
