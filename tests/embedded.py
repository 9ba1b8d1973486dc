"""The embedded stack for tests: the real servers in a temporary home, on ports of their own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from iotops.models.weights import models_folder
from iotops.settings import Settings, StackSettings, get_settings
from iotops.stack import embedded

GRPC_OFFSET = 10_000
FIRST, LAST = 13_000, 22_700  # their companions too lie below what the kernel gives to clients (32768)


@contextmanager
def embedded_stack(home: Path) -> Iterator[Settings]:
    """Bring the whole stack up, and down again whatever happens."""
    with stack_settings(home) as settings:
        try:
            yield embedded.up(settings)
        finally:
            ray.shutdown()  # a driver that outlives its cluster ends the process with status 1
            embedded.down(settings)


@contextmanager
def stack_settings(home: Path, prefect_worker: bool = False) -> Iterator[Settings]:
    """Settings of a stack that would live in `home`, with free ports; the process's own while it lasts.

    Unless a test asks for a worker, no flow runs that the test does not run itself. Models are unpacked once,
    in the home of the checkout.
    """
    models = models_folder(get_settings())
    models.mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(models)
    names = [name for name in StackSettings.model_fields if name.endswith("_port")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOTOPS_HOME", str(home))
        patch.setenv("IOTOPS_STACK__PREFECT_WORKER", str(prefect_worker))
        for name, port in ports.items():
            patch.setenv(f"IOTOPS_STACK__{name.upper()}", str(port))
        get_settings.cache_clear()
        try:
            yield get_settings()
        finally:
            get_settings.cache_clear()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and whose gRPC companions 10000 above are free too."""
    found: list[int] = []
    start = FIRST + os.getpid() * 37 % (LAST - FIRST)
    for offset in range(LAST - FIRST):
        port = FIRST + (start - FIRST + offset) % (LAST - FIRST)
        if _free(port) and _free(port + GRPC_OFFSET):
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError(f"no {count} free ports between {FIRST} and {LAST}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
