"""The MQTT broker: mosquitto where it is installed, else amqtt from the environment.

Both read the same two files, in mosquitto's formats: `mqtt.passwd` (hashed) and `mqtt.acl`.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from iotops.errors import StackError
from iotops.records import DEVICE_ID
from iotops.settings import Settings
from iotops.stack.certificate import write_certificate
from iotops.stack.files import AUTHORITY, locked, mosquitto, write_private
from iotops.stack.mqtt_accounts import Accounts, hash_password
from iotops.stack.process import Launch
from iotops.stack.server import Server
from iotops.tenancy import Tenant

GATEWAY_TOPICS = "tenants/#"
RELOAD_TIMEOUT_S = 5.0
INFLIGHT = 2000  # a gateway acknowledges whole batches
INFLIGHT_BYTES = 64 * 2**20
TOPIC_BYTES = 2**16  # of a packet, beside its message
QUEUED = 1_000_000
ACCEPTED = b"\x20\x02\x00\x00"


class MqttBroker(Server):
    """Nobody is anonymous: the gateway reaches every tenant's topics, a device its own."""

    name = "mqtt"

    @property
    def passwords(self) -> Path:
        """Path of the password file."""
        return self.settings.home / "mqtt.passwd"

    @property
    def topics(self) -> Path:
        """Path of the file that says who reaches which topics."""
        return self.settings.home / "mqtt.acl"

    def ports(self) -> dict[int, str]:
        """The listener."""
        return {self.settings.stack.mqtt_port: "mqtt_port"}

    def address(self) -> str:
        """MQTT URL."""
        scheme = "mqtts" if self.settings.stack.mqtt_tls else "mqtt"
        return f"{scheme}://127.0.0.1:{self.settings.mqtt.port}"

    def launch(self) -> Launch:
        """Writes the gateway's account and the broker's configuration."""
        mqtt = self.settings.mqtt
        self.set_accounts({mqtt.user: (mqtt.password, GATEWAY_TOPICS)})
        program = mosquitto()
        tls = self._certificate()
        if program is None:
            files = [str(path) for path in (self.passwords, self.topics, *tls)]
            numbers = [str(mqtt.port), str(self.settings.ingest.max_body_bytes)]
            return Launch([sys.executable, "-m", "iotops.stack.amqtt_broker", *numbers, *files])
        configuration = self.settings.home / "mosquitto.conf"
        lines = [
            f"listener {mqtt.port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {self.passwords}",
            f"acl_file {self.topics}",
            "persistence true",
            f"max_inflight_messages {INFLIGHT}",
            f"max_inflight_bytes {INFLIGHT_BYTES}",
            # It ends the connection; `message_size_limit` acknowledges the message and drops it.
            f"max_packet_size {self.settings.ingest.max_body_bytes + TOPIC_BYTES}",
            f"max_queued_messages {QUEUED}",
            f"persistence_location {self.data}/",
            "log_type warning",
            "log_type error",
            f"user {pwd.getpwuid(os.geteuid()).pw_name}",
        ]
        if tls:
            lines += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        write_private(configuration, "\n".join(lines) + "\n")
        return Launch([program, "-c", str(configuration)])

    def set_accounts(self, accounts: Mapping[str, tuple[SecretStr, str]]) -> None:
        """Add or replace accounts, each with password and topic; the running broker takes them at SIGHUP."""
        with locked(self.passwords):
            known = Accounts.read(self.passwords, self.topics)
            for user, (password, topic) in accounts.items():
                known.passwords[user] = hash_password(password.get_secret_value())
                known.topics[user] = [topic]
            write_private(self.topics, known.topic_file())
            write_private(self.passwords, known.password_file())

    def wait_for_account(self, user: str, password: SecretStr) -> None:
        """Return when the broker accepts it; raises `StackError` where it does not within seconds."""
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        while True:
            try:
                return self.connect(user, password)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StackError(f"the MQTT broker did not take the account of {user}: {error}") from None
                time.sleep(0.1)

    def _certificate(self) -> list[Path]:
        """Certificate and key of a broker with TLS, made once; none without."""
        if not self.settings.stack.mqtt_tls:
            return []
        authority, *files = (self.settings.home / name for name in (AUTHORITY, "mqtt.crt", "mqtt.key"))
        if not all(path.is_file() for path in (authority, *files)):
            write_certificate(authority, *files)
        return files

    def _open(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.settings.mqtt.port), timeout=2)
        if not self.settings.stack.mqtt_tls:
            return connection
        trusted = ssl.create_default_context(cafile=self.settings.home / AUTHORITY)
        return trusted.wrap_socket(connection, server_hostname="127.0.0.1")

    def probe(self) -> None:
        """CONNECT with the gateway's credentials is accepted."""
        self.connect(self.settings.mqtt.user, self.settings.mqtt.password)

    def connect(self, user: str, password: SecretStr) -> None:
        """Raise unless CONNECT is accepted (MQTT 3.1.1, sections 3.1 and 3.2)."""
        fields = ("iotops-probe", user, password.get_secret_value())
        payload = b"".join(len(field).to_bytes(2) + field.encode() for field in fields)
        variable = b"\x00\x04MQTT\x04\xc2\x00\x0a"  # protocol level 4; user, password, clean session; 10 s
        length = len(variable) + len(payload)
        packet = b"\x10" + _remaining_length(length) + variable + payload
        with self._open() as connection:
            connection.sendall(packet)
            answer = connection.recv(4)
            connection.sendall(b"\xe0\x00")
        if answer != ACCEPTED:
            raise ConnectionRefusedError(f"CONNACK {answer!r}")


def grant_devices(
    settings: Settings, tenant: Tenant, device_ids: Iterable[str]
) -> dict[str, tuple[str, SecretStr]]:
    """User name and new password of each device, which reaches `tenants/<tenant>/devices/<device>/#` only.

    A second call replaces the passwords. Raises `StackError` where an id is malformed or the broker does not
    take the accounts within seconds.
    """
    broker = MqttBroker(settings)
    root = broker.root()
    if root is None:
        raise StackError(f"the MQTT broker of {settings.home} is not running: `iotops up` starts it")
    granted, topics = {}, {}
    for device_id in device_ids:
        if not re.fullmatch(DEVICE_ID, device_id):
            raise StackError(f"device id {device_id!r} is refused: it must match {DEVICE_ID}")
        user = f"{tenant.id}/{device_id.replace(':', '=')}"  # a colon ends the name in a password file
        granted[device_id] = user, SecretStr(secrets.token_urlsafe(32))
        topics[user] = f"tenants/{tenant.id}/devices/{device_id}/#"
    broker.set_accounts({user: (password, topics[user]) for user, password in granted.values()})
    root.send_signal(signal.SIGHUP)
    for user, password in list(granted.values())[-1:]:
        broker.wait_for_account(user, password)
    return granted


def _remaining_length(length: int) -> bytes:
    """MQTT 3.1.1, section 2.2.3, for lengths below 16384."""
    return bytes([length]) if length < 128 else bytes([length % 128 | 128, length // 128])
