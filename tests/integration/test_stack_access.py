"""Who reaches what in the embedded stack, and what a command needs to find it."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from amqtt.client import MQTTClient
from amqtt.errors import ConnectError
from paho.mqtt.enums import CallbackAPIVersion
from pyarrow.fs import FileSelector
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from iotops.cli import build
from iotops.errors import StackError, TenantError
from iotops.lake import get, lake_filesystem, put, storage_filesystem
from iotops.outages import outage
from iotops.provisioning import create_tenant, list_tenants
from iotops.settings import Settings
from iotops.stack import embedded
from iotops.stack.files import write_private
from iotops.stack.mqtt import MqttBroker, grant_devices
from iotops.stack.mqtt_accounts import Accounts, hash_password
from iotops.stack.object_store import (
    BROKER_BUCKET,
    RIGHTS,
    ObjectStore,
    correct_rights,
    grant_broker,
    grant_tenant,
)
from iotops.stack.ray_node import RayNode
from iotops.stack.server import Server
from iotops.tenancy import WRITTEN_BY_TENANTS, Tenant
from tests.embedded import free_ports
from tests.waiting import eventually

ACME, ACCOUNTS = Tenant("acme_access"), Tenant("accounts")
GATEWAY, PUMP, RIVAL = "gateway", "acme/pump-1", "rival/pump-1"
TOPICS = {
    GATEWAY: "tenants/#",
    PUMP: "tenants/acme/devices/pump-1/#",
    RIVAL: "tenants/rival/devices/pump-1/#",
}
TELEMETRY = {user: TOPICS[user].replace("#", "telemetry") for user in (PUMP, RIVAL)}
MOST_BYTES = 1000
PATIENCE_S = 20


def test_the_brokers_storage_key_and_a_tenants_reach_nothing_of_each_other(settings: Settings):
    broker, tenant = grant_broker(settings), grant_tenant(settings, ACME)
    assert (grant_broker(settings), grant_tenant(settings, ACME)) == (broker, tenant), "made once"
    log = settings.lake.model_copy(update={"bucket": BROKER_BUCKET})
    storage_filesystem(log, broker[0], broker[1].get_secret_value()).get_file_info(FileSelector(""))
    for lake, key in ((settings.lake, broker), (log, tenant)):
        store = storage_filesystem(lake, key[0], key[1].get_secret_value())
        for place in ("", "acme_access/bronze", "clusters"):
            with pytest.raises(OSError, match="ACCESS_DENIED"):
                store.get_file_info(FileSelector(place))
            with pytest.raises(OSError, match="ACCESS_DENIED"):
                store.open_output_stream(f"{place}/x").close()


def test_a_tenant_writes_what_is_its_own_to_write_and_reads_the_rest(settings: Settings):
    key, secret = grant_tenant(settings, ACME)
    store, lake = (
        storage_filesystem(settings.lake, key, secret.get_secret_value()),
        lake_filesystem(settings.lake),
    )
    for area in WRITTEN_BY_TENANTS:
        put(store, f"{ACME.prefix(area)}/x", b"mine")
        store.delete_file(f"{ACME.prefix(area)}/x")
    for path in ("indexes/current.json", "bronze/raw/x", "silver/x", "rerankers/x", "reports/x", "x"):
        put(lake, f"{ACME.id}/{path}", b"the platform's")
        assert get(store, f"{ACME.id}/{path}") == b"the platform's"
        refusals = {path: "ACCESS_DENIED", f"documents/../{path}": "SIGNATURE_DOES_NOT_MATCH"}
        for forged, refusal in refusals.items():
            with pytest.raises(OSError, match=refusal):
                put(store, f"{ACME.id}/{forged}", b"{}")
        with pytest.raises(OSError, match="ACCESS_DENIED"):
            store.delete_file(f"{ACME.id}/{path}")
        assert get(lake, f"{ACME.id}/{path}") == b"the platform's"


def test_a_key_of_an_earlier_version_gets_the_rights_of_this(settings: Settings):
    tenant, server = Tenant("early_access"), ObjectStore(settings)
    granted = key, secret = grant_tenant(settings, tenant)
    store = storage_filesystem(settings.lake, key, secret.get_secret_value())

    def writes(path: str) -> bool:
        try:
            put(store, f"{tenant.id}/{path}", b"x")
        except OSError:
            return False
        return True

    known = json.loads(server.identities.read_text())
    (own,) = (each for each in known["identities"] if each["name"] == tenant.storage_identity)
    own["actions"] = [f"{right}:{settings.lake.bucket}/{tenant.id}/*" for right in RIGHTS]
    write_private(server.identities, json.dumps(known))
    root = server.root()
    assert root is not None
    root.send_signal(signal.SIGHUP)
    eventually(lambda: writes("indexes/x"))
    correct_rights(settings, [ACME, tenant])
    eventually(lambda: not writes("indexes/x"))
    assert writes("documents/x")
    assert grant_tenant(settings, tenant) == granted


def test_no_device_of_a_tenant_that_does_not_exist_gets_an_account(settings: Settings):
    accounts = settings.home / "mqtt.passwd"
    before = accounts.read_text()
    refused = CliRunner().invoke(build(), ["token", "mqtt", "--tenant", "access_no_one", "pump-1"])
    assert isinstance(refused.exception, TenantError)
    assert accounts.read_text() == before


def test_a_device_reaches_its_own_topics_only(settings: Settings):
    first, second = grant_devices(settings, ACME, ["aa:01", "aa:02"]).values()

    async def scenario() -> list[str]:
        gateway, device, other, stranger = (MQTTClient(config={"auto_reconnect": False}) for _ in range(4))
        await gateway.connect(_url(settings, settings.mqtt.user, settings.mqtt.password))
        await gateway.subscribe([("tenants/#", 1)])
        await device.connect(_url(settings, *first))
        await other.connect(_url(settings, *second))
        await other.subscribe([("#", 1), (f"tenants/{ACME.id}/devices/+/events", 1)])
        for place in (f"{ACME.id}/devices/aa:02", "rival/devices/aa:01", f"{ACME.id}/devices/aa:01"):
            await device.publish(f"tenants/{place}/events", b"{}", qos=0)
        with pytest.raises(ConnectError):
            await stranger.connect(_url(settings, first[0], SecretStr("guessed")))
        received = [(await gateway.deliver_message(timeout_duration=5)).topic]
        for client in (gateway, other):
            with pytest.raises(asyncio.TimeoutError):
                received.append((await client.deliver_message(timeout_duration=1)).topic)
        for client in (gateway, device, other):
            await client.disconnect()
        return received

    assert asyncio.run(scenario()) == [f"tenants/{ACME.id}/devices/aa:01/events"]


def test_a_granted_account_is_shown_whole(settings: Settings):
    create_tenant(settings, ACCOUNTS)
    device = f"pump-{'9' * 50}"
    shown = CliRunner().invoke(build(), ["token", "mqtt", device, "--tenant", ACCOUNTS.id])
    *_, line = shown.output.splitlines()
    named, user, password = line.split()
    assert named == device
    MqttBroker(settings).connect(user, SecretStr(password))  # raises where it is not the account


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"owner_password": SecretStr("mistyped-one")}, 'password authentication failed for user "iotops_ow'),
        ({"name": "mistyped"}, 'database "mistyped" does not exist'),
    ],
)
def test_what_postgres_says_to_a_connection_is_told(settings: Settings, changes: dict[str, Any], told: str):
    wrong = settings.model_copy(update={"database": settings.database.model_copy(update=changes)})
    with pytest.raises(OperationalError) as refused:
        list_tenants(wrong)
    said = str(outage(refused.value, wrong))
    assert told in said
    assert "IOTOPS_DATABASE__*" in said
    assert "mistyped-one" not in said


def test_what_the_object_store_says_to_a_key_is_told(settings: Settings):
    wrong = settings.model_copy(update={"lake": settings.lake.model_copy(update={"access_key": "mistyped"})})
    with pytest.raises(OSError, match="AWS Error") as refused:
        lake_filesystem(wrong.lake).get_file_info("x")
    said = str(outage(refused.value, wrong))
    assert said.startswith(f"the object store at {settings.lake.endpoint} refuses: ")


def _url(settings: Settings, user: str, password: SecretStr) -> str:
    name = user.replace("/", "%2F")
    return f"mqtt://{name}:{password.get_secret_value()}@127.0.0.1:{settings.mqtt.port}/"


@pytest.fixture
def amqtt(tmp_path: Path) -> Iterator[int]:
    """The port of an amqtt with an account of a gateway and of two tenants' devices."""
    files = tmp_path / "passwords", tmp_path / "topics"
    accounts = Accounts(
        {user: hash_password(user) for user in TOPICS}, {user: [topic] for user, topic in TOPICS.items()}
    )
    files[0].write_text(accounts.password_file())
    files[1].write_text(accounts.topic_file())
    [port] = free_ports(1)
    command = [
        sys.executable,
        "-m",
        "iotops.stack.amqtt_broker",
        str(port),
        str(MOST_BYTES),
        *map(str, files),
    ]
    with subprocess.Popen(command) as broker, socket.socket() as probe:
        eventually(lambda: probe.connect_ex(("127.0.0.1", port)) == 0)
        yield port
        broker.terminate()


