"""From a question to an answer whose every sentence is cited."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray.serve.handle import DeploymentHandle

from iotops.settings import CopilotSettings
from iotops.tenancy import Tenant
from ray_apps.chat import ChatModel
from ray_apps.copilot import evidence, grounding
from ray_apps.copilot.actions import ActionRule
from ray_apps.copilot.contracts import AskRequest, Citation, ToolCall
from ray_apps.copilot.devices import DeviceRecords
from ray_apps.copilot.grounding import Passage, Quote, Support, Vectors
from ray_apps.copilot.planner import plan
from ray_apps.copilot.prompt import messages

logger = logging.getLogger(__name__)

UNKNOWN = "I don't know: the documents and the device records that I may see do not answer this."
EXTRACTED_SENTENCES = 4
NEAREST_SOURCES = 3


@dataclass
class Draft:
    """An answer in the making, with all that it rests on."""

    answer: str = UNKNOWN
    citations: list[Citation] = field(default_factory=list)
    grounded: bool = False
    tools: list[ToolCall] = field(default_factory=list)
    model: str = "none"
    complete: bool = True
    timings_ms: dict[str, float | str | None] = field(default_factory=dict)


class Answerer:
    """Plans, looks up, drafts with the language model and keeps what the sources support."""

    def __init__(
        self,
        settings: CopilotSettings,
        retriever: DeploymentHandle,
        embedder: DeploymentHandle,
        chat: ChatModel,
        devices: DeviceRecords,
        rules: list[ActionRule],
    ) -> None:
        self._settings, self._retriever, self._embedder = settings, retriever, embedder
        self._chat, self._devices, self._rules = chat, devices, rules

    async def ask(self, tenant: Tenant, request: AskRequest) -> Draft:
        """Answer for a tenant; says that it does not know rather than guess."""
        draft, started = Draft(), time.perf_counter()
        passages = await self._gather(tenant, request, draft)
        sources = grounding.quotes(passages)
        embedding = time.perf_counter()
        texts = [request.question, *(grounding.plain(quote.text) for quote in sources)]
        vectors: Vectors = np.asarray(await self._embedder.encode.remote(texts), dtype=np.float32)
        draft.timings_ms["embed_sources"] = _ms(embedding)
        question, quotes = vectors[:1], vectors[1:]
        if confidence(request.question, passages, question, quotes) >= self._settings.least_confidence:
            await self._write(request.question, passages, sources, question, quotes, draft)
        if not draft.grounded:
            draft.citations = [
                _citation(number, passages, quote, quote_score)
                for number, (quote, quote_score) in enumerate(_nearest(sources, question, quotes), start=1)
            ]
        draft.timings_ms["total"] = _ms(started)
        return draft

    async def _gather(self, tenant: Tenant, request: AskRequest, draft: Draft) -> list[Passage]:
        """Documents and records in parallel, under the caller's tenant; the device's record first."""
        asked = plan(request.question, request.device_id)
        search = self._search(tenant, request.question, request.top_k)
        records = asyncio.to_thread(self._look_up, tenant, asked.names, asked.fleet)
        (hits, timings), (insights, worst) = await asyncio.gather(search, records)
        draft.timings_ms.update(timings)
        passages = []
        if worst and not insights:
            passages.append(evidence.fleet_passage(worst))
            draft.tools.append(ToolCall(name="get_fleet_health", arguments={}, result={"worst": worst}))
        for insight in insights:
            draft.tools += evidence.device_tools(insight)
            passages.append(evidence.device_passage(insight, self._rules))
        if insights:
            about, _ = await self._search(tenant, evidence.device_query(insights[0]), request.top_k)
            known = {hit["chunk_id"] for hit in about}
            hits = [*about, *(hit for hit in hits if hit["chunk_id"] not in known)]
        return [*passages, *evidence.document_passages(hits[: request.top_k])]

    async def _search(
        self, tenant: Tenant, query: str, top_k: int
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        found = await retriever.search.remote(tenant.id, query, top_k, {})
        return found["hits"], found["timings_ms"]

    def _look_up(
        self, tenant: Tenant, names: tuple[str, ...], fleet: bool
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        known = self._devices.known(tenant, list(names))[:2]
        insights = [found for name in known if (found := self._devices.insights(tenant, name))]
        return insights, self._devices.worst(tenant) if fleet else []

    async def _write(
        self,
        question: str,
        passages: list[Passage],
        sources: list[Quote],
        question_vector: Vectors,
        quote_vectors: Vectors,
        draft: Draft,
    ) -> None:
        """Draft with the model and keep the supported sentences; with none, quote the sources themselves."""
        writing = time.perf_counter()
        claims: list[str] = []
        try:
            completion = await asyncio.wait_for(
                self._chat.complete(
                    messages(question, passages, self._settings.context_characters),
                    self._settings.answer_tokens,
                ),
                self._settings.timeout_s,
            )
            draft.model = completion.model
            claims = _claims(completion.text)
        except Exception:
            # An answer from the sources alone beats none while the model is down or slow.
            logger.exception("the language model gave no draft; quoting the sources instead")
            draft.complete = False
        draft.timings_ms["llm"] = _ms(writing)
        checking = time.perf_counter()
        claim_vectors = np.asarray(await self._embedder.encode.remote(claims)) if claims else np.empty((0, 1))
        supports = grounding.support(claims, claim_vectors, sources, quote_vectors)
        kept = [(claim, found) for claim, found in zip(claims, supports, strict=True) if found]
        told = {found.quote for _, found in kept}
        for found in extract(
            question, sources, question_vector, quote_vectors, EXTRACTED_SENTENCES - len(kept)
        ):
            if found.quote not in told:
                kept.append((grounding.plain(sources[found.quote].text), found))
        _compose(kept, passages, sources, draft)
        draft.timings_ms["ground"] = _ms(checking)


def confidence(question: str, passages: list[Passage], question_vector: Vectors, quotes: Vectors) -> float:
    """How well the sources fit a question (0-1): mean of word coverage and the best sentence's cosine."""
    if not len(quotes):
        return 0.0
    return (grounding.coverage(question, passages) + float((question_vector @ quotes.T).max())) / 2


