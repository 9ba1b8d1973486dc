"""Conversation memory and the answer cache, on a Redis in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from burner_redis import BurnerRedis

from iotops.auth import Principal
from iotops.settings import CacheSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.cache import AnswerCache, CacheServer, answer_key, normalised, redis_client
from ray_apps.copilot.conversation import TURNS, Conversations
from ray_apps.copilot.question.follow_up import Turn

ANNA = Principal(Tenant("acme"), "anna", "operator")
STRANGERS = [
    Principal(Tenant("acme"), "bert", "operator"),
    Principal(Tenant("rival"), "anna", "operator"),
    Principal(Tenant("acme"), "anna:pump", "operator"),
]


def test_a_conversation_keeps_its_last_turns_in_order():
    conversations = Conversations(CacheServer(BurnerRedis()), 60)
    turns = [Turn(question=f"question {number}", devices=["machine-007"]) for number in range(TURNS + 2)]

    async def converse() -> list[Turn]:
        for turn in turns:
            await conversations.add(ANNA, "pump", turn)
        return await conversations.turns(ANNA, "pump")

    assert asyncio.run(converse()) == turns[2:]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_another_user_or_tenant_finds_nothing_under_the_same_name(stranger: Principal):
    conversations = Conversations(CacheServer(BurnerRedis()), 60)

    async def peek() -> list[Turn]:
        await conversations.add(ANNA, "pump", Turn(question="What is wrong with machine-007?"))
        return [*await conversations.turns(stranger, "pump"), *await conversations.turns(stranger, "ump")]

    assert asyncio.run(peek()) == []


def test_a_conversation_is_forgotten_in_time():
    client = BurnerRedis()

    async def remaining() -> list[int]:
        await Conversations(CacheServer(client), 60).add(ANNA, "pump", Turn(question="why?"))
        return [await client.ttl(key) for key in await client.keys("acme:conversation:*")]

    (ttl,) = asyncio.run(remaining())
    assert 0 < ttl <= 60


def test_a_cache_that_is_down_costs_no_answer():
    async def use() -> tuple[Any, ...]:
        nobody = CacheServer(redis_client(CacheSettings(port=1)))
        cache, conversations = AnswerCache(nobody, 60), Conversations(nobody, 60)
        await cache.put("key", b"answer")
        await cache.release("key", "holder")
        await conversations.add(ANNA, "pump", Turn(question="why?"))
        return await cache.get("key"), await cache.lease("key", "me", 5), await conversations.turns(ANNA, "a")

    assert asyncio.run(use()) == (None, True, [])


def test_a_cache_that_hangs_is_waited_for_once():
    async def use() -> tuple[int, int]:
        tries, over = list[int](), asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tries.append(1)
            await over.wait()
            writer.close()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as listening:
            (address,) = (socket.getsockname() for socket in listening.sockets)
            server = CacheServer(redis_client(CacheSettings(port=address[1])))
            cache, conversations = AnswerCache(server, 60), Conversations(server, 60)
            assert await cache.get("key") is None
            first = len(tries)
            assert await conversations.turns(ANNA, "pump") == []
            assert await cache.lease("key", "holder", 5)
            await cache.put("key", b"answer")
            await cache.release("key", "holder")
            await conversations.add(ANNA, "pump", Turn(question="why?"))
            over.set()
        return first, len(tries)

    first, in_all = asyncio.run(use())
    assert 0 < first == in_all


def test_a_lease_has_one_holder_who_alone_gives_it_back():
    cache = AnswerCache(CacheServer(BurnerRedis()), 60)

    async def contend() -> list[bool]:
        taken = [await cache.lease("key", "first", 5), await cache.lease("key", "second", 5)]
        await cache.release("key", "second")
        taken.append(await cache.lease("key", "second", 5))
        await cache.release("key", "first")
        return [*taken, await cache.lease("key", "second", 5)]

    assert asyncio.run(contend()) == [True, False, False, True]


def test_questions_that_differ_in_case_spaces_or_their_last_mark_are_one():
    same = {
        normalised(each)
        for each in ("Why is it HOT?", " why is  it hot", "Why is it hot ?!", "why is it\nhot.")
    }
    assert same == {"why is it hot"}
    assert normalised("What is 4.5?") != normalised("What is 45?")


def test_an_answer_is_kept_by_tenant_and_role():
    analyst = Principal(Tenant("acme"), "anna", "analyst")
    keys = {answer_key(caller, ["why?"]) for caller in (ANNA, analyst, STRANGERS[1])}
    assert len(keys) == 3
    assert answer_key(ANNA, ["why?"]) == answer_key(STRANGERS[0], ["why?"])
    assert answer_key(ANNA, ["a", "b"]) != answer_key(ANNA, ["b", "a"])
