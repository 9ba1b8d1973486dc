"""Runs as they are kept in the real Postgres, in a file, and by a real HTTP server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, RunEvent, RunState
from openlineage.client.event_v2 import Run as EventRun
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from iotops.database import engine, tenant_transaction
from iotops.provisioning import create_tenant
from iotops.settings import LineageSettings, Settings
from iotops.tenancy import Tenant
from pipelines.lineage import Dataset, recorded
from pipelines.lineage.runs import owned_by
from pipelines.lineage.upstream import last_runs, upstream
from pipelines.stages.running import run_stage
from pipelines.stages.stage import Parameters
from tests.integration.test_lake import DAYS, FIRST, put_object, readings

ONE, OTHER = Tenant("lineage_one"), Tenant("lineage_other")
BRONZE = Dataset("lineage_one/bronze/raw", rows=101, files=2, parts=("2026-11-02/15", "2026-11-02/16"))

ENDLESS = """
import time
from iotops.settings import get_settings
from iotops.tenancy import Tenant
from pipelines.lineage import recorded

with recorded(get_settings(), Tenant("lineage_one"), job="killed") as run:
    print(run.run_id, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module", autouse=True)
def tenants(settings: Settings) -> None:
    for tenant in (ONE, OTHER):
        create_tenant(settings, tenant)


class Receiver(BaseHTTPRequestHandler):
    """Takes what OpenLineage's HTTP transport posts."""

    received: list[tuple[str, str | None, dict[str, Any]]]
    hangs: threading.Event

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hangs.wait(60)
        self.received.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    handler = type("Handler", (Receiver,), {"received": [], "hangs": threading.Event()})
    handler.hangs.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        handler.hangs.set()
        server.shutdown()


def rows(settings: Settings, tenant: Tenant, job: str) -> list[Any]:
    query = text("SELECT * FROM gold.pipeline_runs WHERE job = :job ORDER BY started_at")
    with tenant_transaction(engine(settings.database), tenant) as connection:
        return list(connection.execute(query, {"job": job}))


def lines(settings: Settings, owner: str, job: str) -> list[dict[str, Any]]:
    files = sorted((settings.home / "lineage" / owner).glob("*.jsonl"))
    events = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [event for event in events if event["job"]["name"] == job]


def check(event: dict[str, Any]) -> RunEvent:
    """The event through OpenLineage's own classes, whose validators refuse what the specification does."""
    assert event["schemaURL"].endswith("OpenLineage.json#/$defs/RunEvent")
    datasets = (*event["inputs"], *event["outputs"])
    facets = [*event["run"]["facets"].values(), *event["job"]["facets"].values()]
    for dataset in datasets:
        facets += [*dataset["facets"].values(), *dataset.get("inputFacets", {}).values()]
        facets += dataset.get("outputFacets", {}).values()
    assert all(facet["_producer"] and facet["_schemaURL"].startswith("https://") for facet in facets)
    return RunEvent(
        eventType=RunState(event["eventType"]),
        eventTime=event["eventTime"],
        run=EventRun(**event["run"]),
        job=Job(**event["job"]),
        inputs=[InputDataset(**each) for each in event["inputs"]],
        outputs=[OutputDataset(**each) for each in event["outputs"]],
        producer=event["producer"],
    )


def test_a_run_is_kept_and_sent(
    settings: Settings, receiver: tuple[str, type[Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = receiver
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "a-token")
    sent = settings.model_copy(update={"lineage": LineageSettings(url=url)})
    run_id = uuid4()
    with recorded(sent, ONE, job="whole", run_id=run_id) as run:
        (row,) = rows(settings, ONE, "whole")
        assert (row.run_id, row.state, row.ended_at) == (run_id, "RUNNING", None)
        run.inputs.append(BRONZE)
        run.outputs.append(Dataset("gold.device_health", rows=36))
    (row,) = rows(settings, ONE, "whole")
    assert row.state == "COMPLETE"
    assert row.ended_at > row.started_at
    assert row.code_version == run.code_version != ""
    assert Dataset.from_json(row.inputs[0]) == BRONZE
    assert {"name": "score", "type": "double precision"} in row.outputs[0]["fields"], "as the table is"

    posted = [
        event
        for path, token, event in server.received
        if (path, token) == ("/api/v1/lineage", "Bearer a-token")
    ]
    assert posted == lines(settings, ONE.id, "whole")
    start, complete = map(check, posted)
    assert (start.eventType, complete.eventType) == (RunState.START, RunState.COMPLETE)
    assert complete.job.namespace == "iotops.lineage_one"
    assert complete.run.facets["tags"]["tags"][0]["value"] == run.code_version
    (bronze,), (gold,) = complete.inputs, complete.outputs
    assert (bronze.namespace, bronze.name) == (f"s3://{settings.lake.bucket}", BRONZE.name)
    assert bronze.inputFacets["inputStatistics"]["rowCount"] == 101
    assert bronze.inputFacets["subset"]["inputCondition"]["locations"][0] == f"{BRONZE.name}/2026-11-02/15"
    assert gold.namespace == f"postgres://{settings.database.host}:{settings.database.port}"
    assert gold.name == f"{settings.database.name}.gold.device_health"
    assert gold.outputFacets["outputStatistics"]["rowCount"] == 36
    assert "score" in [column["name"] for column in gold.facets["schema"]["fields"]]


def test_a_failure_is_recorded_and_raised(settings: Settings) -> None:
    def fail() -> None:
        with recorded(settings, ONE, job="failing") as run:
            run.inputs.append(BRONZE)
            raise ValueError("the valve is stuck")

    with pytest.raises(ValueError, match="stuck"):
        fail()
    (row,) = rows(settings, ONE, "failing")
    assert (row.state, row.message) == ("FAIL", "ValueError: the valve is stuck")
    assert row.inputs[0]["name"] == BRONZE.name
    last = check(lines(settings, ONE.id, "failing")[-1])
    assert last.eventType == RunState.FAIL
    assert last.run.facets["errorMessage"]["message"] == "ValueError: the valve is stuck"


def test_a_killed_run_is_aborted_by_the_next_and_a_live_one_is_not(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        killed = UUID(process.stdout.readline().strip())
        with recorded(settings, ONE, job="killed"):
            assert [row.state for row in rows(settings, ONE, "killed")] == ["RUNNING", "RUNNING"]
        process.kill()
    with recorded(settings, ONE, job="killed"):
        pass
    states = {row.run_id: row.state for row in rows(settings, ONE, "killed")}
    assert states.pop(killed) == "ABORT"
    assert list(states.values()) == ["COMPLETE", "COMPLETE"]
    aborted = [event for event in lines(settings, ONE.id, "killed") if event["eventType"] == "ABORT"]
    assert [event["run"]["runId"] for event in aborted] == [str(killed)]


def test_a_run_id_used_again_is_recorded_anew(settings: Settings) -> None:
    run_id = uuid4()
    with pytest.raises(ValueError, match="first"), recorded(settings, ONE, job="again", run_id=run_id):
        raise ValueError("first")
    with recorded(settings, ONE, job="again", run_id=run_id):
        pass
    (row,) = rows(settings, ONE, "again")
    assert (row.state, row.message) == ("COMPLETE", None)


@pytest.mark.parametrize("hangs", [True, False])
def test_a_server_that_does_not_answer_fails_no_run(
    settings: Settings,
    receiver: tuple[str, type[Receiver]],
    hangs: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, server = receiver
    if hangs:
        server.hangs.clear()
    monkeypatch.setattr("pipelines.lineage.sending.PATIENCE_S", 0.2)
    unreachable = LineageSettings(url=url if hangs else "http://127.0.0.1:9")
    with recorded(settings.model_copy(update={"lineage": unreachable}), ONE, job=f"deaf-{hangs}"):
        pass
    assert [row.state for row in rows(settings, ONE, f"deaf-{hangs}")] == ["COMPLETE"]
    assert (
        len([each for each in caplog.messages if each.startswith(f"lineage server {unreachable.url}")]) >= 2
    )


def test_a_tenant_sees_its_own_runs_and_those_of_the_shared_shelf(settings: Settings) -> None:
    with recorded(settings, ONE, job="isolated"), recorded(settings, None, job="isolated"):
        pass
    assert [row.tenant_id for row in rows(settings, ONE, "isolated")] == [ONE.id, "shared"]
    assert [row.tenant_id for row in rows(settings, OTHER, "isolated")] == ["shared"]
    with engine(settings.database).begin() as connection:
        seen = connection.execute(text("SELECT DISTINCT tenant_id FROM gold.pipeline_runs")).scalars().all()
    assert seen == ["shared"], "a transaction bound to no tenant sees no tenant's runs"
    forged = "INSERT INTO gold.pipeline_runs SELECT * FROM gold.pipeline_runs WHERE tenant_id = 'shared'"
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        owned_by(settings.database, OTHER.id) as other,
    ):
        other.execute(text(forged))


def test_a_load_that_found_nothing_is_not_what_wrote_the_table(settings: Settings) -> None:
    tenant = Tenant("lineage_idle")
    create_tenant(settings, tenant)
    put_object(settings, tenant.telemetry_topic, FIRST, readings(DAYS)[:100], 0)
    for _ in range(2):
        run_stage("bronze-to-silver", settings, tenant.id, Parameters(), lambda message: None)
    idle, loading = last_runs(settings.database, tenant)
    assert (idle.state, idle.inputs, idle.outputs) == ("COMPLETE", [], [])
    source = upstream([idle, loading], Dataset(f"{tenant.id}.telemetry"))
    assert source.run == loading
    assert source.dataset.rows == 200
    assert [each.dataset.name for each in source.inputs] == ["lineage_idle/bronze/raw"]
