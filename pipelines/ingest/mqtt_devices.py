"""Devices that publish over MQTT, each with a connection and an account of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from iotops.settings import Settings
from iotops.stack.mqtt import grant_devices
from iotops.tenancy import Tenant


class MqttDevices:
    """Connected devices of one tenant, which get new passwords for it; a lost connection is made again.

    `acknowledged` counts the messages that the broker has confirmed.
    """

    def __init__(self, settings: Settings, tenant: Tenant, device_ids: Sequence[str]) -> None:
        self.acknowledged = 0
        self._tenant = tenant
        self._changed = threading.Condition()
        self._clients: dict[str, mqtt.Client] = {}
        for device_id, (user, password) in grant_devices(settings, tenant, device_ids).items():
            client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=user.replace("/", "-"))
            client.username_pw_set(user, password.get_secret_value())
            if settings.mqtt.ca_file:
                client.tls_set(str(settings.mqtt.ca_file))
            client.on_publish = self._confirm
            client.reconnect_delay_set(1, 5)
            client.connect(settings.mqtt.host, settings.mqtt.port)
            client.loop_start()
            self._clients[device_id] = client

    def publish(self, device_id: str, record: bytes, kind: str = "telemetry") -> mqtt.MQTTMessageInfo:
        """Send a record at QoS 1; the broker has it once the answer `is_published`."""
        topic = f"tenants/{self._tenant.id}/devices/{device_id}/{kind}"
        return self._clients[device_id].publish(topic, record, qos=1)

    def wait(self, count: int, timeout_s: float) -> bool:
        """Whether so many messages are acknowledged in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.acknowledged >= count, timeout_s)

    def __enter__(self) -> MqttDevices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.disconnect()
            client.loop_stop()

    def _confirm(self, *_: Any) -> None:
        with self._changed:
            self.acknowledged += 1
            self._changed.notify_all()
