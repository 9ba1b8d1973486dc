"""A steady load from simulated devices, and what became of each reading.

Every device breaches a threshold in a fixed part of its sequence: so the alerts that must follow are known.
"""

from __future__ import annotations

import threading
import time

import httpx
import orjson

from iotops.auth import issue_token
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.mqtt_devices import MqttDevices

PERIOD_S = 1.0
CYCLE, BREACH = 20, range(8, 12)  # of each 20 readings of a device, these are too hot
SITE = 25
TIMEOUT_S = 15.0

Accepted = set[tuple[str, int]]


def metrics(seq: int) -> dict[str, float]:
    """The values of a device's nth reading."""
    return {"temp": 95.0 if seq % CYCLE in BREACH else 60.0 + seq % 3}


def breaches(accepted: Accepted) -> Accepted:
    """The alerts that the accepted readings must yield: (device, which breach)."""
    return {(device, seq // CYCLE) for device, seq in accepted if seq % CYCLE in BREACH}


class Load:
    """Sends a reading per device and second, half of the devices over HTTP and half over MQTT.

    A device keeps what is not accepted and sends it again, in order, until it is. `stop` returns when all is.
    """

    def __init__(self, settings: Settings, tenant: Tenant, devices: int) -> None:
        self.http_names = [f"http-{number:03d}" for number in range(devices // 2)]
        self.mqtt_names = [f"mqtt-{number:03d}" for number in range(devices // 2)]
        self.refusals = 0
        self._settings, self._tenant = settings, tenant
        self._token = issue_token(settings.auth, tenant, "site", "admin")
        self._accepted: Accepted = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        sites = [self.http_names[start : start + SITE] for start in range(0, len(self.http_names), SITE)]
        sent = [*((self._over_http, site) for site in sites), (self._over_mqtt, self.mqtt_names)]
        # Daemons: a test that fails before `stop` must not keep its process from ending.
        self._threads = [threading.Thread(target=self._run, args=each, daemon=True) for each in sent]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> Accepted:
        """End, and return (device, seq) of every reading that was accepted: all that were made."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
            assert not thread.is_alive(), "the gateways did not take everything in time"
        if self._failure:
            raise self._failure
        return self._accepted

    def _run(self, send: object, names: list[str]) -> None:
        try:
            send(names)  # type: ignore[operator]
        except BaseException as error:
            self._failure = error

    def _over_http(self, names: list[str]) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        seq = 0
        with httpx.Client(base_url=self._settings.serve.url, headers=headers, timeout=TIMEOUT_S) as client:
            while not self._stop.wait(PERIOD_S):
                body = b"\n".join(_record(seq, device_id=name) for name in names)
                while not self._taken(client, body):
                    time.sleep(0.5)
                self._note(names, seq)
                seq += 1

    def _taken(self, client: httpx.Client, body: bytes) -> bool:
        try:
            answer = client.post("/v1/telemetry", content=body)
        except httpx.TransportError:
            return False
        if answer.status_code == 202:
            assert answer.json()["rejected"] == 0
            return True
        self.refusals += 1
        assert answer.status_code in (429, 500, 502, 503, 504), answer.text
        return False

    def _over_mqtt(self, names: list[str]) -> None:
        seq = 0
        with MqttDevices(self._settings, self._tenant, names) as devices:
            while not self._stop.wait(PERIOD_S):
                for name in names:
                    devices.publish(name, _record(seq))
                assert devices.wait((seq + 1) * len(names), 60)
                self._note(names, seq)
                seq += 1

    def _note(self, names: list[str], seq: int) -> None:
        with self._lock:
            self._accepted |= {(name, seq) for name in names}


def _record(seq: int, **more: str) -> bytes:
    return orjson.dumps({"ts": time.time_ns() // 1_000_000, "seq": seq, "metrics": metrics(seq), **more})
