"""Devices that publish over MQTT, as tests and their faults need them."""

from __future__ import annotations

from types import TracebackType

import orjson
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from iotops.settings import Settings
from iotops.stack.mqtt import grant_devices
from iotops.tenancy import Tenant

TIMEOUT_S = 30.0


class Devices:
    """Connected devices of one tenant, each with its own account."""

    def __init__(self, settings: Settings, tenant: Tenant, device_ids: list[str]) -> None:
        self.tenant = tenant
        self._clients: dict[str, mqtt.Client] = {}
        for device_id, (user, password) in grant_devices(settings, tenant, device_ids).items():
            client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=user.replace("/", "-"))
            client.username_pw_set(user, password.get_secret_value())
            if settings.mqtt.ca_file:
                client.tls_set(str(settings.mqtt.ca_file))
            client.connect(settings.mqtt.host, settings.mqtt.port)
            client.loop_start()
            self._clients[device_id] = client

    def publish(self, device_id: str, record: object, kind: str = "telemetry") -> mqtt.MQTTMessageInfo:
        """Send a record at QoS 1; the broker has it once the answer `is_published`."""
        topic = f"tenants/{self.tenant.id}/devices/{device_id}/{kind}"
        return self._clients[device_id].publish(topic, orjson.dumps(record), qos=1)

    def __enter__(self) -> Devices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.disconnect()
            client.loop_stop()
