"""What an answer depends on beside its question: the indexes, the device data and the language model."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from iotops.tenancy import Tenant
from ray_apps.copilot.devices import DeviceRecords
from ray_apps.copilot.planner import Plan
from ray_apps.routing import ChatModel

logger = logging.getLogger(__name__)

MODEL_TIMEOUT_S = 1.0
MODEL_REMEMBERED_S = 5.0
"""It answers late while it writes, and no cached answer should wait for that."""
MODEL_STALE_S = 60.0
"""What it said longer ago is waited for, as after an hour without a question."""


@dataclass(frozen=True)
class Version:
    """Changes whenever the same question may have another answer."""

    index: str
    data: str
    model: str
    author: str
    """The model that would write the answer: while the first one fails, another."""


class Versions:
    """Asks the parts which version they are."""

    def __init__(self, retriever: DeploymentHandle, chat: ChatModel, devices: DeviceRecords) -> None:
        self._retriever, self._chat, self._devices = retriever, chat, devices
        self._described: dict[str, Any] = {"name": "none"}
        self._described_at = -math.inf
        self._describing: asyncio.Task[None] | None = None

    async def of(self, tenant: Tenant, plan: Plan) -> Version:
        """What an answer for the tenant to a question would rest on now."""
        index, data, model = await asyncio.gather(
            self._index(tenant), asyncio.to_thread(self._data, tenant, plan), self._model()
        )
        return Version(index, data, model, self._chat.author)

    async def _model(self) -> str:
        """What the first language model says of itself, or said a moment ago while it is asked again."""
        age_s = time.monotonic() - self._described_at
        if age_s > MODEL_REMEMBERED_S and self._describing is None:
            self._describing = asyncio.create_task(self._describe())
        if self._describing and age_s > MODEL_STALE_S:
            await asyncio.shield(self._describing)
        return str(self._described)

    async def _describe(self) -> None:
        try:
            described = await asyncio.wait_for(self._chat.describe(), MODEL_TIMEOUT_S)
            self._described = {name: told for name, told in described.items() if name != "circuits"}
        except Exception as error:
            logger.warning("the language model does not say which it is: %r", error)
        finally:
            self._described_at, self._describing = time.monotonic(), None

    def _data(self, tenant: Tenant, plan: Plan) -> str:
        """Nothing where documents alone answer: in a fleet that always reports, what is kept would else never
        be found again."""
        by_records = plan.fleet or plan.fleet_incidents or self._chat.calls_tools
        if by_records or self._devices.known(tenant, plan.names):
            return self._devices.version(tenant)
        return ""

    async def _index(self, tenant: Tenant) -> str:
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        return str(await retriever.describe.remote(tenant.id))