def extract(
    question: str, sources: list[Quote], question_vector: Vectors, quotes: Vectors, limit: int
) -> list[Support]:
    """The sentences of the sources that answer the question best, in the order in which they stand."""
    asked = grounding.content_words(question) | grounding.facts(question)
    if limit <= 0 or not asked:
        return []
    cosines = (question_vector @ quotes.T)[0]
    scored = [
        Support(
            number,
            float(cosines[number] + len(asked & (quote.words | grounding.facts(quote.text))) / len(asked))
            / 2,
        )
        for number, quote in enumerate(sources)
    ]
    best = sorted(scored, key=lambda found: -found.score)[:limit]
    return sorted(best, key=lambda found: found.quote)


def _claims(text: str) -> list[str]:
    claims = [grounding.plain(text[start:end]) for start, end in grounding.sentences(text)]
    return list(dict.fromkeys(claim for claim in claims if claim))


def _compose(
    kept: list[tuple[str, Support]], passages: list[Passage], sources: list[Quote], draft: Draft
) -> None:
    markers: dict[int, str] = {}
    parts = []
    for claim, found in kept:
        if found.quote not in markers:
            markers[found.quote] = f"[{len(markers) + 1}]"
            draft.citations.append(_citation(len(markers), passages, sources[found.quote], found.score))
        parts.append(f"{claim} {markers[found.quote]}")
    if parts:
        draft.answer, draft.grounded = " ".join(parts), True


def _citation(number: int, passages: list[Passage], quote: Quote, score: float) -> Citation:
    passage = passages[quote.passage]
    return Citation(
        marker=f"[{number}]",
        doc_id=passage.doc_id,
        title=passage.title,
        uri=passage.uri,
        section=passage.section,
        quote=quote.text,
        start=passage.start + quote.start,
        end=passage.start + quote.end,
        score=round(score, 3),
    )


def _nearest(sources: list[Quote], question: Vectors, quotes: Vectors) -> list[tuple[Quote, float]]:
    """The best sentence of each of the nearest passages."""
    if not len(quotes):
        return []
    cosines = (question @ quotes.T)[0]
    best: dict[int, tuple[Quote, float]] = {}
    for number in np.argsort(-cosines):
        best.setdefault(sources[number].passage, (sources[number], float(cosines[number])))
    return list(best.values())[:NEAREST_SOURCES]


def _ms(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 1)
