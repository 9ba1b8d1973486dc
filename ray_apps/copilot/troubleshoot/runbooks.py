"""The runbooks for a device's trouble: which document tells what to do for each action that is advised."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.tenancy import Tenant
from ray_apps.copilot.actions import ActionRule
from ray_apps.copilot.contracts import Citation
from ray_apps.copilot.evidence import evidence
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.troubleshoot.guide import explanation, instructions

logger = logging.getLogger(__name__)

TIMEOUT_S, PASSAGES = 2.0, 5
LEAST_COSINE = 0.5
"""Of a document that declares no code and is looked for by words."""


class Runbooks:
    """Looks runbooks up under the caller's tenant; the guard reads what is cited."""

    def __init__(self, retriever: DeploymentHandle, guard: Guard) -> None:
        self._retriever, self._guard = retriever, guard

    async def about(
        self, tenant: Tenant, insights: dict[str, Any], rules: Sequence[ActionRule]
    ) -> dict[str, Citation]:
        """For the names of rules the first step of the document that each looks for; `{code}` in it is the
        device's last error code, which the document must declare, `{model}` its model.

        None where no document fits, and where the search fails or takes too long: a device's health is told
        without its runbooks.
        """
        code, model = next(iter(evidence.latest_codes(insights)), ""), insights["model"] or ""
        queries = {
            rule.name: (rule.documents.format(code=code, model=model), code * ("{code}" in rule.documents))
            for rule in rules
            if rule.documents and (code or "{code}" not in rule.documents)
        }
        wanted = list(dict.fromkeys(queries.values()))
        cited = await asyncio.gather(*(self._of(tenant, *each) for each in wanted))
        found = dict(zip(wanted, cited, strict=True))
        return {name: runbook for name, query in queries.items() if (runbook := found[query])}

    async def _of(self, tenant: Tenant, query: str, code: str) -> Citation | None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._cited(tenant, query, code)
        except Exception:
            logger.exception("no runbook was looked up for %r", query)
            return None

    async def _cited(self, tenant: Tenant, query: str, code: str) -> Citation | None:
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        filters = {"error_codes": [code_key(code)]} if code else {}
        hits = (await retriever.search.remote(tenant.id, query, PASSAGES, filters))["hits"]
        if not code:
            hits = [hit for hit in hits if hit["uri"] == hits[0]["uri"]]
            if max((hit["scores"]["vector"] or 0.0 for hit in hits), default=0.0) < LEAST_COSINE:
                return None
        passages = evidence.document_passages(hits)
        told = next(iter(instructions(passages)), None) or explanation(passages)
        if told is None or await self._guard.hostile(tenant, [passages[told.passage]]):
            return None
        check = self._guard.answer_check(tenant)
        check.allow([passages[told.passage].text])
        return evidence.cleaned(evidence.citation(passages, told, "[1]", 1.0), check.clean)
