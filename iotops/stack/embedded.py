"""The whole stack: up, down and status over its servers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from iotops.database import migrate
from iotops.errors import StackError
from iotops.provisioning import complete_tenants
from iotops.settings import Settings
from iotops.stack import process
from iotops.stack.files import home_folder, locked, write_home_settings
from iotops.stack.kafka_broker import KafkaBroker
from iotops.stack.mqtt import MqttBroker
from iotops.stack.object_store import ObjectStore
from iotops.stack.postgres import Postgres
from iotops.stack.prefect_server import PrefectServer
from iotops.stack.prefect_worker import PrefectWorker
from iotops.stack.ray_node import RayNode
from iotops.stack.server import Server
from iotops.stack.valkey import Valkey

SERVERS: tuple[type[Server], ...] = (
    ObjectStore,
    Postgres,
    Valkey,
    KafkaBroker,
    MqttBroker,
    PrefectServer,
    RayNode,
    PrefectWorker,
)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ServerStatus:
    """One server as `iotops status` shows it; memory is the resident set of all its processes (bytes)."""

    name: str
    state: str
    pid: int | None
    address: str
    processes: int
    memory_bytes: int
    uptime_s: float | None
    data_bytes: int


def up(settings: Settings, on_progress: Progress = lambda message: None) -> Settings:
    """Bring up what does not run, each server as soon as those that it needs are up.

    Returns the settings with the stack's endpoints and secrets. Raises `StackError` for the first server
    that fails, once the others have come to rest. A second `up` or `down` of the same home waits for it.
    """
    home_folder(settings.home)
    with locked(settings.home / "stack"):
        settings = write_home_settings(settings)
        _bring_up(settings, on_progress)
        complete_tenants(settings)
    return settings


def _bring_up(settings: Settings, on_progress: Progress) -> None:
    servers = {server.name: server for server in _wanted(settings)}
    for server in servers.values():  # before any starts, so that nothing is left half up
        if server.root() is None:
            server.refuse_taken_ports()
    futures: dict[str, Future[None]] = {}
    waiting = set(servers)

    def bring_up(server: Server) -> None:
        for needed in server.needs:
            futures[needed].result()
        if not server.healthy():
            server.start()
        server.provision()
        if server.name == Postgres.name:
            migrate(settings.database)
        waiting.discard(server.name)
        on_progress(f"waiting for {', '.join(sorted(waiting))}" if waiting else "all up")

    with ThreadPoolExecutor(len(servers)) as pool:
        for server in servers.values():
            futures[server.name] = pool.submit(bring_up, server)
    for future in futures.values():
        future.result()


def down(settings: Settings, on_progress: Progress = lambda message: None) -> None:
    """End every process of the stack, the dependent ones first; does nothing where none runs."""
    if not settings.home.is_dir():
        return
    with locked(settings.home / "stack"):
        _bring_down(settings, on_progress)


def _bring_down(settings: Settings, on_progress: Progress) -> None:
    failures = []
    for kind in reversed(SERVERS):
        server = kind(settings)
        on_progress(f"stopping {server.name}")
        try:
            server.stop()
        except StackError as error:
            failures.append(str(error))
    if failures:
        raise StackError("; ".join(failures))


def status(settings: Settings) -> list[ServerStatus]:
    """Every server's state: `up`, `failing` (runs, does not answer) or `down`."""
    with ThreadPoolExecutor(len(SERVERS)) as pool:
        return list(pool.map(_status, _wanted(settings)))


def _wanted(settings: Settings) -> list[Server]:
    return [server for kind in SERVERS if (server := kind(settings)).wanted()]


def _status(server: Server) -> ServerStatus:
    mine = process.owned(server.logs())
    root = process.oldest_root(mine)
    state = "down" if root is None else "up" if server.answers() else "failing"
    return ServerStatus(
        name=server.name,
        state=state,
        pid=root.pid if root else None,
        address=server.address(),
        processes=len(mine),
        memory_bytes=sum(_memory(each) for each in mine),
        uptime_s=time.time() - root.create_time() if root else None,
        data_bytes=_size(server.data),
    )


def _size(folder: Path) -> int:
    """Bytes of all files; one that a server deletes meanwhile counts nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_size
    return total


def _memory(each: psutil.Process) -> int:
    """Bytes; of what it shares with others, its share (Linux), else what is its own."""
    try:
        used = each.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(used, "pss", used.uss))
