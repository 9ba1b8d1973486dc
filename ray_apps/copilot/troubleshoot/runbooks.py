"""The runbook for a device's trouble: which document tells what to do about its last error code."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.tenancy import Tenant
from ray_apps.copilot import evidence
from ray_apps.copilot.contracts import Citation
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.troubleshoot.guide import explanation, instructions

logger = logging.getLogger(__name__)

TIMEOUT_S, PASSAGES = 2.0, 5


class Runbooks:
    """Looks runbooks up under the caller's tenant; the guard reads what is cited."""

    def __init__(self, retriever: DeploymentHandle, guard: Guard) -> None:
        self._retriever, self._guard = retriever, guard

    async def about(self, tenant: Tenant, insights: dict[str, Any]) -> Citation | None:
        """The first step for the last error code of a device, of a document that declares the code.

        None where no document does, and where the search fails or takes too long: a device's health is told
        without its runbook.
        """
        codes = evidence.latest_codes(insights)
        if not codes:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._cited(tenant, codes[0])
        except Exception:
            logger.exception("no runbook was looked up for %s", codes[0])
            return None

    async def _cited(self, tenant: Tenant, code: str) -> Citation | None:
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        filters = {"error_codes": [code_key(code)]}
        found = await retriever.search.remote(tenant.id, f"{code} immediate actions", PASSAGES, filters)
        passages = evidence.document_passages(found["hits"])
        told = next(iter(instructions(passages)), None) or explanation(passages)
        if told is None or await self._guard.hostile(tenant, [passages[told.passage]]):
            return None
        check = self._guard.answer_check(tenant)
        check.allow([passages[told.passage].text])
        return evidence.cleaned(evidence.citation(passages, told, "[1]", 1.0), check.clean)
