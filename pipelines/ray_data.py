"""How the pipelines use Ray Data: quiet, and sharing the cluster with what serves."""

from __future__ import annotations

import logging
from typing import Any

from iotops.ray_cluster import connect, prepare_environment
from iotops.settings import RaySettings

TASK: dict[str, Any] = {"num_cpus": 1}
"""What a task asks of the cluster. A task waits for storage half its time, but with two on a core the memory
and the start of their processes cost more than that."""
GPU_SHARE = 0.2
"""What an actor with an embedding model asks of a GPU. It takes 1.2 GB of its memory, and a core, which makes
tokens of the texts for longer than the GPU then computes."""


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


def model_actor() -> dict[str, Any]:
    """What an actor that holds an embedding model asks of the cluster: a share of a GPU where one is free.

    Where none is, the language model has them and fills their memory, so the actor must not see them: by
    itself Ray hides a GPU from nobody.
    """
    import ray

    if ray.available_resources().get("GPU", 0) >= GPU_SHARE:
        return {**TASK, "num_gpus": GPU_SHARE}
    if ray.cluster_resources().get("GPU", 0):
        return {**TASK, "runtime_env": {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}}
    return TASK
