"""The flows on the real Prefect server, their jobs on the real cluster, and the worker that runs them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from indexes.exchange import current
from indexes.schema import shelf_prefix
from iotops.cli import build
from iotops.database import engine
from iotops.errors import IotOpsError
from iotops.lake import iceberg_catalog, lake_filesystem
from iotops.provisioning import create_tenant
from iotops.settings import Settings, get_settings
from iotops.stack.prefect_server import PrefectServer
from iotops.stack.prefect_worker import PrefectWorker
from iotops.tenancy import Tenant
from pipelines.deployments import apply, prefect_environment, states
from pipelines.flow_commands import run_flow
from pipelines.ingest.new_hours import NewHours
from pipelines.jobs.client import job_client
from tests.integration.test_lake import DAYS, FIRST, ms, put_object, readings
from tests.waiting import eventually


@pytest.fixture
def tenant(settings: Settings, request: pytest.FixtureRequest) -> Tenant:
    """A tenant of this test's own, with one arrival hour of bronze."""
    tenant = Tenant(f"flows_{request.node.name.removeprefix('test_')[:20]}".rstrip("_"))
    create_tenant(settings, tenant)
    put_object(settings, tenant.telemetry_topic, FIRST, [*readings(DAYS)[:100], '{"broken"'], 0)
    return tenant


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Settings of Prefect for one test."""

    def configure(**values: Any) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"IOTOPS_PREFECT__{name.upper()}", str(value))
        get_settings.cache_clear()

    yield configure
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def webhook(configured: Callable[..., None]) -> Iterator[list[dict[str, Any]]]:
    """What is posted to the configured receiver, which refuses the first."""
    notices: list[dict[str, Any]] = []
    statuses = [503]

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notices.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses.pop() if statuses else 204)
            self.end_headers()

        def log_message(self, format: str, *values: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        configured(
            failure_webhook=f"http://127.0.0.1:{server.server_port}/hook", retries=1, retry_delay_s=0.1
        )
        yield notices
        server.shutdown()


@pytest.fixture(scope="module")
def worker(settings: Settings) -> Iterator[None]:
    """A worker for what is triggered; what is scheduled must not come between."""
    apply(settings)
    api = settings.prefect.api_url
    for deployment in httpx.post(f"{api}/deployments/filter", json={}).json():
        httpx.patch(f"{api}/deployments/{deployment['id']}", json={"paused": True}).raise_for_status()
    server = PrefectWorker(settings)
    server.start()
    yield
    server.stop()
    for automation in httpx.post(f"{api}/automations/filter", json={}).json():
        httpx.delete(f"{api}/automations/{automation['id']}").raise_for_status()


def runs(settings: Settings, name: str) -> list[dict[str, Any]]:
    query = {"flow_runs": {"name": {"any_": [name]}}}
    found: list[dict[str, Any]] = httpx.post(
        f"{settings.prefect.api_url}/flow_runs/filter", json=query
    ).json()
    return found


def artifact(settings: Settings, key: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{settings.prefect.api_url}/artifacts/{key.replace('_', '-')}/latest").json()
    rows: list[dict[str, Any]] = json.loads(found["data"])
    return rows


def completed(settings: Settings, name: str) -> bool:
    return [run["state"]["type"] for run in runs(settings, name)] == ["COMPLETED"]


def telemetry_rows(settings: Settings, tenant: Tenant) -> int:
    catalog = iceberg_catalog(settings.lake, settings.database)
    count: int = catalog.load_table(f"{tenant.id}.telemetry").scan().count()
    return count


def test_a_run_is_a_job_on_the_cluster_with_its_tables_in_prefect(settings: Settings, tenant: Tenant) -> None:
    steps: list[str] = []
    loaded = run_flow("bronze-to-silver", tenant.id, steps.append)
    assert (loaded.counts["readings"], loaded.counts["quarantined"], loaded.counts["hours"]) == (100, 1, 1)
    assert any("writing 200 rows" in step for step in steps)
    assert run_flow("silver-to-gold", tenant.id).counts["scores"] == 30

    (run,) = runs(settings, f"bronze-to-silver-{tenant.id}")
    assert run["state"]["type"] == "COMPLETED"
    (job,) = [job for job in job_client(settings).list_jobs() if job.metadata.get("flow_run") == run["id"]]
    assert job.submission_id == f"bronze-to-silver-{tenant.id}-{run['id']}-1-1"
    (hour,) = artifact(settings, f"bronze-to-silver-{tenant.id}")
    assert (hour["arrival_hour"], hour["telemetry_rows"]) == ("2026-11-02T15:00:00+00:00", "200")
    (bad,) = artifact(settings, f"quarantine-{tenant.id}")
    assert (bad["reason"], bad["rows"], bad["excerpt"]) == ("invalid_json", 1, '{"broken"')
    assert bad["object"].startswith(f"{tenant.id}/bronze/raw/2026-11-02/15/")
    assert len(artifact(settings, f"silver-to-gold-{tenant.id}")) == 5


def test_what_has_a_schedule_is_planned_and_the_last_run_is_told_beside_it(
    settings: Settings, tenant: Tenant
) -> None:
    apply(settings)
    run_flow("silver-to-gold", tenant.id)

    def planned() -> list[str]:
        return [flow.flow for flow in states(settings) if flow.next_run]

    scheduled = [flow.flow for flow in states(settings) if flow.schedule]
    eventually(lambda: planned() == scheduled)
    told = {flow.flow: (flow.run, flow.state) for flow in states(settings)}
    assert told["silver-to-gold"] == (f"silver-to-gold-{tenant.id}", "Completed")


def test_runs_of_a_new_tenant_that_begin_together_all_have_its_limit(settings: Settings) -> None:
    os.environ.update(prefect_environment(settings))
    from pipelines.flows import set_limit  # Prefect reads its settings as it is imported

    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            list(pool.map(set_limit, [f"tenant-flows_{number}"] * 8, [2] * 8))


def test_a_restart_of_the_server_leaves_no_slot_taken(settings: Settings) -> None:
    os.environ.update(prefect_environment(settings))
    from prefect.concurrency.sync import concurrency

    from pipelines.flows import set_limit

    set_limit("tenant-flows_slot", 2)
    server = PrefectServer(settings)
    with concurrency("tenant-flows_slot", strict=True):
        server.stop()
        server.start()
    found = httpx.get(f"{settings.prefect.api_url}/v2/concurrency_limits/tenant-flows_slot").json()
    assert (found["limit"], found["active_slots"]) == (2, 0)


def test_leases_that_come_and_go_together_are_all_known_and_leave_nothing(tmp_path: Path) -> None:
    from prefect.server.concurrency.lease_storage import ConcurrencyLimitLeaseMetadata

    from iotops.stack.prefect_leases import ConcurrencyLeaseStorage

    store, minute = ConcurrencyLeaseStorage(tmp_path), timedelta(minutes=1)

    async def known() -> list[int]:
        slot = ConcurrencyLimitLeaseMetadata(slots=1)
        leases = await asyncio.gather(*(store.create_lease([uuid4()], minute, slot) for _ in range(20)))
        held = await store.read_active_lease_ids()
        await asyncio.gather(*(store.renew_lease(lease.id, minute) for lease in leases[10:]),
                             *(store.revoke_lease(lease.id) for lease in leases[:10]))  # fmt: skip
        return [len(held), len(await store.read_active_lease_ids())]

    assert asyncio.run(known()) == [20, 10]


def test_a_run_that_its_worker_left_is_crashed_by_the_next(settings: Settings, worker: None) -> None:
    api, server = settings.prefect.api_url, PrefectWorker(settings)
    server.stop()
    named = {"deployments": {"name": {"any_": ["weekly"]}}}
    (deployment,) = httpx.post(f"{api}/deployments/filter", json=named).json()
    left = {"state": {"type": "RUNNING"}, "name": "left"}
    run = httpx.post(f"{api}/deployments/{deployment['id']}/create_flow_run", json=left).json()
    calls = {"flow_run_id": run["id"], "task_key": "call", "dynamic_key": "0"}
    call = httpx.post(f"{api}/task_runs/", json=calls).json()
    part = {"flow_id": run["flow_id"], "parent_task_run_id": call["id"]}
    httpx.post(f"{api}/flow_runs/", json=left | part).raise_for_status()
    server.start()
    told = [(each["state"]["type"], each["state"]["message"]) for each in runs(settings, "left")]
    assert told == [("CRASHED", "Its worker ended before it.")] * 2


def test_a_new_hour_of_bronze_and_a_changed_document_start_their_flows(
    settings: Settings, tenant: Tenant, worker: None, tmp_path: Path
) -> None:
    hours = NewHours(settings)
    hours.stored(tenant, ms(FIRST))
    hours.stored(tenant, ms(FIRST))
    hours.close()
    (tmp_path / "guide.md").write_text("# Guide\n\nGrease the bearing of the pump every month.")
    arguments = ["docs", "add", str(tmp_path / "guide.md"), "--tenant", tenant.id, "--background"]
    added = CliRunner().invoke(build(), arguments)
    assert added.exit_code == 0, added.output
    eventually(lambda: completed(settings, f"bronze-to-silver-{tenant.id}"), 240)
    assert telemetry_rows(settings, tenant) == 200
    eventually(lambda: completed(settings, f"doc-ingestion-{tenant.id}"), 240)
    assert current(lake_filesystem(settings.lake), shelf_prefix(tenant.id, "indexes")) is not None


def test_a_failure_is_told_once_and_what_no_retry_mends_is_not_tried_again(
    settings: Settings, webhook: list[dict[str, Any]]
) -> None:
    with pytest.raises(IotOpsError, match="there is no tenant 'flows_nobody'"):
        run_flow("bronze-to-silver", "flows_nobody")
    refused, taken = webhook
    assert refused == taken
    assert (taken["flow"], taken["tenant_id"], taken["state"]) == (
        "bronze-to-silver",
        "flows_nobody",
        "Failed",
    )
    assert "there is no tenant" in taken["message"]
    (run,) = runs(settings, "bronze-to-silver-flows_nobody")
    assert taken["url"].endswith(run["id"])
    jobs = [job for job in job_client(settings).list_jobs() if job.metadata.get("flow_run") == run["id"]]
    assert len(jobs) == 1


def test_a_receiver_that_is_away_changes_nothing(settings: Settings, configured: Callable[..., None]) -> None:
    configured(failure_webhook="http://127.0.0.1:9/hook", retries=0)
    with pytest.raises(IotOpsError, match="there is no tenant 'flows_no_one'"):
        run_flow("silver-to-gold", "flows_no_one")


def test_a_stage_that_takes_too_long_is_stopped_and_tried_again(
    settings: Settings, tenant: Tenant, configured: Callable[..., None]
) -> None:
    configured(stage_timeout_s=1.5, retries=1, retry_delay_s=0.1)
    with engine(settings.database).begin() as connection:
        key = {"name": "bronze-to-silver", "tenant": tenant.id}
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name), hashtext(:tenant))"), key)
        with pytest.raises(IotOpsError, match="timeout"):
            run_flow("bronze-to-silver", tenant.id)
    (run,) = runs(settings, f"bronze-to-silver-{tenant.id}")
    client = job_client(settings)
    mine = [f"bronze-to-silver-{tenant.id}-{run['id']}-1-{attempt}" for attempt in (1, 2)]
    eventually(lambda: all(client.get_job_status(job) == "STOPPED" for job in mine), 20)


def test_a_tenant_at_its_limit_waits_and_holds_up_no_other(
    settings: Settings, tenant: Tenant, configured: Callable[..., None]
) -> None:
    other = Tenant("flows_free")
    create_tenant(settings, other)
    configured(tenant_runs=1)
    run_flow("silver-to-gold", tenant.id)  # there is no limit before a tenant's first run
    from prefect.concurrency.sync import concurrency  # reads the settings that the run has set

    with ThreadPoolExecutor(1) as pool:
        with concurrency(f"tenant-{tenant.id}", strict=True):
            waiting = pool.submit(run_flow, "bronze-to-silver", tenant.id)
            (run,) = eventually(lambda: runs(settings, f"bronze-to-silver-{tenant.id}"))
            assert run_flow("bronze-to-silver", other.id).counts["hours"] == 0
            jobs = [job.metadata.get("flow_run") for job in job_client(settings).list_jobs()]
            assert run["id"] not in jobs
        assert waiting.result(240).counts["hours"] == 1


def test_one_failing_tenant_stops_no_other(
    settings: Settings, tenant: Tenant, configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(retries=0)
    run_flow("bronze-to-silver", tenant.id)
    before = telemetry_rows(settings, tenant)
    put_object(settings, tenant.telemetry_topic, FIRST, readings(DAYS)[100:150], 1000)
    broken = Tenant("flows_broken")
    create_tenant(settings, broken)
    put_object(settings, broken.telemetry_topic, FIRST, ['{"broken"'] * 150, 0)
    # Of every tenant on this stack, those of this test.
    monkeypatch.setattr("pipelines.flows.list_tenants", lambda settings: [broken, tenant])
    with pytest.raises(IotOpsError, match="failed for 1 of 2 tenants: flows_broken") as failed:
        run_flow("bronze-to-silver", None)
    assert "150 of 150 records" in str(failed.value)
    assert telemetry_rows(settings, tenant) > before
