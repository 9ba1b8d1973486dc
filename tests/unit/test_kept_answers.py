"""Which answers are kept, and until when."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ray_apps.copilot.contracts import Usage
from ray_apps.copilot.versions import Version
from tests.unit.desk import BERT, RIVAL, Desk


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
