"""Gateways, consumer-group members and the watcher of shelves on the Ray cluster: detached, named actors."""

from __future__ import annotations

from functools import partial

import ray

from iotops.errors import IotOpsError
from iotops.lake import lake_filesystem
from iotops.ray_cluster import NAMESPACE
from iotops.settings import Settings
from pipelines.alone import INDEXING, taken
from pipelines.ingest.alerting.sink import AlertSink
from pipelines.ingest.bronze import BronzeSink
from pipelines.ingest.mqtt_gateway import MqttGateway
from pipelines.ingest.silver import SilverSink
from pipelines.ingest.sink import Sink
from pipelines.ingest.worker import Progress, Worker, WorkerActor
from pipelines.knowledge.watcher import ShelfWatcher

SINKS: dict[str, type[Sink]] = {sink.name: sink for sink in (BronzeSink, SilverSink, AlertSink)}
WORKERS = (*SINKS, "mqtt", "documents")
START_TIMEOUT_S = 300  # a process imports for seconds of its own, and models may be loading on the same cores
CONNECT_TIMEOUT_S = 60


def make(kind: str, settings: Settings, number: int) -> Worker:
    """The worker of a kind; members of a consumer group are alike, gateways are told apart by number."""
    if kind == "mqtt":
        return MqttGateway(settings, number)
    if kind == "documents":
        return ShelfWatcher(settings, lake_filesystem(settings.lake), partial(taken, settings, INDEXING))
    return SINKS[kind](settings)


def start(settings: Settings, members: dict[str, int]) -> list[str]:
    """Make `members[kind]` actors of each kind run; those that run already are kept. Returns their names.

    Raises `IotOpsError` where a member's process does not start or does not connect in time, and for several
    MQTT gateways where the broker would send every message to each.
    """
    if members.get("mqtt", 0) > 1 and not settings.mqtt.shared_subscription:
        raise IotOpsError(
            "this MQTT broker has no shared subscriptions, so one gateway is the limit: "
            "mosquitto has them, and `iotops up` takes it where it is installed"
        )
    actors = {}
    for kind, count in members.items():
        for number in range(count):
            name = f"{kind}-{number}"
            actor = ray.remote(WorkerActor).options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                max_task_retries=3,
                num_cpus=0.05,
                max_concurrency=4,
            )
            actors[name] = actor.remote(partial(make, kind), number)
    _await({actor.pid.remote(): name for name, actor in actors.items()}, "started", START_TIMEOUT_S)
    _await({actor.wait.remote(): name for name, actor in actors.items()}, "connected", CONNECT_TIMEOUT_S)
    return list(actors)


def _await(members: dict[ray.ObjectRef, str], done: str, seconds: float) -> None:
    """Return when each has; raises `IotOpsError` that names those which have not."""
    _, late = ray.wait(list(members), num_returns=len(members), timeout=seconds)
    if late:
        names = ", ".join(members[each] for each in late)
        raise IotOpsError(
            f"not {done} within {seconds} s, still trying: {names}; `iotops status` shows "
            "whether the servers are up, the Ray dashboard has the logs"
        )


def status() -> dict[str, Progress]:
    """Progress of every running member, by name."""
    names = _names()
    progress = ray.get([ray.get_actor(name, NAMESPACE).progress.remote() for name in names], timeout=30)
    return dict(zip(names, progress, strict=True))


def stop() -> list[str]:
    """Let every member finish its batch, then stop it. Returns their names."""
    names = _names()
    actors = [ray.get_actor(name, NAMESPACE) for name in names]
    ray.get([actor.stop.remote() for actor in actors], timeout=60)
    for actor in actors:
        ray.kill(actor)
    return names


def _names() -> list[str]:
    actors = ray.util.list_named_actors(all_namespaces=True)
    kinds = tuple(f"{kind}-" for kind in WORKERS)
    return sorted(
        actor["name"]
        for actor in actors
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(kinds)
    )
