"""Limits, audit and feedback of the copilot's calls, on the real cache and database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from typer.testing import CliRunner

from iotops.audit import AuditTrail, Entry, entries, expire
from iotops.auth import Principal, Role, issue_token
from iotops.cli import build
from iotops.database import engine, tenant_transaction
from iotops.errors import TenantError
from iotops.http import install
from iotops.models.catalogue import Catalogue, ModelSpec, Price
from iotops.rate_limit import RateLimit
from iotops.settings import Settings
from iotops.tenancy import Tenant
from iotops.tiers import Policies, change_policy, load_tiers, tenant_policy
from pipelines.evaluation.ratings import Ratings, rate
from pipelines.stages import Parameters, run_stage
from ray_apps.chat import Completion
from ray_apps.copilot.contracts import FeedbackRequest
from ray_apps.copilot.feedback import Feedback
from ray_apps.copilot.http.limits import Admission, admitted
from ray_apps.copilot.recording import Recorded, Recorder, note

ACME, RIVAL, RATED = Tenant("limits_acme"), Tenant("limits_rival"), Tenant("limits_rated")
AGED = Tenant("limits_aged")
BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
WRITTEN = Completion(
    text="", prompt_tokens=1000, completion_tokens=100, ttft_s=0.1, total_s=1, finish_reason="stop", model="m"
)
CATALOGUE = Catalogue(roles={}, models={"m": ModelSpec(price=Price(prompt=1.0, completion=2.0))})


@pytest.fixture(scope="module")
def tenants(settings: Settings) -> None:
    """Tenants of the lowest tier: rows are all that limits and audit need of one."""
    for tenant in (ACME, RIVAL, RATED, AGED):
        with tenant_transaction(engine(settings.database), tenant) as connection:
            row = {"tenant": tenant.id}
            connection.execute(text("INSERT INTO platform.tenants (tenant_id) VALUES (:tenant)"), row)
        assert tenant_policy(settings, tenant).tier == load_tiers(settings.configs).default
        change_policy(settings, tenant, "free")


@pytest.fixture
def trail(settings: Settings) -> Iterator[AuditTrail]:
    trail = AuditTrail(settings.database)
    yield trail
    trail.close()


def replica(settings: Settings, trail: AuditTrail) -> httpx.AsyncClient:
    """A client of one replica of an application that is admitted and recorded as the copilot is."""
    admission, app = Admission(settings), FastAPI()
    app.add_middleware(Recorded, recorder=lambda: Recorder(trail, CATALOGUE))
    install(app)

    @app.post("/ask", dependencies=[Depends(admitted("ask", lambda: admission))])
    async def ask(question: str) -> None:
        note().question = question
        note().completions.append(WRITTEN)

    @app.get("/insights/{device_id}", dependencies=[Depends(admitted("read", lambda: admission))])
    async def insights(device_id: str) -> None:
        raise RuntimeError("what is inside stays inside")

    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://copilot"
    )


def bearer(settings: Settings, tenant: Tenant, role: Role = "operator", **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(settings.auth, tenant, 'alice', role, **more)}"}


def entry(tenant: Tenant, **changes: Any) -> Entry:
    asked = Entry(
        tenant_id=tenant.id, at=datetime.now(UTC), subject="alice", role="operator", action="POST /ask",
        object="", outcome="done", status=200, request_id=f"of-{tenant.id}", latency_ms=1.0,
    )  # fmt: skip
    return replace(asked, **changes)


def printed(*command: str) -> Any:
    """What a command prints as JSON."""
    done = CliRunner().invoke(build(), [*command, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_replicas_share_a_tenants_budget_and_tenants_do_not(settings: Settings) -> None:
    async def scenario() -> None:
        one, other = (RateLimit(settings.cache, "shared-budget", 60) for _ in range(2))
        taken = [await each.take(ACME, 1, 6) for each in (one, other, one, other, one, other, one, other)]
        assert taken == [True] * 6 + [False] * 2
        assert (await one.standing(ACME, 6)).remaining == 0
        assert (await other.standing(RIVAL, 6)).remaining == 6
        assert await one.take(RIVAL, 6, 6)

    asyncio.run(scenario())


def test_who_waits_as_long_as_told_is_served(settings: Settings) -> None:
    async def scenario() -> None:
        rate = RateLimit(settings.cache, "waited-for", 1)
        while await rate.take(ACME, 1, 3):
            pass
        await asyncio.sleep((await rate.standing(ACME, 3)).wait_s)
        assert await rate.take(ACME, 1, 3)

    asyncio.run(scenario())


@pytest.mark.usefixtures("tenants")
def test_whoever_comes_first_to_a_cold_replica_has_the_policy_of_its_tenant(settings: Settings) -> None:
    async def scenario() -> None:
        policies = Policies(settings.database, "enterprise")
        known = await asyncio.gather(*(policies.of(AGED) for _ in range(5)))
        assert [each.tier for each in known] == ["free"] * 5
        nobody = await asyncio.gather(
            *(policies.of(Tenant("limits_nobody")) for _ in range(5)), return_exceptions=True
        )
        assert [type(each) for each in nobody] == [TenantError] * 5

    asyncio.run(scenario())


@pytest.mark.usefixtures("tenants")
def test_a_minute_of_questions_is_one_for_all_replicas_and_each_call_is_audited(
    settings: Settings, trail: AuditTrail
) -> None:
    change_policy(settings, RIVAL, keep_questions=True)
    limit = load_tiers(settings.configs).limit("free", "ask")

    async def scenario() -> list[httpx.Response]:
        replicas = [replica(settings, trail) for _ in range(2)]
        asking = {"params": {"question": "why?\0"}}
        for each in replicas:  # on a busy machine the first word with the counter takes too long
            await each.post("/ask", headers=bearer(settings, RIVAL), **asking)
        answers = []
        for number in range(limit + 1):
            caller = bearer(settings, ACME)
            answers.append(await replicas[number % 2].post("/ask", headers=caller, **asking))
        answers.append(await replicas[0].post("/ask", headers=bearer(settings, RIVAL), **asking))
        for denied in (
            bearer(settings, ACME, "device"), bearer(settings, ACME, ttl_s=-1), {"Authorization": "Bearer x"}
        ):  # fmt: skip
            answers.append(await replicas[1].post("/ask", headers=denied, **asking))
        answers.append(await replicas[1].get("/insights/pump-1", headers=bearer(settings, ACME)))
        return answers

    answers = asyncio.run(scenario())
    *served, refused, of_rival, forbidden, expired, forged, failed = answers
    assert [each.status_code for each in served] == [200] * limit
    assert [int(each.headers["RateLimit-Remaining"]) for each in served] == [*range(limit - 1, -1, -1)]
    assert {int(each.headers["RateLimit-Limit"]) for each in answers[: limit + 1]} == {limit}
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    assert of_rival.status_code == 200, "another tenant's flood takes nothing from it"
    codes = [each.status_code for each in (forbidden, expired, forged, failed)]
    assert codes == [403, 401, 401, 500]
    assert "inside" not in failed.text

    trail.close()
    *asked, last, denied, late, broken = entries(settings.database, ACME, BEFORE)
    assert len(asked) == limit, "and the forged token stands in nobody's audit"
    assert {(each["outcome"], each["status"], each["question"]) for each in asked} == {("done", 200, None)}
    assert {(each["model"], each["prompt_tokens"], each["completion_tokens"]) for each in asked} == {
        ("m", 1000, 100)
    }
    assert asked[0]["cost"] == pytest.approx((1000 * 1.0 + 100 * 2.0) / 1e6)
    assert len({each["request_id"] for each in asked}) == limit
    assert last["request_id"] == refused.json()["error"]["request_id"]
    assert [(each["outcome"], each["status"]) for each in (last, denied, late, broken)] == [
        ("denied", 429), ("denied", 403), ("denied", 401), ("failed", 500)
    ]  # fmt: skip
    assert (broken["action"], broken["object"], broken["subject"]) == (
        "GET /insights/{device_id}", "pump-1", "alice"
    )  # fmt: skip
    assert all(each["latency_ms"] > 0 for each in asked)
    kept = entries(settings.database, RIVAL, BEFORE)
    assert [each["question"] for each in kept] == ["why?�"] * 3, "its policy keeps questions"


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE platform.audit_log SET outcome = 'done'",
        "DELETE FROM platform.audit_log",
        "TRUNCATE platform.audit_log",
        "DELETE FROM platform.feedback",
        "ALTER TABLE platform.audit_log DISABLE ROW LEVEL SECURITY",
    ],
)
def test_nothing_takes_a_row_out_of_the_audit_or_changes_one(settings: Settings, attack: str) -> None:
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        tenant_transaction(engine(settings.database), ACME) as connection,
    ):
        connection.execute(text(attack))


def test_old_rows_alone_go_and_only_through_the_role_that_may(settings: Settings, trail: AuditTrail) -> None:
    kept, gone, young = Tenant("limits_kept"), Tenant("limits_gone"), timedelta(days=29)
    ages = {"now": timedelta(), "young": young, "old": timedelta(days=40), "ancient": timedelta(days=400)}
    for tenant in (kept, gone):
        for name, age in ages.items():
            trail.add(entry(tenant, at=datetime.now(UTC) - age, request_id=name))
    trail.close()

    def left(tenant: Tenant) -> list[str]:
        return [each["request_id"] for each in entries(settings.database, tenant, BEFORE)]

    assert expire(settings.database, gone, 365) == 1
    assert left(gone) == ["old", "young", "now"]
    assert expire(settings.database, gone, 1) == 1, "the database deletes nothing of the last 30 days"
    assert left(gone) == ["young", "now"]
    assert len(left(kept)) == len(ages), "another tenant's stay"
    for attack in (
        "UPDATE platform.audit_log SET outcome = 'done'",
        "SELECT question FROM platform.audit_log",
        "TRUNCATE platform.audit_log",
        "DELETE FROM platform.feedback",
    ):
        with tenant_transaction(engine(settings.database), gone) as connection:
            connection.execute(text("SET LOCAL ROLE iotops_retention"))
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text(attack))


@pytest.mark.usefixtures("tenants")
def test_the_nightly_flow_ends_what_the_policy_does_not_keep(settings: Settings, trail: AuditTrail) -> None:
    aged = entry(AGED, at=datetime.now(UTC) - timedelta(days=settings.audit.keep_days + 1))
    for each in (aged, entry(AGED, request_id="kept")):
        trail.add(each)
    trail.close()
    done = run_stage("lake-maintenance", settings, AGED.id, Parameters(), lambda message: None)
    assert done.counts["audit_rows"] == 1
    assert [each["request_id"] for each in entries(settings.database, AGED, BEFORE)] == ["kept"]


def test_an_entry_is_stored_once_and_one_that_is_refused_takes_no_others_with_it(
    settings: Settings, trail: AuditTrail, caplog: pytest.LogCaptureFixture
) -> None:
    tenant, refused = Tenant("limits_odd"), Tenant("limits_refused")
    trail.add(entry(refused, status=70_000, question="a secret"))
    odd = entry(tenant, subject="nul\0 and \ud800", request_id="odd")
    for _ in range(2):  # as after a commit whose word was lost
        trail.add(odd)
    trail.add(entry(tenant, latency_ms=2.0))
    trail.close()
    stored = entries(settings.database, tenant, BEFORE)
    assert [(each["request_id"], each["subject"]) for each in stored] == [
        ("odd", "nul� and ?"), ("of-limits_odd", "alice")
    ]  # fmt: skip
    assert entries(settings.database, tenant, datetime.now(UTC) + timedelta(days=1)) == []
    assert entries(settings.database, refused, BEFORE) == []
    (told,) = [each for each in caplog.messages if each.startswith("the audit of limits_refused refuses 1")]
    assert "1 entries of the audit are not stored" in caplog.text
    assert "secret" not in told


@pytest.mark.usefixtures("tenants")
def test_feedback_is_given_on_an_answer_of_ones_own_tenant_and_counted(settings: Settings) -> None:
    acme, rival = RATED, Tenant("limits_rating")
    feedback, trail = Feedback(settings.database), AuditTrail(settings.database)
    for request_id in ("one", "two"):
        trail.add(entry(acme, request_id=request_id))
    trail.add(entry(acme, request_id="a-search", action="POST /search"))
    trail.add(entry(acme, request_id="refused", outcome="denied", status=429))

    async def give(tenant: Tenant, subject: str, request_id: str, rating: str = "up") -> bool:
        given = FeedbackRequest.model_validate({"request_id": request_id, "rating": rating})
        return await feedback.keep(Principal(tenant, subject, "operator"), given)

    async def scenario() -> None:
        # What was answered just now may not be in the table yet: it is waited for.
        assert await give(acme, "alice", "one", "down")
        assert await give(acme, "alice", "one", "up"), "the second word replaces the first"
        assert await give(acme, "bob", "two", "down")
        refused = (
            give(rival, "eve", "one"), give(acme, "alice", "unheard-of"),
            give(acme, "alice", "a-search"), give(acme, "alice", "refused"),
        )  # fmt: skip
        assert await asyncio.gather(*refused) == [False] * 4

    asyncio.run(scenario())
    trail.close()
    now = datetime.now(UTC)
    for tenant, expected in ((acme, Ratings(2, 1)), (rival, Ratings(0, 0))):
        for _ in range(2):
            with tenant_transaction(engine(settings.database), tenant) as connection:
                assert rate(connection, tenant, now) == expected
                kept = connection.execute(text("SELECT ratings, thumbs_up FROM gold.answer_ratings")).all()
                assert [tuple(row) for row in kept] == ([(2, 1)] if expected.ratings else [])
    with tenant_transaction(engine(settings.database), acme) as connection:
        assert rate(connection, acme, now + timedelta(days=8)) == Ratings(0, 0), "a window of seven days"
    (shown,) = printed("eval", "show", "--tenant", acme.id)
    assert (shown["method"], shown["ratings"], shown["thumbs_up"]) == ("feedback", 2, 1)
    assert (
        "1 of 2 thumbs up (50%)" in CliRunner().invoke(build(), ["eval", "show", "--tenant", acme.id]).output
    )


@pytest.mark.usefixtures("tenants")
def test_commands_show_a_tenants_policy_and_audit_and_no_others(
    settings: Settings, trail: AuditTrail
) -> None:
    trail.add(entry(RIVAL, request_id="commanded"))
    trail.close()

    assert printed("tenant", "policy", RIVAL.id, "--tier", "enterprise", "--no-keep-questions") == {
        "tenant_id": RIVAL.id, "tier": "enterprise", "keep_questions": False
    }  # fmt: skip
    assert printed("tenant", "policy", RIVAL.id)["tier"] == "enterprise"
    assert "commanded" in [row["request_id"] for row in printed("audit", "--tenant", RIVAL.id)]
    assert "commanded" not in [row["request_id"] for row in printed("audit", "--tenant", ACME.id)]
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    assert printed("audit", "--tenant", RIVAL.id, "--since", tomorrow) == []
    with pytest.raises(TenantError, match="no tenant"):
        change_policy(settings, Tenant("limits_nobody"), "free")
    with pytest.raises(TenantError, match="no tier 'gold'"):
        change_policy(settings, RIVAL, "gold")
