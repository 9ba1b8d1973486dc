"""Finds out what a question names: devices, their models, codes; always as one tenant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.tenancy import Tenant
from ray_apps.copilot.evidence.devices import DeviceRecords
from ray_apps.copilot.question.follow_up import Asked
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.placing import placed
from ray_apps.copilot.question.planner import Plan

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0


class Names:
    """Looks names up in the device records, and codes that no device reported in the documents too."""

    def __init__(
        self, devices: DeviceRecords, retriever: DeploymentHandle, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._devices, self._retriever, self._timeout_s = devices, retriever, timeout_s

    async def placed(self, tenant: Tenant, asked: Asked) -> Asked:
        """The question with its plan `placed`; as it was where what it names cannot be looked up in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                known = await asyncio.to_thread(self._known, tenant, asked.plan)
                meant = placed(asked.plan, known)
                if meant.of_device and not (asked.plan.of_device or meant.devices):  # of what may be a code
                    codes = await self._codes(tenant, meant.error_codes)
                    meant = placed(asked.plan, replace(known, codes=codes))
        except Exception:
            logger.exception("what a question names could not be looked up")
            return asked
        return replace(asked, plan=meant)

    def _known(self, tenant: Tenant, plan: Plan) -> Known:
        devices = self._devices.known(tenant, plan.device_ids)
        return Known(tuple(devices), tuple(self._devices.models(tenant, plan.codes)))

    async def _codes(self, tenant: Tenant, codes: Sequence[str]) -> frozenset[str]:
        """Keys of those codes that some device reported, or a document declares."""
        if not codes:
            return frozenset()
        reported = await asyncio.to_thread(self._devices.reported, tenant, codes)
        others = [code for code in codes if code_key(code) not in reported]
        declared = await asyncio.gather(*(self._declared(tenant, code) for code in others))
        return frozenset(reported).union(*declared)

    async def _declared(self, tenant: Tenant, code: str) -> set[str]:
        key = code_key(code)
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        found = await retriever.search.remote(tenant.id, code, 1, {"error_codes": [key]})
        return {key} if found["hits"] else set()
