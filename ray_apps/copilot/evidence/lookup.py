"""Looking up what an answer may rest on: device records and documents, under the caller's tenant."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import numpy as np
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from indexes.codes import code_key
from indexes.vector import Vectors
from iotops.http import ApiError
from iotops.tenancy import Tenant
from ray_apps.copilot.contracts import ToolCall, Trace
from ray_apps.copilot.events import Tell, ms
from ray_apps.copilot.evidence import evidence
from ray_apps.copilot.evidence.devices import DeviceRecords
from ray_apps.copilot.evidence.documents import SEARCH_AGAIN_S, UNSEARCHED, Documents, Search
from ray_apps.copilot.evidence.evidence import Evidence, Result
from ray_apps.copilot.evidence.passages import quotes
from ray_apps.copilot.evidence.procedures import tells_actions
from ray_apps.copilot.evidence.sentence_vectors import SentenceVectors
from ray_apps.copilot.evidence.tools import Arguments, IncidentHistory, RelatedDocs, Toolbox, name_of
from ray_apps.copilot.language.text import plain
from ray_apps.copilot.question.follow_up import Asked
from ray_apps.copilot.question.period import EVER
from ray_apps.copilot.question.planner import Plan

logger = logging.getLogger(__name__)

MOST_DEVICES, MOST_CODES = 4, 2
LOOKED_THROUGH = 2
"""Times as many chunks as are read, among which steps to take are looked for."""
TOOL_TIMEOUT_S, SEARCH_TIMEOUT_S = 5.0, 30.0
"""A replica's first search of a large index waits until that is here."""
Found = TypeVar("Found")


