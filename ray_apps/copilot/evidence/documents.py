"""The documents that a tenant may see, searched so that whoever waits for an answer hears of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ray.serve.handle import DeploymentHandle

from indexes.codes import codes_in, keys
from iotops.tenancy import Tenant
from ray_apps.copilot.contracts import Trace
from ray_apps.copilot.events import Tell, ms
from ray_apps.copilot.evidence.sentence_vectors import SentenceVectors
from ray_apps.copilot.language.words import content_words
from ray_apps.copilot.question.follow_up import Asked
from ray_apps.copilot.question.period import without_period
from ray_apps.copilot.question.planner import WORD

Hits = list[dict[str, Any]]
MOST_MORE = 2
SEARCH_AGAIN_S = 5
UNSEARCHED = "the documents cannot be searched now: try again shortly"


@dataclass(frozen=True)
class Search:
    """The best chunks, how long each stage of finding them took (ms), whether a part failed, with which
    there might be others, and the indexes searched, as the retriever calls them."""

    hits: Hits
    timings_ms: dict[str, Any]
    failed: bool
    indexes: frozenset[str]


class Documents:
    """The retriever, asked as a tenant."""

    def __init__(self, retriever: DeploymentHandle, vectors: SentenceVectors) -> None:
        self._retriever, self._vectors = retriever, vectors

    async def answering(self, tenant: Tenant, asked: Asked, top_k: int, tell: Tell) -> Search:
        """The best chunks for a question.

        The name of a model draws to the chunks that spell it. Where these lack another word of the question,
        there is a second search without the name, and what has such a word goes before the others.
        """
        first = await self.search(tenant, asked.whole, top_k, tell)
        hits = first.hits
        question = without_period(asked.whole, datetime.now(UTC))
        models = keys(model for hit in hits for model in [*hit["models"], *hit["firmware"]])
        rest = WORD.sub(lambda word: "" if codes_in(word[0]) & models else word[0], question)
        words, exact = content_words(rest), codes_in(rest)
        lacking = words - _words(hits)
        if not lacking or rest == question or (lacking == words and not exact):
            return first
        again = await self.search(tenant, " ".join(rest.split()), top_k, tell)
        found = {hit["chunk_id"] for hit in hits}
        new = [hit for hit in again.hits if hit["chunk_id"] not in found and lacking & _words([hit])]
        more = [hit for hit in new if _may_be_about(hit, asked.plan.codes)][:MOST_MORE]
        failed, indexes = first.failed or again.failed, first.indexes | again.indexes
        return replace(first, hits=[*more, *hits], failed=failed, indexes=indexes)

    async def search(self, tenant: Tenant, query: str, top_k: int, tell: Tell) -> Search:
        """The best chunks for a query.

        Embedded here, where vectors are kept: the guard had the question's made.
        """
        trace = Trace(message="searching the documents", tool="search_documents", arguments={"query": query})
        tell(trace)
        started = time.perf_counter()
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        vector = (await self._vectors.of(tenant, [query]))[0]
        embedded = ms(started)
        found = await retriever.search.remote(tenant.id, query, top_k, {}, vector)
        tell(trace.model_copy(update={"message": _told(found["hits"], query), "duration_ms": ms(started)}))
        timings_ms = {**found["timings_ms"], "embed": embedded}
        return Search(found["hits"], timings_ms, bool(found["failed"]), frozenset({found["indexes"]}))


def _words(hits: Iterable[dict[str, Any]]) -> set[str]:
    return content_words(" ".join(f"{hit['title']} {hit['section']} {hit['text']}" for hit in hits))


def _may_be_about(hit: dict[str, Any], codes: frozenset[str]) -> bool:
    """Whether a chunk's document is declared to be about one of the codes, or about none at all."""
    declared = keys([*hit["models"], *hit["error_codes"], *hit["firmware"]])
    return not declared or bool(declared & codes)


def _told(hits: Hits, query: str) -> str:
    documents = len({hit["uri"] for hit in hits})
    return f"{len(hits)} passage{'s' * (len(hits) != 1)} of {documents} documents: {query}"
