"""Sinks killed between write and commit: each reading is stored exactly once all the same."""

from __future__ import annotations

import gzip
import os
import signal
import time
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.kafka import Producer, open_producer
from iotops.lake import get, lake_filesystem, objects
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from tests.integration import crashing_sink

CRASHES = {"confluent-kafka": 10, "kafka-python": 2}
"""Of each sink, by the client; the second has what it does in common with the first tested there."""
DEVICES, READINGS = 40, 100
FAST = {
    "IOTOPS_KAFKA__SESSION_TIMEOUT_MS": "3000",
    "IOTOPS_INGEST__BRONZE_ROLL_RECORDS": "150",
    "IOTOPS_INGEST__BRONZE_ROLL_SECONDS": "0.5",
    "IOTOPS_INGEST__BATCH_RECORDS": "150",
}


class Supervisor:
    """Starts a sink again whenever it dies, as Ray does for an actor: a process with the imports done."""

    def __init__(self, sink: str, client: str, budget: Path) -> None:
        self.sink = sink
        self.arguments = (sink, budget, {**os.environ, **FAST, "IOTOPS_KAFKA__CLIENT": client})
        self.kills = 0
        self.process = self._start()

    def _start(self) -> ForkServerProcess:
        context = get_context("forkserver")
        context.set_forkserver_preload([crashing_sink.__name__])
        process = context.Process(target=crashing_sink.run, args=self.arguments)
        process.start()
        return process

    def tend(self) -> None:
        """Restart the sink if it was killed; anything but SIGKILL is a failure of the sink."""
        status = self.process.exitcode
        if status is not None:
            assert status == -signal.SIGKILL, f"{self.sink} ended with {status}"
            self.kills += 1
            self.process = self._start()

    def end(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("client", "crashes"), CRASHES.items())
def test_crashes_between_write_and_commit_lose_and_double_nothing(
    settings: Settings, tmp_path: Path, client: str, crashes: int
):
    tenant = Tenant(f"crashing_{client.partition('-')[0]}")
    create_tenant(settings, tenant)
    supervisors = []
    for sink in ("bronze", "silver"):
        budget = tmp_path / sink
        budget.mkdir()
        for number in range(crashes):
            (budget / str(number)).touch()
        supervisors.append(Supervisor(sink, client, budget))
    producer, sent = open_producer(settings.kafka), 0
    try:
        for seq in range(READINGS):
            sent += _send(producer, tenant, seq)
            for supervisor in supervisors:
                supervisor.tend()
            time.sleep(0.05)
        deadline = time.monotonic() + 500
        while time.monotonic() < deadline:
            for supervisor in supervisors:
                supervisor.tend()
            done = len(set(_bronze(settings, tenant))) == sent and _silver(settings, tenant)[0] == sent
            if done and all(supervisor.kills == crashes for supervisor in supervisors):
                break
            time.sleep(1)
    finally:
        producer.close()
        for supervisor in supervisors:
            supervisor.end()
    bronze, (silver, distinct, newest) = _bronze(settings, tenant), _silver(settings, tenant)
    kills = {supervisor.sink: supervisor.kills for supervisor in supervisors}
    print(
        f"{client}: sent {sent}; killed {kills}; bronze {len(bronze)} records, {len(set(bronze))} distinct;",
        end=" ",
    )
    print(f"silver {silver} rows, {distinct} distinct readings")
    assert kills == {"bronze": crashes, "silver": crashes}
    assert len(bronze) == len(set(bronze)) == sent
    assert silver == distinct == sent
    assert newest == READINGS - 1


def _send(producer: Producer, tenant: Tenant, seq: int) -> int:
    now = int(time.time() * 1000)
    records = [
        (
            tenant.telemetry_topic,
            f"d{device}",
            orjson.dumps({"device_id": f"d{device}", "ts": now, "seq": seq, "metrics": {"volt": 1.0}}),
        )
        for device in range(DEVICES)
    ]
    producer.send_all(records)
    return len(records)


def _bronze(settings: Settings, tenant: Tenant) -> list[tuple[int, int]]:
    """(partition, offset) of every line in every bronze object of the tenant."""
    lake = lake_filesystem(settings.lake)
    lines = []
    for path in objects(lake, tenant.prefix("bronze")):
        lines += [orjson.loads(line) for line in gzip.decompress(get(lake, path)).splitlines()]
    return [(line["partition"], line["offset"]) for line in lines]


def _silver(settings: Settings, tenant: Tenant) -> tuple[int, int, int]:
    query = text("SELECT count(*), count(DISTINCT (device_id, seq)), max(seq) FROM silver.telemetry")
    with tenant_transaction(engine(settings.database), tenant) as connection:
        row = connection.execute(query).one()
    return row[0], row[1], row[2]
