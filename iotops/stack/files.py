"""Files of the embedded stack: private ones, executables of the environment, and the home's settings."""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from iotops.errors import StackError
from iotops.ray_cluster import LOCAL_NODE
from iotops.settings import Settings, get_settings

AUTHORITY = "mqtt-ca.crt"
SYSTEM_PROGRAMS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"  # Debian's sbin is not on a user's PATH


def executable(name: str) -> str:
    """Path of a program of this Python environment, or of the system."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise StackError(f"{name} is not installed: run `make setup`")
    return found


def mosquitto() -> str | None:
    """Path of the MQTT broker that is taken where it is installed."""
    return shutil.which("mosquitto", path=SYSTEM_PROGRAMS)


def chosen_settings() -> dict[str, str]:
    """Settings of this environment, for servers that run our code; the stack's own are in the home."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("IOTOPS_") and not name.startswith("IOTOPS_STACK_")
    }


def write_private(path: Path, content: str) -> None:
    """Write a file that only this user reads; a reader sees the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
    temporary.replace(path)


def private_folder(path: Path) -> None:
    """Make a folder that only this user may enter."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)


def home_folder(home: Path) -> None:
    """Make the home with its folders for data and logs.

    As root the way to Postgres' data, which an unprivileged account owns, stays passable but not readable.
    """
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for folder in (home, home / "data"):
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    private_folder(home / "logs")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time on this machine; the lock ends with its holder, even a killed one."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_home_settings(settings: Settings) -> Settings:
    """Generate what is missing of the stack's endpoints and secrets in `settings.yaml`; the new settings.

    Secrets are made once and kept. Ports are kept too, so that a later command finds the stack without the
    environment that chose them; endpoints follow them. What else the file holds stays.
    """
    home, stack = settings.home, settings.stack
    path = home / "settings.yaml"
    known: dict[str, Any] = (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}
    wanted: dict[str, dict[str, Any]] = {
        "kafka": {
            "bootstrap_servers": f"127.0.0.1:{stack.kafka_port}",
            "idempotent": False,  # Tansu notes a sequence before it stores the batch: a retry seems stored
        },
        "lake": {
            "endpoint": f"http://127.0.0.1:{stack.s3_port}",
            "access_key": secrets.token_hex(10).upper(),
            "secret_key": secrets.token_urlsafe(32),
        },
        "database": {
            "port": stack.postgres_port,
            "password": secrets.token_urlsafe(32),
            "owner_password": secrets.token_urlsafe(32),
        },
        "cache": {"port": stack.valkey_port, "password": secrets.token_urlsafe(32)},
        "mqtt": {
            "port": stack.mqtt_port,
            "password": secrets.token_urlsafe(32),
            "shared_subscription": mosquitto() is not None,  # amqtt has none
            "ca_file": str(home / AUTHORITY) if stack.mqtt_tls else None,
        },
        "auth": {"jwt_secret": secrets.token_urlsafe(48)},
        "prefect": {"api_url": f"http://127.0.0.1:{stack.prefect_port}/api"},
        "stack": {
            **{name: port for name, port in stack if name.endswith("_port")},
            "mqtt_tls": stack.mqtt_tls,
            "prefect_worker": stack.prefect_worker,
            "postgres_password": secrets.token_urlsafe(32),
            "prefect_password": secrets.token_urlsafe(32),
        },
        "ray": {
            "address": f"127.0.0.1:{stack.ray_port}",
            "dashboard_url": f"http://127.0.0.1:{stack.dashboard_port}",
        },
        "serve": {"port": stack.serve_port},
    }
    kept = ("secret", "password", "access_key")
    for area, fields in wanted.items():
        for field in fields:
            if field in known.get(area, {}) and any(word in field for word in kept):
                fields[field] = known[area][field]
    merged = known | {area: known.get(area, {}) | fields for area, fields in wanted.items()}
    if merged != known:
        write_private(path, yaml.safe_dump(merged))
    get_settings.cache_clear()
    settings = get_settings()
    _write_environment(settings)
    return settings


def _write_environment(settings: Settings) -> None:
    """`env.sh`: what the Ray, Serve and Prefect commands need to find this stack; it holds no secret."""
    exports = {
        "IOTOPS_HOME": str(settings.home),
        "RAY_ADDRESS": settings.ray.address,
        "RAY_API_SERVER_ADDRESS": settings.ray.dashboard_url,
        "RAY_DASHBOARD_ADDRESS": settings.ray.dashboard_url,
        "PREFECT_API_URL": settings.prefect.api_url,
        **LOCAL_NODE,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    (settings.home / "env.sh").write_text("\n".join(lines) + "\n")
