"""The MQTT broker: mosquitto where it is installed, else amqtt from the environment."""

from __future__ import annotations

import shutil
import socket

import yaml
from pwdlib import PasswordHash

from iotops.stack.files import executable, write_private
from iotops.stack.process import Launch
from iotops.stack.server import Server, run

GATEWAY_TOPICS = "tenants/#"


class MqttBroker(Server):
    """Nobody is anonymous, and the gateway's user is the only one until devices have credentials."""

    name = "mqtt"

    def ports(self) -> dict[str, int]:
        """The listener."""
        return {"mqtt_port": self.settings.stack.mqtt_port}

    def address(self) -> str:
        """MQTT URL."""
        return f"mqtt://127.0.0.1:{self.settings.mqtt.port}"

    def launch(self) -> Launch:
        """Writes the broker's configuration and password file."""
        mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        return self._mosquitto(mosquitto) if mosquitto else self._amqtt()

    def probe(self) -> None:
        """CONNECT with the gateway's credentials is accepted (MQTT 3.1.1, sections 3.1 and 3.2)."""
        user = self.settings.mqtt.user.encode()
        password = self.settings.mqtt.password.get_secret_value().encode()
        payload = b"".join(len(part).to_bytes(2) + part for part in (b"iotops-probe", user, password))
        variable = b"\x00\x04MQTT\x04\xc2\x00\x0a"  # protocol level 4; user, password, clean session; 10 s
        packet = b"\x10" + bytes([len(variable) + len(payload)]) + variable + payload
        with socket.create_connection(("127.0.0.1", self.settings.mqtt.port), timeout=2) as connection:
            connection.sendall(packet)
            answer = connection.recv(4)
            connection.sendall(b"\xe0\x00")
        if answer != b"\x20\x02\x00\x00":
            raise ConnectionRefusedError(f"CONNACK {answer!r}")

    def _mosquitto(self, binary: str) -> Launch:
        mqtt, home = self.settings.mqtt, self.settings.home
        passwords, topics, configuration = (home / f"mosquitto.{kind}" for kind in ("passwd", "acl", "conf"))
        write_private(passwords, f"{mqtt.user}:{mqtt.password.get_secret_value()}\n")
        run([executable("mosquitto_passwd"), "-U", str(passwords)])  # hashes it in place
        write_private(topics, f"user {mqtt.user}\ntopic readwrite {GATEWAY_TOPICS}\n")
        lines = [
            f"listener {mqtt.port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {topics}",
            "persistence true",
            f"persistence_location {self.data}/",
            "log_type warning",
            "log_type error",
            f"user {_login()}",
        ]
        write_private(configuration, "\n".join(lines) + "\n")
        return Launch([binary, "-c", str(configuration)])

    def _amqtt(self) -> Launch:
        mqtt, home = self.settings.mqtt, self.settings.home
        passwords, configuration = home / "amqtt.passwd", home / "amqtt.yaml"
        hashed = PasswordHash.recommended().hash(mqtt.password.get_secret_value())
        write_private(passwords, f"{mqtt.user}:{hashed}\n")
        topics = {mqtt.user: [GATEWAY_TOPICS]}
        settings = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{mqtt.port}"}},
            "plugins": {
                "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)},
                "amqtt.plugins.topic_checking.TopicAccessControlListPlugin": {
                    "acl": topics,
                    "publish_acl": topics,
                },
            },
        }
        write_private(configuration, yaml.safe_dump(settings))
        return Launch([executable("amqtt"), "-c", str(configuration)])


def _login() -> str:
    import getpass

    return getpass.getuser()
