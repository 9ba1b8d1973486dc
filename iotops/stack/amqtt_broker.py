"""amqtt with the accounts of two files that it reads again on SIGHUP.

Run as `python -m iotops.stack.amqtt_broker PORT MOST_BYTES PASSWORD_FILE TOPIC_FILE [CERTIFICATE KEY]`.
amqtt's own command logs every connection, and its own plugins read their files only once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.plugins.topic_checking import TopicAccessControlListPlugin
from amqtt.session import Session

from iotops.stack.amqtt_delivery import KeepingBroker
from iotops.stack.mqtt_accounts import Accounts

ACCOUNTS = Accounts({}, {})


class AccountPassword(BaseAuthPlugin):
    """Accepts a CONNECT whose password is the user's."""

    @dataclass
    class Config:
        """It has no options."""

    async def authenticate(self, *, session: Session) -> bool:
        """Whether the session may exist."""
        return ACCOUNTS.accepts(session.username, session.password)


class AccountTopics(BaseTopicPlugin):
    """Lets a user publish, subscribe and receive on its own topics."""

    @dataclass
    class Config:
        """It has no options."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Whether one of the user's topic filters covers the topic."""
        allowed = ACCOUNTS.topics.get(session.username or "", []) if session else []
        return any(TopicAccessControlListPlugin.topic_ac(topic or "", each) for each in allowed)


async def serve(port: int, most_bytes: int, passwords: Path, topics: Path, *tls: Path) -> None:
    """Run the broker on loopback until SIGTERM; with TLS where a certificate and its key are given.

    A message of more than `most_bytes` ends its sender's connection.
    """

    def read_accounts() -> None:
        accounts = Accounts.read(passwords, topics)
        ACCOUNTS.passwords, ACCOUNTS.topics = accounts.passwords, accounts.topics

    read_accounts()
    kinds = (AccountPassword, AccountTopics)
    plugins: dict[str, dict[str, str]] = {f"{kind.__module__}.{kind.__name__}": {} for kind in kinds}
    listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    if tls:
        listener |= {"ssl": True, "certfile": str(tls[0]), "keyfile": str(tls[1])}
    broker = KeepingBroker({"listeners": {"default": listener}, "plugins": plugins}, most_bytes)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, read_accounts)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await broker.start()
    await ended.wait()
    await broker.shutdown()


if __name__ == "__main__":
    # The plugins are loaded by the module's own name, and must share its accounts.
    from iotops.stack import amqtt_broker

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    port, most_bytes, *files = sys.argv[1:]
    asyncio.run(amqtt_broker.serve(int(port), int(most_bytes), *map(Path, files)))
