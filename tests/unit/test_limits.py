"""Admission to the copilot: whole calls through its dependencies, and the arithmetic of a sliding window."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from ray.serve.exceptions import BackPressureError
from ray.serve.schema import ServeDeploySchema
from sqlalchemy import Engine, event

from iotops.auth import issue_token
from iotops.errors import SettingsError, SnapshotError, TenantError
from iotops.http import install
from iotops.rate_limit import free_in
from iotops.settings import CONFIGS, DatabaseSettings, Settings, get_settings
from iotops.tenancy import Tenant
from iotops.tiers import Policies, Policy, load_tiers
from ray_apps.copilot.http.limits import Admission, admitted

ACME, RIVAL, THIRD = Tenant("acme"), Tenant("rival"), Tenant("third")
WINDOW_S = 60.0
PATIENCE_S = 60


@given(
    limit=st.integers(1, 50),
    last=st.integers(0, 50),
    this=st.integers(0, 50),
    passed=st.floats(0.01, 59.9),
    units=st.integers(1, 50),
)
def test_what_is_waited_for_is_free_then_and_not_before(
    limit: int, last: int, this: int, passed: float, units: int
) -> None:
    last, this, units = min(last, limit), min(this, limit), min(units, limit)
    left = WINDOW_S - passed
    wait_s = free_in(WINDOW_S, limit - units, (last, left), (this, left))

    def room(in_s: float) -> bool:
        """Whether the counters, each as they are then, let the units pass."""
        before, now, rest = (last, this, left - in_s) if in_s <= left else (this, 0, left - in_s + WINDOW_S)
        return math.floor(before * max(0.0, rest) / WINDOW_S) + now + units <= limit

    assert room(wait_s + 1e-6)
    if wait_s > 1e-3:
        assert not room(wait_s - 1e-3)


class Questions:
    """Those that were admitted: each has `arrived`, none is done before `answered`."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[None] = asyncio.Queue()
        self.answered = asyncio.Event()


def served(admission: Admission, questions: Questions, tenant: Tenant = ACME) -> httpx.AsyncClient:
    """A tenant's client of an application behind the admission."""
    app = FastAPI()
    install(app)

    @app.post("/ask", dependencies=[Depends(admitted("ask", lambda: admission))])
    async def ask() -> None:
        questions.arrived.put_nowait(None)
        await questions.answered.wait()

    @app.get("/read", dependencies=[Depends(admitted("read", lambda: admission))])
    async def read() -> None:
        await ask()

    @app.post("/search", dependencies=[Depends(admitted("search", lambda: admission))])
    async def search() -> None:
        raise BackPressureError(64, 64)

    @app.get("/passages", dependencies=[Depends(admitted("read", lambda: admission))])
    async def passages() -> None:
        raise SnapshotError("the index of acme is torn at /home/iotops")

    token = issue_token(get_settings().auth, tenant, "alice", "operator")
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://copilot",
        headers={"Authorization": f"Bearer {token}"},
    )


@pytest.fixture
def admission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Admission:
    """Of a replica with four places, whose cache and database are away."""
    monkeypatch.setenv("IOTOPS_HOME", str(tmp_path))
    monkeypatch.setenv("IOTOPS_AUTH__JWT_SECRET", "k" * 40)
    monkeypatch.setenv("IOTOPS_COPILOT__ASKS_IN_FLIGHT", "4")
    for area in ("CACHE", "DATABASE"):
        monkeypatch.setenv(f"IOTOPS_{area}__PORT", "9")
    tiers = {"default": "tiny", "tiers": {"tiny": {"ask": 4, "search": 9, "read": 9}}}
    (tmp_path / "tiers.yaml").write_text(yaml.safe_dump(tiers))
    monkeypatch.setenv("IOTOPS_CONFIGS", str(tmp_path))
    get_settings.cache_clear()
    return Admission(get_settings())


@pytest.fixture(autouse=True)
def own_settings():
    yield
    get_settings.cache_clear()


