"""Several who want one answer: it is computed once, and the end of one is not the end of the others."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from burner_redis import BurnerRedis

from ray_apps.copilot.cache import AnswerCache, CacheServer
from ray_apps.copilot.single_flight import PATIENCE_S, SingleFlight


class Asker:
    """Requests of one replica; each takes its answer or computes it, which waits until `go`."""

    def __init__(self, cache: AnswerCache, stores: bool, patience_s: int) -> None:
        self._flights, self._cache, self._stores = SingleFlight(cache, patience_s), cache, stores
        self.computing, self.computed = 0, 0
        self.started, self.go = asyncio.Event(), asyncio.Event()
        self.fail_first = False

    async def ask(self, key: str = "key") -> bytes:
        async with self._flights.board(key) as flight:
            if flight.answer is None:
                self.computing += 1
                number = self.computing
                self.started.set()
                await self.go.wait()
                if self.fail_first and number == 1:
                    raise RuntimeError("the first fails")
                flight.answer = f"answer {number}".encode()
                self.computed += 1
                if self._stores:
                    await self._cache.put(key, flight.answer)
            return flight.answer


def asker(client: BurnerRedis | None = None, stores: bool = True, patience_s: int = PATIENCE_S) -> Asker:
    return Asker(AnswerCache(CacheServer(client or BurnerRedis()), 60), stores, patience_s)


async def settled() -> None:
    """Everything that can run has run."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("stores", [True, False])
def test_many_at_once_are_computed_once(stores: bool):
    async def run() -> None:
        replica = asker(stores=stores)
        asking = [asyncio.create_task(replica.ask()) for _ in range(20)]
        await settled()
        assert replica.computing == 1
        replica.go.set()
        assert set(await asyncio.gather(*asking)) == {b"answer 1"}
        assert replica.computed == 1

    asyncio.run(run())


def test_another_question_does_not_wait():
    async def run() -> None:
        replica = asker()
        asking = [asyncio.create_task(replica.ask(key)) for key in ("one", "other")]
        await settled()
        assert replica.computing == 2
        replica.go.set()
        await asyncio.gather(*asking)

    asyncio.run(run())


def test_the_first_going_away_leaves_the_answer_to_the_next():
    async def run() -> None:
        replica = asker()
        first = asyncio.create_task(replica.ask())
        await replica.started.wait()
        others = [asyncio.create_task(replica.ask()) for _ in range(5)]
        await settled()
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        await settled()
        assert replica.computing == 2
        replica.go.set()
        assert set(await asyncio.gather(*others)) == {b"answer 2"}

    asyncio.run(run())


def test_another_going_away_does_not_stop_the_first():
    async def run() -> None:
        replica = asker()
        first, other = asyncio.create_task(replica.ask()), asyncio.create_task(replica.ask())
        await settled()
        other.cancel()
        replica.go.set()
        assert await first == b"answer 1"

    asyncio.run(run())


def test_the_failure_of_the_first_is_its_own():
    async def run() -> None:
        replica = asker()
        replica.fail_first = True
        asking = [asyncio.create_task(replica.ask()) for _ in range(4)]
        await settled()
        replica.go.set()
        first, *others = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(first, RuntimeError)
        assert set(others) == {b"answer 2"}

    asyncio.run(run())


async def one_waits_for_the_other() -> tuple[Asker, Asker, asyncio.Task[bytes], asyncio.Task[bytes]]:
    """Two replicas that are asked the same: the first computes, the second waits for it."""
    client = BurnerRedis()
    here, there = asker(client), asker(client)
    first = asyncio.create_task(here.ask())
    await here.started.wait()
    second = asyncio.create_task(there.ask())
    await settled()
    assert there.computing == 0
    return here, there, first, second


def test_two_replicas_compute_once():
    async def run() -> None:
        here, there, first, second = await one_waits_for_the_other()
        here.go.set()
        assert await asyncio.gather(first, second) == [b"answer 1", b"answer 1"]
        assert there.computing == 0

    asyncio.run(run())


def test_a_replica_that_gives_up_its_lease_lets_the_other_compute():
    async def run() -> None:
        _, there, first, second = await one_waits_for_the_other()
        first.cancel()
        there.go.set()
        assert await second == b"answer 1"
        assert there.computed == 1

    asyncio.run(run())


def test_nobody_waits_longer_than_patience():
    async def run() -> None:
        replica = asker(patience_s=1)
        stuck = asyncio.create_task(replica.ask())
        await replica.started.wait()
        replica.started.clear()
        patient = asyncio.create_task(replica.ask())
        await replica.started.wait()
        replica.go.set()
        assert await patient
        assert await stuck

    asyncio.run(run())
