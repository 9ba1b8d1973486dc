"""From a question to an answer whose every sentence is cited."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.settings import CopilotSettings
from iotops.tenancy import Tenant
from ray_apps.chat import ChatModel
from ray_apps.copilot import compose, evidence, grounding
from ray_apps.copilot.compose import Sentence
from ray_apps.copilot.contracts import AskRequest, Citation, GuardReport, SetAside, ToolCall
from ray_apps.copilot.devices import DeviceRecords
from ray_apps.copilot.grounding import Passage, Quote, Support, Vectors
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.planner import Plan, plan
from ray_apps.copilot.prompt import messages

logger = logging.getLogger(__name__)

UNKNOWN = "I don't know: the documents and the device records that I may see do not answer this."
FACTS, STEPS, NEAREST = 3, 4, 3


@dataclass
class Draft:
    """An answer in the making, with all that it rests on."""

    answer: str = UNKNOWN
    citations: list[Citation] = field(default_factory=list)
    grounded: bool = False
    tools: list[ToolCall] = field(default_factory=list)
    guard: GuardReport = field(default_factory=GuardReport)
    model: str = "none"
    complete: bool = True
    timings_ms: dict[str, float | str | None] = field(default_factory=dict)


@dataclass
class Evidence:
    """What an answer may rest on. `lead` passages are the records asked for; they open the answer."""

    passages: list[Passage] = field(default_factory=list)
    lead: int = 0
    focus: frozenset[str] = frozenset()
    sources: list[Quote] = field(default_factory=list)
    question: Vectors = field(default_factory=lambda: np.empty(0, np.float32))
    vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def cosines(self) -> Vectors:
        """Of every source sentence with the question (n,)."""
        return self.vectors @ self.question if len(self.vectors) else np.empty(0, np.float32)

    def leave_out(self, places: set[int]) -> None:
        """Forget some passages, with all that was quoted from them."""
        kept = [place for place in range(len(self.passages)) if place not in places]
        moved = {old: new for new, old in enumerate(kept)}
        rows = [row for row, quote in enumerate(self.sources) if quote.passage in moved]
        self.sources = [replace(self.sources[row], passage=moved[self.sources[row].passage]) for row in rows]
        self.vectors = self.vectors[rows]
        self.lead = sum(place < self.lead for place in kept)
        self.passages = [self.passages[place] for place in kept]


class Answerer:
    """Plans, looks up, drafts with the language model and keeps what the sources support."""

    def __init__(
        self,
        settings: CopilotSettings,
        retriever: DeploymentHandle,
        embedder: DeploymentHandle,
        chat: ChatModel,
        devices: DeviceRecords,
        guard: Guard,
    ) -> None:
        self._settings, self._retriever, self._embedder = settings, retriever, embedder
        self._chat, self._devices, self._guard = chat, devices, guard

    async def ask(self, tenant: Tenant, request: AskRequest) -> Draft:
        """Answer for a tenant; says that it does not know rather than guess."""
        draft, started = Draft(), time.perf_counter()
        asked = plan(request.question, request.device_id)
        found = await self._gather(tenant, request, asked, draft)
        await self._embed(request.question, found, draft)
        await self._set_aside(found, draft)
        sure = compose.confidence(request.question, found.passages, max(found.cosines, default=0.0))
        if sure >= self._settings.least_confidence:
            sentences = await self._draft(request.question, found, draft)
            guide = compose.steps(found.focus, found.passages, STEPS) if asked.action else []
            _write(sentences, guide, found, draft)
        if not draft.grounded:
            draft.citations = _nearest(found)
        self._clean(tenant, found, draft)
        draft.timings_ms["total"] = _ms(started)
        return draft

    async def _gather(self, tenant: Tenant, request: AskRequest, asked: Plan, draft: Draft) -> Evidence:
        """Documents and records in parallel, under the caller's tenant; the records first."""
        (hits, timings), (insights, worst) = await asyncio.gather(
            self._search(tenant, request.question, request.top_k),
            asyncio.to_thread(self._look_up, tenant, asked),
        )
        draft.timings_ms.update(timings)
        records, focus = [], set(asked.codes)
        if worst and not insights:
            records.append(evidence.fleet_passage(worst))
            draft.tools.append(ToolCall(name="get_fleet_health", arguments={}, result={"worst": worst}))
        for insight in insights:
            draft.tools += evidence.device_tools(insight)
            records.append(evidence.device_passage(insight))
            focus |= {code_key(code) for code in evidence.device_codes(insight)}
        if insights or asked.action:
            query = evidence.action_query(request.question, insights)
            about, _ = await self._search(tenant, query, request.top_k)
            known = {hit["chunk_id"] for hit in about}
            hits = [*about, *(hit for hit in hits if hit["chunk_id"] not in known)]
        passages = [*records, *evidence.document_passages(hits)]
        return Evidence(passages, len(records), frozenset(focus), grounding.quotes(passages))

    async def _search(
        self, tenant: Tenant, query: str, top_k: int
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        found = await retriever.search.remote(tenant.id, query, top_k, {})
        return found["hits"], found["timings_ms"]

    def _look_up(self, tenant: Tenant, asked: Plan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        known = self._devices.known(tenant, list(asked.names))[:2]
        insights = [found for name in known if (found := self._devices.insights(tenant, name))]
        return insights, self._devices.worst(tenant) if asked.fleet else []

    async def _embed(self, question: str, found: Evidence, draft: Draft) -> None:
        started = time.perf_counter()
        texts = [question, *(grounding.plain(quote.text) for quote in found.sources)]
        vectors = np.asarray(await self._embedder.encode.remote(texts), dtype=np.float32)
        found.question, found.vectors = vectors[0], vectors[1:]
        draft.timings_ms["embed_sources"] = _ms(started)

    async def _set_aside(self, found: Evidence, draft: Draft) -> None:
        """Drop what speaks to the assistant, before the model or the answer sees it."""
        started = time.perf_counter()
        texts = (grounding.plain(quote.text) for quote in found.sources)
        known = dict(zip(texts, found.vectors, strict=True))
        hostile, draft.tools = await asyncio.gather(
            self._guard.hostile(found.passages, known), self._guard.withhold(draft.tools)
        )
        draft.guard.flagged_passages = [
            SetAside(uri=found.passages[place].uri, reason=reason) for place, reason in hostile.items()
        ]
        found.leave_out(set(hostile))
        draft.timings_ms["guard"] = _ms(started)

    def _clean(self, tenant: Tenant, found: Evidence, draft: Draft) -> None:
        """Take out of the answer and its quotes what no answer may carry."""
        check = self._guard.answer_check(tenant, found.passages)
        draft.answer = check.clean(draft.answer)
        draft.citations = [
            each.model_copy(update={"quote": check.clean(each.quote), "uri": check.clean(each.uri)})
            for each in draft.citations
        ]
        draft.guard.removed = dict(check.removed)

    async def _draft(self, question: str, found: Evidence, draft: Draft) -> list[Sentence]:
        """The records that were asked for, what the model wrote and a source supports, then quotes."""
        lead = [Support(n, 1.0) for n, quote in enumerate(found.sources) if quote.passage < found.lead]
        sentences = [compose.quoted(support, found.sources) for support in lead]
        documents = found.passages[found.lead :] or found.passages
        claims = await self._complete(question, documents, draft)
        started = time.perf_counter()
        vectors: Vectors = np.asarray(await self._embedder.encode.remote(claims), dtype=np.float32)
        supports = grounding.support(claims, vectors, found.sources, found.vectors)
        told = [Sentence(claim, each) for claim, each in zip(claims, supports, strict=True) if each]
        best = compose.extract(question, found.focus, found.sources, found.cosines, FACTS)
        told += [compose.quoted(support, found.sources) for support in best]
        draft.timings_ms["ground"] = _ms(started)
        return compose.distinct([*sentences, *told], found.vectors, found.sources)[: len(sentences) + FACTS]

    async def _complete(self, question: str, passages: list[Passage], draft: Draft) -> list[str]:
        """The sentences that the model wrote; none where it is down or slow."""
        started = time.perf_counter()
        prompt = messages(question, passages, self._settings.context_characters)
        try:
            completion = await asyncio.wait_for(
                self._chat.complete(prompt, self._settings.answer_tokens), self._settings.timeout_s
            )
        except Exception:
            # An answer from the sources alone beats none.
            logger.exception("the language model gave no draft; quoting the sources instead")
            draft.complete = False
            return []
        finally:
            draft.timings_ms["llm"] = _ms(started)
        draft.model = completion.model
        return grounding.claims(completion.text, [passage.title for passage in passages])


def _write(sentences: list[Sentence], guide: list[Quote], found: Evidence, draft: Draft) -> None:
    """Put the answer together: sentences, then numbered steps, each with the marker of its source."""
    markers: dict[Quote, str] = {}

    def cite(quote: Quote, score: float) -> str:
        if quote not in markers:
            markers[quote] = f"[{len(markers) + 1}]"
            draft.citations.append(_citation(markers[quote], found.passages, quote, score))
        return markers[quote]

    quotes = [(sentence, found.sources[sentence.support.quote]) for sentence in sentences]
    text = " ".join(
        f"{sentence.text} {cite(quote, sentence.support.score)}"
        for sentence, quote in quotes
        if not any(step.contains(quote) for step in guide)
    )
    listed = [
        f"{number}. {grounding.plain(step.text)} {cite(step, 1.0)}"
        for number, step in enumerate(guide, start=1)
    ]
    if text or listed:
        draft.answer, draft.grounded = "\n".join(part for part in (text, *listed) if part), True


def _citation(marker: str, passages: list[Passage], quote: Quote, score: float) -> Citation:
    passage = passages[quote.passage]
    return Citation(
        marker=marker,
        doc_id=passage.doc_id,
        title=passage.title,
        uri=passage.uri,
        section=passage.section,
        quote=quote.text,
        start=passage.start + quote.start,
        end=passage.start + quote.end,
        score=round(min(max(score, 0.0), 1.0), 3),
    )


def _nearest(found: Evidence) -> list[Citation]:
    """The best sentence of each of the nearest passages."""
    best: dict[int, tuple[Quote, float]] = {}
    for number in np.argsort(-found.cosines):
        quote = found.sources[number]
        best.setdefault(quote.passage, (quote, float(found.cosines[number])))
    nearest = list(best.values())[:NEAREST]
    return [
        _citation(f"[{number}]", found.passages, quote, score)
        for number, (quote, score) in enumerate(nearest, start=1)
    ]


def _ms(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 1)
