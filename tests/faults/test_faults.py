"""Every part killed in turn, several times, under a steady load: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import ray
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from rich.console import Console
from rich.table import Table

from iotops.provisioning import create_tenant
from iotops.ray_cluster import NAMESPACE, connect
from iotops.serving import GATEWAY, deploy, wait_until_running
from iotops.settings import CONFIGS, Settings
from iotops.stack.kafka_broker import KafkaBroker
from iotops.stack.object_store import ObjectStore
from iotops.stack.postgres import Postgres
from iotops.stack.server import Server
from iotops.tenancy import Tenant
from pipelines.ingest import members
from tests.embedded import embedded_stack
from tests.faults import stored
from tests.faults.load import Load, breaches

DEVICES = 200
ROUNDS = 3
APART_S = 2.5
DOWN_S = 1.0
DRAIN_S = 240
TENANT = Tenant("faulty")
RULES = "rules:\n  - {name: hot, kind: threshold, metric: temp, above: 80, severity: error}\n"
MEMBERS = ("bronze", "silver", "alerts", "mqtt")
SERVERS: tuple[type[Server], ...] = (KafkaBroker, Postgres, ObjectStore)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of its own with gateways and members, and one rule."""
    configs = tmp_path_factory.mktemp("configs")
    shutil.copytree(CONFIGS, configs, dirs_exist_ok=True)
    (configs / "alerts.yaml").write_text(RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOTOPS_CONFIGS", str(configs))
        patch.setenv("IOTOPS_INGEST__ALERT_CHECKPOINT_SECONDS", "5")
        with embedded_stack(tmp_path_factory.mktemp("home")) as settings:
            create_tenant(settings, TENANT)
            wait_until_running(settings, deploy(settings, GATEWAY))
            connect(settings.ray)
            members.start(settings, dict.fromkeys(MEMBERS, 1))
            yield settings


def test_nothing_is_lost_and_nothing_is_there_twice(running: Settings):
    load, kills = Load(running, TENANT, DEVICES), Counter[str]()
    load.start()
    time.sleep(APART_S)
    for _ in range(ROUNDS):
        for name, strike in strikes(running).items():
            strike()
            kills[name] += 1
            time.sleep(APART_S)
    accepted = load.stop(DRAIN_S)
    tallies = _settled(running, accepted)
    lines = stored.bronze(running, TENANT)
    wrong = stored.out_of_order(lines)
    _print(kills, load, len(lines), tallies, wrong)
    assert set(kills.values()) == {ROUNDS}
    assert [tally.sink for tally in tallies if not tally.exact] == []
    assert wrong == 0


def strikes(settings: Settings) -> dict[str, Callable[[], None]]:
    """How each part is killed; a server is started again by hand, Ray starts the actors itself."""
    found: dict[str, Callable[[], None]] = {"HTTP gateway": lambda: _kill(_replica(settings))}
    for name in MEMBERS:
        found[f"{name} actor"] = lambda name=name: _kill(_actor(f"{name}-0"))
    for kind in SERVERS:
        found[kind.name] = lambda kind=kind: _restart(kind(settings))
    return found


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _restart(server: Server) -> None:
    root = server.root()
    assert root is not None
    root.kill()
    time.sleep(DOWN_S)
    server.start()


def _actor(name: str) -> int:
    pid: int = ray.get(ray.get_actor(name, NAMESPACE).pid.remote(), timeout=60)
    return pid


def _replica(settings: Settings) -> int:
    client = ServeSubmissionClient(settings.ray.dashboard_url)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        application = client.get_serve_details()["applications"]["gateway"]
        replicas = application["deployments"]["Gateway"]["replicas"]
        if running := [replica["pid"] for replica in replicas if replica["state"] == "RUNNING"]:
            return int(running[0])
        time.sleep(0.5)
    raise AssertionError("the HTTP gateway did not come back")


def _settled(settings: Settings, accepted: set[tuple[str, int]]) -> list[stored.Tally]:
    """The tallies, once they are exact or the time is over."""
    deadline, expected = time.monotonic() + DRAIN_S, breaches(accepted)
    while True:
        tallies = [
            stored.bronze_tally(stored.bronze(settings, TENANT), accepted),
            stored.silver_tally(settings, TENANT, accepted),
            stored.alert_tally(settings, TENANT, expected),
            stored.message_tally(settings, TENANT),
        ]
        if all(tally.exact for tally in tallies) or time.monotonic() > deadline:
            return tallies
        time.sleep(2)


def _print(kills: Counter[str], load: Load, lines: int, tallies: list[stored.Tally], wrong: int) -> None:
    console = Console(width=110)
    console.print(f"killed: {', '.join(f'{name} {count}' for name, count in kills.items())}")
    console.print(f"{load.refusals} requests were refused and sent again; {lines} records in bronze")
    table = Table("sink", "accepted", "stored", "duplicated", "lost", title="after the faults")
    for tally in tallies:
        table.add_row(
            tally.sink, *(f"{n:,}" for n in (tally.accepted, tally.stored, tally.duplicated, tally.lost))
        )
    console.print(table)
    for tally in tallies:
        if tally.missing:
            console.print(f"{tally.sink} lacks {tally.missing}")
    console.print(f"out of order within a device: {wrong}")
