"""A desk at which questions are asked: the pipeline over an in-process Redis, and answers that echo."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from burner_redis import BurnerRedis
from sqlalchemy.exc import OperationalError

from indexes.codes import code_key
from iotops.auth import Principal
from iotops.tenancy import Tenant
from ray_apps.chat import Completion
from ray_apps.copilot.answer.answer import Draft
from ray_apps.copilot.cache import AnswerCache, CacheServer
from ray_apps.copilot.contracts import AskRequest, AskResponse, GuardReport, Token, ToolCall, Trace
from ray_apps.copilot.conversation import Conversations
from ray_apps.copilot.events import heard, unheard
from ray_apps.copilot.evidence.names import Names
from ray_apps.copilot.pipeline import Pipeline
from ray_apps.copilot.question.planner import Plan
from ray_apps.copilot.versions import Version
from tests.unit.guards import rules_alone

ANNA = Principal(Tenant("acme"), "anna", "operator")
BERT = Principal(Tenant("acme"), "bert", "operator")
RIVAL = Principal(Tenant("rival"), "anna", "operator")
COMPLETION = Completion(
    text="told",
    prompt_tokens=90,
    completion_tokens=7,
    ttft_s=0.1,
    total_s=0.2,
    finish_reason="",
    model="author",
)


class Echo:
    """Answers with the whole question, in two pieces, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.plans: list[Plan] = []
        self.complete, self.stopped = True, False
        self.indexes = frozenset[str]()
        self.go = asyncio.Event()
        self.go.set()

    async def answer(self, tenant, asked, top_k, tell):
        self.asked.append(asked.whole)
        self.plans.append(asked.plan)
        tools = [
            ToolCall(name="look", arguments={"device_id": name}, result={}) for name in asked.plan.devices
        ]
        tell(Trace(message="looking"))
        tell(Token(text=asked.whole))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        tell(Token(text=" told."))
        told = f"{asked.whole} told."
        draft = Draft(told, [], True, False, tools, GuardReport(), {}, [COMPLETION], "author", self.complete)
        return replace(draft, indexes=self.indexes)


class Fixed:
    """Versions that a test sets."""

    def __init__(self) -> None:
        self.version = Version("index-1", "data-1", "model-1", "author")

    async def of(self, tenant, plan):
        return self.version


class Fleet:
    """Machines and pumps, some of one model, unless the database that knows of them is away."""

    def __init__(self) -> None:
        self.away = False

    def known(self, tenant, names):
        if self.away:
            raise OperationalError("SELECT", {}, ConnectionError("the database is away"))
        return [name for name in map(str.upper, names) if re.fullmatch(r"P-10\d", name)] + [
            name for name in names if re.fullmatch(r"machine-00\d", name)
        ]

    def models(self, tenant, about):
        return ["HX-200"] if "hx200" in about else []

    def reported(self, tenant, codes):
        return {"e421", "e425"} & {*map(code_key, codes)}


class Undeclared:
    """A retriever of documents that declare no code."""

    @property
    def search(self):
        return self

    def options(self, *, multiplexed_model_id):
        return self

    async def remote(self, tenant, *asked):
        return {"hits": []}


class Desk:
    """A pipeline over an in-process Redis."""

    def __init__(self) -> None:
        server = CacheServer(BurnerRedis())
        self.echo, self.versions, self.fleet = Echo(), Fixed(), Fleet()
        self.pipeline = Pipeline(
            rules_alone(),
            self.echo,
            self.versions,
            AnswerCache(server, 60),
            Conversations(server, 60),
            Names(self.fleet, Undeclared()),
        )

    async def ask(self, question, conversation=None, caller=ANNA, earlier=None) -> AskResponse:
        request = AskRequest(question=question, conversation_id=conversation)
        return await self.pipeline.ask(caller, request, "request", unheard, earlier)

    def stream(self, question):
        request = AskRequest(question=question)
        return heard(lambda tell: self.pipeline.ask(ANNA, request, "request", tell))
