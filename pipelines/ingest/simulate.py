"""A simulated fleet that sends through the real gateways at a steady rate.

Over HTTP, field gateways speak for a hundred devices each, as on a site; over MQTT every device has its own
connection and account.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from iotops.auth import issue_token
from iotops.errors import IotOpsError
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.http_sender import Post, SendReport, gateway_client, send
from pipelines.ingest.mqtt_devices import MqttDevices

TICK_S = 0.1
SITE = 100  # devices behind a field gateway
CONCURRENCY = 16
ACKNOWLEDGED_S = 60.0  # that the broker gets for the last ones
PATIENCE = 60  # attempts of a field gateway
METRICS = ("temperature", "vibration", "pressure", "power")
LEVELS = np.array([60.0, 2.0, 5.0, 40.0])
NOISE = np.array([0.8, 0.1, 0.05, 1.5])
MODELS = ("HX-200", "CR-310", "PX-90")
MAX_MQTT_DEVICES = 500  # each is a connection with a thread in this process


@dataclass
class Progress:
    """Readings offered and taken so far; `report` says what the HTTP gateway answered."""

    offered: int = 0
    taken: int = 0
    report: SendReport = field(default_factory=SendReport)


class Fleet:
    """Devices whose metrics wander about their own levels through the day; one in a thousand runs hot."""

    def __init__(self, devices: int, prefix: str = "sim", seed: int = 1) -> None:
        self.names = [f"{prefix}-{number:05d}" for number in range(devices)]
        self._noise = np.random.default_rng(seed)
        self._levels = LEVELS * self._noise.uniform(0.8, 1.2, (devices, len(METRICS)))
        self._levels[:: max(1, min(1000, devices))] *= (1.5, 3.0, 1.0, 1.3)
        self._seq = np.zeros(devices, dtype=np.int64)

    def read(self, indices: npt.NDArray[np.intp], at_ms: int) -> list[bytes]:
        """A reading of each device, as JSON."""
        phase = np.sin(2 * np.pi * (at_ms % 86_400_000) / 86_400_000 + indices[:, None])
        values = self._levels[indices] * (1 + 0.05 * phase)
        values = np.round(values + NOISE * self._noise.standard_normal(values.shape), 3)
        records = [
            orjson.dumps(
                {
                    "device_id": self.names[index],
                    "ts": at_ms,
                    "seq": int(self._seq[index]),
                    "model": MODELS[index % len(MODELS)],
                    "metrics": dict(zip(METRICS, row, strict=True)),
                }
            )
            for index, row in zip(indices.tolist(), values.tolist(), strict=True)
        ]
        self._seq[indices] += 1
        return records


def rounds(devices: int, rate: float, seconds: float, group: int) -> Iterator[npt.NDArray[np.intp]]:
    """Which devices speak in each tick, in turn: `rate` readings/s together, whole groups at a time."""
    owed, at = 0.0, 0
    groups = -(-devices // group)
    for _ in range(round(seconds / TICK_S)):
        owed += rate * TICK_S
        speaking = []
        while owed >= min(group, devices):
            members = np.arange(at * group, min((at + 1) * group, devices))
            speaking.append(members)
            owed -= len(members)
            at = (at + 1) % groups
        yield np.concatenate(speaking) if speaking else np.arange(0)


async def over_http(
    settings: Settings,
    tenant: Tenant,
    fleet: Fleet,
    *,
    rate: float,
    seconds: float,
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Send through the HTTP gateway; each field gateway sends its batches in order."""
    progress, gate = Progress(), asyncio.Semaphore(CONCURRENCY)
    token = issue_token(settings.auth, tenant, "field-gateway", "admin")
    queues: dict[int, asyncio.Queue[Post | None]] = {}

    async def site(client: httpx.AsyncClient, queue: asyncio.Queue[Post | None]) -> None:
        while (post := await queue.get()) is not None:
            async with gate:
                await send(client, token, post, progress.report, attempts=PATIENCE)
            progress.taken = progress.report.readings

    async with gateway_client(settings.serve) as client, asyncio.TaskGroup() as group:
        async for devices in _paced(rounds(len(fleet.names), rate, seconds, SITE)):
            records = fleet.read(devices, time.time_ns() // 1_000_000)
            sites = devices // SITE
            for number in np.unique(sites):
                mine = [record for record, at in zip(records, sites, strict=True) if at == number]
                if number not in queues:
                    queues[number] = asyncio.Queue()
                    group.create_task(site(client, queues[number]))
                queues[number].put_nowait(
                    Post(f"site {number}", "/v1/telemetry", b"\n".join(mine), len(mine))
                )
            progress.offered += len(records)
            on_progress(progress)
        for queue in queues.values():
            queue.put_nowait(None)
    on_progress(progress)
    return progress


async def over_mqtt(
    settings: Settings,
    tenant: Tenant,
    fleet: Fleet,
    *,
    rate: float,
    seconds: float,
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Send through the MQTT broker, at QoS 1; taken is what the broker has acknowledged."""
    if len(fleet.names) > MAX_MQTT_DEVICES:
        raise IotOpsError(
            f"{len(fleet.names)} devices over MQTT: one process connects at most {MAX_MQTT_DEVICES}; "
            "run several, or send over HTTP"
        )
    progress = Progress()
    with MqttDevices(settings, tenant, fleet.names) as devices:
        async for speaking in _paced(rounds(len(fleet.names), rate, seconds, 1)):
            records = fleet.read(speaking, time.time_ns() // 1_000_000)
            for index, record in zip(speaking.tolist(), records, strict=True):
                devices.publish(fleet.names[index], record)
            progress.offered += len(records)
            progress.taken = devices.acknowledged
            on_progress(progress)
        await asyncio.to_thread(devices.wait, progress.offered, ACKNOWLEDGED_S)
        progress.taken = devices.acknowledged
    on_progress(progress)
    return progress


async def _paced(ticks: Iterator[npt.NDArray[np.intp]]) -> AsyncIterator[npt.NDArray[np.intp]]:
    """A tick every `TICK_S`; one that is late is not waited for."""
    started = time.monotonic()
    for number, tick in enumerate(ticks):
        await asyncio.sleep(max(0.0, number * TICK_S - (time.monotonic() - started)))
        if len(tick):
            yield tick
