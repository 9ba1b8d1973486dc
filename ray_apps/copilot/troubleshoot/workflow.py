"""Troubleshooting a device: from its records to checks, likely causes and steps."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.tenancy import Tenant
from ray_apps.copilot import evidence
from ray_apps.copilot.actions import ActionRule
from ray_apps.copilot.contracts import Trace
from ray_apps.copilot.documents import Documents
from ray_apps.copilot.events import Tell, ms
from ray_apps.copilot.grounding import Passage, plain
from ray_apps.copilot.troubleshoot import causes, checks
from ray_apps.copilot.troubleshoot.causes import Candidate
from ray_apps.copilot.troubleshoot.contracts import Guide, LikelyCause, Step, TroubleshootRequest
from ray_apps.copilot.troubleshoot.guide import advanced, explanation, instructions

HITS = 10


class Troubleshooter:
    """Gathers evidence under the caller's tenant and makes a guide of it. No language model is asked."""

    def __init__(self, retriever: DeploymentHandle, rules: list[ActionRule]) -> None:
        self._retriever, self._rules = retriever, rules
        self._documents = Documents(retriever)

    async def guide(
        self, tenant: Tenant, request: TroubleshootRequest, insights: dict[str, Any], tell: Tell
    ) -> Guide:
        """A guide for a device; `insights` are its records (`DeviceRecords.insights`).

        `tell` hears of each check, each search and each document that is read, as it is done.
        """
        checked = checks.run(insights, datetime.now(UTC))
        for check in checked:
            tell(Trace(message=f"{check.name}: {check.status}, {check.evidence}"))
        seen = Counter({code_key(code): n for code, n in checks.recent_codes(insights).items()})
        named = code_key(request.error_code) if request.error_code else None
        likely: list[LikelyCause] = []
        steps: list[Step] = []
        for candidate in await self._candidates(tenant, request, insights, named, seen, tell):
            passages = await self._read(tenant, candidate, insights, tell)
            cause, found = _told(candidate, passages, len(steps), {step.text for step in steps})
            likely.append(cause)
            steps += found
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
        found = [hits for hits, _ in await asyncio.gather(*searches)]
        by_code = {
            code: causes.documents_of_code(hits, code) for code, hits in zip(codes, found, strict=False)
        }
        by_symptom = found[len(codes)] if request.symptom else []
        return causes.ranked(by_code, by_symptom, named, seen, self._rules, insights)

    async def _read(
        self, tenant: Tenant, candidate: Candidate, insights: dict[str, Any], tell: Tell
    ) -> list[Passage]:
        """The document that a cause stands in, or the device's record."""
        if candidate.advice:
            return [evidence.record_passage(insights["device_id"], f"{candidate.name}.")]
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        started = time.perf_counter()
        passages = evidence.document_passages(await retriever.passages.remote(tenant.id, candidate.uri))
        tell(
            Trace(
                message=f"read {candidate.name}",
                tool="read_document",
                arguments={"uri": candidate.uri},
                duration_ms=ms(started),
            )
        )
        return passages


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
