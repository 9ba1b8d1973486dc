"""The MQTT gateway as a Ray actor: what it stores, whom it believes, and that its death loses nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import paho.mqtt.client as mqtt
import pytest
import ray
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.errors import IotOpsError
from iotops.provisioning import create_tenant
from iotops.ray_cluster import NAMESPACE, connect
from iotops.settings import Settings
from iotops.stack.files import home_folder, write_home_settings
from iotops.stack.mqtt import MqttBroker, grant_devices
from iotops.tenancy import Tenant
from pipelines.ingest import deadletter, members
from pipelines.ingest.mqtt_devices import MqttDevices
from pipelines.ingest.mqtt_gateway import MqttGateway
from pipelines.ingest.quota import Quota
from tests.embedded import stack_settings
from tests.integration.sinks import running, stored
from tests.waiting import eventually

TENANT = Tenant("over_mqtt")
KILLS = 3
EVENTS = text("SELECT device_id, type FROM silver.events")


@pytest.fixture(scope="module")
def gateway(settings: Settings) -> Iterator[Settings]:
    """The stack with a tenant and one gateway."""
    create_tenant(settings, TENANT)
    connect(settings.ray)
    members.start(settings, {"mqtt": 1})
    yield settings
    members.stop()


def reading(seq: int, **changes: object) -> bytes:
    return orjson.dumps({"ts": int(time.time() * 1000), "seq": seq, "metrics": {"volt": 1.0}, **changes})


def test_a_killed_gateway_loses_nothing(gateway: Settings):
    names = [f"pump-{number}" for number in range(10)]
    sent, kills = [], 0
    with MqttDevices(gateway, TENANT, names) as devices, running(gateway, "silver"):
        for seq in range(300):
            sent += [devices.publish(name, reading(seq)) for name in names]
            time.sleep(0.02)
            if seq in (50, 130, 210):
                os.kill(ray.get(ray.get_actor("mqtt-0", NAMESPACE).pid.remote()), signal.SIGKILL)
                kills += 1
        assert devices.wait(len(sent), 60)
        eventually(lambda: stored(gateway, TENANT) >= len(sent))
        time.sleep(1)
    print(f"sent {len(sent)} messages; killed the gateway {kills} times; stored {stored(gateway, TENANT)}")
    assert (kills, stored(gateway, TENANT)) == (KILLS, len(sent))


def test_the_topic_says_who_sends(gateway: Settings):
    at_once = gateway.ingest.model_copy(update={"bronze_roll_seconds": 0.5})
    rolling = gateway.model_copy(update={"ingest": at_once})
    sinks = running(gateway, "silver"), running(rolling, "bronze")
    with MqttDevices(gateway, TENANT, ["valve-1"]) as devices, sinks[0], sinks[1]:
        for claimed in ({"device_id": "pump-1"}, {"tenant_id": "rival"}):
            devices.publish("valve-1", reading(1, **claimed))
        restart = orjson.dumps({"ts": int(time.time() * 1000), "type": "restart"})
        devices.publish("valve-1", restart, "events")

        def events() -> list[tuple[str, str]]:
            with tenant_transaction(engine(gateway.database), TENANT) as connection:
                return [(row.device_id, row.type) for row in connection.execute(EVENTS)]

        eventually(lambda: bool(events()) and len(list(deadletter.read_letters(gateway, TENANT))) >= 2)
        assert events() == [("valve-1", "restart")]
    letters = [each.letter for each in deadletter.read_letters(gateway, TENANT)]
    assert [(each.device_id, each.code, each.gateway) for each in letters] == [
        ("valve-1", "identity_mismatch", "mqtt")
    ] * 2


def test_two_gateways_share_the_load(gateway: Settings):
    if not gateway.mqtt.shared_subscription:
        with pytest.raises(IotOpsError, match="one gateway is the limit"):
            members.start(gateway, {"mqtt": 2})
        pytest.skip("mosquitto is not installed, and amqtt has no shared subscriptions")
    names = [f"shared-{number}" for number in range(10)]
    before, taken = stored(gateway, TENANT), members.status()["mqtt-0"].stored
    members.start(gateway, {"mqtt": 2})
    with MqttDevices(gateway, TENANT, names) as devices, running(gateway, "silver"):
        for seq in range(100):
            for name in names:
                devices.publish(name, reading(seq))
        assert devices.wait(1000, 60)
        eventually(lambda: stored(gateway, TENANT) >= before + 1000)
    first, second = (members.status()[f"mqtt-{number}"].stored for number in range(2))
    print(f"1000 messages: {first - taken} through the first gateway, {second} through the second")
    assert (first - taken + second, stored(gateway, TENANT)) == (1000, before + 1000)
    assert min(first - taken, second) > 0


def test_the_example_of_the_documentation_works(gateway: Settings):
    page = (Path(__file__).parents[2] / "docs" / "connecting-devices.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, re.S)
    [(user, password)] = grant_devices(gateway, TENANT, ["pump-1"]).values()
    account = {"USER": user, "PASSWORD": password.get_secret_value(), "PORT": str(gateway.mqtt.port)}
    before = stored(gateway, TENANT)
    code = example.replace("tenants/acme/", f"tenants/{TENANT.id}/")
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **account}, check=True, timeout=60)
    with running(gateway, "silver"):
        eventually(lambda: stored(gateway, TENANT) == before + 3)


def test_what_goes_beyond_the_quota_of_all_gateways_waits(gateway: Settings):
    members.stop()
    limits = gateway.ingest.model_copy(update={"tenant_records_per_s": 1})
    slow = gateway.model_copy(update={"ingest": limits})
    own, burst = MqttGateway(slow), Quota(slow).burst
    taking = threading.Thread(target=own.run)
    taking.start()
    try:
        with MqttDevices(gateway, TENANT, ["pump-1"]) as devices:
            for more in (1, 2):
                devices.publish("pump-1", b"\n".join(reading(seq) for seq in range(burst)))
                eventually(lambda all_taken=more * burst: own.progress.stored >= all_taken)
                assert asyncio.run(Quota(slow).take(TENANT, burst)), "another gateway would have room for it"
    finally:
        own.stop()
        taking.join()


def test_a_broker_with_tls_takes_only_those_that_speak_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IOTOPS_STACK__MQTT_TLS", "true")
    with stack_settings(tmp_path) as chosen:
        home_folder(chosen.home)
        settings = write_home_settings(chosen)
        broker = MqttBroker(settings)
        broker.start()
        try:
            with MqttDevices(settings, TENANT, ["pump-1"]) as devices:
                message = devices.publish("pump-1", reading(1))
                message.wait_for_publish(10)
                assert message.is_published()
            stranger = mqtt.Client(CallbackAPIVersion.VERSION2)
            stranger.tls_set()
            with pytest.raises(ssl.SSLCertVerificationError):
                stranger.connect(settings.mqtt.host, settings.mqtt.port)
            in_the_open = mqtt.Client(CallbackAPIVersion.VERSION2)
            in_the_open.connect(settings.mqtt.host, settings.mqtt.port)
            while in_the_open.loop(10) == mqtt.MQTT_ERR_SUCCESS:
                assert not in_the_open.is_connected()
        finally:
            broker.stop()
