"""How fast the gateways take readings, and what the MQTT broker alone passes on."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from iotops.auth import issue_token
from iotops.kafka import open_producer
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest import members
from pipelines.ingest.mqtt_devices import MqttDevices
from pipelines.ingest.simulate import Fleet

HTTP_BATCH = 100
SENDERS = 64
BODIES = 50
SECONDS = 10.0
MQTT_DEVICES = 20
MQTT_MESSAGES = 10_000
TIMEOUT_S = 120.0


def http_rate(settings: Settings, tenant: Tenant) -> float:
    """Readings per second in NDJSON batches of a hundred, from several senders at once."""
    return asyncio.run(_http_rate(settings, tenant))


async def _http_rate(settings: Settings, tenant: Tenant) -> float:
    token = issue_token(settings.auth, tenant, "bench", "admin")
    headers = {"Authorization": f"Bearer {token}"}
    fleet = Fleet(HTTP_BATCH)
    bodies = [
        b"\n".join(fleet.read(np.arange(HTTP_BATCH), time.time_ns() // 1_000_000 - 1000 + n))
        for n in range(BODIES)
    ]
    accepted, ends = 0, time.perf_counter() + SECONDS

    async def sender(client: httpx.AsyncClient) -> None:
        nonlocal accepted
        n = 0
        while time.perf_counter() < ends:
            answer = await client.post("/v1/telemetry", content=bodies[n % len(bodies)])
            answer.raise_for_status()
            accepted += answer.json()["accepted"]
            n += 1

    started = time.perf_counter()
    async with httpx.AsyncClient(base_url=settings.serve.url, headers=headers, timeout=60) as client:
        await asyncio.gather(*(sender(client) for _ in range(SENDERS)))
    return accepted / (time.perf_counter() - started)


def producer_rate(settings: Settings, tenant: Tenant) -> float:
    """Records per second that Kafka acknowledges to one process, in the gateway's batches: its ceiling."""
    producer = open_producer(settings.kafka)
    values = Fleet(HTTP_BATCH).read(np.arange(HTTP_BATCH), time.time_ns() // 1_000_000)
    batch = [(tenant.telemetry_topic, f"sim-{n:05d}", value) for n, value in enumerate(values)]
    ends = time.perf_counter() + SECONDS

    def sender(_: int) -> int:
        sent = 0
        while time.perf_counter() < ends:
            producer.send_all(batch)
            sent += len(batch)
        return sent

    started = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        sent = sum(pool.map(sender, range(SENDERS)))
    took = time.perf_counter() - started
    producer.close()
    return sent / took


def mqtt_rate(settings: Settings, tenant: Tenant) -> float:
    """Messages per second from devices through broker and gateway into Kafka, at QoS 1."""
    stored = members.status()["mqtt-0"].stored
    started = time.perf_counter()
    _publish(settings, tenant)
    while members.status()["mqtt-0"].stored - stored < MQTT_MESSAGES:
        if time.perf_counter() - started > TIMEOUT_S:
            raise SystemExit("the MQTT gateway did not store what was sent")
        time.sleep(0.05)
    return MQTT_MESSAGES / (time.perf_counter() - started)


def mqtt_broker_rate(settings: Settings, tenant: Tenant) -> float:
    """The same through the broker alone, to a plain subscriber."""
    received, done = 0, threading.Event()

    def count(*_: Any) -> None:
        nonlocal received
        received += 1
        if received == MQTT_MESSAGES:
            done.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="spy")
    client.username_pw_set(settings.mqtt.user, settings.mqtt.password.get_secret_value())
    client.on_message = count
    client.connect(settings.mqtt.host, settings.mqtt.port)
    client.subscribe("tenants/+/devices/+/telemetry", qos=1)
    client.loop_start()
    time.sleep(1)
    started = time.perf_counter()
    _publish(settings, tenant)
    if not done.wait(TIMEOUT_S):
        raise SystemExit("the MQTT broker did not pass on what was sent")
    took = time.perf_counter() - started
    client.disconnect()
    client.loop_stop()
    return MQTT_MESSAGES / took


def _publish(settings: Settings, tenant: Tenant) -> None:
    fleet = Fleet(MQTT_DEVICES, prefix="bench")
    with MqttDevices(settings, tenant, fleet.names) as devices:
        for n in range(MQTT_MESSAGES // MQTT_DEVICES):
            records = fleet.read(np.arange(MQTT_DEVICES), time.time_ns() // 1_000_000 - 1000 + n)
            for name, record in zip(fleet.names, records, strict=True):
                devices.publish(name, record)
        devices.wait(MQTT_MESSAGES, TIMEOUT_S)