class Peer:
    """A connection to the broker, whose user's password is its name: what it was told."""

    def __init__(
        self,
        port: int,
        user: str,
        client_id: str = "one",
        password: str = "",
        will: str = "",
        clean: bool = False,
    ) -> None:
        self.received: queue.Queue[bytes] = queue.Queue()
        self.ended = threading.Event()
        self._told = told = queue.Queue[bool]()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, clean, reconnect_on_failure=False)
        self.client.username_pw_set(user, password or user)
        if will:
            self.client.will_set(will, b"will", qos=1)
        self.client.on_connect = lambda *answer: told.put(not answer[3].is_failure)
        self.client.on_subscribe = lambda *_: told.put(True)
        self.client.on_message = lambda _client, _userdata, message: self.received.put(message.payload)
        self.client.on_disconnect = lambda *_: self.ended.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.accepted = told.get(timeout=PATIENCE_S)

    def subscribe(self, topics: str) -> None:
        self.client.subscribe(topics, qos=1)
        assert self._told.get(timeout=PATIENCE_S)

    def publish(self, topic: str, message: bytes, retain: bool = False) -> None:
        sent = self.client.publish(topic, message, 1, retain)
        sent.wait_for_publish(PATIENCE_S)
        assert sent.is_published()

    def next(self) -> bytes:
        return self.received.get(timeout=PATIENCE_S)

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_a_session_is_its_users_and_no_strangers(amqtt: int):
    gateway, rival = Peer(amqtt, GATEWAY), Peer(amqtt, RIVAL)
    gateway.subscribe("tenants/+/devices/+/telemetry")
    assert not Peer(amqtt, GATEWAY, password="guessed", clean=True).accepted
    rival.publish(TELEMETRY[RIVAL], b"beside a stranger")
    assert gateway.next() == b"beside a stranger"
    gateway.leave()
    rival.publish(TELEMETRY[RIVAL], b"kept")
    thief = Peer(amqtt, PUMP)
    assert Peer(amqtt, GATEWAY).next() == b"kept"
    assert (thief.accepted, thief.received.empty()) == (True, True)


