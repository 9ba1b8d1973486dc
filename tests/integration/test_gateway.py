"""The HTTP gateway on Serve: packed batches, quotas, a broker that is down, what becomes of the refused."""

from __future__ import annotations

import gzip
import select
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from iotops.auth import issue_token
from iotops.cli import build
from iotops.errors import IotOpsError, TenantError
from iotops.kafka import Batch, Partition, Producer, Record, open_producer
from iotops.lake import lake_filesystem, put
from iotops.provisioning import create_tenant
from iotops.records import Rejection
from iotops.serving import GATEWAY, deploy, wait_until_running
from iotops.settings import Settings
from iotops.stack import embedded
from iotops.stack.kafka_broker import KafkaBroker
from iotops.tenancy import Tenant
from pipelines.ingest import deadletter
from pipelines.ingest.bronze import encode, object_key
from pipelines.ingest.gateway import CONCURRENT
from pipelines.ingest.times import HOUR_MS
from tests.integration.sinks import running, stored

TENANT, OTHER, RESENDING = Tenant("gated"), Tenant("gated_other"), Tenant("gated_resending")


@pytest.fixture(scope="module")
def gateway(settings: Settings) -> httpx.Client:
    """A client of the gateway, served without the copilot."""
    wait_until_running(settings, deploy(settings, GATEWAY))
    for tenant in (TENANT, OTHER, RESENDING):
        create_tenant(settings, tenant)
    return httpx.Client(base_url=settings.serve.url, timeout=60)


def post(
    gateway: httpx.Client, settings: Settings, content: bytes, tenant: Tenant = TENANT, **headers: str
) -> httpx.Response:
    token = issue_token(settings.auth, tenant, "pump-1", "device")
    headers["Authorization"] = f"Bearer {token}"
    return gateway.post("/v1/telemetry", content=content, headers=headers)


def reading(seq: int, **changes: object) -> bytes:
    return orjson.dumps({"ts": int(time.time() * 1000), "seq": seq, "metrics": {"volt": 1.0}, **changes})


def test_a_packed_batch_is_taken(gateway: httpx.Client, settings: Settings):
    batch = gzip.compress(b"\n".join(reading(seq) for seq in range(100)))
    answer = post(gateway, settings, batch, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 100)


