"""Who reaches what in the embedded stack, and what a command needs to find it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from amqtt.client import MQTTClient
from amqtt.errors import ConnectError
from pyarrow.fs import FileSelector
from pydantic import SecretStr

from iotops.errors import StackError
from iotops.lake import get, lake_filesystem, put, storage_filesystem
from iotops.settings import Settings
from iotops.stack import embedded
from iotops.stack.files import write_private
from iotops.stack.mqtt import grant_devices
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
from tests.waiting import eventually

ACME = Tenant("acme_access")


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


def _url(settings: Settings, user: str, password: SecretStr) -> str:
    name = user.replace("/", "%2F")
    return f"mqtt://{name}:{password.get_secret_value()}@127.0.0.1:{settings.mqtt.port}/"


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
