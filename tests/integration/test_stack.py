"""The embedded stack: private, on loopback, idempotent, and back with its data after any kill."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from iotops.errors import StackError
from iotops.kafka import open_consumer, open_producer
from iotops.kafka.admin import create_topics
from iotops.lake import get, lake_filesystem, put
from iotops.settings import Settings
from iotops.stack import embedded, process
from iotops.stack.embedded import SERVERS
from iotops.stack.postgres import Postgres
from pipelines.jobs.client import job_client, submit
from tests.embedded import stack_settings
from tests.waiting import eventually

TOPIC = "telemetry_survivor"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of this module's own, because it is killed over and over."""
    with stack_settings(tmp_path_factory.mktemp("stack"), prefect_worker=True) as settings:
        try:
            yield embedded.up(settings)
        finally:
            embedded.down(settings)


def processes(settings: Settings) -> list[psutil.Process]:
    return [found for kind in SERVERS for found in process.owned(kind(settings).logs())]


def roots(settings: Settings) -> dict[str, int]:
    servers = [kind(settings) for kind in SERVERS]
    return {server.name: root.pid for server in servers if (root := server.root())}


def secrets(settings: Settings) -> list[str]:
    held = [*settings.secrets().values(), settings.stack.postgres_password, settings.stack.prefect_password]
    return [value for secret in held if len(value := secret.get_secret_value()) >= 16]


def write_data(settings: Settings) -> None:
    put(lake_filesystem(settings.lake), "survivor/x", b"object")
    create_topics(settings.kafka, [TOPIC])
    producer = open_producer(settings.kafka)
    producer.send_all([(TOPIC, "device", b"record")])
    producer.close()
    with postgres(settings) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS survivor (x text)")
        connection.execute("INSERT INTO survivor VALUES ('row')")
    valkey(settings).set("survivor", "value")


def assert_data(settings: Settings) -> None:
    assert get(lake_filesystem(settings.lake), "survivor/x") == b"object"
    with postgres(settings) as connection:
        assert connection.execute("SELECT x FROM survivor").fetchone() == ("row",)
    assert valkey(settings).get("survivor") == b"value"
    assert b"record" in records(settings)


def records(settings: Settings) -> list[bytes]:
    consumer = open_consumer(
        settings.kafka,
        group=f"reader-{os.urandom(4).hex()}",
        topics=f"^{TOPIC}$",
    )
    found: list[bytes] = []
    for _ in range(60):
        batches = consumer.poll(timeout_ms=500, max_records=10)
        found += [value for batch in batches for value in batch.values]
        if found:
            break
    consumer.close()
    return found


def postgres(settings: Settings) -> psycopg.Connection:
    database = settings.database
    return psycopg.connect(
        host=database.host,
        port=database.port,
        dbname=database.name,
        user=database.owner,
        password=database.owner_password.get_secret_value(),
        autocommit=True,
    )


def valkey(settings: Settings) -> Redis:
    cache = settings.cache
    return Redis(cache.host, cache.port, password=cache.password.get_secret_value())


def test_every_server_is_up_and_a_second_up_starts_nothing(stack: Settings):
    assert {server.state for server in embedded.status(stack)} == {"up"}
    before = roots(stack)
    embedded.up(stack)
    assert roots(stack) == before
    assert len(before) == len(SERVERS)


