"""Reading what was found: cut into sentences, embedded, and without what speaks to the assistant."""

from __future__ import annotations

import asyncio
import time

from iotops.tenancy import Tenant
from ray_apps.copilot.contracts import GuardReport, SetAside
from ray_apps.copilot.evidence.evidence import Evidence
from ray_apps.copilot.evidence.lookup import Lookup
from ray_apps.copilot.guard.answers import AnswerCheck
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.question.follow_up import Asked


class Reader:
    """Reads the evidence for one question in parts, so that the first can be told before the last is read.

    `report` has what was set aside, `check` allows what stands in what was read.
    """

    def __init__(self, lookup: Lookup, guard: Guard, tenant: Tenant, asked: Asked, found: Evidence) -> None:
        self._lookup, self._guard = lookup, guard
        self._tenant, self._asked, self._found = tenant, asked, found
        self.report = GuardReport()
        self.check: AnswerCheck = guard.answer_check(tenant)

    async def tools(self) -> None:
        """Withhold texts of tool results that speak to the assistant: a device writes its own messages."""
        started = time.perf_counter()
        self._found.tools, withheld = await self._guard.withhold(self._tenant, self._found.tools)
        self.report.withheld += withheld
        self._took("guard", started, time.perf_counter())

    async def passages(self, most: int | None = None) -> None:
        """Read so many of the passages that are not read yet, or all of them."""
        found, started = self._found, time.perf_counter()
        begin, end = found.read, len(found.passages) if most is None else found.read + most
        embedded, hostile = await asyncio.gather(  # mostly the same sentences, embedded once
            self._embed(end), self._guard.hostile(self._tenant, found.passages[begin:end])
        )
        self._took("embed_sources", started, embedded)
        flagged = {begin + place: reason for place, reason in hostile.items()}
        self.report.flagged_passages += [
            SetAside(uri=found.passages[place].uri, reason=reason) for place, reason in flagged.items()
        ]
        found.leave_out(flagged)
        self.check.allow(f"{passage.uri} {passage.text}" for passage in found.passages[begin : found.read])
        self._took("guard", embedded, time.perf_counter())

    async def _embed(self, end: int) -> float:
        """When (s) that was done."""
        await self._lookup.embed(self._tenant, self._asked, self._found, end)
        return time.perf_counter()

    def _took(self, stage: str, started: float, ended: float) -> None:
        timings = self._found.timings_ms
        timings[stage] = round(float(timings.get(stage) or 0) + (ended - started) * 1000, 1)
