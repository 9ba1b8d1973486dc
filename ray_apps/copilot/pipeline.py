"""The way of a question: what it refers to, whether it is answered already, its answer, what is kept."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from iotops import __version__
from iotops.auth import Principal
from iotops.tenancy import Tenant
from ray_apps.copilot.answer.answer import Answerer, Draft
from ray_apps.copilot.cache import AnswerCache, answer_key, normalised
from ray_apps.copilot.contracts import AskRequest, AskResponse, Token, Trace, Usage
from ray_apps.copilot.conversation import Conversations
from ray_apps.copilot.events import Tell, ms
from ray_apps.copilot.evidence.evidence import FLEET
from ray_apps.copilot.evidence.names import Names
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.question.follow_up import Asked, Turn, resolve
from ray_apps.copilot.recording import note
from ray_apps.copilot.single_flight import Flight, SingleFlight
from ray_apps.copilot.versions import Version, Versions


class Pipeline:
    """Answers for every way of asking: at once, as a stream, in OpenAI's words."""

    def __init__(
        self,
        guard: Guard,
        answerer: Answerer,
        versions: Versions,
        cache: AnswerCache,
        conversations: Conversations,
        names: Names,
    ) -> None:
        self._guard, self._answerer, self._versions, self._cache = guard, answerer, versions, cache
        self._conversations, self._flights, self._names = conversations, SingleFlight(cache), names

    async def ask(
        self,
        caller: Principal,
        request: AskRequest,
        request_id: str,
        tell: Tell,
        earlier: Sequence[str] | None = None,
    ) -> AskResponse:
        """The answer; `tell` hears of it as it comes about.

        `earlier` are the questions of a conversation that the caller keeps itself; else it is kept here.
        """
        started, recorded = time.perf_counter(), note()
        recorded.object, recorded.question = request.device_id or "", request.question
        conversation = request.conversation_id or uuid.uuid4().hex
        turns: list[Turn] = []
        for question in earlier or ():
            turns.append((await self._read(caller.tenant, question, None, turns)).turn())
        if earlier is None and request.conversation_id:
            turns = await self._conversations.turns(caller, conversation)
        asked = await self._read(caller.tenant, request.question, request.device_id, turns)
        version = await self._versions.of(caller.tenant, asked.plan)
        key = _key(caller, asked, request, version)
        async with self._flights.board(key) if key else nullcontext(Flight()) as flight:
            computed = flight.answer is None
            if computed:
                await self._guard.refuse_attacks(caller.tenant, asked.whole)
            if asked.subject:
                tell(Trace(message=f"taking this to be about {asked.subject}"))
            if flight.answer is None:
                draft = await self._answerer.answer(caller.tenant, asked, request.top_k, tell)
                flight.answer = _response(draft).model_dump_json().encode()
                # Replicas of the retriever learn of a new index one after another.
                current = draft.indexes <= {version.indexes}
                if key and draft.complete and current and draft.model in ("none", version.author):
                    await self._cache.put(key, flight.answer)
            stored = flight.answer
        own: dict[str, Any] = {"conversation_id": conversation, "request_id": request_id}
        if not computed:
            own |= {"cached": True, "timings_ms": {"total": ms(started)}, "usage": Usage()}
        answer = AskResponse.model_validate_json(stored).model_copy(update=own)
        turn = _turn(asked, answer)
        recorded.cited, recorded.object = answer.grounded, recorded.object or " ".join(turn.devices)
        if not computed:
            _tell_again(answer, tell)
        if earlier is None:
            await self._conversations.add(caller, conversation, turn)
        return answer

    async def _read(self, tenant: Tenant, question: str, device: str | None, turns: Sequence[Turn]) -> Asked:
        """A question in the light of the turns before it, and of what the tenant has that it names."""
        # In a thread: what is meant to be slow to read takes a tenth of a second.
        asked = await asyncio.to_thread(resolve, question, device, turns)
        return await self._names.placed(tenant, asked)


def _key(caller: Principal, asked: Asked, request: AskRequest, version: Version) -> str | None:
    """The question as it was resolved, with the whole plan of it, so that a follow-up is never answered from
    another conversation, and all that its answer depends on, this program too. A time that goes on until now
    is another in a minute; the usual one, which is another at once, stands in it where it is the plan's.
    None where not all of that is known: the answer is nobody else's then."""
    if version.data is None or asked.plan.known is None:
        return None
    plan = asdict(asked.plan) | {"codes": sorted(asked.plan.codes), "period": str(asked.plan.period)}
    plan |= {"conditions": [*map(str, asked.plan.conditions.all)], "known": asked.plan.devices}
    del plan["usual"]
    parts = (__version__, normalised(asked.question), normalised(asked.subject), str(request.top_k))
    about = (*parts, json.dumps(plan, sort_keys=True))
    return answer_key(caller, (*about, version.indexes, version.data, version.model, version.author))


def _response(draft: Draft) -> AskResponse:
    read = sum(each.prompt_tokens for each in draft.completions)
    written = sum(each.completion_tokens for each in draft.completions)
    return AskResponse(
        answer=draft.answer,
        citations=draft.citations,
        grounded=draft.grounded,
        extractive=draft.extractive,
        tools=draft.tools,
        guard=draft.guard,
        model=draft.model,
        cached=False,
        conversation_id="",
        request_id="",
        timings_ms=draft.timings_ms,
        usage=Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written),
    )


def _tell_again(answer: AskResponse, tell: Tell) -> None:
    """An answer that was computed before."""
    tell(Trace(message="answered a moment ago"))
    for citation in answer.citations:
        tell(citation)
    tell(Token(text=answer.answer))


def _turn(asked: Asked, answer: AskResponse) -> Turn:
    """What to keep of a question: the devices that were looked up, and what was cited."""
    devices = [tool.arguments["device_id"] for tool in answer.tools if "device_id" in tool.arguments]
    cited = answer.citations if answer.grounded else []
    return asked.turn(devices, [each.title for each in cited if not each.doc_id.startswith(FLEET)])