class Lookup:
    """Gathers evidence and embeds it."""

    def __init__(
        self,
        retriever: DeploymentHandle,
        embedder: DeploymentHandle,
        vectors: SentenceVectors,
        devices: DeviceRecords,
        tool_timeout_s: float = TOOL_TIMEOUT_S,
        search_timeout_s: float = SEARCH_TIMEOUT_S,
    ) -> None:
        self._tool_timeout_s, self._search_timeout_s = tool_timeout_s, search_timeout_s
        self._documents, self._embedder, self._vectors = Documents(retriever, vectors), embedder, vectors
        self._devices, self._tools = devices, Toolbox(devices, retriever)

    async def gather(self, tenant: Tenant, asked: Asked, top_k: int, tell: Tell) -> Evidence:
        """Documents and records in parallel; the records first."""
        found = Evidence(focus=asked.plan.codes)
        search, (insights, related) = await asyncio.gather(
            self._searched(self._documents.answering(tenant, asked, top_k, tell), found, tell),
            self._named(tenant, asked, found, tell),
        )
        if search is None and not found.passages:
            raise ApiError(503, "search_unavailable", UNSEARCHED, retry_after_s=SEARCH_AGAIN_S)
        hits, found.timings_ms = (search.hits, search.timings_ms) if search else ([], {})
        if search and (insights or asked.plan.action):
            query = evidence.trouble_query(asked.whole, insights, asked.plan)
            about = await self._about(tenant, query, top_k, asked.plan.action, found, tell)
            known_chunks = {hit["chunk_id"] for hit in about}
            hits = [*about, *(hit for hit in hits if hit["chunk_id"] not in known_chunks)]
        if asked.plan.unread and found.passages:
            found.passages.insert(0, evidence.unread_passage(asked.plan))
        found.lead = len(found.passages)
        found.passages += evidence.document_passages(hits)
        for result in related:
            if result.passages:  # else it is no code that a document declares, but a device's model, say
                found.add(result, len(found.passages))
        return found

    async def _about(
        self, tenant: Tenant, query: str, top_k: int, action: bool, found: Evidence, tell: Tell
    ) -> list[dict[str, Any]]:
        """The best chunks for a query; for what to do, also the first below them that tells steps: these
        seldom spell the code that their document is about."""
        wanted = top_k * LOOKED_THROUGH if action else top_k
        search = await self._searched(self._documents.search(tenant, query, wanted, tell), found, tell)
        if search is None:
            return []
        below = search.hits[top_k:]
        passages = zip(below, evidence.document_passages(below), strict=True)
        steps = (hit for hit, passage in passages if tells_actions(passage))
        return [*search.hits[:top_k], *itertools.islice(steps, 1)]

    async def _searched(self, search: Awaitable[Search], found: Evidence, tell: Tell) -> Search | None:
        """What a search finds; nothing where it fails or takes too long, which is told and noted in `found`:
        records may answer without it. Where the retriever is too busy all are, and the question is shed."""
        try:
            async with asyncio.timeout(self._search_timeout_s):
                ended = await search
        except BackPressureError:
            raise
        except Exception:
            logger.exception("searching the documents failed")
            found.incomplete = True
            tell(Trace(message="searching the documents failed", tool="search_documents"))
            return None
        found.incomplete |= ended.failed
        found.indexes |= ended.indexes
        return ended

    async def _named(
        self, tenant: Tenant, asked: Asked, found: Evidence, tell: Tell
    ) -> tuple[list[dict[str, Any]], list[Result]]:
        """The records of the devices that the question names, and what declares its codes."""
        plan, devices = asked.plan, asked.plan.devices
        if plan.known is None:
            found.incomplete = True
            tell(Trace(message="looking the devices up failed"))
        if left := devices[MOST_DEVICES:]:
            tell(Trace(message=f"leaving out {', '.join(left)}: {MOST_DEVICES} devices are the most at once"))
        # Whether a word names a device is not known where the look-up failed; a device is never the fleet.
        of_fleet = not (plan.of_device or (plan.known is None and plan.names))
        codes = list(dict.fromkeys(asked.codes))[:MOST_CODES]
        insights, related = await asyncio.gather(
            self._records(tenant, asked, None if of_fleet else devices[:MOST_DEVICES], found, tell),
            self._run(tenant, [RelatedDocs(error_code=code) for code in codes], plan, found, tell),
        )
        if left and insights:
            found.passages.append(evidence.left_out_passage(left, MOST_DEVICES))
        return insights, related

    async def call(
        self, tenant: Tenant, wanted: Sequence[Arguments], found: Evidence, plan: Plan, tell: Tell
    ) -> None:
        """Run the tools that a model asks for; what they find stands behind the records asked for."""
        for result in await self._run(tenant, wanted, plan, found, tell):
            found.add(result, found.lead)

    async def embed(self, tenant: Tenant, asked: Asked, found: Evidence, end: int) -> None:
        """Cut the passages that are not read yet, up to `end`, into sentences, and give them and the question
        their vectors."""
        new = quotes(found.passages[:end], found.read)
        texts = [asked.whole, *(plain(quote.text) for quote in new)]
        vectors = await self._vectors.of(tenant, texts)
        found.take(new, vectors[0], vectors[1:], min(end, len(found.passages)))

    async def vector(self, sentence: str) -> Vectors:
        """The vector (d,) of a sentence."""
        return np.asarray(await self._embedder.encode_query.remote(sentence), dtype=np.float32)

    async def _records(
        self, tenant: Tenant, asked: Asked, devices: Sequence[str] | None, found: Evidence, tell: Tell
    ) -> list[dict[str, Any]]:
        """Put the records of devices into the evidence, or where none is named the fleet's."""
        plan, started = asked.plan, time.perf_counter()
        if devices is None:
            await self._fleet(tenant, plan, found, tell)
            return []
        records = await asyncio.gather(
            *(self._record(tenant, device, plan, found, tell) for device in devices)
        )
        insights = [record for record in records if record]
        for record in insights:
            found.passages.append(evidence.device_passage(record, asked.whole, plan.period))
            if not plan.silent:  # what it said before tells nothing of why it is silent
                found.focus |= {code_key(code) for code in evidence.device_codes(record)}
            found.unreported |= {row["error_code"] for row in record["asked_codes"] if not row["times"]}
            _tell_tools(evidence.device_tools(record, plan.period), found, tell, ms(started))
        return insights

    async def _record(
        self, tenant: Tenant, device: str, plan: Plan, found: Evidence, tell: Tell
    ) -> dict[str, Any] | None:
        trace = Trace(message=f"reading the records of {device}")
        tell(trace)
        period, codes = plan.period or EVER, plan.error_codes
        record = asyncio.to_thread(self._devices.insights, tenant, device, period, codes)
        return await self._in_time(record, trace, found, tell)

    async def _fleet(self, tenant: Tenant, plan: Plan, found: Evidence, tell: Tell) -> None:
        """Put the records of the fleet into the evidence."""
        if plan.conditions.all:
            await self._meeting(tenant, plan, found, tell)
            return
        if plan.conditions.apart and (plan.fleet_health or plan.fleet_incidents):
            found.passages.append(evidence.APART)
        if plan.fleet_health:
            trace = Trace(message="reading the health of the fleet")
            tell(trace)
            started = time.perf_counter()
            of = (plan.codes, plan.period or EVER, plan.left_out, plan.best)
            look_up = asyncio.to_thread(self._devices.fleet, tenant, *of)
            health = await self._in_time(look_up, trace, found, tell)
            if health and health["best" if plan.best else "worst"]:
                found.focus -= _told(health["models"], plan)
                found.passages.append(evidence.fleet_passage(health))
                given = evidence.within(plan.period)
                tool = ToolCall(name="get_fleet_health", arguments=given, result=health)
                _tell_tools([tool], found, tell, ms(started))
        if plan.fleet_incidents:
            for result in await self._run(tenant, [IncidentHistory()], plan, found, tell):
                found.focus -= _told(result.tool.result["models"], plan)
                found.add(result, len(found.passages))

    async def _meeting(self, tenant: Tenant, plan: Plan, found: Evidence, tell: Tell) -> None:
        """Put those devices of the fleet into the evidence that meet all that is asked."""
        trace, started = Trace(message="finding the devices that meet all of it"), time.perf_counter()
        tell(trace)
        of = (plan.conditions.all, plan.period or EVER, plan.codes, plan.left_out)
        look_up = asyncio.to_thread(self._devices.meeting, tenant, *of)
        met = await self._in_time(look_up, trace, found, tell)
        if met:
            found.focus -= _told(met["models"], plan)
            read = {*met["models"], *(code for each in plan.conditions.all for code in each.codes)}
            if plan.codes - {*map(code_key, read)}:
                found.passages.append(evidence.APART)
            found.passages.append(evidence.meeting_passage(met, plan))
            given = {"conditions": [*map(str, plan.conditions.all)]}
            tool = ToolCall(name="find_devices", arguments=given, result=met)
            _tell_tools([tool], found, tell, ms(started))

    async def _run(
        self,
        tenant: Tenant,
        wanted: Sequence[Arguments],
        plan: Plan,
        found: Evidence,
        tell: Tell,
    ) -> list[Result]:
        """The results of tools that are run side by side; one that fails or takes too long has none."""
        results = await asyncio.gather(*(self._run_one(tenant, each, plan, found, tell) for each in wanted))
        return [result for result in results if result]

    async def _run_one(
        self, tenant: Tenant, wanted: Arguments, plan: Plan, found: Evidence, tell: Tell
    ) -> Result | None:
        name, started = name_of(wanted), time.perf_counter()
        trace = Trace(
            message=name.replace("_", " "), tool=name, arguments=wanted.model_dump(exclude_none=True)
        )
        tell(trace)
        result = await self._in_time(self._tools.run(tenant, wanted, plan), trace, found, tell)
        if result:
            found.incomplete |= result.failed
            found.indexes |= result.indexes
            tell(trace.model_copy(update={"duration_ms": ms(started)}))
        return result

    async def _in_time(
        self, look_up: Awaitable[Found], trace: Trace, found: Evidence, tell: Tell
    ) -> Found | None:
        """What a look-up finds; nothing where it fails or takes too long, which is told and noted in `found`:
        an answer from the rest beats none."""
        try:
            async with asyncio.timeout(self._tool_timeout_s):
                return await look_up
        except Exception:
            logger.exception("%s failed", trace.message)
            found.incomplete = True
            tell(trace.model_copy(update={"message": f"{trace.message} failed"}))
            return None


def _told(models: Sequence[str], plan: Plan) -> set[str]:
    """The keys of models that no document need tell of: the question asks how their devices are, no more."""
    return set(map(code_key, models)) if plan.state else set()


def _tell_tools(tools: list[ToolCall], found: Evidence, tell: Tell, duration_ms: float) -> None:
    """Keep the tools of one look-up, which took so long for all of them together."""
    found.tools += tools
    for tool in tools:
        tell(
            Trace(
                message=tool.name.replace("_", " "),
                tool=tool.name,
                arguments=tool.arguments,
                duration_ms=duration_ms,
            )
        )
