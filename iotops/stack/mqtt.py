"""The MQTT broker: mosquitto where it is installed, else amqtt from the environment.

Both read the same two files, in mosquitto's formats: `mqtt.passwd` (hashed) and `mqtt.acl`.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from iotops.errors import StackError
from iotops.records import DEVICE_ID
from iotops.settings import Settings
from iotops.stack.files import locked, write_private
from iotops.stack.mqtt_accounts import Accounts, hash_password
from iotops.stack.process import Launch
from iotops.stack.server import Server
from iotops.tenancy import Tenant

GATEWAY_TOPICS = "tenants/#"
RELOAD_TIMEOUT_S = 5.0
ACCEPTED = b"\x20\x02\x00\x00"
SYSTEM_PROGRAMS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"  # Debian's sbin is not on a user's PATH


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
        return f"mqtt://127.0.0.1:{self.settings.mqtt.port}"

    def launch(self) -> Launch:
        """Writes the gateway's account and the broker's configuration."""
        mqtt = self.settings.mqtt
        self.set_account(mqtt.user, mqtt.password, GATEWAY_TOPICS)
        mosquitto = shutil.which("mosquitto", path=SYSTEM_PROGRAMS)
        if mosquitto is None:
            files = [str(self.passwords), str(self.topics)]
            return Launch([sys.executable, "-m", "iotops.stack.amqtt_broker", str(mqtt.port), *files])
        configuration = self.settings.home / "mosquitto.conf"
        lines = [
            f"listener {mqtt.port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {self.passwords}",
            f"acl_file {self.topics}",
            "persistence true",
            f"persistence_location {self.data}/",
            "log_type warning",
            "log_type error",
            f"user {pwd.getpwuid(os.geteuid()).pw_name}",
        ]
        write_private(configuration, "\n".join(lines) + "\n")
        return Launch([mosquitto, "-c", str(configuration)])

    def set_account(self, user: str, password: SecretStr, topic: str) -> None:
        """Add or replace an account; the running broker takes it at SIGHUP."""
        with locked(self.passwords):
            accounts = Accounts.read(self.passwords, self.topics)
            accounts.passwords[user] = hash_password(password.get_secret_value())
            accounts.topics[user] = [topic]
            write_private(self.topics, accounts.topic_file())
            write_private(self.passwords, accounts.password_file())

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
        with socket.create_connection(("127.0.0.1", self.settings.mqtt.port), timeout=2) as connection:
            connection.sendall(packet)
            answer = connection.recv(4)
            connection.sendall(b"\xe0\x00")
        if answer != ACCEPTED:
            raise ConnectionRefusedError(f"CONNACK {answer!r}")


def grant_device(settings: Settings, tenant: Tenant, device_id: str) -> tuple[str, SecretStr]:
    """User name and new password with which a device reaches `tenants/<tenant>/devices/<device>/#` only.

    A second call replaces the password. Raises `StackError` where the id is malformed or the broker does
    not take the account within seconds.
    """
    if not re.fullmatch(DEVICE_ID, device_id):
        raise StackError(f"device id {device_id!r} is refused: it must match {DEVICE_ID}")
    broker = MqttBroker(settings)
    root = broker.root()
    if root is None:
        raise StackError("the MQTT broker does not run: `iotops up` starts it")
    user = f"{tenant.id}/{device_id.replace(':', '=')}"  # a colon ends the name in a password file
    password = SecretStr(secrets.token_urlsafe(32))
    broker.set_account(user, password, f"tenants/{tenant.id}/devices/{device_id}/#")
    root.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while True:
        try:
            broker.connect(user, password)
            return user, password
        except OSError as error:
            if time.monotonic() > deadline:
                raise StackError(f"the MQTT broker did not take the account of {user}: {error}") from None
            time.sleep(0.1)


def _remaining_length(length: int) -> bytes:
    """MQTT 3.1.1, section 2.2.3, for lengths below 16384."""
    return bytes([length]) if length < 128 else bytes([length % 128 | 128, length // 128])
