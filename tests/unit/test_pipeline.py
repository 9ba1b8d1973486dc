"""The way of a question: conversations, streams, and the same answer for every way of asking."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from dataclasses import replace

import pytest

from ray_apps.copilot.contracts import AskRequest, AskResponse, Token, Trace
from ray_apps.copilot.events import unheard
from ray_apps.copilot.question.period import EVER
from ray_apps.copilot.question.planner import Plan
from tests.unit.desk import ANNA, BERT, RIVAL, Desk


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
