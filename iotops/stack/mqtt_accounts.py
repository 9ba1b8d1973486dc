"""MQTT accounts in mosquitto's file formats: a password file and a topic list."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

ITERATIONS = 1000  # passwords are random 256-bit tokens: stretching adds nothing, and each CONNECT pays it
SALT_BYTES = 12


@dataclass
class Accounts:
    """Hashed passwords and the allowed topic filters, by user."""

    passwords: dict[str, str]
    topics: dict[str, list[str]]

    @classmethod
    def read(cls, password_file: Path, topic_file: Path) -> Accounts:
        """The accounts of the two files; none where a file does not exist yet."""
        accounts, user = cls({}, {}), ""
        for line in _lines(password_file):
            name, _, hashed = line.partition(":")
            accounts.passwords[name] = hashed
        for line in _lines(topic_file):
            kind, _, value = line.partition(" ")
            if kind == "user":
                user = value
                accounts.topics[user] = []
            else:
                accounts.topics[user].append(value.removeprefix("readwrite "))
        return accounts

    def password_file(self) -> str:
        """Content of the password file."""
        return "".join(f"{user}:{hashed}\n" for user, hashed in self.passwords.items())

    def topic_file(self) -> str:
        """Content of the topic file."""
        return "".join(
            f"user {user}\n" + "".join(f"topic readwrite {topic}\n" for topic in topics)
            for user, topics in self.topics.items()
        )

    def accepts(self, user: str | None, password: str | None) -> bool:
        """Whether the password is the user's."""
        hashed = self.passwords.get(user or "")
        if hashed is None or password is None:
            return False
        _, _, iterations, salt, _ = hashed.split("$")
        expected = _pbkdf2(password, base64.b64decode(salt), int(iterations))
        return hmac.compare_digest(hashed, expected)


def hash_password(password: str) -> str:
    """A salted PBKDF2-SHA512 hash as `mosquitto_passwd` writes it: `$7$iterations$salt$hash`."""
    return _pbkdf2(password, secrets.token_bytes(SALT_BYTES), ITERATIONS)


def _pbkdf2(password: str, salt: bytes, iterations: int) -> str:
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