def test_secrets_are_private_and_stand_in_no_log_and_on_no_command_line(stack: Settings):
    holders = [
        path
        for path in stack.home.iterdir()
        if path.is_file() and any(secret in path.read_text() for secret in secrets(stack))
    ]
    assert {path.name for path in holders} >= {"settings.yaml", "s3.json", "valkey.conf"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
    written = [
        path.read_text(errors="replace") for path in (stack.home / "logs").rglob("*") if path.is_file()
    ]
    commands = [" ".join(found.cmdline()) for found in processes(stack)]
    for secret in secrets(stack):
        assert not any(secret in text for text in [*written, *commands])


def test_nothing_listens_beyond_loopback(stack: Settings):
    listening = {
        (found.name(), connection.laddr.ip)
        for found in processes(stack)
        for connection in found.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    beyond = {(name, ip) for name, ip in listening if not _is_loopback(ip)}
    assert not beyond


def _is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def test_without_credentials_the_servers_refuse(stack: Settings):
    assert httpx.get(f"{stack.lake.endpoint}/lake/survivor/x").status_code == 403
    assert httpx.get(f"{stack.ray.dashboard_url}/api/jobs/").status_code == 401
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=stack.database.port, dbname="postgres", user="postgres")
    with pytest.raises(RedisError, match="authenticate"):
        Redis("127.0.0.1", stack.cache.port).get("survivor")


@pytest.mark.parametrize("name", ["object-store", "postgres", "valkey", "kafka", "mqtt", "prefect"])
def test_a_killed_server_comes_back_with_its_data(stack: Settings, name: str):
    write_data(stack)
    os.kill(roots(stack)[name], signal.SIGKILL)
    embedded.up(stack)
    assert {server.name: server.state for server in embedded.status(stack)}[name] == "up"
    assert_data(stack)


def test_a_killed_postgres_that_nobody_reaped_comes_back(stack: Settings):
    postgres = Postgres(stack)
    dead = subprocess.Popen([*postgres._as_account(), "true"])
    while psutil.Process(dead.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    os.kill(roots(stack)["postgres"], signal.SIGKILL)
    lock = postgres.data / "postmaster.pid"
    lock.write_text("\n".join([str(dead.pid), *lock.read_text().splitlines()[1:]]) + "\n")
    embedded.up(stack)
    assert {server.name: server.state for server in embedded.status(stack)}["postgres"] == "up"
    dead.wait()


def test_what_a_killed_ray_left_running_is_ended(stack: Settings):
    orphan = leave_orphan(stack)
    raylet = next(found for found in processes(stack) if found.name() == "raylet")
    for pid in (roots(stack)["ray"], raylet.pid):
        os.kill(pid, signal.SIGKILL)
    embedded.up(stack)
    assert not process.alive(orphan)
    assert {server.name: server.state for server in embedded.status(stack)}["ray"] == "up"


def leave_orphan(settings: Settings) -> psutil.Process:
    """A process that a Ray task started, that outlives its worker and has no log open."""
    script = """
import subprocess, ray
from iotops.ray_cluster import connect
from iotops.settings import get_settings
connect(get_settings().ray)
def start():
    command = "exec 2>/dev/null; setsid sleep 900 >/dev/null & echo $!"
    return int(subprocess.check_output(["sh", "-c", command]))
print(ray.get(ray.remote(start).remote()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    orphan = psutil.Process(int(done.stdout.split()[-1]))
    assert process.alive(orphan)
    return orphan


def test_all_killed_at_once_come_back_with_their_data(stack: Settings):
    write_data(stack)
    for pid in roots(stack).values():
        os.kill(pid, signal.SIGKILL)
    embedded.up(stack)
    assert {server.state for server in embedded.status(stack)} == {"up"}
    assert_data(stack)


def test_down_leaves_no_process_and_a_taken_port_is_named(stack: Settings):
    (stack.home / "logs" / "valkey.log").unlink()
    client = job_client(stack)
    job = submit(client, "this", [])  # after a job, Ray's agent is a client of its own cluster
    eventually(lambda: client.get_job_status(job).is_terminal())
    mine = [*processes(stack), leave_orphan(stack)]
    assert "ray::DashboardAgent" in {_command_line(found) for found in mine}
    embedded.down(stack)
    assert not any(process.alive(found) for found in mine)
    assert [line for line in _command_lines() if str(stack.home) in line] == []
    taken = socket.create_server(("127.0.0.1", stack.stack.valkey_port))
    with taken, pytest.raises(StackError) as refused:
        embedded.up(stack)
    assert f"port {stack.stack.valkey_port} for valkey is taken by process {os.getpid()}" in str(
        refused.value
    )
    assert "IOTOPS_STACK__VALKEY_PORT" in str(refused.value)


def _command_line(found: psutil.Process) -> str:
    """Empty for one that has ended: the job's last processes end while they are looked at."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(found.cmdline()).strip()
    return ""


def _command_lines() -> list[str]:
    return [" ".join(found.info["cmdline"] or []) for found in psutil.process_iter(["cmdline"])]