def test_a_tenants_flood_leaves_room_for_others_until_the_replica_is_full(admission: Admission) -> None:
    async def scenario() -> None:
        questions = Questions()
        async with (
            served(admission, questions) as acme,
            served(admission, questions, RIVAL) as rival,
            served(admission, questions, THIRD) as third,
        ):
            asked: list[asyncio.Task[httpx.Response]] = []
            for client, why in ((acme, "2 questions of tenant acme"), (rival, "4 questions are")):
                asked += [asyncio.create_task(client.post("/ask")) for _ in range(2)]
                for _ in range(2):
                    await questions.arrived.get()
                refused = await client.post("/ask")
                error = refused.json()["error"]
                assert (refused.status_code, error["code"]) == (503, "overloaded")
                assert error["message"].startswith(why)
                assert int(refused.headers["Retry-After"]) > 0
            assert (await third.post("/ask")).status_code == 503
            assert not any(each.done() for each in asked), "nobody waited for the others"
            questions.answered.set()
            assert [(await each).status_code for each in asked] == [200] * 4
            again = [await client.post("/ask") for client in (acme, rival, third)]
            assert [each.status_code for each in again] == [200] * 3

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_a_tenants_other_calls_leave_room_for_others_and_for_its_questions(admission: Admission) -> None:
    async def scenario() -> None:
        questions = Questions()
        async with (
            served(admission, questions) as acme,
            served(admission, questions, RIVAL) as rival,
        ):
            calls = [asyncio.create_task(acme.get("/read")) for _ in range(4)]
            for _ in calls:
                await questions.arrived.get()
            for refused in (await acme.get("/read"), await acme.post("/search")):
                error = refused.json()["error"]
                assert (refused.status_code, error["code"]) == (503, "overloaded")
                assert error["message"].startswith("4 calls of tenant acme are")
                assert int(refused.headers["Retry-After"]) > 0
            calls += [asyncio.create_task(call) for call in (rival.get("/read"), acme.post("/ask"))]
            for _ in range(2):
                await questions.arrived.get()
            questions.answered.set()
            assert [(await each).status_code for each in calls] == [200] * 6
            assert (await acme.get("/read")).status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_a_question_that_nobody_waits_for_leaves_its_place(admission: Admission) -> None:
    async def scenario() -> None:
        questions = Questions()
        async with served(admission, questions) as client:
            asked = [asyncio.create_task(client.post("/ask")) for _ in range(2)]
            for _ in asked:
                await questions.arrived.get()
            asked[0].cancel()
            await asyncio.wait(asked[:1])
            asked.append(asyncio.create_task(client.post("/ask")))
            await questions.arrived.get()
            questions.answered.set()
            await asyncio.wait(asked)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


@pytest.mark.parametrize(
    ("call", "code"), [(("POST", "/search"), "overloaded"), (("GET", "/passages"), "search_unavailable")]
)
def test_a_full_queue_and_an_unreadable_index_behind_are_refused_without_a_word_of_where_they_are(
    admission: Admission, call: tuple[str, str], code: str
) -> None:
    async def scenario() -> httpx.Response:
        async with served(admission, Questions()) as client:
            return await client.request(*call)

    refused = asyncio.run(scenario())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, code)
    assert int(refused.headers["Retry-After"]) > 0
    assert "/home" not in refused.text


def test_nobody_is_given_a_policy_before_the_first_reading_of_it_is_over() -> None:
    reading, over = threading.Event(), threading.Event()

    def connect(*_: object) -> None:
        reading.set()
        over.wait(PATIENCE_S)

    async def scenario() -> list[Policy]:
        policies = Policies(DatabaseSettings(port=9), "tiny")
        asked = [asyncio.create_task(policies.of(ACME)) for _ in range(5)]
        await asyncio.to_thread(reading.wait, PATIENCE_S)
        early = [each for each in asked if each.done()]
        over.set()
        assert not early
        return await asyncio.gather(*asked)

    event.listen(Engine, "do_connect", connect)
    try:
        assert asyncio.run(scenario()) == [Policy("tiny")] * 5, "the database is away"
    finally:
        event.remove(Engine, "do_connect", connect)


def test_without_cache_and_database_each_replica_limits_by_itself(
    admission: Admission, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(replica: Admission) -> list[int]:
        questions = Questions()
        questions.answered.set()
        async with served(replica, questions) as client:
            return [(await client.post("/ask")).status_code for _ in range(8)]

    first = asyncio.run(scenario(admission))
    assert (first[:4], first[-1]) == ([200] * 4, 429)
    alone = [each for each in caplog.messages if "counted by this process alone" in each]
    assert len(alone) == 1, "said once, not at every call"
    assert asyncio.run(scenario(Admission(get_settings())))[0] == 200


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"default": "gold", "tiers": {"free": {"ask": 1, "search": 1, "read": 1}}}, "'gold' is not among"),
        ({"default": "free", "tiers": {"free": {"ask": 1}}}, "'free' says nothing of read, search"),
        ({"default": "free", "tiers": {"free": {"ask": 0, "search": 1, "read": 1}}}, "greater than or equal"),
        ({"default": "free", "tiers": {"free": {"asks": 1, "search": 1, "read": 1}}}, "free.asks"),
    ],
)
def test_tiers_that_are_wrong_are_refused_by_name(tmp_path: Path, content: object, complaint: str) -> None:
    (tmp_path / "tiers.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SettingsError, match=complaint):
        load_tiers(tmp_path)


def test_the_committed_tiers_grow_and_an_unknown_one_is_named() -> None:
    tiers = load_tiers(CONFIGS)
    limits = [[tiers.limit(name, call) for call in ("ask", "search", "read")] for name in tiers.tiers]
    assert limits == sorted(limits)
    assert tiers.limit("gone", "ask") == tiers.limit(tiers.default, "ask")
    with pytest.raises(TenantError, match="no tier 'gold'"):
        tiers.known("gold")


def test_serve_reads_its_configuration_and_no_queue_of_the_copilot_is_endless() -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load((CONFIGS / "serve.yaml").read_text()))
    (copilot,) = [each for each in config.applications if each.name == "copilot"]
    assert all(each.max_queued_requests > 0 for each in copilot.deployments)
    (ingress,) = [each for each in copilot.deployments if each.name == "Copilot"]
    assert ingress.backpressure_config.retry_after_s > 0
    assert Settings().copilot.asks_in_flight < ingress.max_ongoing_requests, "room for what is not a question"
