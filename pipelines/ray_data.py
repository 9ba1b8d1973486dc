"""How the pipelines use Ray Data: quiet, and sharing the cluster with what serves."""

from __future__ import annotations

import logging
from typing import Any

from iotops.ray_cluster import connect, prepare_environment
from iotops.settings import RaySettings

TASK: dict[str, Any] = {"num_cpus": 1}
"""What a task asks of the cluster. A task waits for storage half its time, but with two on a core the memory
and the start of their processes cost more than that."""


def prepare(settings: RaySettings) -> None:
    """Connect to the cluster and silence Ray Data's own bars and log: the flows report progress."""
    prepare_environment(settings)
    connect(settings)
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.data.dataset", "pyiceberg"):
        logging.getLogger(name).setLevel(logging.ERROR)
