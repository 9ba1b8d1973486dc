"""The way of a question: conversations, the cache, and the same answer for every way of asking."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import aclosing
from dataclasses import replace

import pytest
from burner_redis import BurnerRedis
from sqlalchemy.exc import OperationalError

from indexes.codes import code_key
from iotops.auth import Principal
from iotops.tenancy import Tenant
from ray_apps.chat import Completion
from ray_apps.copilot.answer.answer import Draft
from ray_apps.copilot.cache import AnswerCache, CacheServer
from ray_apps.copilot.contracts import AskRequest, AskResponse, GuardReport, Token, ToolCall, Trace, Usage
from ray_apps.copilot.conversation import Conversations
from ray_apps.copilot.events import heard, unheard
from ray_apps.copilot.evidence.names import Names
from ray_apps.copilot.pipeline import Pipeline
from ray_apps.copilot.question.period import EVER
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


def test_a_follow_up_is_resolved_within_its_conversation_alone():
    async def run() -> None:
        desk = Desk()
        first = await desk.ask("What is wrong with machine-007?")
        assert (
            await desk.ask("and its oil?", first.conversation_id)
        ).answer == "and its oil? (machine-007) told."
        for caller, conversation in (
            (ANNA, "other"),
            (BERT, first.conversation_id),
            (RIVAL, first.conversation_id),
        ):
            alone = await desk.ask("and its oil?", conversation, caller)
            assert (alone.answer, alone.cached) == ("and its oil? told.", caller is BERT)

    asyncio.run(run())


def test_how_the_machines_of_a_model_are_is_asked_of_the_fleet():
    async def run() -> None:
        desk = Desk()
        for question in ("Are there alerts on HX-200 machines?", "Are there alerts on machine-007?"):
            await desk.ask(question)
        assert [plan.fleet for plan in desk.echo.plans] == [True, False]

    asyncio.run(run())


def test_the_same_follow_up_in_two_conversations_has_two_answers():
    async def run() -> None:
        desk = Desk()
        for machine in ("machine-007", "machine-008"):
            await desk.ask(f"What is wrong with {machine}?", machine)
        answers = [await desk.ask("and its oil?", machine) for machine in ("machine-007", "machine-008")]
        assert [answer.cached for answer in answers] == [False, False]
        assert answers[0].answer != answers[1].answer

    asyncio.run(run())


def test_the_same_words_about_the_same_thing_are_another_question_where_another_one_was_before():
    async def run() -> None:
        desk = Desk()
        who, what = "Which machines reported E421?", "What does E421 on machines mean?"
        answers = []
        for talk, first in enumerate((who, what, who)):
            await desk.ask(first, f"talk-{talk}")
            answers.append(await desk.ask("and yesterday?", f"talk-{talk}"))
        assert len({answer.answer for answer in answers}) == 1, "in words they are the same"
        assert [answer.cached for answer in answers] == [False, False, True]

    asyncio.run(run())


def test_conditions_are_a_part_of_what_is_asked():
    async def run() -> None:
        desk = Desk()
        day, cached = "on 2026-01-02", []
        for talk, what in enumerate(("errors but no alerts", "alerts but no errors", "errors but no alerts")):
            await desk.ask(f"Which machines had {what}?", f"talk-{talk}")
            cached.append((await desk.ask(f"and {day}?", f"talk-{talk}")).cached)
        assert cached == [False, False, True]

    asyncio.run(run())


def test_a_device_that_is_named_beside_a_question_is_another_question_than_one_in_it():
    async def run() -> None:
        desk = Desk()
        for device, cached in (("P-101", False), (None, False), ("p-101", True)):
            request = AskRequest(question="Errors yesterday?", device_id=device)
            answer = await desk.pipeline.ask(ANNA, request, "request", unheard)
            assert answer.cached is cached

    asyncio.run(run())


def test_a_conversation_that_the_caller_keeps_is_not_kept_here():
    async def run() -> None:
        desk = Desk()
        first = await desk.ask("What is wrong with machine-007?", "pump", earlier=[])
        assert first.answer.startswith("What is wrong")
        assert (await desk.ask("and its oil?", "pump")).answer == "and its oil? told."

    asyncio.run(run())


CONVERSATIONS = """
Which machines had E421 yesterday? | and today? | and which did not?
Which machines are offline? | and how many are online?
What is wrong with machine-007? | and its bearings? | how do I replace them?
What is wrong with P-101? | did it have E421? | which machines had it?
p-101 errors today | and yesterday? | and P-102?
What is wrong with P-999? | and its errors today?
E421 today | and yesterday? | and on the HX-200s?
What does E421 mean on an HX-200? | how do I fix it? | and which machines had it this week?
How do I align the coupling? | and how often?
"""


@pytest.mark.parametrize("conversation", CONVERSATIONS.strip().splitlines())
def test_a_conversation_is_read_alike_whoever_keeps_it(conversation: str):
    async def run() -> None:
        questions = conversation.split(" | ")
        here, there = Desk(), Desk()
        for place, question in enumerate(questions):
            await here.ask(question, "talk")
            await there.ask(question, earlier=questions[:place])
        assert here.echo.asked == there.echo.asked
        assert [_timeless(plan) for plan in here.echo.plans] == [_timeless(plan) for plan in there.echo.plans]

    asyncio.run(run())


def _timeless(plan: Plan) -> Plan:
    """The plan but for the moment of its question, until which times go on that are not over."""
    return replace(plan, period=None, usual=None, conditions=plan.conditions.within(EVER))


def test_a_question_is_read_in_a_thread():
    class Earlier(str):
        def split(self, *at):
            threads.append(threading.current_thread())
            return super().split(*at)

    threads: list[threading.Thread] = []
    asyncio.run(Desk().ask("and its oil?", earlier=[Earlier("Is oil hot?")]))
    assert threads
    assert threading.main_thread() not in threads


def test_a_question_is_answered_from_the_cache_until_something_changes():
    async def run() -> None:
        desk = Desk()
        first, second = await desk.ask("Why is it HOT?"), await desk.ask("why is it  hot")
        assert (first.cached, second.cached) == (False, True)
        assert (second.answer, second.usage) == (first.answer, Usage())
        assert first.usage == Usage(prompt_tokens=90, completion_tokens=7, total_tokens=97)
        assert first.conversation_id != second.conversation_id
        for version in (
            Version("index-2", "data-1", "model-1", "author"),
            Version("index-2", "data-2", "model-1", "author"),
            Version("index-2", "data-2", "model-2", "author"),
        ):
            desk.versions.version = version
            assert not (await desk.ask("Why is it hot?")).cached
        assert not (await desk.ask("Why is it hot?", caller=RIVAL)).cached
        assert (await desk.ask("Why is it hot?", caller=BERT)).cached

    asyncio.run(run())


def test_while_the_version_of_the_data_is_unknown_no_answer_is_kept_or_found():
    async def run() -> None:
        desk = Desk()
        known = desk.versions.version
        unknown = replace(known, data=None)
        cached = []
        for version in (unknown, unknown, known, known, unknown):
            desk.versions.version = version
            cached.append((await desk.ask("Why is it hot?")).cached)
        assert cached == [False, False, False, True, False]

    asyncio.run(run())


def test_while_the_database_is_away_a_question_that_may_be_of_the_fleet_is_answered_and_not_kept():
    async def run() -> None:
        desk = Desk()
        desk.fleet.away = True
        question = "Are there alerts on HX-200 machines?"
        assert not (await desk.ask(question)).cached
        desk.fleet.away = False
        assert not (await desk.ask(question)).cached
        assert [plan.fleet for plan in desk.echo.plans] == [False, True]

    asyncio.run(run())


def test_an_answer_without_the_models_part_is_not_kept():
    async def run() -> None:
        desk = Desk()
        desk.echo.complete = False
        assert [(await desk.ask("Why is it hot?")).cached for _ in range(2)] == [False, False]

    asyncio.run(run())


def test_an_answer_from_another_index_than_its_key_names_is_not_kept():
    async def run() -> None:
        desk = Desk()
        for indexes, kept in (({"index-0"}, False), ({"index-0", "index-1"}, False), (set(), True)):
            desk.echo.indexes = frozenset(indexes)
            question = f"Why is it hot? {len(desk.echo.asked)}"
            assert [(await desk.ask(question)).cached for _ in range(2)] == [False, kept]

    asyncio.run(run())


def test_what_a_fallback_wrote_is_kept_only_while_it_is_the_one_to_write():
    async def run() -> None:
        desk = Desk()
        desk.versions.version = replace(desk.versions.version, author="primary")
        assert [(await desk.ask("Why is it hot?")).cached for _ in range(2)] == [False, False]
        desk.versions.version = replace(desk.versions.version, author="author")
        assert [(await desk.ask("Why is it hot?")).cached for _ in range(2)] == [False, True]
        desk.versions.version = replace(desk.versions.version, author="primary")
        assert not (await desk.ask("Why is it hot?")).cached

    asyncio.run(run())


@pytest.mark.parametrize("times", [1, 2])
def test_a_stream_ends_with_the_answer_that_its_tokens_make(times: int):
    async def run() -> None:
        desk = Desk()
        for _ in range(times):
            events = [event async for event in desk.stream("Why is it hot?")]
        *told, done = events
        assert isinstance(done, AskResponse)
        assert done.cached is (times == 2)
        assert done.answer == "".join(event.text for event in told if isinstance(event, Token))
        assert isinstance(told[0], Trace)

    asyncio.run(run())


def test_who_asks_the_same_at_once_is_told_the_same_answer():
    async def run() -> None:
        desk = Desk()
        desk.echo.go.clear()
        asking = [asyncio.create_task(desk.ask("Why is it hot?")) for _ in range(3)]
        stream = asyncio.create_task(_collect(desk))
        await asyncio.sleep(0.05)
        desk.echo.go.set()
        answers = [*await asyncio.gather(*asking), await stream]
        assert {answer.answer for answer in answers} == {"Why is it hot? told."}
        assert len(desk.echo.asked) == 1
        assert sum(answer.usage.total_tokens for answer in answers) == 97

    asyncio.run(run())


async def _collect(desk: Desk) -> AskResponse:
    *_, done = [event async for event in desk.stream("why is it hot")]
    assert isinstance(done, AskResponse)
    return done


def test_who_stops_listening_stops_the_work():
    async def run() -> None:
        desk = Desk()
        desk.echo.go.clear()
        async with aclosing(desk.stream("Why is it hot?")) as events:
            async for event in events:
                if isinstance(event, Token):
                    break
        assert desk.echo.stopped
        desk.echo.go.set()
        assert not (await desk.ask("Why is it hot?")).cached

    asyncio.run(run())
