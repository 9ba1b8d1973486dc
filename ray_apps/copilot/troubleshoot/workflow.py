"""Troubleshooting a device: from its records to checks, likely causes and steps."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.tenancy import Tenant
from ray_apps.copilot.actions import ActionRule
from ray_apps.copilot.contracts import GuardReport, SetAside, Trace
from ray_apps.copilot.events import Tell, ms
from ray_apps.copilot.evidence import evidence
from ray_apps.copilot.evidence.documents import Documents
from ray_apps.copilot.evidence.passages import Passage
from ray_apps.copilot.evidence.sentence_vectors import SentenceVectors
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.language.text import plain
from ray_apps.copilot.troubleshoot import causes, checks
from ray_apps.copilot.troubleshoot.causes import Candidate
from ray_apps.copilot.troubleshoot.contracts import Guide, LikelyCause, Step, TroubleshootRequest
from ray_apps.copilot.troubleshoot.guide import advanced, explanation, instructions

HITS = 10
Told = TypeVar("Told", LikelyCause, Step)


class Troubleshooter:
    """Gathers evidence under the caller's tenant and makes a guide of it. No language model is asked.

    The guard reads whatever a cause or a step would be taken from; nothing is taken from a passage that it
    sets aside.
    """

    def __init__(
        self, retriever: DeploymentHandle, vectors: SentenceVectors, rules: list[ActionRule], guard: Guard
    ) -> None:
        self._retriever, self._rules, self._guard = retriever, rules, guard
        self._documents = Documents(retriever, vectors)

    async def guide(
        self, tenant: Tenant, request: TroubleshootRequest, insights: dict[str, Any], tell: Tell
    ) -> Guide:
        """A guide for a device; `insights` are its records (`DeviceRecords.insights`).

        `tell` hears of each check, each search and each document that is read, as it is done.
        """
        allowed, report = self._guard.answer_check(tenant), GuardReport()
        checked = [
            check.model_copy(update={"evidence": allowed.clean(check.evidence)})
            for check in checks.run(insights, datetime.now(UTC))
        ]
        for check in checked:
            tell(Trace(message=f"{check.name}: {check.status}, {check.evidence}"))
        seen = Counter({code_key(row["error_code"]): row["times"] for row in insights["recent_codes"]})
        named = code_key(request.error_code) if request.error_code else None
        likely: list[LikelyCause] = []
        steps: list[Step] = []
        known: set[str] = set()
        for candidate in await self._candidates(tenant, request, insights, named, seen, tell):
            read = await self._read(tenant, candidate, insights, allowed.clean, tell)
            passages = await self._safe(tenant, read, report)
            if read and not passages:
                continue
            allowed.allow(f"{passage.uri} {passage.text}" for passage in passages)
            cause, found = _told(candidate, passages, len(steps), known)
            known |= {step.text for step in found}
            likely.append(_cleaned(cause, allowed.clean))
            steps += [_cleaned(step, allowed.clean) for step in found]
        report.removed = dict(allowed.removed)
        return advanced(
            Guide(
                id=str(uuid.uuid4()),
                device_id=request.device_id,
                symptom=request.symptom,
                error_code=request.error_code,
                state="open",
                checks=checked,
                likely_causes=likely,
                steps=steps,
                next_step=None,
                guard=report,
            )
        )

    async def _candidates(
        self,
        tenant: Tenant,
        request: TroubleshootRequest,
        insights: dict[str, Any],
        named: str | None,
        seen: Counter[str],
        tell: Tell,
    ) -> list[Candidate]:
        codes = list(dict.fromkeys([*([named] if named else []), *(code for code, _ in seen.most_common(3))]))
        model = insights["model"] or ""
        queries = [f"{code} {model} causes immediate actions" for code in codes]
        if request.symptom:
            queries.append(f"{request.symptom} {model}".strip())
        searches = (self._documents.search(tenant, query, HITS, tell) for query in queries)
        found = [search.hits for search in await asyncio.gather(*searches)]
        by_code = {
            code: causes.documents_of_code(hits, code) for code, hits in zip(codes, found, strict=False)
        }
        by_symptom = found[len(codes)] if request.symptom else []
        return causes.ranked(by_code, by_symptom, named, seen, self._rules, insights)

    async def _read(
        self,
        tenant: Tenant,
        candidate: Candidate,
        insights: dict[str, Any],
        clean: Callable[[str], str],
        tell: Tell,
    ) -> list[Passage]:
        """The document that a cause stands in, or the device's record."""
        if candidate.advice:
            return [evidence.record_passage(insights["device_id"], f"{candidate.name}.")]
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        started = time.perf_counter()
        passages = evidence.document_passages(await retriever.passages.remote(tenant.id, candidate.uri))
        tell(
            Trace(
                message=f"read {clean(candidate.name)}",
                tool="read_document",
                arguments={"uri": candidate.uri},
                duration_ms=ms(started),
            )
        )
        return passages

    async def _safe(self, tenant: Tenant, passages: list[Passage], report: GuardReport) -> list[Passage]:
        """The passages without those that speak to the assistant, of those that something is taken from."""
        read: list[Passage] = []
        while new := [each for each in _taken_from(passages) if each not in read]:
            read += new
            for place, reason in (await self._guard.hostile(tenant, new)).items():
                report.flagged_passages.append(SetAside(uri=new[place].uri, reason=reason))
                passages = [each for each in passages if each != new[place]]
        return passages


def _taken_from(passages: list[Passage]) -> list[Passage]:
    """Those that the explanation or a step stands in."""
    told = explanation(passages)
    quotes = [*([told] if told else []), *instructions(passages)]
    return [passages[place] for place in sorted({quote.passage for quote in quotes})]


def _cleaned(told: Told, clean: Callable[[str], str]) -> Told:
    """A cause or a step without what no answer may carry."""
    words: dict[str, Any] = {name: clean(text) for name, text in told if name in ("cause", "text")}
    if isinstance(told, LikelyCause):
        words["because"] = [clean(reason) for reason in told.because]
    cited = [evidence.cleaned(citation, clean) for citation in told.citations]
    return told.model_copy(update={**words, "citations": cited})


def _told(
    candidate: Candidate, passages: list[Passage], before: int, known: set[str]
) -> tuple[LikelyCause, list[Step]]:
    """A cause and its steps, numbered on, without those that an earlier cause told."""
    told = explanation(passages)
    cited = [evidence.citation(passages, told, "[1]", candidate.score)] if told else []
    if candidate.advice:
        found = [(candidate.advice, cited)]
    else:
        found = [
            (plain(quote.text), [evidence.citation(passages, quote, "[1]", 1.0)])
            for quote in instructions(passages)
        ]
    cause = LikelyCause(
        cause=candidate.name, score=candidate.score, because=candidate.because, citations=cited
    )
    fresh = [(text, citations) for text, citations in found if text not in known]
    return cause, [
        Step(number=number, cause=candidate.name, text=text, citations=citations)
        for number, (text, citations) in enumerate(fresh, start=before + 1)
    ]