def test_a_session_goes_on_over_a_connection_that_takes_the_place_of_an_open_one(amqtt: int):
    first, rival = Peer(amqtt, GATEWAY), Peer(amqtt, RIVAL)
    first.subscribe("tenants/+/devices/+/telemetry")
    second = Peer(amqtt, GATEWAY)
    assert first.ended.wait(PATIENCE_S)
    rival.publish(TELEMETRY[RIVAL], b"to the second")
    assert second.next() == b"to the second"


def test_a_will_is_for_a_topic_of_its_user(amqtt: int):
    assert not Peer(amqtt, PUMP, will=TELEMETRY[RIVAL]).accepted
    gateway = Peer(amqtt, GATEWAY)
    gateway.subscribe("tenants/+/devices/+/telemetry")
    leaving = Peer(amqtt, PUMP, will=TELEMETRY[PUMP]).client.socket()
    assert leaving is not None
    leaving.shutdown(socket.SHUT_RDWR)
    assert gateway.next() == b"will"


def test_what_is_retained_goes_to_those_who_subscribe_to_it(amqtt: int):
    gateway, rival = Peer(amqtt, GATEWAY), Peer(amqtt, RIVAL)
    gateway.subscribe("tenants/+/devices/+/telemetry")
    rival.publish(TELEMETRY[RIVAL], b"retained", retain=True)
    assert gateway.next() == b"retained"
    pump = Peer(amqtt, PUMP)
    pump.subscribe(TOPICS[PUMP])
    pump.publish(TELEMETRY[PUMP], b"its own")
    assert pump.next() == b"its own"
    later = Peer(amqtt, GATEWAY, "two")
    later.subscribe("tenants/#")
    assert later.next() == b"retained"


def test_a_message_that_is_too_large_ends_its_senders_connection(amqtt: int):
    gateway, pump = Peer(amqtt, GATEWAY), Peer(amqtt, PUMP)
    gateway.subscribe("tenants/#")
    pump.publish(TELEMETRY[PUMP], b"x" * MOST_BYTES)
    assert gateway.next() == b"x" * MOST_BYTES
    pump.client.publish(TELEMETRY[PUMP], b"x" * (MOST_BYTES + 1), qos=1)
    assert pump.ended.wait(PATIENCE_S)


def test_nobody_else_may_enter_the_folders(settings: Settings):
    folders = [settings.home / "logs", RayNode(settings).session, *(settings.home / "data").iterdir()]
    folders = [folder for folder in folders if folder.is_dir()]
    assert {"logs", "postgres", "valkey", "prefect"} < {folder.name for folder in folders}
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_a_later_command_needs_only_the_home(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("IOTOPS_STACK__")]:
        monkeypatch.delenv(name)
    found = Settings()
    assert found.stack == settings.stack
    assert {server.state for server in embedded.status(found)} == {"up"}


@pytest.mark.parametrize("kind", embedded.SERVERS, ids=lambda kind: kind.name)
def test_each_taken_port_is_named_with_its_setting(settings: Settings, tmp_path: Path, kind: type[Server]):
    for port, setting in kind(settings).ports().items():
        if setting == "serve_port":
            continue  # an application may be deployed or not
        other = kind(settings.model_copy(update={"home": tmp_path}))
        other.ports = lambda port=port, setting=setting: {port: setting}  # type: ignore[method-assign]
        told = rf"port {port} .* process \d+ \(.+IOTOPS_STACK__{setting.upper()}"
        with pytest.raises(StackError, match=told):
            other.start()
