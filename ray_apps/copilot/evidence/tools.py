"""The tools that an answer may use, whether the question or the language model asks for them.

They run as the caller's tenant. Nothing that a model writes can name another: no tool takes a tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from iotops.tenancy import Tenant
from ray_apps.chat import ProposedCall, Schemas
from ray_apps.copilot.contracts import DeviceIdField, ToolCall
from ray_apps.copilot.evidence import evidence
from ray_apps.copilot.evidence.devices import DeviceRecords
from ray_apps.copilot.evidence.evidence import Result
from ray_apps.copilot.question.period import EVER
from ray_apps.copilot.question.planner import Plan

MOST_CALLS = 4
"""Of a model's, for one question."""
RELATED_PASSAGES = 2


class Arguments(BaseModel):
    """What a tool takes; whatever else a model writes, a tenant too, is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class DeviceMetrics(Arguments):
    """Health score of a device, what lowers it, and its latest readings."""

    device_id: DeviceIdField


class IncidentHistory(Arguments):
    """Recent error codes and alerts of a device, or of the whole fleet if no device is given."""

    device_id: DeviceIdField | None = None


class RelatedDocs(Arguments):
    """Passages of manuals and runbooks about an error code."""

    error_code: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]


TOOLS: dict[str, type[Arguments]] = {
    "get_device_metrics": DeviceMetrics,
    "get_incident_history": IncidentHistory,
    "fetch_related_docs": RelatedDocs,
}


def name_of(arguments: Arguments) -> str:
    """The tool that takes such arguments."""
    return next(name for name, taken in TOOLS.items() if taken is type(arguments))


def schemas() -> Schemas:
    """The tools as OpenAI describes them."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": arguments.__doc__,
                "parameters": {
                    "type": "object",
                    "properties": arguments.model_json_schema()["properties"],
                    "required": [key for key, each in arguments.model_fields.items() if each.is_required()],
                },
            },
        }
        for name, arguments in TOOLS.items()
    ]


def accepted(
    proposed: Sequence[ProposedCall], done: Collection[ToolCall]
) -> tuple[list[Arguments], list[str]]:
    """The calls of a model that are run, and why each of the others is not; `done` is not done again."""
    wanted: list[Arguments] = []
    dropped = []
    for call in proposed:
        known = TOOLS.get(call.name)
        if known is None:
            dropped.append(f"no tool is called {call.name[:40]!r}")
            continue
        try:
            arguments = known.model_validate_json(call.arguments)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            dropped.append(f"{call.name}: {'.'.join(map(str, problem['loc']))} {problem['msg']}")
            continue
        if arguments in wanted or any(_same(arguments, call.name, each) for each in done):
            dropped.append(f"{call.name} was done already")
        elif len(wanted) == MOST_CALLS:
            dropped.append(f"{call.name}: {MOST_CALLS} calls are the most")
        else:
            wanted.append(arguments)
    return wanted, dropped


def _same(arguments: Arguments, name: str, done: ToolCall) -> bool:
    given = arguments.model_dump(exclude_none=True)
    within = {key: value for key, value in done.arguments.items() if key in type(arguments).model_fields}
    return name == done.name and given == within


class Toolbox:
    """Runs tools."""

    def __init__(self, devices: DeviceRecords, retriever: DeploymentHandle) -> None:
        self._devices, self._retriever = devices, retriever
        self._run: dict[type[Arguments], Callable[..., Awaitable[Result]]] = {
            DeviceMetrics: self._metrics,
            IncidentHistory: self._incidents,
            RelatedDocs: self._documents,
        }

    async def run(self, tenant: Tenant, arguments: Arguments, plan: Plan) -> Result:
        """The result of one tool, within the time that the question names for those that know time."""
        return await self._run[type(arguments)](tenant, arguments, plan)

    async def _metrics(self, tenant: Tenant, wanted: DeviceMetrics, plan: Plan) -> Result:
        record = await self._record(tenant, wanted.device_id, plan)
        tool = ToolCall(
            name="get_device_metrics",
            arguments={"device_id": wanted.device_id},
            result=evidence.device_metrics(record) if record else {},
        )
        return Result(tool, [evidence.device_passage(record, period=plan.period)] if record else [])

    async def _incidents(self, tenant: Tenant, wanted: IncidentHistory, plan: Plan) -> Result:
        if wanted.device_id:
            record = await self._record(tenant, wanted.device_id, plan)
            found = evidence.device_incidents(record) if record else {}
            passages = [evidence.device_passage(record, period=plan.period)] if record else []
        elif lack := plan.fleet_lack:
            found = await asyncio.to_thread(
                self._devices.lacking, tenant, lack, plan.period, plan.reported, plan.codes, plan.left_out
            )
            passages = [evidence.lacking_passage(found, lack, plan)]
        else:
            of = (
                plan.period or EVER,
                plan.reported,
                plan.codes,
                plan.left_out,
                plan.alerts and plan.resolved,
            )
            found = await asyncio.to_thread(self._devices.incidents, tenant, *of)
            passages = [evidence.incident_passage(found, plan)]
        given = {**wanted.model_dump(exclude_none=True), **evidence.within(plan.period)}
        return Result(ToolCall(name="get_incident_history", arguments=given, result=found), passages)

    async def _record(self, tenant: Tenant, device: str, plan: Plan) -> dict[str, Any] | None:
        return await asyncio.to_thread(self._devices.insights, tenant, device, plan.period or EVER)

    async def _documents(self, tenant: Tenant, wanted: RelatedDocs, plan: Plan) -> Result:
        """Passages of the documents that declare the code."""
        retriever = self._retriever.options(multiplexed_model_id=tenant.id)
        filters = {"error_codes": [code_key(wanted.error_code)]}
        search = await retriever.search.remote(tenant.id, wanted.error_code, RELATED_PASSAGES, filters)
        hits = search["hits"]
        titles = {hit["uri"]: hit["title"] for hit in hits}
        return Result(
            ToolCall(
                name="fetch_related_docs",
                arguments={"error_code": wanted.error_code},
                result={"documents": [{"title": title, "uri": uri} for uri, title in titles.items()]},
            ),
            evidence.document_passages(hits),
            bool(search["failed"]),
            frozenset({search["indexes"]}),
        )
