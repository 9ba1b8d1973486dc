"""What an answer depends on beside its question: the indexes, the device data and the language model."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from ray.serve.handle import DeploymentHandle
from sqlalchemy.exc import SQLAlchemyError

from iotops.tenancy import Tenant
from ray_apps.copilot.evidence.devices import DeviceRecords
from ray_apps.copilot.model_version import ModelVersion
from ray_apps.copilot.question.planner import Plan
from ray_apps.routing import ChatModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """Changes whenever the same question may have another answer."""

    indexes: str
    data: str | None
    """Of the device data, or that none is read; None where the database does not say."""
    model: str
    author: str
    """The model that would write the answer: while the first one fails, another."""


class Versions:
    """Asks the parts which version they are."""

    def __init__(self, retriever: DeploymentHandle, chat: ChatModel, devices: DeviceRecords) -> None:
        self._retriever, self._chat, self._devices = retriever, chat, devices
        self._model = ModelVersion(chat.describe)

    async def of(self, tenant: Tenant, plan: Plan) -> Version:
        """What an answer for the tenant to a question would rest on now."""
        indexes, data, model = await asyncio.gather(
            self._indexes(tenant), asyncio.to_thread(self._data, tenant, plan), self._model.current()
        )
        return Version(indexes, data, model, self._chat.author)

    def _data(self, tenant: Tenant, plan: Plan) -> str | None:
        """Nothing where documents alone answer: in a fleet that always reports, what is kept would else never
        be found again."""
        of_devices = plan.known is None or bool(plan.devices)
        if not (of_devices or plan.fleet or plan.fleet_incidents or self._chat.calls_tools):
            return ""
        try:
            return self._devices.version(tenant)
        except SQLAlchemyError as error:
            logger.warning("the version of the device data is not to be had: %r", error)
            return None

    async def _indexes(self, tenant: Tenant) -> str:
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        return str(await retriever.indexes.remote(tenant.id))
