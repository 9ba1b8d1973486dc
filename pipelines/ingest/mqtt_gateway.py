"""The MQTT gateway: from `tenants/<tenant>/devices/<device>/telemetry|events` to Kafka.

The broker authenticates the device and keeps it to its own topics; so the topic says who sends, and the
payload is never asked. A message is acknowledged to the broker once Kafka has it: the broker keeps what a
killed gateway had not acknowledged, and delivers it again. MQTT 3.1.1 has no refusal of a message: what goes
beyond its tenant's quota waits, and the broker holds what comes behind it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import queue
import re
import threading
from collections import Counter
from typing import Any, cast

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from iotops.errors import IotOpsError, TenantError
from iotops.kafka import KafkaUnavailable
from iotops.records import DEVICE_ID
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.deadletter import Kind
from pipelines.ingest.intake import Intake, Sent
from pipelines.ingest.quota import Quota
from pipelines.ingest.worker import Progress

TOPIC = re.compile(rf"tenants/([a-z0-9_]+)/devices/({DEVICE_ID})/(telemetry|events)")
FILTERS = ("tenants/+/devices/+/telemetry", "tenants/+/devices/+/events")
QOS = 1
BATCH = 1000
# Messages that wait here. At QoS 1 no broker sends more before one is acknowledged, for a message's id has 16
# bits: only QoS 0 fills this up, and then waits in the connection.
WAITING = 2**16
IDLE_S = 0.5
KEEPALIVE_S = 30
SUBSCRIBE_TIMEOUT_S = 15.0
RETRY_S = 1
RECONNECT_S = 5
logger = logging.getLogger(__name__)


Received = tuple[int, mqtt.MQTTMessage]
"""Which connection a message came on, and the message: its id means nothing on another one."""


class MqttGateway:
    """One member of the shared subscription; `number` names its session with the broker.

    A broker hands a session to whoever may connect and names its client id: so this one's follows from the
    password, and nobody else can guess it. So does the name that the gateways share their subscription by:
    a session that an earlier password has left behind takes no part in it.
    """

    def __init__(self, settings: Settings, number: int = 0) -> None:
        self.progress = Progress()
        self._settings = settings.mqtt
        self._max_bytes = settings.ingest.max_body_bytes
        self._intake = Intake(settings, "mqtt")
        self._quota, self._runner = Quota(settings), asyncio.Runner()
        self._received: queue.Queue[Received] = queue.Queue(WAITING)
        self._connections = 0
        self._refused: object = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._subscribed = threading.Event()
        password = self._settings.password.get_secret_value().encode()
        self._group = f"iotops-gateway-{hmac.digest(password, b'client id', 'sha256').hex()[:32]}"
        self._client = self._build_client(f"{self._group}-{number}")
        self._client.connect(self._settings.host, self._settings.port, KEEPALIVE_S)
        self._client.loop_start()
        if not self._subscribed.wait(SUBSCRIBE_TIMEOUT_S) or self._refused:
            raise self._refusal()

    def run(self) -> None:
        """Take messages until `stop`; an error ends the member, which its supervisor starts again."""
        try:
            while not self._stop.is_set():
                if self._refused:
                    raise self._refusal()
                if received := self._next():
                    self._take(received)
        finally:
            self.stop()  # also where an error ends it: nobody makes room in the queue any more
            # Not `disconnect`, after which the broker may hand the rest of this session to nobody.
            self._client.loop_stop()
            self._intake.close()
            self._runner.close()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stop.set()

    def _refusal(self) -> IotOpsError:
        where = f"{self._settings.host}:{self._settings.port}"
        return IotOpsError(f"the MQTT broker at {where} refuses the gateway: {self._refused or 'no answer'}")

    def _next(self) -> list[Received]:
        """What has arrived, in order; waits a moment for the first."""
        received: list[Received] = []
        try:
            received.append(self._received.get(timeout=IDLE_S))
            while len(received) < BATCH:
                received.append(self._received.get_nowait())
        except queue.Empty:
            pass
        self.progress.waiting = self._received.qsize() + len(received)
        return received

    def _take(self, received: list[Received]) -> None:
        """Hand over, then acknowledge; waits as long as Kafka is away, and the broker holds the rest."""
        batch = [sent for _, message in received if (sent := self._read(message)) is not None]
        self._wait_for_quotas(batch)
        while not self._stop.is_set():
            try:
                results = self._intake.take(batch)
            except KafkaUnavailable as error:
                logger.warning("%s; trying again", error)
                self._stop.wait(RETRY_S)
                continue
            with self._lock:
                for connection, message in received:
                    if connection == self._connections:  # else the broker delivers it again
                        self._client.ack(message.mid, message.qos)
            self.progress.stored += sum(len(parsed.accepted) for parsed in results)
            self.progress.commits += 1
            return

    def _wait_for_quotas(self, batch: list[Sent]) -> None:
        records: Counter[Tenant] = Counter()
        for sent in batch:
            records[sent.tenant] += len(sent.lines)
        for tenant, count in records.items():
            units = min(count, self._quota.burst)
            while wait_s := self._runner.run(self._quota.take(tenant, units)):
                logger.warning("tenant %s has sent what its quota allows: waiting %d s", tenant.id, wait_s)
                if self._stop.wait(wait_s):
                    return

    def _read(self, message: mqtt.MQTTMessage) -> Sent | None:
        """Who sent a message, by its topic; None for a topic that is no device's of a known tenant."""
        place = TOPIC.fullmatch(message.topic)
        try:
            if place is None:
                raise TenantError("the topic names no tenant and device")
            tenant = Tenant(place[1])
            self._intake.require(tenant)
        except TenantError as error:
            logger.warning("audit: a message on %r is dropped: %s", message.topic, error)
            return None
        payload = bytes(message.payload)
        lines = payload.split(b"\n") if len(payload) <= self._max_bytes else [payload]  # which is refused
        return Sent(tenant, cast(Kind, place[3]), place[2], lines)

    def _build_client(self, client_id: str) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, manual_ack=True
        )
        client.username_pw_set(self._settings.user, self._settings.password.get_secret_value())
        if self._settings.ca_file:
            client.tls_set(ca_certs=str(self._settings.ca_file))
        client.reconnect_delay_set(RETRY_S, RECONNECT_S)
        client.on_connect = self._connected
        client.on_subscribe = self._granted
        client.on_message = self._receive
        return client

    def _receive(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        received = self._connections, message
        while not self._stop.is_set():
            try:
                self._received.put(received, timeout=IDLE_S)
            except queue.Full:
                continue
            return

    def _connected(self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _props: Any) -> None:
        """Begin anew: the broker delivers again what an earlier connection did not acknowledge."""
        if reason.is_failure:
            self._refused = reason
            self._subscribed.set()
            return
        with self._lock:
            self._connections += 1
            while not self._received.empty():
                self._received.get_nowait()
        prefix = f"$share/{self._group}/" if self._settings.shared_subscription else ""
        client.subscribe([(f"{prefix}{each}", QOS) for each in FILTERS])

    def _granted(self, _client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, _props: Any) -> None:
        self._refused = next((reason for reason in reasons if reason.is_failure), None)
        self._subscribed.set()
