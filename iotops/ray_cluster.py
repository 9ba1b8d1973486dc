"""Connecting to the Ray cluster that the settings name."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from iotops.errors import IotOpsError
from iotops.outages import Unanswered, unanswered
from iotops.settings import RaySettings

Client = TypeVar("Client")

NAMESPACE = "iotops"
REACHED_S = 5.0
LOCAL_NODE = {
    # Ray turns 127.0.0.1 into the machine's outward address unless it believes that no cluster is wanted.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment of the embedded node and of its drivers: loopback only, and nobody without the token."""

SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads of a model that share a layer wait for each other asleep. Awake they keep the one that is waited
for off its core as soon as anything else computes there: a question took 0.5 s to embed, not 0.01."""
QUICK_REQUESTS = {
    **SLEEPING_THREADS,
    # A request crosses neither a thread nor Ray's object store on its way from replica to replica.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # Ten times a second, as Ray has it, takes 6 % of a core while nothing is asked.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
}
"""Environment of every node that serves requests."""


def prepare_environment(settings: RaySettings) -> None:
    """Set what Ray and torch read from the environment as they are imported: call it before they are."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.update(SLEEPING_THREADS)
    if settings.address.startswith("127.0.0.1:"):
        os.environ.update(LOCAL_NODE)


def connect(settings: RaySettings) -> None:
    """Make this process a driver of the cluster; does nothing where it is one already.

    Raises `Unanswered` where the cluster does not take it, at once where nobody listens at the address: Ray
    itself would try on for minutes.
    """
    import ray

    if not ray.is_initialized():
        _reach(settings.address)
        try:
            ray.init(
                address=settings.address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except ConnectionError as error:
            raise _away(settings.address, error) from None


def dashboard_client(kind: Callable[[str], Client], settings: RaySettings) -> Client:
    """A client of an API of Ray's dashboard.

    Raises `Unanswered` where the dashboard does not answer, `IotOpsError` where it answers something else.
    """
    from ray.exceptions import AuthenticationError

    url = settings.dashboard_url
    try:
        return kind(url)
    except ConnectionError as error:
        raise unanswered("Ray's dashboard", url, "IOTOPS_RAY__DASHBOARD_URL", error) from None
    except (RuntimeError, AuthenticationError) as error:
        raise IotOpsError(f"Ray's dashboard at {url} answers: {error}") from None


def _reach(address: str) -> None:
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.port is None:  # such as `auto`
        return
    try:
        socket.create_connection((place.hostname, place.port), timeout=REACHED_S).close()
    except OSError as error:
        raise _away(address, error) from None


def _away(address: str, error: OSError) -> Unanswered:
    return unanswered("Ray", address, "IOTOPS_RAY__ADDRESS", error)