@pytest.mark.parametrize(
    ("content", "encoding", "status", "code"),
    [
        (gzip.compress(bytes(50 * 2**20)), "gzip", 413, "too_large"),
        (b"not packed", "gzip", 400, "invalid_gzip"),
        (gzip.compress(reading(1))[:-12], "gzip", 400, "invalid_gzip"),
        (b"{}", "br", 415, "unsupported_encoding"),
        (b"x" * (6 * 2**20), "identity", 413, "too_large"),
        (b"\n" * 200_001, "identity", 413, "too_large"),
    ],
)
def test_a_hostile_body_is_refused(
    gateway: httpx.Client, settings: Settings, content: bytes, encoding: str, status: int, code: str
):
    answer = post(gateway, settings, content, **{"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def begun(settings: Settings, tenant: Tenant) -> socket.socket:
    """A post whose body has one byte to come."""
    connection = socket.create_connection((settings.serve.host, settings.serve.port), timeout=60)
    token = issue_token(settings.auth, tenant, "pump-1", "device")
    headers = f"Host: here\r\nAuthorization: Bearer {token}\r\nContent-Length: 2"
    connection.sendall(f"POST /v1/telemetry HTTP/1.1\r\n{headers}\r\n\r\n\n".encode())
    return connection


def test_slow_bodies_of_a_tenant_leave_room_for_the_others(gateway: httpx.Client, settings: Settings):
    with ExitStack() as opened:
        slow = [opened.enter_context(begun(settings, TENANT)) for _ in range(CONCURRENT)]
        held = slow
        while len(held) > CONCURRENT // 2:  # else one that comes late finds the place of one that is done
            refused, _, _ = select.select(held, [], [], 60)
            assert refused, f"{len(held)} bodies are waited for"
            held = [each for each in held if each not in refused]
        assert post(gateway, settings, reading(1), OTHER).status_code == 202
        for connection in held:
            connection.sendall(b"\n")
        answers = [connection.recv(12).decode() for connection in slow]
    assert answers.count("HTTP/1.1 202") == answers.count("HTTP/1.1 503") == CONCURRENT // 2


def test_a_tenant_beyond_its_quota_waits_and_the_others_do_not(gateway: httpx.Client, settings: Settings):
    flood = b"\n" * 150_000
    answers = [post(gateway, settings, flood) for _ in range(2)]
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    assert post(gateway, settings, reading(1), OTHER).status_code == 202


def test_without_kafka_nothing_is_accepted_and_what_is_sent_again_is_stored_once(
    gateway: httpx.Client, settings: Settings
):
    batch = b"\n".join(reading(seq) for seq in range(50))
    KafkaBroker(settings).stop()
    try:
        refused = post(gateway, settings, batch, RESENDING)
    finally:
        embedded.up(settings)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "broker_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    with running(settings, "silver"):
        for _ in range(2):  # a client that lost the first answer sends it again
            assert post(gateway, settings, batch, RESENDING).json()["accepted"] == 50
        deadline = time.monotonic() + 60
        while stored(settings, RESENDING) < 50 and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2)
        assert stored(settings, RESENDING) == 50


def test_refused_records_are_kept_with_their_reason_and_sent_again(gateway: httpx.Client, settings: Settings):
    future = int(time.time() * 1000) + (settings.ingest.max_future_s + 8) * 1000
    lines = [reading(1, ts=future), reading(2, device_id="pump-2"), b"{broken", b"\xff", reading(3)]
    answer = post(gateway, settings, b"\n".join(lines), OTHER).json()
    reasons = ["future_timestamp", "identity_mismatch", "invalid_json", "invalid_utf8"]
    assert [error["code"] for error in answer["errors"]] == reasons
    found: list[deadletter.StoredLetter] = []
    with running(settings, "bronze"):
        deadline = time.monotonic() + 60
        while len(found) < 4 and time.monotonic() < deadline:
            time.sleep(1)
            found = list(deadletter.read_letters(settings, OTHER))
    assert sorted(each.letter.code for each in found) == reasons
    assert {each.letter.sent for each in found} == set(lines[:4])
    assert list(deadletter.read_letters(settings, RESENDING)) == []
    time.sleep(max(0.0, future / 1000 - settings.ingest.max_future_s - time.time()))
    producer = open_producer(settings.kafka)
    first = deadletter.replay(settings, OTHER, producer)
    second = deadletter.replay(settings, OTHER, producer)
    producer.close()
    assert (first.accepted, first.refused, first.replayed_before) == (1, 3, 0)
    assert (second.accepted, second.refused, second.replayed_before) == (0, 3, 1)


class Counting(Producer):
    """The real producer, and how much it was given at once."""

    def __init__(self, settings: Settings) -> None:
        self.producer, self.sent = open_producer(settings.kafka), list[int]()

    def send_all(self, records: Sequence[Record]) -> None:
        self.sent.append(len(records))
        self.producer.send_all(records)

    def close(self) -> None:
        self.producer.close()


def test_letters_are_read_when_they_are_asked_for_and_sent_together(settings: Settings) -> None:
    tenant, lake = Tenant("gated_letters"), lake_filesystem(settings.lake)
    create_tenant(settings, tenant)
    refused = Rejection(1, "future_timestamp", "ahead", reading(1))
    letter = deadletter.letter_of(refused, "telemetry", "http", "pump-1", 1000)
    for hour, offsets in ((0, [0]), (30, [1, 2]), (31, [3, 4])):
        stamps = [hour * HOUR_MS] * len(offsets)
        place = Partition(tenant.deadletter_topic, 0)
        batch = Batch(place, offsets, stamps, [b""] * len(offsets), [letter] * len(offsets))
        put(lake, object_key(batch), encode(batch) if hour else b"torn")
    newest = islice(deadletter.read_letters(settings, tenant, newest_first=True), 3)
    assert [each.offset for each in newest] == [4, 3, 2]
    with pytest.raises(gzip.BadGzipFile):
        next(deadletter.read_letters(settings, tenant))
    lake.delete_dir(f"{tenant.prefix('deadletter')}/raw/1970-01-01")
    producer = Counting(settings)
    assert deadletter.replay(settings, tenant, producer) == deadletter.ReplayOutcome(accepted=4)
    assert deadletter.replay(settings, tenant, producer) == deadletter.ReplayOutcome(replayed_before=4)
    producer.close()
    assert producer.sent == [4, 0]


@pytest.mark.parametrize(
    "command",
    [
        "simulate --over mqtt --devices 1 --for 1s",
        "alert list",
        "deadletter list",
        "deadletter replay",
        "lineage runs",
        "lineage show gold.device_health",
    ],
)
def test_a_mistyped_tenant_is_told(settings: Settings, command: str):
    ended = CliRunner().invoke(build(), [*command.split(), "--tenant", "gatde"])
    assert isinstance(ended.exception, TenantError), ended.output
    assert "no tenant 'gatde'" in str(ended.exception)


@pytest.mark.parametrize("command", ["replay pdm {}", "simulate --devices 200 --for 2s"])
def test_what_the_gateway_refuses_is_one_error(gateway: httpx.Client, tmp_path: Path, command: str):
    header, row = "datetime,machineID,volt,rotate,pressure,vibration", "2026-11-01 06:00:00,{},1,1,1,1"
    (tmp_path / "PdM_machines.csv").write_text("machineID,model\n1,model3\n2,model4\n")
    (tmp_path / "PdM_telemetry.csv").write_text("\n".join([header, row.format(1), row.format(2)]))
    ended = CliRunner().invoke(build(), [*command.format(tmp_path).split(), "--tenant", "gatde"])
    assert isinstance(ended.exception, IotOpsError), ended.output
    assert "403" in str(ended.exception)
    assert "gatde" in str(ended.exception)
